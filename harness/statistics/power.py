"""What a design can detect: the smallest effect at a given power, and the seeds that an effect needs."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, special, stats
from scipy.interpolate import RegularGridInterpolator

from harness.statistics.models import LEAST_COMPARISONS, LEAST_SEEDS
from harness.statistics.multiplicity import critical_value

MOST_SEEDS = 10_000


def power(effect: float, se: float, df: int, critical: float) -> float:
    """Chance that |t| exceeds `critical` when the true difference is `effect`: a noncentral t, both sides."""
    shift = abs(effect) / se
    if shift >= 30:  # scipy's noncentral t loses the far side for large shifts; it is then below 1e-12 anyway
        return 1.0
    near, far = float(stats.nct.sf(critical, df, shift)), float(stats.nct.cdf(-critical, df, shift))
    return min(1.0, near + (far if math.isfinite(far) else 0.0))


def detectable(se: float, df: int, critical: float, wanted: float = 0.8) -> float:
    """The smallest difference that is found with probability `wanted`, in the unit of `se`."""
    top = critical + 1.0
    while power(top, 1.0, df, critical) < wanted:
        top *= 2
        if top > 1e7:
            return math.inf
    return se * float(optimize.brentq(lambda x: power(x, 1.0, df, critical) - wanted, 1e-9, top, xtol=1e-8))


@dataclass(frozen=True)
class Design:
    """How a comparison is made, at whatever number of seeds.

    `sd`: of a single paired difference. `comparisons`: in the family. `shared`: whether the test is the block design,
    in which arms share a residual from LEAST_SEEDS seeds and LEAST_COMPARISONS comparisons on.
    """

    sd: float
    comparisons: int = 1
    shared: bool = False


def detectable_at(design: Design, seeds: int, alpha: float, wanted: float = 0.8) -> float:
    """The smallest difference that a design finds with so many seeds, with probability `wanted`.

    Of one arm that differs among others that do not. For the paired t test with Holm's adjustment by the noncentral t;
    for the block design by simulation, since what it does when arms scatter differently costs power (see POWERS).
    """
    k, se = max(design.comparisons, 1), design.sd / math.sqrt(seeds)
    if not design.shared or seeds < LEAST_SEEDS or k < LEAST_COMPARISONS:
        return detectable(se, seeds - 1, float(stats.t.isf(alpha / (2 * k), seeds - 1)), wanted)
    return ideal(se, seeds, k, alpha, wanted) * cost(seeds, k, wanted)


def ideal(se: float, seeds: int, comparisons: int, alpha: float, wanted: float) -> float:
    """What the textbook's block design with Dunnett's test detects where all arms are known to scatter alike."""
    df = (seeds - 1) * comparisons
    return detectable(se, df, critical_value(alpha, comparisons, df), wanted)


POWERS = Path(__file__).with_name("power.csv")
"""What the block design detects over what it would, were all arms known to scatter alike (`ideal`), by seeds,
comparisons and power; simulated with normal noise by `python -m benchmarks.calibration.power`, 20,000 studies a row."""


@cache
def _costs() -> RegularGridInterpolator:
    table = pd.read_csv(POWERS).pivot(index=["seeds", "comparisons"], columns="power", values="cost")
    seeds, comparisons = (np.unique(table.index.get_level_values(level)) for level in (0, 1))
    powers = table.columns.to_numpy(dtype=np.float64)
    values = table.to_numpy().reshape(len(seeds), len(comparisons), len(powers))
    # From many seeds to few, so that 1 / seeds rises.
    return RegularGridInterpolator((1 / seeds[::-1], np.log(comparisons), special.ndtri(powers)), values[::-1])


def cost(seeds: int, comparisons: int, wanted: float) -> float:
    """Factor on `ideal` for what the block design detects; beyond the table that of its edge."""
    point = (1 / seeds, math.log(comparisons), float(special.ndtri(wanted)))
    axes = _costs().grid
    return float(_costs()([np.clip(x, axis[0], axis[-1]) for x, axis in zip(point, axes, strict=True)])[0])


def seeds_needed(effect: float, design: Design, alpha: float = 0.05, wanted: float = 0.8) -> int | None:
    """Seeds with which a paired difference of `effect` is found with probability `wanted`; None: above MOST_SEEDS."""
    if not effect or not math.isfinite(effect):
        raise ValueError(f"effect: got {effect}; allowed: a finite number other than 0")

    def enough(n: int) -> bool:
        return detectable_at(design, n, alpha, wanted) <= abs(effect)

    if design.sd <= 0:
        return 2
    seeds = 2 + bisect_left(range(2, MOST_SEEDS + 1), True, key=enough)
    return seeds if seeds <= MOST_SEEDS else None


def sd_bound(sd: float, df: int, confidence: float = 0.8) -> float:
    """Upper bound of the true sd, by chi-square: a pilot of few seeds may have shown too small a one (Browne 1995)."""
    return sd * math.sqrt(df / float(stats.chi2.ppf(1 - confidence, df)))


def unpaired_seeds(n: int, sd_variant: float, sd_baseline: float, sd_difference: float) -> int | None:
    """Runs an arm that a comparison without pairing needs for the precision that n pairs give; None: no spread."""
    if sd_difference <= 0:
        return None
    return math.ceil(n * (sd_variant**2 + sd_baseline**2) / sd_difference**2 - 1e-9)
