"""A study's variants against its baseline: rows of numbers, and what they say of the components."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scipy import stats

from harness.errors import UserError
from harness.record import Run, paired
from harness.report.candidate import Candidate
from harness.report.format import possible, value
from harness.report.runs import CANDIDATE, ERRORS, Result, Results, Standing, errors_of, standing
from harness.settings.study import Component, Published, Study
from harness.statistics.comparison import Comparison, Rules, compare_all
from harness.statistics.judging import Verdict
from harness.statistics.models import Difference, Summary, binomial_sd, compare, summarise


@dataclass(frozen=True)
class VariantRow:
    """A variant against the baseline. `cells`: its declared runs; `comparison`: None for the baseline."""

    study: Study
    variant: str
    cells: list[Result]
    comparison: Comparison | None

    @property
    def is_baseline(self) -> bool:
        return self.variant == self.study.baseline

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Setting -> (baseline's, variant's)."""
        return self.study.differences(self.variant)

    @property
    def metric(self) -> str:
        return self.study.file.metric

    @property
    def declared(self) -> int:
        return len(self.cells)

    @cached_property
    def runs(self) -> list[Run]:
        """Those that finished."""
        return [cell.run for cell in self.cells if cell.run and cell.status == "finished"]

    @property
    def finished(self) -> int:
        return len(self.runs)

    @cached_property
    def errors(self) -> dict[str, Summary]:
        """Over the finished runs: each of ERRORS that all of them have, the compared one, the study's own, the gap."""
        return errors_of(self.runs, self.metric, *self.study.file.metrics)

    @property
    def error(self) -> Summary:
        return self.errors.get(self.metric, summarise([]))

    @property
    def sd_interval(self) -> tuple[float, float] | None:
        """Interval of the error's sd, by chi-square, for normal errors."""
        n, sd = self.error.n, self.error.sd
        if not sd:
            return None
        tail = (1 - self.study.file.confidence) / 2
        low, high = (sd * math.sqrt((n - 1) / float(stats.chi2.ppf(q, n - 1))) for q in (1 - tail, tail))
        return low, high

    @cached_property
    def difference(self) -> Difference:
        """Over complete pairs, with the interval of the declared test; of the baseline to itself."""
        if self.comparison:
            return self.comparison.difference
        errors = {run.seed: run.metrics[self.metric] for run in self.runs}
        return compare(errors, errors, self.study.file.confidence)

    @property
    def verdict(self) -> Verdict | None:
        """What the declared test says; None where it says nothing: of the baseline, outside the family, without a pair.

        A study whose verdicts are withheld has no family.
        """
        c = self.comparison
        return c.verdict if c and c.in_family and self.difference.n else None

    @property
    def published(self) -> Published | None:
        return self.study.published.get(self.variant)

    @property
    def paper(self) -> float | None:
        """The paper's difference of the error that is compared, in points; None where none is given."""
        return self.published.of(self.metric) if self.published else None

    @property
    def parameters(self) -> int | None:
        return self.runs[0].provenance.parameters if self.runs else None

    @property
    def seconds(self) -> float | None:
        """Mean wall time of a finished run."""
        return sum(run.provenance.wall_seconds for run in self.runs) / self.finished if self.runs else None

    @property
    def floor(self) -> float | None:
        """Standard error of one run's error on so many test images, in points: what its digits are worth by itself."""
        images = self.runs[0].images.counts.get("test") if self.runs else None
        return binomial_sd(self.error.mean, images) if self.error.mean is not None and images else None


def variant_rows(study: Study, results: Results) -> list[VariantRow]:
    """A row a variant. Raises `UserError`."""
    compared = comparisons(study, results)
    return [VariantRow(study, name, results.of(name), compared.get(name)) for name in study.variants]


def comparisons(study: Study, results: Results) -> dict[str, Comparison]:
    """Every variant against the baseline, under the study's rules at this point of it. Raises `UserError`."""
    now = standing(study, results)
    family = study.file.family if now.judged else []
    rules = Rules(alpha=now.alpha, margin=study.file.margin, test=study.file.test)
    try:
        return compare_all(compared_errors(study, results, now), study.baseline, rules, family)
    except ValueError as error:
        raise UserError(f"{study.path}: {error}") from error


def compared_errors(study: Study, results: Results, now: Standing) -> dict[str, dict[int, float]]:
    """Variant -> seed -> the error that the study compares.

    One that diverged is infinite: it has no place in a mean, but it has one among the ranks.
    """
    return {
        variant: {seed: run.metrics.get(study.file.metric, math.inf) for seed, run in runs.items()}
        for variant, runs in paired_runs(study, results, now).items()
    }


def paired_runs(study: Study, results: Results, now: Standing) -> dict[str, dict[int, Run]]:
    """Variant -> seed -> the run, finished or diverged, where it saw the images of the baseline's run of its seed.

    Of the seeds that are compared at this point of the study.
    """
    ended = {
        variant: {cell.seed: cell.ended for cell in results.of(variant) if cell.ended and cell.seed in now.seeds}
        for variant in study.variants
    }
    both = {variant: set(paired(runs, ended[study.baseline])) for variant, runs in ended.items()}
    return {variant: {s: run for s, run in runs.items() if s in both[variant]} for variant, runs in ended.items()}


# ---- what having a component does

WORDS = {"helps": "helps", "hurts": "hurts", "equivalent": "no difference", "inconclusive": "undecided"}
TURNED = {"helps": "hurts", "hurts": "helps"}


@dataclass(frozen=True)
class Effect:
    """What having a component does to the compared error, in points: positive where it lowers the error.

    `low`, `high`: interval of the declared test, cut at what an error between 0 and 100 % can do; None without one.
    `verdict`: in words; '' where the study gives none. `paper`: the paper's effect. `values`: one a seed. `labelled`:
    whether the study names the component.
    """

    row: VariantRow
    component: Component
    mean: float | None
    low: float | None
    high: float | None
    verdict: str
    paper: float | None
    values: tuple[float, ...]
    labelled: bool

    @property
    def label(self) -> str:
        return f"{self.component.label} (added)" if self.labelled and self.component.added else self.component.label

    @property
    def word(self) -> str:
        """The verdict as pages show it: that something hurts is said of this net alone."""
        return "hurts here" if self.verdict == "hurts" else self.verdict

    @property
    def seeds(self) -> int:
        return len(self.values)

    @property
    def settings(self) -> int:
        """How many differ from the baseline's."""
        return len(self.row.changes)

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """What a short table shows first: those with a verdict, those that the paper names, the largest."""
        return self.verdict in ("undecided", ""), self.paper is None, -abs(self.mean or 0.0)


def _effect(row: VariantRow, base: float | None) -> Effect:
    """A variant's difference as its component's effect. `base`: the baseline's error in percent.

    A variant without a label takes out what follows `no-` in its name, or else adds what its name says.
    """
    component = row.study.components.get(row.variant)
    if component is None and row.variant.startswith("no-"):
        component = Component(row.variant.removeprefix("no-"), False)
    labelled, component = component is not None, component or Component(row.variant, True)
    sign, d, verdict = -1.0 if component.added else 1.0, possible(row.difference, base), row.verdict or ""
    ends = sorted(sign * end for end in (d.low, d.high) if end is not None)
    return Effect(
        row,
        component,
        None if d.mean is None else sign * d.mean,
        ends[0] if ends else None,
        ends[-1] if ends else None,
        WORDS.get(TURNED.get(verdict, verdict) if component.added else verdict, ""),
        None if row.paper is None else sign * row.paper,
        tuple(sign * value for value in d.values),
        labelled,
    )


def effects_of(rows: Sequence[VariantRow]) -> list[Effect]:
    """The effects of the variants, largest first."""
    base = next(row.error.mean for row in rows if row.is_baseline)
    effects = [_effect(row, base) for row in rows if not row.is_baseline]
    return sorted(effects, key=lambda effect: (effect.mean is None, -(effect.mean or 0.0)))


# ---- as CSV

VARIANT_COLUMNS = [
    "variant", "changes", "declared", "finished", "diverged", "missing", "stale", "metric", "mean", "sd", "pairs",
    "seeds", "difference", "low", "high", "confidence", "test", "p", "adjusted_p", "margin", "adjusted_p_equivalent",
    "verdict", "alpha", "look", "interim", "detectable", "se", "df", "pooled", "standardised", "correlation",
    "unpaired_runs", "diverged_pairs", "sign_flip_p", "sign_flip_least_p", "sign_flip_adjusted_p", "paper_difference",
    "paper_where", "parameters", "wall_seconds", *ERRORS, "gap",
]  # fmt: skip

COMPARISON = {
    "adjusted_p": "adjusted", "adjusted_p_equivalent": "adjusted_equivalent", "unpaired_runs": "unpaired",
    "diverged_pairs": "diverged", "sign_flip_adjusted_p": "flip_adjusted",
} | {
    name: name
    for name in ("test", "alpha", "p", "margin", "detectable", "se", "df", "standardised", "correlation")
}  # fmt: skip
"""Columns that are a comparison's, and its attribute."""


def variants_csv(rows: list[VariantRow], candidate: Candidate | None, now: Standing) -> list[dict[str, Any]]:
    """A row a variant, and the candidate's: means over finished seeds, errors in percent, differences in points."""
    table = [_variant(row) | {"look": now.look, "interim": str(now.interim).lower()} for row in rows]
    return [*table, _candidate(candidate, rows[0].study)] if candidate else table


def _variant(row: VariantRow) -> dict[str, Any]:
    d, c = row.difference, row.comparison
    values = _shared(row, row.study, row.variant, row.cells)
    values |= {"mean": row.error.mean, "sd": row.error.sd, "parameters": row.parameters, "wall_seconds": row.seconds}
    if row.published and row.paper is not None:
        values |= {"paper_difference": row.paper, "paper_where": row.published.where}
    if not row.is_baseline:
        values |= {"pairs": d.n, "seeds": " ".join(map(str, d.seeds)), "difference": d.mean}
        values |= {"low": d.low, "high": d.high, "confidence": d.confidence}
    if c:
        values |= {name: getattr(c, attribute) for name, attribute in COMPARISON.items()}
        values |= {"verdict": c.verdict if c.in_family else None, "pooled": str(c.pooled).lower()}
        values |= {"sign_flip_p": c.flip.p, "sign_flip_least_p": c.flip.least}
    return values


def _candidate(candidate: Candidate, study: Study) -> dict[str, Any]:
    run = candidate.run
    values = _shared(candidate, study, CANDIDATE, [candidate.result])
    if run:
        values |= {"mean": candidate.error, "difference": candidate.difference}
        values |= {"pairs": int(candidate.difference is not None), "parameters": run.provenance.parameters}
        values |= {"wall_seconds": run.provenance.wall_seconds}
    return values


def _shared(row: VariantRow | Candidate, study: Study, variant: str, cells: Sequence[Result]) -> dict[str, Any]:
    """What a variant's row and the candidate's have both."""
    counts = Counter(cell.status for cell in cells)
    return {
        "variant": variant,
        "changes": "; ".join(f"{key}: {value(a)} -> {value(b)}" for key, (a, b) in row.changes.items()),
        "declared": len(cells),
        "metric": study.file.metric,
        **{status: counts[status] for status in ("finished", "diverged", "missing", "stale")},
        **{name: row.errors[name].mean for name in row.errors if name in (*VARIANT_COLUMNS, *study.file.metrics)},
    }
