"""The results of a study's cells, as they lie in the repository: what is there, what is not, what does not count."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from harness.data.packed import read_manifest
from harness.errors import UserError
from harness.identity.known import identity
from harness.record import Run, RunFolder, read_run
from harness.settings.schema import Settings
from harness.settings.study import TOP5_CLASSES, Study, top_of, unequal

CANDIDATE = "candidate"
"""The candidate's name in tables and figures."""

Status = Literal["finished", "diverged", "missing", "stale"]
"""missing: not run, or failed; stale: the run of other settings, images or code than those that are declared now."""


@dataclass(frozen=True)
class Result:
    """A declared run and what was found of it. `run` is None when it is missing; `note` says why it does not count."""

    variant: str
    seed: int
    status: Status
    note: str
    run: Run | None

    @property
    def key(self) -> str:
        return CANDIDATE if self.variant == CANDIDATE else f"{self.variant}-{self.seed}"

    @property
    def ended(self) -> Run | None:
        """The run, where it is of what is declared now: finished or diverged."""
        return self.run if self.status in ("finished", "diverged") else None


@dataclass(frozen=True)
class Results:
    """What was found of every declared cell, in the order of the study, and of the candidate (None: not declared).

    `early`: it is looked at on purpose before the study is done.
    """

    cells: list[Result]
    candidate: Result | None
    early: bool = False

    @property
    def all(self) -> list[Result]:
        return [*self.cells, *([self.candidate] if self.candidate else [])]

    def of(self, variant: str) -> list[Result]:
        return [cell for cell in self.cells if cell.variant == variant]

    def finished(self, variant: str) -> dict[int, Run]:
        return {c.seed: c.run for c in self.of(variant) if c.status == "finished" and c.run}


@dataclass(frozen=True)
class _Now:
    """What a run has to be of to count: the code's identities, and the images' hash (None: they were never packed)."""

    metric: str
    images: str | None

    @cached_property
    def training(self) -> str:
        return identity("train")

    @cached_property
    def evaluation(self) -> str:
        return identity("eval")


def read_results(study: Study, candidate: tuple[Settings, int] | None, root: Path, early: bool = False) -> Results:
    """Read every declared run below `root`, and the candidate. Raises `UserError` for a file that is broken."""
    manifest = root / study.manifest
    now = _Now(study.file.metric, read_manifest(manifest).hash if manifest.exists() else None)
    cells = [
        _result(root / cell.results, cell.variant, cell.seed, study.variants[cell.variant], now) for cell in study.cells
    ]
    own = None
    if candidate:
        own = _result(root / study.candidate_results, CANDIDATE, candidate[1], candidate[0], now)
    return Results(cells, own, early)


def _result(path: Path, variant: str, seed: int, declared: Settings, now: _Now) -> Result:
    folder = RunFolder.of(path)
    if not folder.config.exists():
        return Result(variant, seed, "missing", "no result; not run yet, or failed", None)
    run = read_run(folder)
    if run.measured is None:
        return Result(variant, seed, "missing", "trained, and not evaluated", None)
    if why := _stale(run, seed, declared, now):
        return Result(variant, seed, "stale", why, run)
    if run.diverged_epoch is not None:
        return Result(variant, seed, "diverged", f"the loss was not finite in epoch {run.diverged_epoch}", run)
    if now.metric not in run.metrics:
        few = top_of(now.metric) == 5 and run.images.classes < TOP5_CLASSES
        why = f", and with {run.images.classes} classes top-5 is not measured" if few else ""
        raise UserError(f"{folder.metrics}: {now.metric}: missing; the study compares it{why}")
    return Result(variant, seed, "finished", "", run)


def _stale(run: Run, seed: int, declared: Settings, now: _Now) -> str:
    """Why a run does not count; '' where it does."""
    differing = unequal(declared, run.settings)
    if run.seed != seed:
        differing.append("seed")
    if differing:
        return f"its result is of other settings: {', '.join(differing)}"
    if now.images and run.images.hash != now.images:
        return f"its images are {run.images.hash[:12]}, the study's are {now.images[:12]}"
    if run.hashes.code != now.training:
        return f"its numerics identity is {run.hashes.code[:12]}, the present training code's is {now.training[:12]}"
    evaluated = (run.measured.code if run.measured else None) or "unknown"
    if evaluated != now.evaluation:
        return f"it was evaluated by code {evaluated[:12]}, the present is {now.evaluation[:12]}"
    return ""


def rerun(study: Study, variants: Sequence[str]) -> str:
    """The command that runs every seed of some variants again, and brings the report up to date."""
    return f"harness run {study.name} --force --only {','.join(variants)}"
