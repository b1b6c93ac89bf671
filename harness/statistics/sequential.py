"""Looking at a study before it is done: what of alpha may be spent at each look, so that all looks together err alpha.

A study declares the numbers of seeds at which it may be looked at. Alpha is spent as by O'Brien and Fleming's boundary
(Lan and DeMets, Biometrika 70, 1983): almost nothing early, almost all of it at the end. The alpha of a look follows by
numerical integration of the joint normal distribution of the looks' statistics, as Armitage, McPherson and Rowe did it
(J. R. Stat. Soc. A 132, 1969); a t statistic is held against the same alpha ("significance level approach", Jennison
and Turnbull, Group Sequential Methods, 2000, section 4.4), which is an approximation: its error is simulated.
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from harness.statistics.models import Floats

NODES = 160
"""Of Gauss and Legendre's quadrature over the region in which a study goes on: errors below 1e-10."""

FARTHEST = 12.0
"""Standard deviations beyond which nothing of a normal distribution is left to integrate."""

LEAST = 1e-12
"""The smallest alpha of a look: below, an interval would have no ends that a number can hold."""


def spent(share: ArrayLike, alpha: float) -> Floats:
    """What of a two-sided `alpha` is spent at a share of the seeds, 0 to 1: half of it on each side.

    4 - 4 Phi(z / sqrt(share)), with z the quantile of 1 - alpha / 4.
    """
    part = np.asarray(share, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(4 * special.ndtr(special.ndtri(alpha / 4) / np.sqrt(part)))


@cache
def nominal(looks: tuple[int, ...], alpha: float, comparisons: int = 1) -> tuple[float, ...]:
    """The alpha of each look, for a study of so many comparisons: a family's adjusted p is held against it.

    `looks`: rising numbers of seeds, the last one the full number. Each comparison has an equal part of what is spent,
    so the bound of Bonferroni holds over looks and comparisons together, whatever they share; that is a little less
    than for one comparison, since the extremes of many come apart at different looks.
    """
    shares = np.array(looks, dtype=np.float64) / looks[-1]
    # A look never gives back what an earlier one was handed: rounding may make a part negative.
    parts = np.maximum(np.diff(spent(shares, alpha), prepend=0.0), 0) / comparisons
    walk, alphas = Walk(), []

    def excess(z: float, share: float, part: float) -> float:
        return walk.chance(z, share) - part

    for share, part in zip(shares.tolist(), parts.tolist(), strict=True):
        # The bound of this look alone is the smallest that there may be; at FARTHEST nothing is left to cross.
        high = min(FARTHEST, float(-special.ndtri(max(part, 1e-300) / 2)) + 1e-9)
        bound = high
        if part > 0 and excess(high, share, part) <= 0:
            bound = float(optimize.brentq(excess, 0.0, high, (share, part), xtol=1e-12))
        walk.cross(bound, share)
        alphas.append(float(max(LEAST, min(alpha, comparisons * 2 * special.ndtr(-bound)))))
    return tuple(alphas)


class Walk:
    """The sum of what the looks bring, a normal random walk over shares of the seeds, while no bound was crossed."""

    def __init__(self) -> None:
        self.share = 0.0
        self.places, self.density = np.zeros(1), np.ones(1)  # density times quadrature weights

    def chance(self, bound: float, share: float) -> float:
        """Of crossing `bound` in |z| at `share`, and at no look before."""
        edge, step = bound * np.sqrt(share), np.sqrt(share - self.share)
        over = special.ndtr((self.places - edge) / step) + special.ndtr((-edge - self.places) / step)
        return float(over @ self.density)

    def cross(self, bound: float, share: float) -> float:
        """The same, and go on from within the bound."""
        chance = self.chance(bound, share)
        edge, step = min(bound, FARTHEST) * np.sqrt(share), np.sqrt(share - self.share)
        x, weight = np.polynomial.legendre.leggauss(NODES)
        places = x * edge
        z = (places[:, None] - self.places) / step
        density = (np.exp(-(z**2) / 2) / (step * np.sqrt(2 * np.pi))) @ self.density
        self.share, self.places, self.density = share, places, density * weight * edge
        return chance
