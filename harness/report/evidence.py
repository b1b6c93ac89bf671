"""The differences image by image: what of them is the seeds', and what the test images'."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.predictions import read_predictions
from harness.record import Run, paired
from harness.report.runs import Results
from harness.settings.study import Study
from harness.statistics.images import ImageEvidence, image_evidence

OWN = "test_top1"
"""The error that is told apart image by image, whichever the study compares."""

NUMBERS: dict[str, Callable[[ImageEvidence, float], float | None]] = {
    "seeds": lambda e, _: e.seeds,
    "images": lambda e, _: e.images,
    "difference": lambda e, _: e.mean,
    "se_seeds": lambda e, _: e.sd_seeds,
    "se_images": lambda e, _: e.sd_images,
    "low": lambda e, _: e.low,
    "high": lambda e, _: e.high,
    "confidence": lambda _, confidence: confidence,
    "only_variant_wrong": lambda e, _: e.pooled.only_variant,
    "only_baseline_wrong": lambda e, _: e.pooled.only_baseline,
    "mcnemar_p": lambda e, _: e.pooled.p,
    "seeds_with_p_below_alpha": lambda e, confidence: sum(one.p <= 1 - confidence for one in e.per_seed),
    "floor": lambda e, _: e.floor,
}
"""Columns of images.csv: what each is of a variant's evidence and the study's confidence."""

IMAGE_COLUMNS = ["variant", *NUMBERS]


def evidence_rows(study: Study, results: Results) -> dict[str, ImageEvidence | None]:
    """Each variant's evidence; None where it and the baseline have no finished pair on the same images.

    From the predictions of the centre crop. Raises `UserError` for a table that is broken.
    """
    runs = {variant: results.finished(variant) for variant in study.variants}
    wrong = cache(lambda variant, seed: wrong_answers(runs[variant][seed]))
    found: dict[str, ImageEvidence | None] = {}
    for place, variant in enumerate(study.variants):
        if variant == study.baseline:
            continue
        seeds = paired(runs[variant], runs[study.baseline])
        own, other = ([wrong(name, seed) for seed in seeds] for name in (variant, study.baseline))
        alike = len({len(answers) for answers in own + other}) == 1
        rng = np.random.default_rng([20120930, place])  # the same report each time
        found[variant] = image_evidence(np.stack(own), np.stack(other), rng, study.file.confidence) if alike else None
    return found


def wrong_answers(run: Run) -> NDArray[np.bool_]:
    """Which test images a finished run gets wrong, in the images' order. Raises `UserError` for a broken table."""
    table = read_predictions(run.folder.predictions, ["index", "correct"])
    order = np.argsort(table["index"].to_numpy(), kind="stable")
    return np.asarray(~table["correct"].to_numpy().astype(bool)[order])


def evidence_csv(found: Mapping[str, ImageEvidence | None], confidence: float) -> list[dict[str, Any]]:
    """A row a variant; differences and standard errors in points."""
    return [
        {"variant": variant} | {name: number(own, confidence) for name, number in NUMBERS.items() if own}
        for variant, own in found.items()
    ]
