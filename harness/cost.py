"""What a study costs before it runs: multiply-accumulates, hours on a GPU, disk. Nothing is measured here."""

from harness.estimate import TRAINING_IMAGES
from harness.net.layout import layout
from harness.progress import clock
from harness.settings.check import SOURCES
from harness.settings.schema import Settings
from harness.settings.study import Study

PASSES = 3
"""A training step takes about three forward passes: its own, and two products a layer backward."""

GPU_RATE = 10e12
"""Multiply-accumulates a second that the estimate for one GPU assumes: about a fifth of an H100's float32 peak with
tf32 off, a third of an A100's with it on. `harness doctor` measures on the machine itself."""


def macs(settings: Settings, channels: int, classes: int) -> int:
    """Multiply-accumulates of one image's forward pass."""
    return sum(row.macs for row in layout(settings, channels, classes))


def parameters(settings: Settings, channels: int, classes: int) -> int:
    """Weights and biases of the net."""
    return sum(row.parameters for row in layout(settings, channels, classes))


def cost(study: Study, rate: float | None = None) -> list[str]:
    """Lines: runs, training work and its hours, and the disk that the weights take.

    `rate`: training images a second of the baseline, where it is known; other variants are scaled by their work.
    """
    channels, _, classes = SOURCES[study.data.source]
    images = study.data.train_limit or TRAINING_IMAGES.get(study.data.source)
    classes = classes or 1000
    weights = sum(4 * parameters(s, channels, classes) for s in study.variants.values()) * len(study.seeds)
    lines = [f"runs: {len(study.cells)}; weights on disk: {weights / 1e9:.2g} GB"]
    if images is None:
        return [*lines, "time: known once the images are counted: harness data, then harness doctor"]
    base = macs(study.variants[study.baseline], channels, classes)
    seen = {name: settings.epochs * images * len(study.seeds) for name, settings in study.variants.items()}
    work = sum(count * macs(study.variants[name], channels, classes) for name, count in seen.items())
    lines.append(f"training: {sum(seen.values()):,} images, {PASSES * work:.2g} multiply-accumulates")
    seconds = work / base / rate if rate else PASSES * work / GPU_RATE
    said = f"at {rate:g} images/s of the baseline" if rate else f"on one GPU at an assumed {GPU_RATE:.0e} MACs/s"
    return [*lines, f"time: about {clock(seconds)} {said}, evaluation not counted"]
