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

Ruling = tuple[Verdict, str]
"""A verdict and its reason."""


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

    def __str__(self) -> str:
        """`lrn-conv1 +0.21 (-0.10 to +0.52)`."""
        ends = f" ({signed(self.low)} to {signed(self.high)})" if self.low is not None else ", no interval"
        return f"{self.name} {signed(self.value)}{ends}"


def signed(number: float | None) -> str:
    """A difference with two decimals and its sign, which zero has too, but never a minus."""
    return "" if number is None else f"{number:+z.2f}".replace("-", "\N{MINUS SIGN}")


def side(estimate: Estimate, region: Region) -> Verdict:
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return "inconclusive"
    if (low > region.low or region.low == -math.inf) and (high < region.high or region.high == math.inf):
        return "replicates"
    return "contradicts" if high < region.low or low > region.high else "inconclusive"


def judge(estimates: Sequence[Estimate], region: Region) -> Ruling:
    """The verdict on all parts of a claim, of which there is at least one."""
    sides: dict[Verdict, list[Estimate]] = {verdict: [] for verdict in VERDICTS}
    for estimate in estimates:
        sides[side(estimate, region)].append(estimate)

    def ruling(verdict: Verdict, words: str) -> Ruling:
        each = "the interval" if len(sides[verdict]) == 1 else "each interval"
        return verdict, f"{each} {words} what is claimed{names(sides[verdict])}"

    def names(parts: Sequence[Estimate]) -> str:
        return f" ({', '.join(part.name for part in parts)})" if len(estimates) > 1 else ""

    if sides["contradicts"]:
        return ruling("contradicts", "lies wholly outside")
    if len(sides["replicates"]) == len(estimates):
        return ruling("replicates", "lies wholly inside")
    if silent := [estimate for estimate in estimates if estimate.low is None or estimate.high is None]:
        equal = "the same number on every seed, or fewer seeds than a bound needs"
        why = equal if max(estimate.n for estimate in silent) > 1 else "fewer than two pairs of seeds"
        return "inconclusive", f"{why}, hence no interval{names(silent)}"
    return ruling("inconclusive", "reaches over the bound of")


def weakest(estimates: Sequence[Estimate], region: Region) -> Estimate:
    """The part that speaks least for the claim: it stands for the claim where there is room for one number."""

    def slack(estimate: Estimate) -> float:
        if estimate.low is None or estimate.high is None:
            return -math.inf
        return min(estimate.low - region.low, region.high - estimate.high)

    return min(estimates, key=slack)


def every_run(held: int, n: int, high: float) -> Ruling:
    """The verdict on what must be seen in every run. `high`: upper end of the interval of the share of such runs.

    Seen in all of at least two runs: replicates. A single run without it may be for want of power; that it is missing
    in most runs contradicts.
    """
    if n > 1 and held == n:
        return "replicates", f"seen in each of {n} runs"
    if high < 0.5:
        return "contradicts", f"seen in {held} of {n} runs: the interval of its share lies below one half"
    return "inconclusive", f"seen in {held} of {n} runs"
