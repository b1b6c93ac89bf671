"""Three models of one study: what the mean differences to the baseline are worth.

Each takes values (..., seeds, arms), arm 0 the baseline, and gives mean, standard error and degrees of freedom of
every comparison (..., arms - 1). Interval, test and equivalence are all made from these three numbers. Seeds are
blocks: what a seed does to all arms alike cancels in each of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.statistics.paired import NO_SPREAD

Floats = NDArray[np.float64]

SCREEN = 0.05
"""A variant leaves the pool when its residuals exceed the others' so far that chance gives it this seldom."""

SCREEN_BASELINE = 0.3
"""The same for the baseline: its scale is in every comparison, so it leaves sooner."""

LEAST_SEEDS, LEAST_COMPARISONS = 5, 3
"""Below either, nothing is pooled: another scale could not be told (calibration: errors there exceed alpha)."""


@dataclass(frozen=True)
class Estimates:
    """Comparisons of one model, (..., arms - 1) each. `pooled`: whether they share one residual.

    `se` is 0 where the differences do not vary (nothing to measure against) and then `df` is 0.
    """

    mean: Floats
    se: Floats
    df: NDArray[np.int64]
    pooled: NDArray[np.bool_]


def paired(values: Floats) -> Estimates:
    """Each comparison by itself: Student's t over its own paired differences, n - 1 degrees of freedom."""
    mean, variance = _differences(values)
    n = values.shape[-2]
    df = np.where(variance > 0, n - 1, 0)
    return Estimates(mean, np.sqrt(variance / n), df, np.zeros(mean.shape, dtype=bool))


def block(values: Floats, screen: float = SCREEN, screen_baseline: float = SCREEN_BASELINE) -> Estimates:
    """Seeds as blocks: value = seed + arm + residual, one residual variance s^2 for the arms in the pool.

    A comparison between two arms of the pool (the baseline and a variant) has the variance 2 s^2 / n, or that of its
    own paired differences where this is larger, with (n - 1) (arms in the pool - 1) degrees of freedom. An arm of
    another scale leaves by `pool`; its comparison, or every comparison when it is the baseline, is then that of
    `paired`, as it is with fewer than LEAST_SEEDS seeds or LEAST_COMPARISONS comparisons.
    """
    own = paired(values)
    n, arms = values.shape[-2:]
    if n < LEAST_SEEDS or arms - 1 < LEAST_COMPARISONS:
        return own
    inside = pool(values, screen, screen_baseline)
    count = inside.sum(-1)
    z = (values - values.mean(-2, keepdims=True)) * inside[..., None, :]
    squares = (z**2).sum((-2, -1)) - (z.sum(-1) ** 2).sum(-1) / np.maximum(count, 1)
    df = (n - 1) * np.maximum(count - 1, 0)
    se = np.sqrt(2 * np.maximum(squares, 0) / np.maximum(df, 1) / n)[..., None]
    pooled = inside[..., 1:] & inside[..., :1] & (count >= 3)[..., None]
    return Estimates(
        own.mean, np.where(pooled, np.maximum(se, own.se), own.se), np.where(pooled, df[..., None], own.df), pooled
    )


def plain_block(values: Floats) -> Estimates:
    """One residual variance whatever the arms' scales: the textbook's block design, for comparison in simulations."""
    n, k = values.shape[-2], values.shape[-1] - 1
    z = values - values.mean(-2, keepdims=True)
    z = z - z.mean(-1, keepdims=True)
    df = (n - 1) * k
    se = np.sqrt(2 * (z**2).sum((-2, -1)) / df / n)[..., None]
    mean = (values[..., 1:] - values[..., :1]).mean(-2)
    return Estimates(mean, np.broadcast_to(se, mean.shape), np.full(mean.shape, df), np.ones(mean.shape, dtype=bool))


def pool(values: Floats, screen: float = SCREEN, screen_baseline: float = SCREEN_BASELINE) -> NDArray[np.bool_]:
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
    threshold = np.array([screen_baseline, *[screen] * (arms - 1)])
    for _ in range(arms - 2):
        part = _scale_p(centred, inside) / np.maximum(threshold, 1e-300)
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
        own = ((z - rest / others[..., None, :]) ** 2).sum(-2) / (n - 1) / (1 + 1 / others)
        among = squares.sum(-1, keepdims=True) - squares - (rest**2).sum(-2) / others
        within = among / ((n - 1) * (others - 1))
        p = special.fdtrc(n - 1, (n - 1) * (others - 1), own / within)
    return np.where(inside & (others >= 2) & np.isfinite(p), p, 1.0)


def moderated(values: Floats) -> Estimates:
    """Each comparison's own variance, shrunk towards the mean of all (Smyth 2004, "moderated t").

    The variances of the paired differences are taken as draws around a common one; how far they scatter beyond what
    n - 1 degrees of freedom give says how many degrees of freedom the common one is worth. Differences of one study
    share the baseline, so the common variance is worth no more than (n - 1) k / (1 + (k - 1) r^2), with r^2 the mean
    squared correlation of two differences.
    """
    mean, variance = _differences(values)
    n, k = values.shape[-2], mean.shape[-1]
    own = paired(values)
    if k < 3 or n < 2:
        return own
    d = n - 1
    there = variance > 0
    count = there.sum(-1, keepdims=True)
    prior_df, prior = shared_variance(variance, d, there)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = d * k / (1 + (k - 1) * _shared(values)[..., None])
        weight = np.minimum(prior_df, np.maximum(worth - d, 0.0))
        shrunk = (weight * prior + d * variance) / (weight + d)
    usable = there & (count >= 3)
    return Estimates(
        mean,
        np.sqrt(np.where(usable, shrunk, variance) / n),
        np.where(usable, np.maximum(np.floor(weight + d), 1), own.df).astype(np.int64),
        np.zeros(mean.shape, dtype=bool),
    )


def shared_variance(variance: Floats, d: int, there: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """What variances (..., k) of `d` degrees of freedom scatter around, (..., 1) each (Smyth 2004, section 6.2).

    First the degrees of freedom that the common variance is worth: infinite where they scatter as chance alone has it,
    few where the true ones differ; then that variance. Only those that are `there` count.
    """
    count = there.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(there, np.log(np.where(there, variance, 1.0)) - special.digamma(d / 2) + np.log(d / 2), 0.0)
        centre = logs.sum(-1, keepdims=True) / count
        scatter = (np.where(there, logs - centre, 0.0) ** 2).sum(-1, keepdims=True) / (count - 1)
        excess = scatter - special.polygamma(1, d / 2)
        prior_df = np.where(excess > 0, 2 * _inverse_trigamma(np.where(excess > 0, excess, 1.0)), np.inf)
        prior = np.where(
            np.isinf(prior_df),
            (variance * there).sum(-1, keepdims=True) / count,
            np.exp(centre + special.digamma(np.minimum(prior_df, 1e10) / 2) - np.log(np.minimum(prior_df, 1e10) / 2)),
        )
    return prior_df, prior


def _shared(values: Floats) -> Floats:
    """Mean squared correlation of the paired differences of two variants, (...)."""
    d = values[..., 1:] - values[..., :1]
    d = d - d.mean(-2, keepdims=True)
    norm = np.sqrt((d**2).sum(-2, keepdims=True))
    unit = d / np.where(norm > 0, norm, 1.0)
    k = d.shape[-1]
    r = np.einsum("...ij,...il->...jl", unit, unit)
    own = (np.diagonal(r, axis1=-2, axis2=-1) ** 2).sum(-1)
    return np.asarray(((r**2).sum((-2, -1)) - own) / (k * (k - 1)))


def _inverse_trigamma(x: Floats) -> Floats:
    """y with trigamma(y) = x, by Newton's method (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(20):
        tri = special.polygamma(1, y)
        y = y + tri * (1 - tri / x) / special.polygamma(2, y)
    return np.asarray(np.clip(y, 1e-8, 1e8))


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
