"""What a study takes, before it runs: multiply-accumulates, hours on a GPU, disk, and its time on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from harness.data.packed import read_manifest
from harness.errors import UserError
from harness.grammar import counted, product
from harness.net.describe import describe
from harness.net.layout import layout
from harness.progress import clock
from harness.settings.check import SOURCES
from harness.settings.schema import Settings
from harness.settings.study import Study

if TYPE_CHECKING:
    from harness.numerics import Numerics

PASSES = 3
"""A training step takes about three forward passes: its own, and two products a layer backward."""

GPU_RATE = 11.6e12
"""Multiply-accumulates a second on one GPU: the paper's net in float32 on an H200, of which `harness doctor imagenet`
measured 5,350 images/s. `harness doctor` measures the machine it runs on, for `--rate`."""

GPU_HINT = 86400.0
"""Seconds on a CPU from which `plan` says what a GPU would take, too."""

STEPS = 4
"""Steps that are timed, after one that is not."""

SAMPLE = 5e9
"""Multiply-accumulates of a timed forward pass of `plan`, at most: seconds, whatever the net."""

EVALUATION = 11 / 3
"""Training images that evaluating a test image costs as much as: ten crops, and the thinned nets' common part; a
forward pass is a third of a step."""

BESIDE = 15.0
"""Seconds of a cell beside both: torch is started twice and DVC records two stages (default study, two cores)."""


def known_images(study: Study) -> tuple[int | None, int, int]:
    """Training images, channels and classes: of the packed images, else what is known of the source."""
    if study.manifest.exists():
        manifest = read_manifest(study.manifest)
        return manifest.counts["train"], manifest.channels, len(manifest.class_names)
    channels, _, classes, images = SOURCES[study.data.source]
    return study.data.train_limit or images, channels, classes or study.variants[study.baseline].classes or 1000


def totals(settings: Settings, channels: int, classes: int) -> dict[str, int]:
    """Parameters and multiply-accumulates of a net, and what else `describe` adds up."""
    total: dict[str, int] = describe(layout(settings, channels, classes))["total"]
    return total


def cost(study: Study, rate: float | None = None) -> list[str]:
    """Lines: runs, training work and its hours, and the disk that the weights take.

    `rate`: training images a second of the baseline, where it is known; other variants are scaled by their work.
    """
    from harness.numerics import configure

    images, channels, classes = known_images(study)
    nets = {name: totals(settings, channels, classes) for name, settings in study.variants.items()}
    weights = sum(4 * net["parameters"] for net in nets.values()) * len(study.seeds)
    lines = [f"runs: {len(study.cells)}; weights on disk: {weights / 1e9:.2g} GB"]
    if images is None:
        return [*lines, f"time: known once the images are counted; run: harness data {study.name}"]
    seen = {name: settings.epochs * images * len(study.seeds) for name, settings in study.variants.items()}
    work = sum(count * nets[name]["macs"] for name, count in seen.items())
    lines.append(f"training: {sum(seen.values()):,} images, {PASSES * work:.2g} multiply-accumulates")
    base, macs = study.variants[study.baseline], nets[study.baseline]["macs"]
    if rate:
        where = f"at {rate:g} images/s of the baseline, evaluation not counted"
        return [*lines, f"time: about {clock(max(work / macs / rate, 1))} {where}"]
    on_gpu = f"on one GPU at {GPU_RATE:.1e} MACs/s (the paper's net on an H200), evaluation not counted"
    gpu = f"time: at least {clock(PASSES * work / GPU_RATE)} {on_gpu}"
    try:
        numerics = configure(base)
    except UserError:  # a study for a GPU, planned where there is none
        return [*lines, gpu]
    batch = max(1, min(base.batch, int(SAMPLE / macs)))
    rate = images_per_second(base.model_copy(update={"batch": batch}), channels, classes, numerics)
    here = f"on this machine ({numerics.device}, one run at a time, {rate:.0f} images/s), evaluation not counted"
    lines.append(f"time: about {clock(max(work / macs / rate, 1))} {here}")
    return [*lines, gpu] if numerics.device.type == "cpu" and work / macs / rate > GPU_HINT else lines


def outlook(study: Study, jobs: int, todo: int) -> list[str]:
    """Lines: what a study runs, where, and an estimate of its time from a few steps on random pixels.

    `todo`: runs that are not done yet; without any, nothing is measured.
    """
    from harness.numerics import configure

    base = study.variants[study.baseline]
    numerics = configure(base)
    images, channels, classes = known_images(study)
    threads = f", {base.threads} thread(s) a run" if numerics.device.type == "cpu" else ""
    lines = [
        f"{study.name}: {product(len(study.variants), len(study.seeds), 'run')}"
        f"{', and the candidate' if study.is_default else ''}; images: {study.data.source}",
        f"device {numerics.device}, {base.precision}{threads}, {jobs} at once",
    ]
    if images is None:
        return [*lines, "time: known once the images are packed"]
    if not todo:
        return [*lines, "time: none, every run is done"]
    rate = images_per_second(base, channels, classes, numerics)
    tested = read_manifest(study.manifest).counts["test"] if study.manifest.exists() else study.data.test_limit or 0
    seen = sum(s.epochs for s in study.variants.values()) * images + len(study.variants) * EVALUATION * tested
    seconds = (seen / len(study.variants) / rate + BESIDE) * todo / min(jobs, todo)
    return [*lines, f"time: at least {clock(seconds)} for {counted(todo, 'run')}, at {rate:.0f} images/s each"]


def images_per_second(settings: Settings, channels: int, classes: int, numerics: Numerics) -> float:
    """Training rate of one run on this machine, measured on random pixels over a few steps."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from harness.net.alexnet import AlexNet

    net = AlexNet(settings, channels, classes)
    net.initialise(0)
    net.to(numerics.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    count = settings.batch
    images = torch.randn(count, channels, settings.crop, settings.crop, device=numerics.device)
    labels = torch.zeros(count, dtype=torch.int64, device=numerics.device)
    begin = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            begin = time.perf_counter()
        with numerics.autocast():
            logits = net(images, net.draw_masks(count, 0, 0, step))
        loss = F.cross_entropy(logits.float(), labels)
        torch.autograd.grad(loss, list(net.parameters()))[-1].sum().item()
    return STEPS * count / (time.perf_counter() - begin)
