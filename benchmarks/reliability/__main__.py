"""`python -m benchmarks.reliability [--device D] [--sample] [--only KIND ...] [--out FOLDER] ...`."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random

from benchmarks.reliability import (
    disk,
    inputs,
    kills,
    numerics,
    operators,
    pipeline,
    report,
    signals,
    spoilt,
    stages,
    tmpfs,
)
from benchmarks.reliability.determinism import ALL_AT_ONCE, OTHERS, Circumstances, determinism, make_runs
from benchmarks.reliability.forks import preload
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import ROOT, SAMPLE, declared, pack_images
from harness.settings.schema import Settings


@dataclass
class Session:
    """One run of all or some of the trials, below a temporary folder."""

    sample: bool
    device: str
    variants: dict[str, Settings]
    folder: Path
    rng: Random
    tally: Tally
    found: report.Found
    made: dict[str, dict[str, str]] = field(default_factory=dict)

    @cached_property
    def images(self) -> Path:
        """Their images."""
        return pack_images(self.folder)

    @cached_property
    def first(self) -> dict[str, dict[str, str]]:
        """The proofs of the uninterrupted runs, which all others are compared with."""
        if self.made:
            return self.made
        return make_runs(Circumstances("", folder="first"), self.variants, self.images, self.folder / "reference")

    @property
    def jobs(self) -> int:
        """Runs at once where they do not matter to each other: a process on a GPU needs seconds to begin."""
        return 1 if self.device == "cpu" else max(1, min(8, (os.cpu_count() or 2) // 2))

    def times(self, full: int, sample: int) -> int:
        """A number of trials at either size."""
        return sample if self.sample else full

    def determinism(self) -> None:
        """Every variant under other circumstances, and in other arithmetic."""
        folder = self.folder / "determinism"
        others = (ALL_AT_ONCE,) if self.sample else tuple(c for c in OTHERS if c.abreast == 1 or c.abreast > self.jobs)
        self.made = determinism(self.tally, self.variants, self.images, folder, others, self.jobs)
        self.found.distances = numerics.distances(
            self.tally,
            self.variants,
            folder / "first",
            self.images,
            self.folder / "numerics",
            not self.sample,
            self.jobs,
        )

    def operators(self) -> None:
        """Every operator of every declared study."""
        self.found.operators = operators.operators(
            self.tally, self.folder / "operators", self.sample, self.device, self.jobs
        )

    def kills(self) -> None:
        """kill -9; on a GPU of two variants, since a process there needs seconds to begin."""
        killed = {name: s for name, s in self.variants.items() if self.device == "cpu" or name in SAMPLE}
        kills.kills(self.tally, killed, self.first, self.images, self.folder / "kills", self.rng)

    def signals(self) -> None:
        """SIGTERM, Ctrl-C and locks."""
        signals.signals(self.tally, self.variants, self.first, self.images, self.folder / "signals", self.rng)

    def disk(self) -> None:
        """Full disks and spoilt checkpoints."""
        t, v, f, i = self.tally, self.variants, self.first, self.images
        disk.full_disk(t, v, f, i, self.folder / "disk", self.rng, self.times(4, 1))
        tmpfs.small_disk(
            t, next(iter(v.values())), next(iter(f.values())), i, self.folder / "tmpfs", self.rng, self.times(20, 2)
        )
        spoilt.spoilt_checkpoints(t, v, f, i, self.folder / "spoilt", self.rng)

    def stages(self) -> None:
        """kill -9 while images are packed, a report is written, runs are published."""
        stages.packing(self.tally, self.folder / "packing", self.rng, self.times(20, 1))
        stages.reporting(self.tally, self.folder / "reporting", self.rng, self.times(10, 1))
        stages.publishing(self.tally, self.folder / "publishing", self.rng, self.times(12, 2))

    def pipeline(self) -> None:
        """DVC killed alone."""
        pipeline.dvc_alone(self.tally, self.folder / "pipeline", self.times(3, 1))

    def inputs(self) -> None:
        """Bad input."""
        inputs.fuzzing(self.tally, self.folder / "inputs", self.times(6, 1), "any_shape" if self.sample else "")


KINDS: dict[str, Callable[[Session], None]] = {
    name: getattr(Session, name)
    for name in ("determinism", "operators", "kills", "signals", "disk", "stages", "pipeline", "inputs")
}

ON_A_GPU = ("determinism", "operators", "kills")
"""What can differ there."""


def main() -> int:
    """Run the trials and write what came of them; exit status 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--sample", action="store_true", help="some variants and a few trials of each sort")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=KINDS,
        help="these alone; in a report that is there the others stay",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="that trains and evaluates")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="these variants alone")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder of the report and its table")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and damages that are drawn")
    given = parser.parse_args()
    kinds = tuple(KINDS) if given.device == "cpu" else ON_A_GPU
    only = given.only or kinds
    preload()
    tally, found, begin = Tally(), report.Found(), time.monotonic()
    before = report.read(given.out, given.device) if set(only) < set(kinds) else None
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        rng = Random(given.seed)  # noqa: S311 - moments, no secrets
        made = report.here(given.device, Path(folder))
        every = declared(given.sample, given.device)
        variants = {name: s for name, s in every.items() if not given.variants or name in given.variants}
        session = Session(given.sample, given.device, variants, Path(folder), rng, tally, found)
        for kind in only:
            start = time.monotonic()
            KINDS[kind](session)
            cpu = sum(os.times()[:4])
            print(f"{kind}: {time.monotonic() - start:.0f} s, {tally.lost} lost so far", flush=True)
            # After each kind, so that what has been found by then is there if the next is stopped.
            took = time.monotonic() - begin
            report.write(given.out, given.device, tally, found, given.seed, took, cpu, made, before)
    for row in tally.rows():
        if row["lost"]:
            print(f"LOST {row['kind']}: {row['what']}: {row['lost']} of {row['tried']}: {row['note']}", file=sys.stderr)
    return int(tally.lost > 0)


if __name__ == "__main__":
    sys.exit(main())
