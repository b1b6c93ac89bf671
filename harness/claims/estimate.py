"""From finished runs to numbers with intervals: what the statistics of claims are made of, without side effects.

Runs are paired by seed; a pair counts when both runs have finished on the same images. Intervals are Student's t over
the pairs, for ratios over their logarithms.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness import record
from harness.claims.verdict import Estimate
from harness.record import Run

SECONDS_A_DAY = 86_400

Runs = Mapping[int, Run]
"""A variant's finished runs by seed."""


class NotMeasuredError(Exception):
    """The runs do not hold what a statistic needs: the message says what is missing."""


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


def by_seed(runs: Runs, name: str) -> dict[int, float]:
    return {seed: metric(run, name) for seed, run in runs.items()}


def difference(
    name: str, one: Mapping[int, float], other: Mapping[int, float], confidence: float, unit: str = "points"
) -> Estimate:
    """Mean difference of two numbers by seed, one less other."""
    from harness.statistics.models import compare  # scipy is slow to import, and claims are also only declared

    d = compare(one, other, confidence)
    return Estimate(name, d.mean, d.low, d.high, d.n, unit)


def paired(
    name: str, one: Runs, other: Runs, value: Callable[[Run], float], confidence: float, unit: str = "points"
) -> Estimate:
    """Mean difference of a number of two variants' runs on the same images, one less other."""
    seeds = record.paired(one, other)
    return difference(name, {s: value(one[s]) for s in seeds}, {s: value(other[s]) for s in seeds}, confidence, unit)


def share(name: str, held: int, n: int, confidence: float) -> Estimate:
    """A share of runs with its Clopper-Pearson interval."""
    from scipy import stats

    low, high = stats.binomtest(held, n).proportion_ci(confidence)
    return Estimate(name, held / n, float(low), float(high), n, "of the runs")


@dataclass(frozen=True)
class Crossing:
    """When a curve first reaches a level, in epochs; `censored`: it does not within the run, which lasts so long."""

    epochs: float
    censored: bool


def crossing(history: Sequence[Mapping[str, float]], curve: str, level: float) -> Crossing:
    """When a curve first is at or below a level; between two epochs on the straight line. Raises `NotMeasuredError`."""
    points = [(row["epoch"], row.get(curve, math.nan)) for row in history]
    if not points or any(math.isnan(value) for _, value in points):
        raise NotMeasuredError(f"the runs' histories have no {curve}")
    place = next((place for place, (_, value) in enumerate(points) if value <= level), None)
    if place is None:
        return Crossing(points[-1][0], True)
    epoch, value = points[place]
    before, above = points[place - 1]
    if place == 0 or math.isinf(above):
        return Crossing(epoch, False)
    return Crossing(before + (above - level) / (above - value) * (epoch - before), False)


def level_ratio(name: str, one: Runs, other: Runs, curve: str, level: float, confidence: float) -> Estimate:
    """Ratio of the epochs to a level, one over other: the geometric mean over pairs, and its interval.

    Where `one` never reaches the level its length is a lower bound of its epochs: the ratio then has no upper end;
    where `other` does not, no lower end. Student's t has no place for such bounds: the end that is left is the least
    (largest) ratio of all pairs, a bound of the median that assumes nothing, where there are pairs enough for it to
    hold with that confidence. Pairs in which neither reaches the level say nothing and are left out.
    """
    seeds = record.paired(one, other)
    pairs = [tuple(crossing(runs[seed].history, curve, level) for runs in (one, other)) for seed in seeds]
    reached = [(a, b) for a, b in pairs if not (a.censored and b.censored)]
    if pairs and not reached:
        raise NotMeasuredError(f"no run of either variant reaches a {curve} of {level:g}")
    estimate = ratio(name, [a.epochs for a, _ in reached], [b.epochs for _, b in reached], confidence)
    above, below = any(a.censored for a, _ in reached), any(b.censored for _, b in reached)
    if not above and not below:
        return estimate
    if 0.5 ** len(reached) > 1 - confidence:
        return replace(estimate, low=None, high=None)
    ratios = [a.epochs / b.epochs for a, b in reached]
    return replace(estimate, low=0.0 if below else min(ratios), high=math.inf if above else max(ratios))


def ratio(name: str, one: Sequence[float], other: Sequence[float], confidence: float) -> Estimate:
    """The geometric mean of the ratios of pairs."""
    if min([*one, *other], default=1.0) <= 0:
        raise NotMeasuredError("a time is not above zero")
    from harness.statistics.effects import log_ratio

    r = log_ratio(dict(enumerate(one)), dict(enumerate(other)), confidence)
    return Estimate(name, r.ratio, r.low, r.high, r.n, "times")


def early_loss(run: Run, epochs: int) -> float:
    """Mean training loss of the first epochs: the area under its curve over their number. Raises `NotMeasuredError`."""
    losses = [row["train_loss"] for row in run.history[:epochs]]
    if len(losses) < epochs or not all(map(math.isfinite, losses)):
        raise NotMeasuredError(f"a run has no {epochs} first epochs with a finite training loss")
    return sum(losses) / epochs


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
