"""Evaluation: a run's errors on every part, and what it says of each test image. The test part is read here alone."""

import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from harness.data.batches import Images
from harness.data.packed import PARTS, Packed
from harness.errors import UserError
from harness.features import Search, column_chroma, hides, pixels, precision, see
from harness.files import atomic_folder, write_bytes
from harness.identity.known import identity
from harness.net.alexnet import AlexNet
from harness.net.predict import BATCH, load_net, mean_loss, top_errors
from harness.numerics import Numerics
from harness.progress import progress, say
from harness.record import Metrics, Run, RunFolder, write_metrics

SEARCHED = 100_000
"""With more training images than this the neighbours of each test image are not looked for among them."""

SEARCHED_PIXELS = 50_000_000
"""Places of all images together up to which they are also searched as pixels."""

TOP5_CLASSES = 10
"""With fewer classes than this a top-5 error says nothing, and is left out."""

ENDINGS = {"centre": "", "ten": "_10crop", "geometric": "_mc_geometric", "arithmetic": "_mc_arithmetic"}
"""Probabilities that `see` gives -> the ending of their errors' names."""


def evaluate(run: Run, name: str, packed: Packed, out: Path) -> Metrics:
    """Evaluate a run on its packed images, and leave metrics.json and predictions.parquet in the folder `out`.

    Errors are percentages: of the centre crop, and of the mean over ten crops of the softmax outputs (section 4.1).
    Weights that are not here are trained again. `name`: the run's, for messages. Raises `UserError` when the images are
    not those of the run, or when some were not seen.
    """
    record = run.provenance
    metrics = Metrics(status=record.status, diverged_epoch=record.diverged_epoch, code=identity("eval"))
    # A diverged run has no errors, and a table without a row: the same files, so that DVC finds what it expects.
    table = predictions(torch.empty(0, run.images.classes), torch.empty(0, dtype=torch.int64))
    if record.status == "finished":
        net, numerics, digest = load_net(run, name, packed)
        numbers, table = _measure(run, name, packed, net, numerics)
        metrics = metrics.model_copy(
            update={"numbers": numbers, "weights": None if digest == run.hashes.weights else digest}
        )
    _write(RunFolder(out, out), metrics, table)
    errors = metrics.numbers
    say(f"{out}: " + (f"test error {errors['test_top1']:.2f} %" if "test_top1" in errors else "diverged"))
    return metrics


def _measure(
    run: Run, name: str, packed: Packed, net: AlexNet, numerics: Numerics
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    settings, classes = run.config.resolved, run.images.classes
    parts = {part: Images(packed, part, settings, numerics.device) for part in PARTS}
    seen, search = _see(net, parts, numerics, run.seed)
    metrics: dict[str, float] = {}
    for part, images in parts.items():
        labels = images.labels.cpu()
        for kind, ending in ENDINGS.items():
            if (probs := seen[part].get(kind)) is None:
                continue
            if len(probs) != packed.manifest.counts[part]:
                raise UserError(
                    f"{name}: {len(probs)} images of the {part} part were seen, it has "
                    f"{packed.manifest.counts[part]}; its errors would be wrong"
                )
            metrics[f"{part}_top1{ending}"] = top_errors(probs, labels)
            if classes >= TOP5_CLASSES:
                metrics[f"{part}_top5{ending}"] = top_errors(probs, labels, 5)
        metrics[f"{part}_loss"] = mean_loss(seen[part]["centre"], labels)
        metrics[f"{part}_images"] = len(labels)
    metrics |= column_chroma(net, run.seed)
    if search:
        metrics |= _precisions(parts["test"], parts["train"], search)
    unsound = [key for key, value in metrics.items() if isinstance(value, float) and not math.isfinite(value)]
    if unsound:
        raise UserError(f"{name}: {unsound[0]} is not a finite number, though the run finished")
    return metrics, predictions(seen["test"]["centre"], parts["test"].labels.cpu())


def _see(
    net: AlexNet, parts: dict[str, Images], numerics: Numerics, seed: int
) -> tuple[dict[str, dict[str, Tensor]], Search | None]:
    """What the net made of each part, and the search of the last hidden layer, where it has one and is searched."""
    searched = hides(net) and parts["train"].count <= SEARCHED
    hidden: list[Tensor] = []
    keep = hidden.append if searched else None
    with progress(sum(-(-images.count // BATCH) for images in parts.values()), "eval", "batches") as advance:
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
    shares = {"fc7_precision6": precision(hidden.nearest(), *labels)}
    if (train.count + test.count) * train.settings.crop**2 <= SEARCHED_PIXELS:
        search = Search(torch.cat(list(pixels(test))))
        for batch in pixels(train):
            search.add(batch)
        shares["pixels_precision6"] = precision(search.nearest(), *labels)
    return shares


def predictions(probs: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """A row an image: index, label, most probable classes (five at most), probability of the first and of the label.

    And whether the first is right. `probs` is (count, classes), `labels` (count,).
    """
    k = min(5, probs.shape[1])
    top = probs.argsort(dim=1, descending=True, stable=True)[:, :k]
    columns: dict[str, np.ndarray] = {
        "index": np.arange(len(labels), dtype=np.int32),
        "label": labels.numpy().astype(np.int16),
    }
    columns |= {f"top{place + 1}": top[:, place].numpy().astype(np.int16) for place in range(k)}
    columns["p1"] = _rounded(probs.gather(1, top[:, :1])[:, 0])
    columns["p_label"] = _rounded(probs.gather(1, labels[:, None])[:, 0])
    columns["correct"] = (top[:, 0] == labels).numpy()
    return columns


def _rounded(values: Tensor) -> np.ndarray:
    # To a thousandth: the file is committed for every run, and this halves it. The weights give every digit.
    return np.round(values.numpy().astype(np.float64), 3).astype(np.float32)


def _write(results: RunFolder, metrics: Metrics, table: dict[str, np.ndarray]) -> None:
    with atomic_folder(results.evaluation) as temporary:
        made = RunFolder(temporary, temporary)
        write_metrics(made, metrics)
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
