"""Evidence image by image: what part of a difference is the seeds', what part the test images'.

For a variant and the baseline, `wrong` is a table (seeds, images) of booleans over the same seeds and images. The
paired difference of one image and seed is 1, 0 or -1. Two populations are told apart: other seeds on these images (the
interval of the report's table), and other seeds on other images of the same kind (here). All in points of error.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.statistics.models import half_width

Booleans = NDArray[np.bool_]

RESAMPLES = 1000
"""Of the bootstrap: its ends are then known to about a thirtieth of its width."""


@dataclass(frozen=True)
class McNemar:
    """Images that one of two nets alone gets wrong, and the two-sided p that both err alike.

    `only_variant`, `only_baseline`: such images. `p`: exact binomial for one seed; 1 where there is no such image.
    """

    only_variant: int
    only_baseline: int
    p: float


@dataclass(frozen=True)
class ImageEvidence:
    """One variant against the baseline over seeds and images; differences in points.

    `per_seed`: McNemar's test of each pair of nets. `pooled`: the images' counts added over the seeds; its p takes an
    image as one draw, however many seeds answer it (Durkalski et al. 2003): it speaks of other images with these nets.
    `sd_seeds`, `sd_images`: standard errors of the mean difference from drawing the seeds alone, and the images alone.
    `low`, `high`: two-level bootstrap, of new seeds and new images; None for a single seed. `floor`: standard error of
    one net's error on so many images (binomial).
    """

    seeds: int
    images: int
    mean: float
    per_seed: tuple[McNemar, ...]
    pooled: McNemar
    sd_seeds: float | None
    sd_images: float
    low: float | None
    high: float | None
    floor: float


def mcnemar(variant: Booleans, baseline: Booleans) -> McNemar:
    """McNemar's exact test of two nets on the same images."""
    only_variant, only_baseline = int((variant & ~baseline).sum()), int((baseline & ~variant).sum())
    total = only_variant + only_baseline
    return McNemar(only_variant, only_baseline, float(stats.binomtest(only_variant, total).pvalue) if total else 1.0)


def image_evidence(
    variant: Booleans, baseline: Booleans, rng: np.random.Generator, confidence: float = 0.95
) -> ImageEvidence:
    """Compare tables (seeds, images) of wrong answers. Raises `ValueError` for unequal shapes and empty tables."""
    if variant.shape != baseline.shape or variant.ndim != 2 or not variant.size:
        raise ValueError(f"got {variant.shape} and {baseline.shape}; two equal shapes (seeds, images) are allowed")
    seeds, images = variant.shape
    difference = variant.astype(np.int8) - baseline.astype(np.int8)
    mean, error = 100 * float(difference.mean()), float(baseline.mean())
    per_seed = tuple(mcnemar(one, other) for one, other in zip(variant, baseline, strict=True))
    totals = difference.sum(0, dtype=np.int64).astype(np.float64)
    squares = float((totals**2).sum())
    pooled_p = float(2 * stats.norm.sf(abs(totals.sum()) / math.sqrt(squares))) if squares else 1.0
    pooled = McNemar(int((difference > 0).sum()), int((difference < 0).sum()), pooled_p)
    sd_seeds = 100 * float(difference.mean(1).std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else None
    sd_images = 100 * float(difference.mean(0).std(ddof=1)) / math.sqrt(images) if images > 1 else 0.0
    low, high = (None, None) if sd_seeds is None else _two_level(difference, rng, confidence, sd_seeds / 100)
    floor = 100 * math.sqrt(error * (1 - error) / images)
    return ImageEvidence(seeds, images, mean, per_seed, pooled, sd_seeds, sd_images, low, high, floor)


def _two_level(
    difference: NDArray[np.int8], rng: np.random.Generator, confidence: float, by_seeds: float
) -> tuple[float, float]:
    """Interval over seeds and images drawn anew with replacement (Owen 2007), in points.

    A bootstrap over n seeds shows (n - 1) / n of their variance, so their part is widened by the root of n / (n - 1).
    Percentiles of so few seeds would be far too close; the draws give the standard error, and Student's t the interval,
    with the degrees of freedom (Satterthwaite) of a variance of which the seeds' part has n - 1. `by_seeds`: the
    seeds' standard error.
    """
    seeds = len(difference)
    overall = float(difference.mean())
    by_seed = difference.mean(1)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    widen = math.sqrt(seeds / (seeds - 1)) - 1
    draws = widen * (weights @ by_seed - overall) + _image_draws(difference, weights, rng)
    # Never below the seeds' part alone, which the draws know with an error of their own.
    se = max(float(draws.std(ddof=1)), by_seeds)
    df = (seeds - 1) * (se / by_seeds) ** 4 if by_seeds else math.inf
    half = float(half_width(se, df, confidence))
    return 100 * (overall - half), 100 * (overall + half)


def _image_draws(
    difference: NDArray[np.int8], weights: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means over images drawn anew, with the seeds weighted: (resamples, seeds) -> (resamples,).

    Images with the same answers are alike, and with few seeds there are few kinds: then how many of each kind are drawn
    is enough.
    """
    images = difference.shape[1]
    kinds, counts = np.unique(difference, axis=1, return_counts=True)
    if kinds.shape[1] * 8 < images:
        drawn = rng.multinomial(images, counts / images, len(weights))
        return np.asarray((drawn * (weights @ kinds)).sum(1) / images)
    table = difference.astype(np.float32)
    means = [
        (weight @ table)[rng.integers(0, images, images, dtype=np.int32)].mean(dtype=np.float64)
        for weight in weights.astype(np.float32)
    ]
    return np.array(means)
