"""What does change the bits: threads, precision, compilation. Measured, as the distance of the losses."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability.forks import abreast, fork, training
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import write_settings
from harness.settings.schema import Settings

KIND = "other numerics"

HALF = ("bfloat16 instead of float32", {"precision": "bfloat16"})
CHANGES: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "cpu": (("2 threads instead of 1", {"threads": 2}), HALF),
    "cuda": (("the CPU instead of CUDA", {"device": "cpu"}), ("tf32 instead of float32", {"precision": "tf32"}), HALF),
}
"""By the device of the runs that they are held against."""

COMPILED = ("torch.compile", {"compile": True})
"""Of one variant alone: it costs a minute."""


@dataclass(frozen=True)
class Distance:
    """How far two runs of the same settings in other arithmetic are apart.

    `first`: the first step, from 1, whose losses differ (None: none does); `largest` and `last`: difference over the
    loss, the largest of all steps and that of the last one.
    """

    what: str
    variant: str
    steps: int
    first: int | None
    largest: float
    last: float


def distance(what: str, variant: str, one: Path, other: Path) -> Distance:
    """Compare two files of losses. Raises `ValueError` where they are of other lengths, `OSError` for a missing one."""
    a, b = np.load(one).astype(np.float64), np.load(other).astype(np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} and {len(b)} steps")
    relative = np.abs(a - b) / np.abs(a)
    apart = np.flatnonzero(a != b)
    first = int(apart[0]) + 1 if len(apart) else None
    return Distance(what, variant, len(a), first, float(relative.max()), float(relative[-1]))


def distances(
    tally: Tally, variants: dict[str, Settings], first: Path, images: Path, folder: Path, compile: bool, jobs: int
) -> list[Distance]:
    """Train every variant in other arithmetic, `jobs` at once, and compare it with the runs in `first`.

    `compile`: that, too.
    """
    folder.mkdir()
    found = []
    device = next(iter(variants.values())).device
    plan = [(what, changes, name) for what, changes in CHANGES[device] for name in variants]
    if compile and shutil.which("g++"):
        plan.append((*COMPILED, "base"))

    def start(number: int, changes: dict[str, Any], name: str) -> int:
        file = write_settings(folder, f"{number}", variants[name].model_copy(update=changes))
        return fork(training(file, images, f"made/{number}", 1e9), folder, folder / f"{number}.log")

    statuses = abreast((partial(start, n, changes, name) for n, (_, changes, name) in enumerate(plan)), jobs)
    for number, ((what, _, name), status) in enumerate(zip(plan, statuses, strict=True)):
        try:
            found.append(
                distance(what, name, first / "made" / name / "losses.npy", folder / f"made/{number}/losses.npy")
            )
            why = ""
        except (OSError, ValueError) as error:
            why = f"{name}: status {status}: {error}"
        mine = [d for d in found if d.what == what]
        tally.add(KIND, what, not why, why, note=said(mine))
    return found


def said(distances: list[Distance]) -> str:
    """Distances of one sort in words."""
    apart = [d for d in distances if d.first is not None]
    if not apart:
        return f"the losses of all {len(distances)} are the same to the bit"
    step, largest = min(d.first for d in apart if d.first), max(d.largest for d in apart)
    of = f"{len(apart)} of {len(distances)}"
    return f"the losses of {of} differ, from step {step} on, by at most {largest:.1e} of the loss"
