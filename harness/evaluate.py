"""Evaluation: a run's errors on every part, and what it says of each test image. The test part is read here alone."""

import io
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from harness.data.batches import Images
from harness.data.packed import Packed
from harness.errors import UserError
from harness.features import Search, Seen, column_chroma, count_batches, hides, pixels, precision, see
from harness.files import atomic_folder, read_json, write_bytes, write_json
from harness.net.alexnet import AlexNet
from harness.net.predict import mean_loss, top_errors
from harness.numerics import Numerics, configure
from harness.progress import progress, say
from harness.record import Config, RunFolder, read_config
from harness.train.run import load_net

SEARCHED = 100_000
"""With more training images than this the neighbours of each test image are not looked for among them."""

SEARCHED_PIXELS = 50_000_000
"""Places of all images together up to which they are also searched as pixels."""

TOP5_CLASSES = 10
"""With fewer classes than this a top-5 error says nothing, and is left out."""


def evaluate(run: Path, data: Path, out: Path) -> dict[str, Any]:
    """Evaluate the run in `run` on the packed images in `data`, and leave its results at `out`.

    The results are the run's records (config, history, losses, provenance) and, made here, metrics.json and
    predictions.parquet. Errors are percentages: of the centre crop, and of the mean over ten crops of the softmax
    outputs (section 4.1). Raises `UserError` when the images are not those of the run, or when some were not seen.
    """
    folder, results = RunFolder(run), RunFolder(out)
    config = read_config(folder.config)
    record = read_json(folder.provenance)
    if not isinstance(record, dict) or not {"status", "diverged_epoch"} <= record.keys():
        raise UserError(f"{folder.provenance}: has no status and diverged_epoch; not a run's provenance.json")
    metrics: dict[str, Any] = {"status": record["status"], "diverged_epoch": record["diverged_epoch"]}
    # A diverged run has no errors, and a table without a row: the same files, so that DVC finds what it expects.
    table = predictions(torch.empty(0, config.data.classes), torch.empty(0, dtype=torch.int64))
    if record["status"] == "finished":
        packed = Packed.open(data)
        if packed.manifest.hash != config.data.hash:
            raise UserError(
                f"{data}: holds other images ({packed.manifest.hash[:12]}) than {run} was trained on "
                f"({config.data.hash[:12]}); train it again, or name its images"
            )
        measured, table = _measure(folder, config, packed)
        metrics |= measured
    _write(results, folder, metrics, table)
    say(f"{out}: " + (f"test error {metrics['test_top1']:.2f} %" if "test_top1" in metrics else "diverged"))
    return metrics


def _measure(folder: RunFolder, config: Config, packed: Packed) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    numerics = configure(config.settings)
    net = load_net(folder, config).to(numerics.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = {part: Images(packed, part, config.settings, numerics.device) for part in ("train", "validation", "test")}
    seen, search = _see(net, parts, numerics, config.seed)
    metrics: dict[str, Any] = {}
    for part, images in parts.items():
        one, labels = seen[part], images.labels.cpu()
        told = {"": one.centre, "_10crop": one.ten, "_mc_geometric": one.geometric, "_mc_arithmetic": one.arithmetic}
        for ending, said in told.items():
            if said is None:
                continue
            if len(said) != packed.manifest.counts[part]:
                raise UserError(
                    f"{folder.path}: {len(said)} images of the {part} part were seen, it has "
                    f"{packed.manifest.counts[part]}; its errors would be wrong"
                )
            metrics[f"{part}_top1{ending}"] = top_errors(said, labels)
            if config.data.classes >= TOP5_CLASSES:
                metrics[f"{part}_top5{ending}"] = top_errors(said, labels, 5)
        metrics[f"{part}_loss"] = mean_loss(one.centre, labels)
        metrics[f"{part}_images"] = len(labels)
    metrics |= column_chroma(net, config.seed)
    if search:
        metrics |= _precisions(parts["test"], parts["train"], search)
    unsound = [key for key, value in metrics.items() if isinstance(value, float) and not math.isfinite(value)]
    if unsound:
        raise UserError(f"{folder.path}: {unsound[0]} is not a finite number, though the run finished")
    return metrics, predictions(seen["test"].centre, parts["test"].labels.cpu())


def _see(
    net: AlexNet, parts: dict[str, Images], numerics: Numerics, seed: int
) -> tuple[dict[str, Seen], Search | None]:
    """What the net made of each part, and the search of the last hidden layer, where it has one and is searched."""
    searched = hides(net) and parts["train"].count <= SEARCHED
    hidden: list[Tensor] = []
    keep = hidden.append if searched else None
    with progress(sum(map(count_batches, parts.values())), "eval", "batches") as advance:
        # The test part comes first: its neighbours are looked for while the training part goes by.
        seen = {"test": see(net, parts["test"], numerics, ten=True, thinned=seed, hidden=keep, advance=advance)}
        search = Search(torch.cat(hidden)) if hidden else None
        hidden.clear()
        seen["train"] = see(net, parts["train"], numerics, hidden=search.add if search else None, advance=advance)
        seen["validation"] = see(net, parts["validation"], numerics, advance=advance)
    return seen, search


def _precisions(test: Images, train: Images, hidden: Search) -> dict[str, float]:
    """How often the nearest training images of a test image have its label: in the last hidden layer, and in pixels."""
    labels = test.labels.cpu(), train.labels.cpu()
    found = {"fc7_precision6": precision(hidden.nearest(), *labels)}
    if (train.count + test.count) * train.settings.crop**2 <= SEARCHED_PIXELS:
        search = Search(torch.cat(list(pixels(test))))
        for batch in pixels(train):
            search.add(batch)
        found["pixels_precision6"] = precision(search.nearest(), *labels)
    return found


def predictions(said: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """A row an image: index, label, most probable classes (five at most), probability of the first and of the label.

    And whether the first is right. `said` is (count, classes), `labels` (count,).
    """
    k = min(5, said.shape[1])
    top = said.argsort(dim=1, descending=True, stable=True)[:, :k]
    columns: dict[str, np.ndarray] = {
        "index": np.arange(len(labels), dtype=np.int32),
        "label": labels.numpy().astype(np.int16),
    }
    for place in range(k):
        columns[f"top{place + 1}"] = top[:, place].numpy().astype(np.int16)
    columns["p1"] = _rounded(said.gather(1, top[:, :1])[:, 0])
    columns["p_label"] = _rounded(said.gather(1, labels[:, None])[:, 0])
    columns["correct"] = (top[:, 0] == labels).numpy()
    return columns


def _rounded(values: Tensor) -> np.ndarray:
    # To a thousandth: the file is committed for every run, and this halves it. The weights give every digit.
    return np.round(values.numpy().astype(np.float64), 3).astype(np.float32)


def _write(results: RunFolder, run: RunFolder, metrics: dict[str, Any], table: dict[str, np.ndarray]) -> None:
    with atomic_folder(results.path) as temporary:
        made = RunFolder(temporary)
        for source, copy in (
            (run.config, made.config),
            (run.history, made.history),
            (run.losses, made.losses),
            (run.provenance, made.provenance),
        ):
            shutil.copyfile(source, copy)
        write_json(made.metrics, metrics)
        content = io.BytesIO()
        pq.write_table(
            pa.table(table),
            content,
            compression="zstd",
            compression_level=19,
            use_dictionary=[name for name in table if name != "index"],
            column_encoding={"index": "DELTA_BINARY_PACKED"},
        )
        write_bytes(made.predictions, content.getvalue())
