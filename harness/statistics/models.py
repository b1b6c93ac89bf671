"""Values of several seeds and their paired differences, and the models of what a mean difference is worth."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Floats = NDArray[np.float64]

NO_SPREAD = 1e-12
"""Values whose sd is below this part of their size are constant: what is left is the rounding of their arithmetic."""


@dataclass(frozen=True)
class Summary:
    """Values of several seeds. `mean` is None for none of them, `sd` (ddof 1) for fewer than two."""

    n: int
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """Variant less baseline over the seeds that both have, in the unit of the values.

    `seeds` and `values`: the pairs and their differences. `low` and `high` bound the mean difference with `confidence`.
    They are None for fewer than two pairs, and for differences that do not vary: t then has nothing to measure against,
    and an interval without width would claim a certainty that two or three equal numbers do not give.
    """

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    confidence: float

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def sign(self) -> int | None:
        """1 or -1 where the interval lies above or below zero, 0 where it includes zero, None where there is none."""
        if self.low is None or self.high is None:
            return None
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def summarise(values: Iterable[float]) -> Summary:
    """Number, mean and sd (ddof 1) of finite values. Raises `ValueError` for others."""
    array = _finite(values)
    n = len(array)
    return Summary(n, float(array.mean()) if n else None, spread(array, array) if n > 1 else None)


def compare(variant: Mapping[int, float], baseline: Mapping[int, float], confidence: float) -> Difference:
    """Compare finite values by seed: only seeds that both have are used, in rising order.

    The interval is mean +- t * sd / sqrt(n) with n - 1 degrees of freedom. Raises `ValueError` for values that are not
    finite and for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}; allowed: above 0 and below 1")
    seeds = tuple(sorted(variant.keys() & baseline.keys()))
    one, other = _finite(variant[s] for s in seeds), _finite(baseline[s] for s in seeds)
    differences = one - other
    n = len(seeds)
    mean = float(differences.mean()) if n else None
    sd = spread(differences, np.maximum(abs(one), abs(other))) if n > 1 else None
    low = high = None
    if mean is not None and sd:
        half = float(half_width(sd, n - 1, confidence)) / math.sqrt(n)
        low, high = mean - half, mean + half
    return Difference(seeds, tuple(differences.tolist()), mean, sd, low, high, confidence)


def half_width(se: ArrayLike, df: ArrayLike, confidence: float) -> Floats:
    """Of Student's interval about a mean with such a standard error."""
    return np.asarray(stats.t.ppf((1 + confidence) / 2, df) * se)


def binomial_sd(error: float, images: float) -> float:
    """Standard error, in points, of an error in percent that was measured on so many images."""
    share = error / 100
    return 100 * math.sqrt(share * (1 - share) / images)


def _finite(values: Iterable[float]) -> np.ndarray:
    array = np.array(list(values), dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"got {array.tolist()}; finite numbers are allowed")
    return array


def spread(values: np.ndarray, size: np.ndarray) -> float:
    """The sd (ddof 1) of values that were computed from others as large as `size`; 0 where it is rounding alone."""
    sd = float(values.std(ddof=1))
    return 0.0 if sd <= NO_SPREAD * float(abs(size).max()) else sd


SCREEN = 0.06
"""A variant leaves the pool when its residuals exceed the others' so far that chance gives it this seldom."""

SCREEN_BASELINE = 0.15
"""The same for the baseline: its scale is in every comparison, so it leaves sooner."""

LEAST_SEEDS, LEAST_COMPARISONS = 5, 3
"""Below either, nothing is pooled: another scale could not be told (calibration: errors there exceed alpha)."""


@dataclass(frozen=True)
class Estimates:
    """Comparisons of one model, (..., arms - 1) each. `pooled`: whether they share one residual.

    `se` is 0 where the differences do not vary (nothing to measure against) and then `df` is 0. `sd`: of a single
    paired difference, by the shared residual where there is one.
    """

    mean: Floats
    se: Floats
    df: NDArray[np.int64]
    pooled: NDArray[np.bool_]
    sd: Floats


def paired(values: Floats) -> Estimates:
    """Each comparison by itself: Student's t over its own paired differences, n - 1 degrees of freedom."""
    mean, variance = _differences(values)
    n = values.shape[-2]
    df = np.where(variance > 0, n - 1, 0)
    return Estimates(mean, np.sqrt(variance / n), df, np.zeros(mean.shape, dtype=bool), np.sqrt(variance))


def block(values: Floats) -> Estimates:
    """Seeds as blocks: value = seed + arm + residual, one residual variance s^2 for the arms in the pool (see `pool`).

    A variant in the pool is compared with a baseline in it by the variance 2 s^2 / n, with (n - 1) (arms - 1) degrees
    of freedom. A baseline of another scale leaves the pool: the variance is then (b^2 + s^2) / n, of the baseline's own
    residuals and the variants' shared ones, with degrees of freedom by Satterthwaite (1946), rounded down. Either is
    that of the variant's own paired differences where this is larger. A variant that leaves the pool has the comparison
    of `paired`, as all have with fewer than LEAST_SEEDS seeds or LEAST_COMPARISONS comparisons.
    """
    alone = paired(values)
    n, arms = values.shape[-2:]
    if n < LEAST_SEEDS or arms - 1 < LEAST_COMPARISONS:
        return alone
    inside = pool(values)
    with_baseline, variants = inside[..., 0], inside[..., 1:]
    centred = values - values.mean(-2, keepdims=True)
    variance, df = _shared(centred, inside)
    apart, df_apart = _apart(centred, variants)
    sd = np.sqrt(np.where(with_baseline, 2 * variance, apart))[..., None]
    df = np.where(with_baseline, df, df_apart)[..., None]
    enough = np.where(with_baseline, inside.sum(-1) >= 3, variants.sum(-1) >= 2)
    pooled = variants & enough[..., None]
    se = np.where(pooled, np.maximum(sd / math.sqrt(n), alone.se), alone.se)
    return Estimates(alone.mean, se, np.where(pooled, df, alone.df), pooled, np.where(pooled, sd, alone.sd))


def _shared(centred: Floats, inside: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
    """Residual variance (...) of the arms in the pool, and its degrees of freedom."""
    count = inside.sum(-1)
    z = centred * inside[..., None, :]
    squares = (z**2).sum((-2, -1)) - (z.sum(-1) ** 2).sum(-1) / np.maximum(count, 1)
    df = (centred.shape[-2] - 1) * np.maximum(count - 1, 0)
    return np.maximum(squares, 0) / np.maximum(df, 1), df


def _apart(centred: Floats, variants: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
    """Variance (...) of a difference between a variant of the pool and a baseline outside it, and its freedom.

    The baseline less the mean of the m variants has the variance a = b^2 + s^2 / m, independent of s^2: b^2 + s^2 is
    a + s^2 (1 - 1 / m).
    """
    shared, df = _shared(centred[..., 1:], variants)
    m = np.maximum(variants.sum(-1), 1)
    mean = (centred[..., 1:] * variants[..., None, :]).sum(-1) / m[..., None]
    a = ((centred[..., 0] - mean) ** 2).sum(-1) / (centred.shape[-2] - 1)
    rest = shared * (1 - 1 / m)
    spread = a**2 / (centred.shape[-2] - 1) + rest**2 / np.maximum(df, 1)
    freedom = np.divide((a + rest) ** 2, spread, out=np.ones_like(spread), where=spread > 0)
    return a + rest, np.maximum(np.floor(freedom), 1).astype(np.int64)


def pool(values: Floats) -> NDArray[np.bool_]:
    """Which arms (..., arms) share one residual variance.

    Each arm's residuals against the mean of the others are compared with the others' own residuals: an exact F ratio
    with n - 1 and (n - 1) (others - 1) degrees of freedom. The arm whose upper p is the smallest part of its threshold
    leaves when it is below it; then again, until none does or fewer than three are left. A variant whose differences do
    not vary is no part of the pool.
    """
    arms = values.shape[-1]
    inside = np.ones((*values.shape[:-2], arms), dtype=bool)
    inside[..., 1:] = _differences(values)[1] > 0
    centred = values - values.mean(-2, keepdims=True)
    threshold = np.array([SCREEN_BASELINE, *[SCREEN] * (arms - 1)])
    for _ in range(arms - 2):
        part = _scale_p(centred, inside) / threshold
        worst = part.argmin(-1)[..., None]
        leaves = np.take_along_axis(part, worst, -1) < 1
        if not leaves.any():
            break
        np.put_along_axis(inside, worst, np.take_along_axis(inside, worst, -1) & ~leaves, -1)
    return inside


def _scale_p(centred: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Upper p of each arm's scale against the others' in the pool; 1 outside it, and where none can leave."""
    n = centred.shape[-2]
    z = centred * inside[..., None, :]
    others = inside.sum(-1)[..., None] - 1
    total, squares = z.sum(-1, keepdims=True), (z**2).sum(-2)
    rest = total - z  # (..., seeds, arms): sum of the others
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = ((z - rest / others[..., None, :]) ** 2).sum(-2) / (n - 1) / (1 + 1 / others)
        among = squares.sum(-1, keepdims=True) - squares - (rest**2).sum(-2) / others
        within = among / ((n - 1) * (others - 1))
        p = special.fdtrc(n - 1, (n - 1) * (others - 1), variance / within)
    return np.where(inside & (others >= 2) & np.isfinite(p), p, 1.0)


def residuals_of(table: Floats) -> Floats:
    """Residuals of a table (seeds, arms) after the means of seeds and arms are taken out."""
    return np.asarray(table - table.mean(0) - table.mean(1, keepdims=True) + table.mean())


def _differences(values: Floats) -> tuple[Floats, Floats]:
    """Mean and variance (ddof 1) of the paired differences; a variance that is rounding alone is 0."""
    d = values[..., 1:] - values[..., :1]
    mean = d.mean(-2)
    n = values.shape[-2]
    if n < 2:
        return mean, np.zeros(mean.shape)
    variance = d.var(-2, ddof=1)
    size = np.abs(values).max((-2, -1), initial=0.0)[..., None]
    return mean, np.where(np.sqrt(variance) <= NO_SPREAD * size, 0.0, variance)
