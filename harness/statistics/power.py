"""What a design can detect: the smallest effect at a given power, and the seeds that an effect needs."""

import math

from scipy import optimize, stats

from harness.statistics.block import LEAST_COMPARISONS, LEAST_SEEDS
from harness.statistics.family import critical_value

MOST_SEEDS = 10_000


def power(effect: float, se: float, df: int, critical: float) -> float:
    """Chance that |t| exceeds `critical` when the true difference is `effect`: a noncentral t, both sides."""
    shift = abs(effect) / se
    # scipy's noncentral t loses the far side for large shifts; it is then below 1e-12 anyway.
    far = float(stats.nct.cdf(-critical, df, shift)) if shift < 30 else 0.0
    near = float(stats.nct.sf(critical, df, shift)) if shift < 30 else 1.0
    return min(1.0, near + (far if math.isfinite(far) else 0.0))


def detectable(se: float, df: int, critical: float, wanted: float = 0.8) -> float:
    """The smallest difference that is found with probability `wanted`, in the unit of `se`."""
    top = critical + 1.0
    while power(top, 1.0, df, critical) < wanted:
        top *= 2
        if top > 1e7:
            return math.inf
    return se * float(optimize.brentq(lambda x: power(x, 1.0, df, critical) - wanted, 1e-9, top, xtol=1e-8))


def seeds_needed(
    effect: float, sd: float, alpha: float = 0.05, wanted: float = 0.8, comparisons: int = 1, shared: bool = False
) -> int | None:
    """Seeds with which a paired difference of `effect` is found with probability `wanted`; None: above MOST_SEEDS.

    `sd`: of the paired differences. `shared`: one residual for all comparisons, with Dunnett's critical value (the
    model `block`); else each by itself, with alpha / comparisons.
    """
    if not effect or not math.isfinite(effect):
        raise ValueError(f"effect: got {effect}; allowed: a finite number other than 0")

    def enough(n: int) -> bool:
        df, critical = design(n, alpha, comparisons, shared)
        return power(effect, sd / math.sqrt(n), df, critical) >= wanted

    if sd <= 0:
        return 2
    low, high = 1, 2
    while not enough(high):
        low, high = high, high * 2
        if high > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def design(n: int, alpha: float, comparisons: int, shared: bool) -> tuple[int, float]:
    """Degrees of freedom and critical |t| of one comparison among `comparisons`, with n seeds.

    `shared`: by one residual, where there are as many seeds and comparisons as `block` asks for.
    """
    if shared and comparisons >= LEAST_COMPARISONS and n >= LEAST_SEEDS:
        df = (n - 1) * comparisons
        return df, critical_value(alpha, comparisons, df)
    return n - 1, float(stats.t.isf(alpha / (2 * comparisons), n - 1))


def detectable_at(seeds: int, n: int, se: float, df: int, alpha: float, comparisons: int, shared: bool) -> float:
    """What `detectable` would be with other seeds: `se` and `df` are those of n pairs; noise and family stay.

    Degrees of freedom grow with the seeds less one; below LEAST_SEEDS a shared residual is none.
    """
    alone = not shared or seeds < LEAST_SEEDS
    freedom = seeds - 1 if shared and alone else max(1, round(df * (seeds - 1) / (n - 1)))
    critical = (
        float(stats.t.isf(alpha / (2 * comparisons), freedom))
        if alone or comparisons < 2
        else critical_value(alpha, comparisons, freedom)
    )
    return detectable(se * math.sqrt(n / seeds), freedom, critical)


def sd_bound(sd: float, df: int, confidence: float = 0.8) -> float:
    """Upper bound of the true sd, by chi-square: a pilot of few seeds may have shown too small a one (Browne 1995)."""
    return sd * math.sqrt(df / float(stats.chi2.ppf(1 - confidence, df)))


def unpaired_seeds(n: int, sd_variant: float, sd_baseline: float, sd_difference: float) -> int | None:
    """Runs an arm that a comparison without pairing needs for the precision that n pairs give; None: no spread."""
    if sd_difference <= 0:
        return None
    return math.ceil(n * (sd_variant**2 + sd_baseline**2) / sd_difference**2 - 1e-9)
