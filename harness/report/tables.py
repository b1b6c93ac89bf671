"""The tables of a report: what is compared and what comes out, as rows of numbers; how they look is not said here."""

import math
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import UserError
from harness.record import Run, paired
from harness.report.cells import Result, Results
from harness.report.looks import standing
from harness.report.numbers import binomial_sd
from harness.settings.study import Published, Study, top_of
from harness.statistics.comparison import Comparison, Rules, compare_all
from harness.statistics.judging import Verdict
from harness.statistics.models import Difference, Summary, compare, summarise

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
