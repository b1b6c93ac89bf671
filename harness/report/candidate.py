"""The candidate beside the declared study: a difference without an interval, and whether it is one of the cells."""

from dataclasses import dataclass
from typing import Any

from harness.predictions import same_predictions
from harness.record import Run, paired
from harness.report.cells import Result, Results
from harness.report.conditions import apart
from harness.settings.schema import MACHINE, Settings
from harness.settings.study import Study, differences

INPUTS = {
    "data": "data", "initial": "initial weights", "batch_order": "batch order", "augmentation": "augmentation",
}  # fmt: skip
"""What goes into a run, as far as it is hashed, in words: where outcomes differ, these say why.

The code is the same: a run of another numerics identity does not count.
"""

OUTCOMES = ("losses", "weights", "predictions")
"""What must come out equal to the bit when settings, seed, data and code are."""


@dataclass(frozen=True)
class Twin:
    """The candidate held against the declared cell of the same settings and seed: what is equal to the bit.

    `equal`: name of a hash -> whether both runs have the same. `apart`: what of their machines and versions differs ->
    the cell's and the candidate's. Both are empty when one of the two has not finished.
    """

    cell: Result
    equal: dict[str, bool]
    apart: dict[str, tuple[str, str]]

    @property
    def differing(self) -> list[str]:
        return [name for name, same in self.equal.items() if not same]

    @property
    def causes(self) -> list[str]:
        """Of what differs, what went into the runs, in words."""
        return [INPUTS[name] for name in self.differing if name in INPUTS]

    @property
    def outcomes(self) -> list[str]:
        return [name for name in self.differing if name not in INPUTS]


@dataclass(frozen=True)
class Candidate:
    """The candidate's row. `difference`: to the baseline's run of the same seed, in points; None when there is none."""

    result: Result
    changes: dict[str, tuple[Any, Any]]
    error: float | None
    difference: float | None
    why_not: str
    twin: Twin | None

    @property
    def run(self) -> Run | None:
        return self.result.run if self.result.status == "finished" else None


def candidate_row(study: Study, candidate: tuple[Settings, int] | None, results: Results) -> Candidate | None:
    """The candidate against the study; None when none is declared. Reads predictions of twins alone."""
    if candidate is None or results.candidate is None:
        return None
    settings, seed = candidate
    result = results.candidate
    run = result.run if result.status == "finished" else None
    error = run.metrics[study.file.metric] if run else None
    difference, why_not = None, ""
    if run:
        baseline = results.finished(study.baseline).get(seed)
        if baseline is None:
            why_not = f"{study.baseline} has no finished run with seed {seed}"
        elif not paired({seed: run}, {seed: baseline}):
            why_not = f"{study.baseline}-{seed} was run on other images"
        else:
            difference = run.metrics[study.file.metric] - baseline.metrics[study.file.metric]
    changes = differences(study.variants[study.baseline], settings)
    return Candidate(result, changes, error, difference, why_not, _twin(study, settings, seed, results))


def _twin(study: Study, settings: Settings, seed: int, results: Results) -> Twin | None:
    for cell in results.cells:
        if cell.seed == seed and differences(study.variants[cell.variant], settings).keys() <= set(MACHINE):
            pair = [r.run for r in (cell, results.candidate) if r and r.run and r.status == "finished"]
            return Twin(cell, _equal(*pair), apart(*pair)) if len(pair) == 2 else Twin(cell, {}, {})
    return None


def _equal(one: Run, other: Run) -> dict[str, bool]:
    a, b = one.hashes.model_dump(), other.hashes.model_dump()
    equal = {name: a[name] == b[name] for name in (*INPUTS, *OUTCOMES) if name in a}
    return equal | {"predictions": same_predictions(one.folder.predictions, other.folder.predictions)}
