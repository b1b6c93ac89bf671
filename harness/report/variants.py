"""How far a study is, and its variants against the baseline, as rows of numbers; how they look is not said here."""

import math
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import UserError
from harness.predictions import same_predictions
from harness.record import Run, paired
from harness.report.circumstances import apart
from harness.report.runs import Result, Results
from harness.settings.schema import MACHINE, Settings
from harness.settings.study import Published, Study, differences, top_of
from harness.statistics.comparison import Comparison, Rules, compare_all
from harness.statistics.judging import Verdict
from harness.statistics.models import Difference, Summary, binomial_sd, compare, summarise
from harness.statistics.sequential import nominal


@dataclass(frozen=True)
class Standing:
    """What a report may say at this point of a study.

    `interim`: the study is not done. `judged`: its rule allows verdicts now. `look`: number of the look from 1, 0
    before the first; None where none is declared. `seeds`: those that are compared. `ended`: seeds of which every
    variant's run has ended. `alpha`: of this look, that p-values are held against and that intervals are made for.
    """

    interim: bool
    judged: bool
    look: int | None
    seeds: tuple[int, ...]
    ended: tuple[int, ...]
    alpha: float


def standing(study: Study, results: Results) -> Standing:
    """Where the study stands with these results.

    A seed is complete when every variant's run with it has finished or diverged. A look is made on the first complete
    seeds, as many as it has: what finished since waits for the next one.
    """
    finished = {(c.variant, c.seed) for c in results.cells if c.ended}
    ended = tuple(seed for seed in study.seeds if all((variant, seed) in finished for variant in study.variants))
    if not study.file.looks:
        every = tuple(study.seeds)
        return Standing(results.early, not results.early, None, every, ended, study.alpha)
    reached = [number for number in study.file.looks if number <= len(ended)]
    if not reached:
        return Standing(True, False, 0, tuple(study.seeds), ended, study.alpha)
    family = len(study.variants) - 1 if study.file.family is None else len(study.file.family)
    alphas = nominal(tuple(study.file.looks), study.alpha, max(1, family))
    look = len(reached)
    return Standing(look < len(alphas), True, look, ended[: reached[-1]], ended, alphas[look - 1])


def check_early(study: Study, results: Results) -> None:
    """Refuse an interim report on a study that is done. Raises `UserError`."""
    now = standing(study, results)
    if len(now.ended) == len(study.seeds) and (now.look is None or not now.interim):
        raise UserError(f"report: --interim: every run of {study.name} has ended; make its report without --interim")


ERRORS = (
    "test_top1", "test_top1_10crop", "test_top5", "test_top5_10crop", "train_top1", "train_top5", "validation_top1",
    "validation_top5",
)  # fmt: skip
"""Errors of a run, in percent, where its data has them."""


@dataclass(frozen=True)
class VariantRow:
    """A variant against the baseline.

    `changes`: setting -> (baseline's, variant's). `errors`: each of ERRORS over the finished seeds, where every one of
    them has it, and `gap`, test less training error; the study's `metric` is among them. `difference`: over complete
    pairs, with the interval of the declared test. `comparison`: all of that test; None for the baseline. `times`:
    wall times in seconds, a finished run each.
    """

    variant: str
    is_baseline: bool
    changes: dict[str, tuple[Any, Any]]
    declared: int
    finished: int
    unfinished: list[Result]
    metric: str
    errors: dict[str, Summary]
    difference: Difference
    comparison: Comparison | None
    published: Published | None
    parameters: int | None
    times: tuple[float, ...]
    test_images: int | None

    @property
    def error(self) -> Summary:
        return self.errors.get(self.metric, summarise([]))

    @property
    def seconds(self) -> float | None:
        return sum(self.times) / len(self.times) if self.times else None

    @property
    def verdict(self) -> Verdict | None:
        """What the declared test says; None where it says nothing: of the baseline, outside the family, without a pair.

        A study whose verdicts are withheld has no family.
        """
        c = self.comparison
        return c.verdict if c and c.in_family and self.difference.n else None

    @property
    def paper(self) -> float | None:
        """The paper's difference of the error that is compared, in points; None where none is given."""
        return self.published.of(self.metric) if self.published else None

    @property
    def floor(self) -> float | None:
        """Standard error of one run's error on so many test images, in points: what its digits are worth by itself."""
        if self.error.mean is None or not self.test_images:
            return None
        return binomial_sd(self.error.mean, self.test_images)


def variant_rows(study: Study, results: Results) -> list[VariantRow]:
    compared = comparisons(study, results)
    return [_row(study, results, variant, compared.get(variant)) for variant in study.variants]


def rules(study: Study) -> Rules:
    """What the study declares of its test. Raises `UserError` for a value that no test can take."""
    try:
        return Rules(alpha=study.alpha, margin=study.file.margin, test=study.file.test)
    except ValueError as error:
        raise UserError(f"{study.path}: {error}") from error


def comparisons(study: Study, results: Results) -> dict[str, Comparison]:
    """Every variant against the baseline, under the study's rules at this point of it. Raises `UserError`."""
    now = standing(study, results)
    own = replace(rules(study), alpha=now.alpha)
    family = study.file.family if now.judged else []
    try:
        return compare_all(compared_errors(study, results), study.baseline, own, family)
    except ValueError as error:
        raise UserError(f"{study.path}: {error}") from error


def compared_errors(study: Study, results: Results) -> dict[str, dict[int, float]]:
    """Variant -> seed -> the error that the study compares.

    One that diverged is infinite: it has no place in a mean, but it has one among the ranks.
    """
    return {
        variant: {s: run.metrics[study.file.metric] if run.metrics else math.inf for s, run in runs.items()}
        for variant, runs in paired_runs(study, results).items()
    }


def paired_runs(study: Study, results: Results) -> dict[str, dict[int, Run]]:
    """Variant -> seed -> the run, finished or diverged, where it saw the images of the baseline's run of its seed.

    Of the seeds that are compared at this point of the study.
    """
    seeds = standing(study, results).seeds
    ended = {
        variant: {cell.seed: cell.ended for cell in results.of(variant) if cell.ended and cell.seed in seeds}
        for variant in study.variants
    }
    base = ended[study.baseline]
    return {
        variant: {seed: run for seed, run in runs.items() if seed in both}
        for variant, runs in ended.items()
        for both in [set(paired(runs, base))]
    }


def _row(study: Study, results: Results, variant: str, comparison: Comparison | None) -> VariantRow:
    runs = results.finished(variant)
    cells = results.of(variant)
    errors = {seed: run.metrics[study.file.metric] for seed, run in runs.items()}
    first = next(iter(runs.values()), None)
    return VariantRow(
        variant,
        variant == study.baseline,
        study.differences(variant),
        len(cells),
        len(runs),
        [cell for cell in cells if cell.status != "finished"],
        study.file.metric,
        errors_of(list(runs.values()), study.file.metric),
        comparison.difference if comparison else compare(errors, errors, study.file.confidence),
        comparison,
        study.published.get(variant),
        first.provenance.parameters if first else None,
        tuple(run.provenance.wall_seconds for run in runs.values()),
        first.images.counts.get("test") if first else None,
    )


def errors_of(runs: list[Run], *others: str) -> dict[str, Summary]:
    """Each of ERRORS, and of `others`, that all of the runs have; and the gap."""
    summaries = {
        name: summarise(run.metrics[name] for run in runs)
        for name in dict.fromkeys((*ERRORS, *others))
        if runs and all(name in run.metrics for run in runs)
    }
    if {"test_top1", "train_top1"} <= summaries.keys():
        summaries["gap"] = summarise(run.metrics["test_top1"] - run.metrics["train_top1"] for run in runs)
    return summaries


def other_crop(metric: str) -> str:
    """The test error of the way of cropping that the study does not compare, top-5 where it compares top-5."""
    test = f"test_top{top_of(metric)}"
    return test if metric == f"{test}_10crop" else f"{test}_10crop"


INPUTS = {
    "data": "data", "initial": "initial weights", "batch_order": "batch order", "augmentation": "augmentation",
}  # fmt: skip
"""What goes into a run, as far as it is hashed, in words: where outcomes differ, these say why.

The code is the same: a run of another numerics identity does not count.
"""

OUTCOMES = ("losses", "weights", "predictions")
"""What must come out bitwise identical when settings, seed, data and code are."""


@dataclass(frozen=True)
class Twin:
    """The candidate held against the declared cell of the same settings and seed: what is bitwise identical.

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
