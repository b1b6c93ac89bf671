"""What a study costs before it runs: multiply-accumulates, hours on a GPU, disk."""

from harness.data.packed import read_manifest
from harness.net.describe import describe
from harness.net.layout import layout
from harness.progress import clock
from harness.settings.check import SOURCES, TRAINING_IMAGES
from harness.settings.schema import Settings
from harness.settings.study import Study

PASSES = 3
"""A training step takes about three forward passes: its own, and two products a layer backward."""

GPU_RATE = 11.6e12
"""Multiply-accumulates a second on one GPU: the paper's net in float32 on an H200, of which `harness doctor imagenet`
measured 5,350 images/s. `harness doctor` measures the machine it runs on, for `--rate`."""


def known_images(study: Study) -> tuple[int | None, int, int | None]:
    """Training images, channels and classes: of the packed images, else what is known of the source."""
    if study.manifest.exists():
        manifest = read_manifest(study.manifest)
        return manifest.counts["train"], manifest.channels, len(manifest.class_names)
    channels, _, classes = SOURCES[study.data.source]
    return study.data.train_limit or TRAINING_IMAGES.get(study.data.source), channels, classes


def totals(settings: Settings, channels: int, classes: int) -> dict[str, int]:
    """Parameters and multiply-accumulates of a net, and what else `describe` adds up."""
    found: dict[str, int] = describe(layout(settings, channels, classes))["total"]
    return found


def cost(study: Study, rate: float | None = None) -> list[str]:
    """Lines: runs, training work and its hours, and the disk that the weights take.

    `rate`: training images a second of the baseline, where it is known; other variants are scaled by their work.
    """
    images, channels, classes = known_images(study)
    nets = {name: totals(settings, channels, classes or 1000) for name, settings in study.variants.items()}
    weights = sum(4 * net["parameters"] for net in nets.values()) * len(study.seeds)
    lines = [f"runs: {len(study.cells)}; weights on disk: {weights / 1e9:.2g} GB"]
    if images is None:
        return [*lines, "time: known once the images are counted; run: harness data"]
    seen = {name: settings.epochs * images * len(study.seeds) for name, settings in study.variants.items()}
    work = sum(count * nets[name]["macs"] for name, count in seen.items())
    lines.append(f"training: {sum(seen.values()):,} images, {PASSES * work:.2g} multiply-accumulates")
    if rate:
        seconds = work / nets[study.baseline]["macs"] / rate
        return [*lines, f"time: about {clock(seconds)} at {rate:g} images/s of the baseline, evaluation not counted"]
    # A small net does not fill a GPU: its steps wait for their launches.
    said = f"on one GPU at {GPU_RATE:.1e} MACs/s (the paper's net on an H200), evaluation not counted"
    return [*lines, f"time: at least {clock(PASSES * work / GPU_RATE)} {said}"]
