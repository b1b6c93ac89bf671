"""The one rule by which a claim gets its verdict.

A claim says in which region of the line a number lies: above a bound, below one, or within a margin around one. The
study gives an interval. It lies wholly inside the region: the claim *replicates*. It lies wholly outside: it
*contradicts* the claim. Else it is *inconclusive*, as it is where there is no interval. Touching a bound is not yet
being on one side of it.

Of a claim with several parts each must replicate; one that contradicts is enough to contradict. Their intervals are
the wider ones that hold for all parts at once, so that many parts do not contradict by chance.

What is computed and not measured has no interval: it holds or not, and that is final.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["replicates", "contradicts", "inconclusive", "not testable here"]
VERDICTS: tuple[Verdict, ...] = ("replicates", "contradicts", "inconclusive", "not testable here")


@dataclass(frozen=True)
class Region:
    """Where the number lies if the claim is true; an end that is not bounded is infinite."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Estimate:
    """A number from the runs. `low` and `high`: its interval, None where there is none; infinite where the runs bound
    it from one side alone. `n`: pairs or runs behind it.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str = "points"


@dataclass(frozen=True)
class Judged:
    verdict: Verdict
    reason: str


def side(estimate: Estimate, region: Region) -> Verdict:
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return "inconclusive"
    if (low > region.low or region.low == -math.inf) and (high < region.high or region.high == math.inf):
        return "replicates"
    return "contradicts" if high < region.low or low > region.high else "inconclusive"


def judge(estimates: Sequence[Estimate], region: Region) -> Judged:
    """The verdict on all parts of a claim. Raises `ValueError` for none."""
    if not estimates:
        raise ValueError("got no estimate; at least one is needed")
    sides = [side(estimate, region) for estimate in estimates]
    if "contradicts" in sides:
        return Judged("contradicts", _which(estimates, sides, "contradicts", "lies wholly outside"))
    if all(one == "replicates" for one in sides):
        return Judged("replicates", _which(estimates, sides, "replicates", "lies wholly inside"))
    silent = [e for e in estimates if e.low is None or e.high is None]
    if silent:
        few = max(e.n for e in silent)
        equal = "the same number on every seed, or fewer seeds than a bound needs"
        why = equal if few > 1 else "fewer than two pairs of seeds"
        return Judged("inconclusive", f"{why}, hence no interval{_names(silent, len(estimates))}")
    return Judged("inconclusive", _which(estimates, sides, "inconclusive", "reaches over the bound of"))


def weakest(estimates: Sequence[Estimate], region: Region) -> Estimate:
    """The part that speaks least for the claim: it stands for the claim where there is room for one number."""

    def slack(estimate: Estimate) -> float:
        if estimate.low is None or estimate.high is None:
            return -math.inf
        return min(estimate.low - region.low, region.high - estimate.high)

    return min(estimates, key=slack)


def every_run(held: int, n: int, high: float) -> Judged:
    """The verdict on what must be seen in every run. `high`: upper end of the interval of the share of such runs.

    Seen in all of at least two runs: replicates. A single run without it may be for want of power; that it is missing
    in most runs contradicts.
    """
    if n > 1 and held == n:
        return Judged("replicates", f"seen in each of {n} runs")
    if high < 0.5:
        return Judged("contradicts", f"seen in {held} of {n} runs: the interval of its share lies below one half")
    return Judged("inconclusive", f"seen in {held} of {n} runs")


def _which(estimates: Sequence[Estimate], sides: Sequence[Verdict], wanted: Verdict, words: str) -> str:
    chosen = [estimate for estimate, one in zip(estimates, sides, strict=True) if one == wanted]
    each = "the interval " if len(chosen) == 1 else "each interval "
    return f"{each}{words} what is claimed{_names(chosen, len(estimates))}"


def _names(chosen: Sequence[Estimate], of: int) -> str:
    return f" ({', '.join(estimate.name for estimate in chosen)})" if of > 1 else ""
