"""What a study will take, before it runs."""

import time

import torch
import torch.nn.functional as F  # noqa: N812

from harness.cost import known_images
from harness.data.packed import read_manifest
from harness.grammar import counted, product
from harness.net.alexnet import AlexNet
from harness.numerics import Numerics, configure
from harness.progress import clock
from harness.settings.schema import Settings
from harness.settings.study import Study

STEPS = 4
"""Steps that are timed, after one that is not."""

EVALUATION = 11 / 3
"""Training images that evaluating a test image costs as much as: ten crops, and the thinned nets' common part; a
forward pass is a third of a step."""

BESIDE = 15.0
"""Seconds of a cell beside both: torch is started twice and DVC records two stages (default study, two cores)."""


def outlook(study: Study, jobs: int, todo: int) -> list[str]:
    """Lines: what a study runs, where, and an estimate of its time from a few steps on random pixels.

    `todo`: runs that are not done yet; without any, nothing is measured.
    """
    base = study.variants[study.baseline]
    numerics = configure(base)
    images, channels, classes = known_images(study)
    head = (
        f"{study.name}: {product(len(study.variants), len(study.seeds), 'run')}"
        f"{', and the candidate' if study.is_default else ''}; images: {study.data.source}"
    )
    threads = f", {base.threads} thread(s) a run" if numerics.device.type == "cpu" else ""
    where = f"device {numerics.device}, {base.precision}{threads}, {jobs} at once"
    if images is None:
        return [head, where, "time: known once the images are packed"]
    if not todo:
        return [head, where, "time: none, every run is done"]
    rate = images_per_second(base, channels, classes or 1000, numerics)
    seen = sum(s.epochs for s in study.variants.values()) * images + len(study.variants) * EVALUATION * _tested(study)
    seconds = (seen / len(study.variants) / rate + BESIDE) * todo
    return [
        head,
        where,
        f"time: at least {clock(seconds / min(jobs, todo))} for {counted(todo, 'run')}, at {rate:.0f} images/s each",
    ]


def _tested(study: Study) -> int:
    """Test images, as far as they are known."""
    if study.manifest.exists():
        return read_manifest(study.manifest).counts["test"]
    return study.data.test_limit or 0


def images_per_second(settings: Settings, channels: int, classes: int, numerics: Numerics) -> float:
    """Training rate of one run on this machine, measured on random pixels over a few steps."""
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
