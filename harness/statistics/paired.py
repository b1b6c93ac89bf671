"""Paired comparison: two variants, run with the same seeds, compared seed by seed.

A seed fixes initial weights, batch order and augmentation for every variant alike, so what two runs of one seed share
cancels in their difference. The interval is Student's t over these differences: it speaks of other seeds on the same
images.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

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
    return Summary(
        len(array), float(array.mean()) if len(array) else None, spread(array, array) if len(array) > 1 else None
    )


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
        half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * sd / math.sqrt(n)
        low, high = mean - half, mean + half
    return Difference(seeds, tuple(differences.tolist()), mean, sd, low, high, confidence)


def _finite(values: Iterable[float]) -> np.ndarray:
    array = np.array(list(values), dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"got {array.tolist()}; finite numbers are allowed")
    return array


def spread(values: np.ndarray, size: np.ndarray) -> float:
    """The sd (ddof 1) of values that were computed from others as large as `size`; 0 where it is rounding alone."""
    sd = float(values.std(ddof=1))
    return 0.0 if sd <= NO_SPREAD * float(abs(size).max()) else sd
