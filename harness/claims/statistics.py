"""The statistics that test claims: pure functions from runs to numbers with intervals.

Runs are paired by seed; a pair counts when both runs have finished on the same images. Intervals are Student's t over
the pairs, for ratios over their logarithms. For k numbers that one claim needs together, each is at 1 - (1 - c) / k.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import stats

from harness import record
from harness.claims import entries
from harness.claims.verdict import Estimate, Region
from harness.record import Run
from harness.statistics.comparison import Comparison
from harness.statistics.effects import log_ratio
from harness.statistics.models import compare

UNITS = {"fc7_precision6": "of 1", "pixels_precision6": "of 1", "wall_days": "days"}
"""Units of metrics that are not errors."""

SECONDS_A_DAY = 86_400


Runs = Mapping[int, Run]
"""A variant's finished runs by seed."""


class NotMeasuredError(Exception):
    """The runs do not hold what a statistic needs: the message says what is missing."""


@dataclass(frozen=True)
class Crossing:
    """When a curve first reaches a level, in epochs; `censored`: it does not within the run, which lasts so long."""

    epochs: float
    censored: bool


@dataclass(frozen=True)
class Ranking:
    """The order of the means: share of resamples in which the claimed one holds, and Kendall's tau with it."""

    share: float
    tau: float
    n: int
    means: dict[str, float]


def region(test: entries.Directed) -> Region:
    """Where the number lies if the claim is true; for a ratio the margin is a factor."""
    if test.direction == "more":
        return Region(low=test.bound)
    if test.direction == "less":
        return Region(high=test.bound)
    margin = test.margin or 0.0
    if test.ratio:
        return Region(test.bound / margin, test.bound * margin)
    return Region(test.bound - margin, test.bound + margin)


def adjusted(confidence: float, parts: int) -> float:
    """Confidence of each of several intervals that shall hold together."""
    return 1 - (1 - confidence) / max(parts, 1)


def metric(run: Run, name: str) -> float:
    """A number of a run. `gap`: test less training error, both of centre crops in evaluation mode, in points.

    Raises `NotMeasuredError`.
    """
    if name == "wall_days":
        return run.provenance.wall_seconds / SECONDS_A_DAY
    if name == "gap":
        return metric(run, "test_top1") - metric(run, "train_top1")
    if name not in run.metrics:
        raise NotMeasuredError(f"the runs have no {name}")
    return run.metrics[name]


def paired(
    one: Runs, other: Runs, value: Callable[[Run], float], confidence: float, name: str, unit: str = "points"
) -> Estimate:
    """Mean difference of a number of two variants' runs, one less other."""
    seeds = record.paired(one, other)
    return _mean({s: value(one[s]) for s in seeds}, {s: value(other[s]) for s in seeds}, confidence, name, unit)


def of_comparison(comparison: Comparison, confidence: float, name: str) -> Estimate:
    """The mean difference of a study's own comparison, with an interval of its model at another confidence."""
    d = comparison.difference
    if d.mean is None or comparison.se is None or comparison.df is None:
        return Estimate(name, d.mean, d.low, d.high, d.n)
    half = float(stats.t.ppf((1 + confidence) / 2, comparison.df)) * comparison.se
    return Estimate(name, d.mean, d.mean - half, d.mean + half, d.n)


def same_run(runs: Runs, first: str, second: str, confidence: float, name: str) -> Estimate:
    """Mean difference of two numbers of the same runs, first less second."""
    one, other = ({seed: metric(run, which) for seed, run in runs.items()} for which in (first, second))
    return _mean(one, other, confidence, name, UNITS.get(first, "points"))


def level(runs: Runs, name: str, confidence: float) -> Estimate:
    values = {seed: metric(run, name) for seed, run in runs.items()}
    return _mean(values, dict.fromkeys(runs, 0.0), confidence, name, UNITS.get(name, "%"))


def ensemble(error: float, runs: Runs, name: str, confidence: float) -> Estimate:
    """Error of averaged predictions less that of each net in turn: this ensemble, against a net of its kind."""
    values = {seed: metric(run, name) for seed, run in runs.items()}
    return _mean(dict.fromkeys(runs, error), values, confidence, "ensemble", "points")


def crossing(history: Sequence[Mapping[str, float]], curve: str, threshold: float) -> Crossing:
    """When a curve first is at or below a level; between two epochs on the straight line. Raises `NotMeasuredError`."""
    before: tuple[float, float] | None = None
    for row in history:
        now = row.get(curve, math.nan)
        if math.isnan(now):
            raise NotMeasuredError(f"the runs' histories have no {curve}")
        if now <= threshold:
            if before is None or not math.isfinite(before[1]):
                return Crossing(row["epoch"], False)
            part = (before[1] - threshold) / (before[1] - now)
            return Crossing(before[0] + part * (row["epoch"] - before[0]), False)
        before = (row["epoch"], now)
    if before is None:
        raise NotMeasuredError("a run's history is empty")
    return Crossing(before[0], True)


def level_ratio(one: Runs, other: Runs, curve: str, threshold: float, confidence: float, name: str) -> Estimate:
    """Ratio of the epochs to a level, one over other: the geometric mean over pairs, and its interval.

    Where `one` never reaches the level its length is a lower bound of its epochs: the ratio then has no upper end;
    where `other` does not, no lower end. Student's t has no place for such bounds: the end that is left is the least
    (largest) ratio of all pairs, a bound of the median that assumes nothing, where there are pairs enough for it to
    hold with that confidence. Pairs in which neither reaches the level say nothing and are left out.
    """
    pairs = [
        (crossing(one[s].history, curve, threshold), crossing(other[s].history, curve, threshold))
        for s in record.paired(one, other)
    ]
    told = [(a, b) for a, b in pairs if not (a.censored and b.censored)]
    if pairs and not told:
        raise NotMeasuredError(f"no run of either variant reaches a {curve} of {threshold:g}")
    estimate = _ratio([a.epochs for a, _ in told], [b.epochs for _, b in told], confidence, name)
    above, below = any(a.censored for a, _ in told), any(b.censored for _, b in told)
    if not above and not below:
        return estimate
    if 0.5 ** len(told) > 1 - confidence:
        return replace(estimate, low=None, high=None)
    ratios = [a.epochs / b.epochs for a, b in told]
    return replace(estimate, low=0.0 if below else min(ratios), high=math.inf if above else max(ratios))


def time_ratio(one: Runs, other: Runs, name: str) -> Estimate:
    """Ratio of wall times, one over other: the geometric mean over pairs. No interval: load is not the seed's."""
    seeds = record.paired(one, other)
    seconds = [[runs[s].provenance.wall_seconds for s in seeds] for runs in (one, other)]
    return replace(_ratio(seconds[0], seconds[1], 0.95, name), low=None, high=None)


def early_loss(run: Run, epochs: int) -> float:
    """Mean training loss of the first epochs: the area under its curve over their number. Raises `NotMeasuredError`."""
    losses = [row["train_loss"] for row in run.history[:epochs]]
    if len(losses) < epochs or not all(map(math.isfinite, losses)):
        raise NotMeasuredError(f"a run has no {epochs} first epochs with a finite training loss")
    return sum(losses) / epochs


def drops(run: Run) -> list[int]:
    """Epochs from which the learning rate was lower than in the one before."""
    rows = run.history
    return [int(b["epoch"]) for a, b in pairwise(rows) if b["lr"] < a["lr"] * (1 - 1e-9)]


def ranking(
    order: Mapping[str, Runs], against: Runs, name: str, resamples: int, generator: np.random.Generator
) -> Ranking:
    """Whether the mean differences to `against` fall in the order of `order`, largest first.

    Seeds are resampled with replacement, the same for every variant, since runs of one seed share what the seed does.
    """
    seeds = sorted(set.intersection(*(set(record.paired(runs, against)) for runs in order.values())))
    if not seeds:
        raise NotMeasuredError("no seed has a finished run of every variant")
    values = np.array([[metric(runs[s], name) - metric(against[s], name) for s in seeds] for runs in order.values()])
    drawn = generator.integers(len(seeds), size=(resamples, len(seeds)))
    means = values[:, drawn].mean(axis=2)
    share = float((np.diff(means, axis=0) < 0).all(axis=0).mean())
    observed = values.mean(axis=1)
    tau = float(stats.kendalltau(-np.arange(len(observed)), observed).statistic)
    return Ranking(share, tau, len(seeds), dict(zip(order, map(float, observed), strict=True)))


def split_runs(runs: Runs, alpha: float) -> int:
    """Runs in which the two columns' kernels differ in colour, by the permutation test of each."""
    return sum(metric(run, "conv1_chroma_p") <= alpha for run in runs.values())


def chroma_difference(run: Run) -> float:
    """How much more of their energy is colour in one column's kernels than in the other's, whichever it is."""
    return abs(metric(run, "conv1_chroma_column1") - metric(run, "conv1_chroma_column2"))


def share(held: int, n: int, confidence: float, name: str) -> Estimate:
    """A share of runs with its Clopper-Pearson interval."""
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, held, n - held + 1)) if held else 0.0
    high = float(stats.beta.ppf(1 - tail, held + 1, n - held)) if held < n else 1.0
    return Estimate(name, held / n, low, high, n, "of the runs")


def _mean(one: Mapping[int, float], other: Mapping[int, float], confidence: float, name: str, unit: str) -> Estimate:
    d = compare(one, other, confidence)
    return Estimate(name, d.mean, d.low, d.high, d.n, unit)


def _ratio(one: Sequence[float], other: Sequence[float], confidence: float, name: str) -> Estimate:
    if min([*one, *other], default=1.0) <= 0:
        raise NotMeasuredError("a time is not above zero")
    found = log_ratio(dict(enumerate(one)), dict(enumerate(other)), confidence)
    return Estimate(name, found.ratio, found.low, found.high, found.n, "times")
