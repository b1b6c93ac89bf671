"""The sign-flip test: exact, and it assumes nothing but that a difference is as likely as its negative.

Under that, each of the 2^n ways to choose the signs of n paired differences is equally likely; p is the share of them
whose sum is at least as far from zero. Its smallest two-sided p is 2 / 2^n.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from harness.statistics.models import Floats

EXACT = 16
"""Up to so many pairs every choice of signs is counted; above, so many are drawn."""

DRAWS = 19_999
"""Choices of signs that are drawn; with the observed one counted in, p is a multiple of 1 / 20,000."""

TIE = 1e-9
"""Sums that differ by less than this part of the largest are equal: values of counted images tie, their sums round."""


@dataclass(frozen=True)
class SignFlip:
    """p of the test (None for no pair), and the smallest p that it can give here."""

    p: float | None
    least: float | None

    def can_reject(self, alpha: float, comparisons: int = 1) -> bool:
        """Whether any data at all could be significant at this n, after Holm over so many comparisons."""
        return self.least is not None and self.least * comparisons <= alpha


def sign_flip(differences: ArrayLike) -> SignFlip:
    """The test of one comparison. Infinite differences are ranked (the worst rank); nan is refused."""
    d = np.asarray(differences, dtype=np.float64)
    if np.isnan(d).any():
        raise ValueError("got a difference that is not a number; leave its pair out and count it")
    n = len(d)
    if not n:
        return SignFlip(None, None)
    scores = signed_ranks(d) if np.isinf(d).any() else d
    if exact := n <= EXACT:
        flipped = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        flipped = np.random.default_rng(0).integers(0, 2, (DRAWS, n))
    sums = np.abs((1.0 - 2.0 * flipped) @ scores)
    hits = int((sums >= abs(scores.sum()) - TIE * np.abs(scores).sum()).sum())
    if exact:
        return SignFlip(hits / 2**n, 2.0 ** (1 - n))
    return SignFlip((hits + 1) / (DRAWS + 1), 1 / (DRAWS + 1))


def signed_ranks(differences: ArrayLike) -> Floats:
    """Ranks of the sizes with the signs of the differences; infinite ones are the largest, zeros rank 0."""
    d = np.asarray(differences, dtype=np.float64)
    ranks: Floats = np.zeros(d.shape)
    if (d != 0).any():
        ranks[d != 0] = stats.rankdata(np.abs(d[d != 0]))
    return ranks * np.sign(d)
