"""What a design can detect: the smallest effect at a given power, and the seeds that an effect needs."""

import math
from bisect import bisect_left
from dataclasses import dataclass

from scipy import optimize, stats

from harness.statistics.models import LEAST_SEEDS
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

    `sd`: of the paired differences as the test takes it, its standard error times the root of the pairs. `comparisons`:
    in the family. `freedom`: degrees of freedom that a seed beyond the first adds. `shared`: whether they are those of
    a residual that arms share.
    """

    sd: float
    comparisons: int = 1
    freedom: float = 1.0
    shared: bool = False

    def at(self, seeds: int, alpha: float) -> tuple[float, int, float]:
        """Standard error, degrees of freedom and critical |t| with so many seeds.

        Below LEAST_SEEDS no residual is shared; where one is, the critical value is Dunnett's, else Bonferroni's.
        """
        shared = self.shared and seeds >= LEAST_SEEDS
        df = max(1, round(self.freedom * (seeds - 1))) if shared or not self.shared else seeds - 1
        k = max(self.comparisons, 1)
        critical = critical_value(alpha, k, df) if shared and k > 1 else float(stats.t.isf(alpha / (2 * k), df))
        return self.sd / math.sqrt(seeds), df, critical


def detectable_at(design: Design, seeds: int, alpha: float, wanted: float = 0.8) -> float:
    """The smallest difference that a design finds with so many seeds, with probability `wanted`."""
    return detectable(*design.at(seeds, alpha), wanted)


def seeds_needed(effect: float, design: Design, alpha: float = 0.05, wanted: float = 0.8) -> int | None:
    """Seeds with which a paired difference of `effect` is found with probability `wanted`; None: above MOST_SEEDS."""
    if not effect or not math.isfinite(effect):
        raise ValueError(f"effect: got {effect}; allowed: a finite number other than 0")

    def enough(n: int) -> bool:
        return power(effect, *design.at(n, alpha)) >= wanted

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
