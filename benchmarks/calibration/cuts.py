"""Runs of one and the same net: how far chance moves their error, and how often comparing them with themselves errs.

The values are errors of runs that differ in nothing but their seed. Cut into arms of different seeds they are a study
in which nothing differs (A/A). Cuts of the same runs are not independent of each other, so what comes out of them is
held against cuts of simulated runs, as many of each, not against what as many independent studies would give.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from benchmarks.calibration.simulate import METHODS, judge
from harness.statistics.comparison import Rules, compare_all
from harness.statistics.judging import Test
from harness.statistics.models import Floats

Booleans = NDArray[np.bool_]

GRID = np.arange(1, 21) / 20
"""Places at which the distribution of p is looked at; the first is alpha's usual value."""


# ---- how far chance moves an error


@dataclass(frozen=True)
class Floor:
    """How runs of one net scatter. Errors and sds in points.

    `sd`: of the runs' errors (ddof 1), with its chi-square interval `low` to `high`. `binomial`: standard error of one
    error on so many images, from drawing the images; no part of `sd`, since all runs are tested on the same ones.
    `flips`: the sd that `sd` would be if each image's answer scattered by itself, the part that more images make
    smaller; `common`: what is left, images that turn wrong together (0 where nothing is left). `disagree`: % of the
    images that one of two runs alone gets wrong, mean over all pairs of runs.
    """

    runs: int
    images: int
    mean: float
    sd: float
    low: float
    high: float
    binomial: float
    flips: float
    common: float
    disagree: float

    def sd_on(self, images: int) -> float:
        """The sd to be expected on another number of images of the same kind."""
        return math.sqrt(self.common**2 + self.flips**2 * self.images / images)


def floor(wrong: Booleans, confidence: float = 0.95) -> Floor:
    """The scatter of runs from their wrong answers (runs, images). Raises `ValueError` for fewer than two runs."""
    if wrong.ndim != 2 or len(wrong) < 2 or not wrong.shape[1]:
        raise ValueError(f"got {wrong.shape}; two runs (runs, images) at least are allowed")
    runs, images = wrong.shape
    errors = 100 * wrong.mean(1)
    mean, sd = float(errors.mean()), float(errors.std(ddof=1))
    low, high = sd_interval(sd, runs - 1, confidence)
    # The variance of an image's answer over the runs, unbiased, so that what is left of the whole is so too.
    single = float(wrong.var(0, ddof=1).mean())
    flips = 100 * math.sqrt(single / images)
    common = math.sqrt(max(sd**2 - flips**2, 0.0))
    binomial = 100 * math.sqrt(mean / 100 * (1 - mean / 100) / images)
    # Two answers differ with twice the variance of one.
    return Floor(runs, images, mean, sd, low, high, binomial, flips, common, 100 * 2 * single)


def sd_interval(sd: float, df: int, confidence: float = 0.95) -> tuple[float, float]:
    """Chi-square interval of a standard deviation of normal values."""
    tail = (1 - confidence) / 2
    upper, lower = (float(stats.chi2.ppf(q, df)) for q in (1 - tail, tail))
    return sd * math.sqrt(df / upper), sd * math.sqrt(df / lower)


@dataclass(frozen=True)
class Sum:
    """The variances of single sources, added, over the variance of all sources together; `low` to `high`: by F."""

    ratio: float
    low: float
    high: float


def added(single: Sequence[Floor], whole: Floor, confidence: float = 0.95) -> Sum:
    """Whether the sources' variances add up to that of all (1: they do).

    The sum's degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946).
    """
    parts = np.array([one.sd**2 for one in single])
    freedom = np.array([one.runs - 1 for one in single])
    total = float(parts.sum())
    df = total**2 / float((parts**2 / freedom).sum())
    ratio = total / whole.sd**2
    tail = (1 - confidence) / 2
    upper, lower = (float(stats.f.ppf(q, df, whole.runs - 1)) for q in (1 - tail, tail))
    return Sum(ratio, ratio / upper, ratio / lower)


# ---- the net against itself


@dataclass(frozen=True)
class Split:
    """How runs are cut: `arms` arms, the first the baseline. Its name is what tables call it."""

    name: str
    arms: int
    tests: tuple[Test, ...]


PAIR = Split("two halves", 2, ("paired_t",))
"""With one comparison `block` is the paired t test."""

FAMILY = Split("four quarters", 4, ("block", "paired_t"))


@dataclass(frozen=True)
class Shares:
    """What came out of many cuts. `below`: share of the single p at most each of GRID; `family`: share of cuts in which
    at least one adjusted p is at most alpha: something is called different."""

    below: Floats
    family: Floats


@dataclass(frozen=True)
class Against:
    """Cuts of real runs, and the same of simulated ones.

    `observed`, `low`, `high`: shares of single p at most each of GRID; low to high holds what normal values of no
    difference give in a share `confidence` of studies. `share`: of p at most alpha (the first of GRID), `worth`: as how
    many independent comparisons the cuts know it (None: p cannot be that small), with Wilson's interval for so many.
    `distance_p`: how often simulated runs stray as far from the mean of all, anywhere on GRID. `family...`: the same of
    the share of cuts that call something different.
    """

    design: Split
    test: Test
    seeds: int
    cuts: int
    observed: Floats
    low: Floats
    high: Floats
    worth: float | None
    share_low: float | None
    share_high: float | None
    distance_p: float
    family: float
    family_low: float
    family_high: float

    @property
    def share(self) -> float:
        return float(self.observed[0])

    @property
    def inside(self) -> bool:
        """Whether both shares, of single p and of cuts, are such as simulated runs have."""
        single = self.low[0] <= self.share <= self.high[0]
        return bool(single and self.family_low <= self.family <= self.family_high)


def cuts(rng: np.random.Generator, runs: int, arms: int, count: int) -> NDArray[np.int64]:
    """Places of runs (count, seeds, arms): every arm has other runs, paired as they fall; what is left over is out."""
    seeds = runs // arms
    order = rng.permuted(np.tile(np.arange(runs), (count, 1)), axis=1)
    return order[:, : seeds * arms].reshape(count, seeds, arms)


def by_the_report(tables: Floats, test: Test, alpha: float) -> Shares:
    """Each table (cuts, seeds, arms) judged as a study by the function that judges one."""
    judged = []
    for table in tables:
        arms = {f"arm {place}": dict(enumerate(column.tolist())) for place, column in enumerate(table.T)}
        judged.append(compare_all(arms, "arm 0", Rules(alpha, None, test)).values())
    p = np.array([[[c.p for c in found] for found in judged]], dtype=np.float64)
    adjusted = np.array([[[c.adjusted for c in found] for found in judged]], dtype=np.float64)
    return shares(p, adjusted, alpha)


def at_once(tables: Floats, test: Test, alpha: float) -> Shares:
    """The same for many studies (studies, cuts, seeds, arms), along their axes: for simulated runs."""
    judged = judge(METHODS[test](tables), alpha, None)
    return shares(judged.p, judged.adjusted, alpha)


def shares(p: Floats, adjusted: Floats, alpha: float) -> Shares:
    """From p-values (studies, cuts, comparisons); one that is not there is not small."""
    # A p that should be .05 may be .05 and a bit by rounding.
    below = (p[..., None] <= GRID + 1e-12).mean((-3, -2))
    return Shares(below, (adjusted <= alpha + 1e-12).any(-1).mean(-1))


def simulated(
    rng: np.random.Generator, runs: int, design: Split, test: Test, alpha: float, count: int, studies: int
) -> Shares:
    """Cuts of normal values without any difference: so many studies of so many runs, each cut `count` times.

    The tests do not see a mean or a scale, so that the standard normal stands for all.
    """
    made = []
    for _ in range(studies):
        values = rng.normal(size=runs)
        made.append(at_once(values[cuts(rng, runs, design.arms, count)][None], test, alpha))
    return Shares(np.concatenate([one.below for one in made]), np.concatenate([one.family for one in made]))


def against(
    observed: Sequence[Shares],
    reference: Shares,
    design: Split,
    test: Test,
    runs: int,
    count: int,
    confidence: float = 0.95,
) -> Against:
    """What cuts of real runs gave, held against simulated ones of as many runs and cuts.

    `observed`: of one or several independent sets of runs, whose mean is taken; the reference is then that of such
    means.
    """
    sets = len(observed)
    below = np.concatenate([one.below for one in observed]).mean(0)
    family = float(np.concatenate([one.family for one in observed]).mean())
    # Means of as many simulated studies as there are sets of real runs.
    rng = np.random.default_rng(sets)
    drawn = [rng.permutation(len(reference.below)) for _ in range(sets)]
    like = np.mean([reference.below[order] for order in drawn], axis=0)
    like_family = np.mean([reference.family[order] for order in drawn], axis=0)
    tails = 50 * (1 - confidence), 100 - 50 * (1 - confidence)
    low, high = np.percentile(like, tails, axis=0)
    family_low, family_high = (float(end) for end in np.percentile(like_family, tails))
    centre = like.mean(0)
    far = np.abs(like - centre).max(-1)
    # The observed one is counted in: a p of zero would claim more than so many simulations can.
    distance_p = (1 + int((far >= np.abs(below - centre).max() - 1e-12).sum())) / (1 + len(far))
    expected, variance = float(centre[0]), float(like[:, 0].var(ddof=1))
    worth = expected * (1 - expected) / variance if variance > 0 else None
    share = float(below[0])
    share_low = share_high = None
    if worth:
        share_low, share_high = proportion_confint(share * worth, worth, 1 - confidence, "wilson")
    return Against(
        design, test, runs // design.arms, count * sets, below, low, high, worth, share_low, share_high, distance_p,
        family, family_low, family_high,
    )  # fmt: skip
