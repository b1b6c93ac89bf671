"""How far apart two equal nets of one seed are by chance, as the study's finished runs have it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Noise:
    """Scatter of one seed's difference, in points.

    `sd`: its standard deviation, pooled over `variants` and `pairs` of runs; without a variant it is that of two
    independent runs of the baseline, of which there are `pairs`. `half`: a difference of equal nets is within -half
    and +half with the `confidence`. `df`: degrees of freedom of Student's t behind it.
    """

    sd: float
    variants: int
    pairs: int
    df: int
    half: float
    confidence: float


def noise(errors: Mapping[str, Mapping[int, float]], baseline: str, confidence: float) -> Noise | None:
    """From finite errors, variant -> seed -> percent; None where fewer than two seeds are finished.

    The variances of the variants' paired differences to the baseline, about each one's mean, are pooled by their
    degrees of freedom. All differences share the baseline's runs, so t has only those of the largest set of seeds.
    """
    base = errors.get(baseline, {})
    tables = [
        np.array([own[seed] - base[seed] for seed in sorted(own.keys() & base.keys())])
        for name, own in errors.items()
        if name != baseline
    ]
    tables = [values for values in tables if len(values) > 1]
    if tables:
        freedom = [len(values) - 1 for values in tables]
        variance = sum(d * float(values.var(ddof=1)) for d, values in zip(freedom, tables, strict=True)) / sum(freedom)
        return _noise(math.sqrt(variance), len(tables), sum(map(len, tables)), max(freedom), confidence)
    if len(base) < 2:
        return None
    # Two independent runs: twice the variance of one. What a seed does to both alike would cancel in a pair.
    sd = math.sqrt(2) * float(np.std(list(base.values()), ddof=1))
    return _noise(sd, 0, len(base), len(base) - 1, confidence)


def _noise(sd: float, variants: int, pairs: int, df: int, confidence: float) -> Noise:
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * sd
    return Noise(sd, variants, pairs, df, half, confidence)
