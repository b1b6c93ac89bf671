"""The differences image by image: what of them is the seeds', and what the test images'."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.predictions import read_predictions
from harness.record import Run, paired
from harness.report.runs import Results
from harness.settings.study import Study
from harness.statistics.images import ImageEvidence, image_evidence

METRIC = "test_top1"
"""The error that is told apart image by image, whichever the study compares."""

IMAGE_COLUMNS = [
    "variant", "seeds", "images", "difference", "se_seeds", "se_images", "low", "high", "confidence",
    "only_variant_wrong", "only_baseline_wrong", "mcnemar_p", "seeds_with_p_below_alpha", "floor",
]  # fmt: skip


def evidence_rows(study: Study, results: Results) -> dict[str, ImageEvidence | None]:
    """Each variant's evidence; None where it and the baseline have no finished pair on the same images.

    From the predictions of the centre crop. Raises `UserError` for a table that is broken.
    """
    runs = {variant: results.finished(variant) for variant in study.variants}
    wrong = cache(lambda variant, seed: wrong_answers(runs[variant][seed]))
    evidence: dict[str, ImageEvidence | None] = {}
    for place, variant in enumerate(study.variants):
        if variant == study.baseline:
            continue
        seeds = paired(runs[variant], runs[study.baseline])
        arm, base = ([wrong(name, seed) for seed in seeds] for name in (variant, study.baseline))
        alike = len({len(answers) for answers in arm + base}) == 1
        rng = np.random.default_rng([20120930, place])  # the same report each time
        evidence[variant] = image_evidence(np.stack(arm), np.stack(base), rng, study.file.confidence) if alike else None
    return evidence


def wrong_answers(run: Run) -> NDArray[np.bool_]:
    """Which test images a finished run gets wrong, in the images' order. Raises `UserError` for a broken table."""
    table = read_predictions(run.folder.predictions, ["index", "correct"]).sort_by("index")
    return np.asarray(~table["correct"].to_numpy().astype(bool))


def evidence_csv(evidence: Mapping[str, ImageEvidence | None], confidence: float) -> list[dict[str, Any]]:
    """A row a variant; differences and standard errors in points."""
    table: list[dict[str, Any]] = []
    for variant, e in evidence.items():
        table.append({"variant": variant})
        if e:
            numbers = (
                e.seeds, e.images, e.mean, e.sd_seeds, e.sd_images, e.low, e.high, confidence, e.pooled.only_variant,
                e.pooled.only_baseline, e.pooled.p, sum(test.p <= 1 - confidence for test in e.per_seed), e.floor,
            )  # fmt: skip
            table[-1] |= dict(zip(IMAGE_COLUMNS[1:], numbers, strict=True))
    return table
