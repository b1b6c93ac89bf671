"""Many comparisons with one baseline: p-values adjusted over the declared family, and tests of equivalence.

All functions work along the last axis (one entry a comparison), so that ten thousand simulated studies pass through
what one study passes through. A p-value that is not there (nan) cannot be significant; it still counts as a member.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from scipy.interpolate import PchipInterpolator

from harness.statistics.models import Floats

Bound = Callable[[Floats, NDArray[np.bool_]], Floats]
"""Of `step_down`: (p, remaining) -> the chance that the least of the remaining p-values is at most p, or more."""

LARGEST = 40.0
"""Statistics above this are treated as this one: the p-value is then far below any that is printed."""


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979) along the last axis; nan stays nan."""
    values = np.asarray(p, dtype=np.float64)
    return step_down(values, lambda least, remaining: np.asarray(least * remaining.sum(-1)))


def step_down(p: Floats, bound: Bound) -> Floats:
    """Adjusted p-values of a step-down procedure along the last axis.

    `bound(p, remaining)`: an upper bound, over the hypotheses `remaining` (..., k), of the chance that the least of
    their p-values is at most `p` (...,) when they are all true. Valid whenever it grows with the set: then it is a
    shortcut of the closed test (Marcus, Peritz and Gabriel, Biometrika 63, 1976).
    """
    filled = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(filled, axis=-1, kind="stable")
    remaining = np.ones(p.shape, dtype=bool)
    adjusted = np.empty(p.shape)
    least = np.zeros(p.shape[:-1])
    for place in range(p.shape[-1]):
        which = order[..., place : place + 1]
        candidate = np.take_along_axis(filled, which, -1)[..., 0]
        least = np.maximum(least, np.minimum(bound(candidate, remaining), 1.0))
        np.put_along_axis(adjusted, which, least[..., None], -1)
        np.put_along_axis(remaining, which, False, -1)
    return np.where(np.isnan(p), np.nan, adjusted)


def many_to_one(p: ArrayLike, comparisons: int, df: int, correlation: float = 0.5) -> Floats:
    """Chance that the least of several two-sided p-values is at most `p`, when no variant differs from the baseline.

    Dunnett's distribution (JASA 50, 1955): `comparisons` t statistics over one residual with `df` degrees of freedom,
    all pairs correlated by `correlation` (.5: as many runs of the baseline as of each variant).
    """
    values = np.asarray(p, dtype=np.float64)
    if comparisons == 1:
        return values
    statistic = np.minimum(special.stdtrit(df, 1 - np.clip(values, 1e-300, 1.0) / 2), LARGEST)
    log_odds = _many_to_one(comparisons, df, round(correlation, 6))(statistic)
    # Between the single p and the sum of all, whatever the interpolation does far out.
    return np.asarray(np.clip(special.expit(log_odds), values, np.minimum(comparisons * values, 1.0)))


@cache
def critical_value(alpha: float, comparisons: int, df: int, correlation: float = 0.5) -> float:
    """The |t| that the largest of several exceeds in a share `alpha` of studies where no variant differs."""

    def excess(statistic: float) -> float:
        return float(_exceeds(np.array([statistic]), comparisons, df, correlation)[0]) - alpha

    # Between the critical value of one comparison and Bonferroni's.
    low, high = (float(stats.t.isf(alpha / 2 / m, df)) for m in (1, comparisons))
    return float(optimize.brentq(excess, low - 0.01, high + 0.01, xtol=1e-10))


@cache
def _many_to_one(comparisons: int, df: int, correlation: float) -> PchipInterpolator:
    grid = np.concatenate([np.linspace(0, 8, 321), np.geomspace(8.1, LARGEST, 40)])
    chance = np.clip(_exceeds(grid, comparisons, df, correlation), 1e-14, 1 - 1e-14)
    return PchipInterpolator(grid, special.logit(chance))


def _exceeds(statistic: Floats, comparisons: int, df: int, correlation: float) -> Floats:
    """P(max |T| > statistic), by quadrature over the baseline's mean and the residual's scale."""
    nodes, weights, u, share = _quadrature()
    scale = np.sqrt(special.chdtri(df, 1 - u) / df)  # quantiles of the residual's sd
    c = statistic[:, None, None] * scale[None, :, None]
    shift, rest = np.sqrt(correlation) * nodes, np.sqrt(1 - correlation)
    inside = special.ndtr((c - shift) / rest) - special.ndtr((-c - shift) / rest)
    # 1 - inside^m without the loss of digits.
    outside = -np.expm1(comparisons * np.log(np.maximum(inside, 1e-300)))
    return np.asarray((outside @ weights) @ share)


@cache
def _quadrature() -> tuple[Floats, Floats, Floats, Floats]:
    """Nodes and weights for a standard normal (one side: the other gives the same) and for a chance within (0, 1)."""
    x, normal = np.polynomial.hermite_e.hermegauss(64)
    v, uniform = np.polynomial.legendre.leggauss(96)
    v = (1 + v) / 2
    # Most nodes at the ends: small p-values come from residuals that are small by chance.
    u, slope = v**4 * (35 - 84 * v + 70 * v**2 - 20 * v**3), 140 * (v * (1 - v)) ** 3
    return x[32:], 2 * normal[32:] / normal.sum(), u, slope * uniform / 2


def two_sided(mean: ArrayLike, se: ArrayLike, df: ArrayLike) -> Floats:
    """Two-sided p of t = mean / se; nan where se is not above zero."""
    return 2 * _lower(-np.abs(mean), se, df)


def equivalence(mean: ArrayLike, se: ArrayLike, df: ArrayLike, margin: float | None) -> Floats:
    """p of two one-sided tests (Schuirmann 1987): the larger of those of `below -margin` and `above margin`.

    nan where se is not above zero, and without a margin.
    """
    return _lower(np.abs(mean) - (np.nan if margin is None else margin), se, df)


def _lower(value: ArrayLike, se: ArrayLike, df: ArrayLike) -> Floats:
    v, s, d = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (value, se, df)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((s > 0) & (d > 0), special.stdtr(d, v / s), np.nan)
