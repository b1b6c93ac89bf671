"""The sign-flip test: exact, and it assumes nothing but that a difference is as likely as its negative.

Under that, each of the 2^n ways to choose the signs of n paired differences is equally likely; p is the share of them
whose sum is at least as far from zero. Its smallest two-sided p is 2 / 2^n.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

EXACT = 16
"""Up to so many pairs every choice of signs is counted; above, so many are drawn."""

DRAWS = 19_999
"""Choices of signs that are drawn; with the observed one counted in, p is a multiple of 1 / 20,000."""

TIE = 1e-9
"""Sums that differ by less than this part of the largest are equal: values of counted images tie, their sums round."""


@dataclass(frozen=True)
class SignFlip:
    """p of the test (None for no pair), and the smallest p that it can give here.

    `ranked`: whether signed ranks were flipped instead of the differences, since some are infinite (a diverged run).
    """

    p: float | None
    least: float | None
    exact: bool
    ranked: bool

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
        return SignFlip(None, None, True, False)
    ranked = bool(np.isinf(d).any())
    scores = signed_ranks(d) if ranked else d
    exact = n <= EXACT
    p = float(sign_flip_p(scores[None])[0])
    least = 2.0 ** (1 - n) if exact else 1 / (DRAWS + 1)
    return SignFlip(p, least, exact, ranked)


def signed_ranks(differences: ArrayLike) -> Floats:
    """Ranks of the sizes with the signs of the differences; infinite ones are the largest, zeros rank 0."""
    d = np.asarray(differences, dtype=np.float64)
    ranks: Floats = np.zeros(d.shape)
    size = np.abs(d)
    if (d != 0).any():
        ranks[d != 0] = stats.rankdata(size[d != 0])
    return ranks * np.sign(d)


def sign_flip_p(differences: ArrayLike, alternative: str = "two-sided") -> Floats:
    """p of many comparisons at once: differences (..., n), p (...,). `alternative`: two-sided, greater or less."""
    d = np.asarray(differences, dtype=np.float64)
    n = d.shape[-1]
    flat = d.reshape(-1, n)
    signs, exact = _signs(n)
    sign = {"two-sided": 1.0, "greater": 1.0, "less": -1.0}[alternative]
    hits = np.zeros(len(flat))
    step = max(1, 20_000_000 // len(signs))
    for start in range(0, len(flat), step):
        part = sign * flat[start : start + step].T
        observed = part.sum(0)
        slack = TIE * np.abs(part).sum(0)
        sums = signs @ part
        if alternative == "two-sided":
            sums, observed = np.abs(sums), np.abs(observed)
        hits[start : start + step] = (sums >= observed - slack).sum(0)
    p = hits / len(signs) if exact else (hits + 1) / (len(signs) + 1)
    return np.minimum(p, 1.0).reshape(d.shape[:-1])


def _signs(n: int) -> tuple[Floats, bool]:
    """Choices of signs (choices, n): all of them, or drawn ones."""
    if n <= EXACT:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return np.asarray(1.0 - 2.0 * bits, dtype=np.float64), True
    drawn = np.random.default_rng(0).integers(0, 2, (DRAWS, n))
    return np.asarray(1.0 - 2.0 * drawn, dtype=np.float64), False
