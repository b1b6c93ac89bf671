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
from harness.features import column_chroma, count_batches, nearest, pixels, precision, see
from harness.files import atomic_folder, write_bytes
from harness.identity.known import identity
from harness.net.alexnet import trained
from harness.net.predict import mean_loss, top_errors
from harness.numerics import configure
from harness.progress import progress, say
from harness.record import Metrics, Run, RunFolder, write_metrics
from harness.weights import ensure

SEARCHED = 100_000
"""With more training images than this the neighbours of each test image are not looked for among them."""

SEARCHED_PIXELS = 50_000_000
"""Places of all images together up to which they are also searched as pixels."""

TOP5_CLASSES = 10
"""With fewer classes than this a top-5 error says nothing, and is left out."""


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
        if packed.manifest.hash != run.images.hash:
            raise UserError(
                f"{name}: was trained on other images ({run.images.hash[:12]}) than those of {packed.folder} "
                f"({packed.manifest.hash[:12]}); train it again, or name its images"
            )
        weights, digest = ensure(run, name, packed)
        numbers, table = _measure(run, name, packed, weights)
        metrics = metrics.model_copy(
            update={"numbers": numbers, "weights": None if digest == run.hashes.weights else digest}
        )
    content = io.BytesIO()
    pq.write_table(
        pa.table(table),
        content,
        compression="zstd",
        compression_level=19,
        use_dictionary=[column for column in table if column != "index"],
        column_encoding={"index": "DELTA_BINARY_PACKED"},
    )
    with atomic_folder(out) as temporary:
        made = RunFolder(temporary, temporary)
        write_metrics(made, metrics)
        write_bytes(made.predictions, content.getvalue())
    errors = metrics.numbers
    say(f"{out}: " + (f"test error {errors['test_top1']:.2f} %" if "test_top1" in errors else "diverged"))
    return metrics


def _measure(
    run: Run, name: str, packed: Packed, weights: dict[str, Tensor]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    settings, classes = run.config.resolved, run.images.classes
    numerics = configure(settings)
    net = trained(settings, run.images.channels, classes, weights)
    net.to(numerics.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = {part: Images(packed, part, settings, numerics.device) for part in PARTS}
    labels = {part: images.labels.cpu() for part, images in parts.items()}
    searched = parts["train"].count <= SEARCHED
    with progress(sum(map(count_batches, parts.values())), "eval", "batches") as advance:
        seen = {
            "train": see(net, parts["train"], numerics, hidden=searched, advance=advance),
            "validation": see(net, parts["validation"], numerics, advance=advance),
            "test": see(net, parts["test"], numerics, ten=True, thinned=run.seed, hidden=searched, advance=advance),
        }
    metrics: dict[str, float] = {}
    for part, one in seen.items():
        endings = {"": one.centre, "_10crop": one.ten, "_mc_geometric": one.geometric, "_mc_arithmetic": one.arithmetic}
        for ending, probs in endings.items():
            if probs is None:
                continue
            if len(probs) != packed.manifest.counts[part]:
                raise UserError(
                    f"{name}: {len(probs)} images of the {part} part were seen, it has "
                    f"{packed.manifest.counts[part]}; its errors would be wrong"
                )
            metrics[f"{part}_top1{ending}"] = top_errors(probs, labels[part])
            if classes >= TOP5_CLASSES:
                metrics[f"{part}_top5{ending}"] = top_errors(probs, labels[part], 5)
        metrics[f"{part}_loss"] = mean_loss(one.centre, labels[part])
        metrics[f"{part}_images"] = len(labels[part])
    metrics |= column_chroma(net, run.seed)
    # How often the nearest training images of a test image have its label: in the last hidden layer, and in pixels.
    features = {"fc7": (seen["test"].hidden, seen["train"].hidden)}
    if (parts["train"].count + parts["test"].count) * settings.crop**2 <= SEARCHED_PIXELS:
        features["pixels"] = pixels(parts["test"]), pixels(parts["train"])
    for kind, (queries, others) in features.items():
        if queries is not None and others is not None and seen["test"].hidden is not None:
            metrics[f"{kind}_precision6"] = precision(nearest(queries, others), labels["test"], labels["train"])
    unsound = [key for key, value in metrics.items() if isinstance(value, float) and not math.isfinite(value)]
    if unsound:
        raise UserError(f"{name}: {unsound[0]} is not a finite number, though the run finished")
    return metrics, predictions(seen["test"].centre, labels["test"])


def predictions(probs: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """A row an image: index, label, most probable classes (five at most), probability of the first and of the label.

    And whether the first is right. `probs` is (count, classes), `labels` (count,).
    """
    top = probs.argsort(dim=1, descending=True, stable=True)[:, :5]
    columns: dict[str, np.ndarray] = {
        "index": np.arange(len(labels), dtype=np.int32),
        "label": labels.numpy().astype(np.int16),
    }
    columns |= {f"top{place}": answers.numpy().astype(np.int16) for place, answers in enumerate(top.T, 1)}
    for name, classes in (("p1", top[:, :1]), ("p_label", labels[:, None])):
        # To a thousandth: the file is committed for every run, and this halves it. The weights give every digit.
        exact = probs.gather(1, classes)[:, 0].numpy().astype(np.float64)
        columns[name] = np.round(exact, 3).astype(np.float32)
    columns["correct"] = (top[:, 0] == labels).numpy()
    return columns
