"""The candidate: one run beside the declared ones, held against the baseline and against a declared run like it."""

from dataclasses import dataclass
from typing import Any

from harness.predictions import same_predictions
from harness.record import Run, paired
from harness.report.circumstances import differing
from harness.report.runs import Result, Results, errors_of
from harness.settings.schema import MACHINE, Settings
from harness.settings.study import Study, differences
from harness.statistics.models import Summary

INPUTS = {
    "data": "data", "initial": "initial weights", "batch_order": "batch order", "augmentation": "augmentation",
}  # fmt: skip
"""What goes into a run, as far as it is hashed, in words: where outcomes differ, these say why.

The code is the same: a run of another numerics identity does not count.
"""


@dataclass(frozen=True)
class Twin:
    """The candidate held against the declared cell of the same settings and seed.

    `compared`: both have finished. `outcomes`, `causes`: what differs of what came out and, in words, of what went in.
    `apart`: what of their machines and versions differs -> the cell's and the candidate's.
    """

    cell: Result
    compared: bool
    outcomes: list[str]
    causes: list[str]
    apart: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Candidate:
    """The candidate's row. `difference`: to the baseline's run of the same seed, in points; None when there is none."""

    result: Result
    changes: dict[str, tuple[Any, Any]]
    error: float | None
    difference: float | None
    why_not: str
    twin: Twin | None
    errors: dict[str, Summary]

    @property
    def run(self) -> Run | None:
        return self.result.run if self.result.status == "finished" else None


def candidate_row(study: Study, candidate: tuple[Settings, int] | None, results: Results) -> Candidate | None:
    """The candidate against the study; None when none is declared. Reads predictions of twins alone."""
    if candidate is None or results.candidate is None:
        return None
    settings, seed = candidate
    run = results.candidate.run if results.candidate.status == "finished" else None
    error = run.metrics[study.file.metric] if run else None
    difference, why_not = None, ""
    if run and error is not None:
        baseline = results.finished(study.baseline).get(seed)
        if baseline is None:
            why_not = f"{study.baseline} has no finished run with seed {seed}"
        elif not paired({seed: run}, {seed: baseline}):
            why_not = f"{study.baseline}-{seed} was run on other images"
        else:
            difference = error - baseline.metrics[study.file.metric]
    changes = differences(study.variants[study.baseline], settings)
    twin = _twin(study, settings, seed, run, results)
    errors = errors_of([run] if run else [], *study.file.metrics)
    return Candidate(results.candidate, changes, error, difference, why_not, twin, errors)


def _twin(study: Study, settings: Settings, seed: int, run: Run | None, results: Results) -> Twin | None:
    for cell in results.cells:
        if cell.seed != seed or differences(study.variants[cell.variant], settings).keys() - set(MACHINE):
            continue
        if run is None or cell.run is None or cell.status != "finished":
            return Twin(cell, False, [], [], {})
        declared, ours = cell.run.hashes.model_dump(), run.hashes.model_dump()
        # With the predictions, what must come out bitwise identical when settings, seed, data and code are.
        outcomes = [name for name in ("losses", "weights") if declared[name] != ours[name]]
        if not same_predictions(cell.run.folder.predictions, run.folder.predictions):
            outcomes.append("predictions")
        causes = [words for name, words in INPUTS.items() if declared[name] != ours[name]]
        return Twin(cell, True, outcomes, causes, differing(cell.run.provenance, run.provenance))
    return None
