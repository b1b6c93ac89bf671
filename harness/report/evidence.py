"""The differences image by image: what of them is the seeds', and what the test images'."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.predictions import read_predictions
from harness.record import Run, paired
from harness.report.cells import Results
from harness.report.markdown import code
from harness.report.numbers import NOTHING, decimals, number, p_value
from harness.report.words import METRICS
from harness.settings.study import Study
from harness.statistics.images import ImageEvidence, image_evidence

OWN = "test_top1"
"""The error that is told apart image by image, whichever the study compares."""

IMAGE_COLUMNS = [
    "variant", "seeds", "images", "difference", "se_seeds", "se_images", "low", "high", "confidence",
    "only_variant_wrong", "only_baseline_wrong", "mcnemar_p", "seeds_with_p_below_alpha", "floor",
]  # fmt: skip


@dataclass(frozen=True)
class EvidenceRow:
    """A variant's evidence; None where it and the baseline have no finished pair on the same images."""

    variant: str
    evidence: ImageEvidence | None


def evidence_rows(study: Study, results: Results) -> list[EvidenceRow]:
    """A row a variant, from the predictions of the centre crop. Raises `UserError` for a table that is broken."""
    runs = {variant: results.finished(variant) for variant in study.variants}
    wrong: dict[tuple[str, int], NDArray[np.bool_]] = {}
    base = study.baseline
    rows = []
    for number_of, variant in enumerate(study.variants):
        if variant == base:
            continue
        seeds = paired(runs[variant], runs[base])
        tables = []
        for name in (variant, base):
            for seed in seeds:
                if (name, seed) not in wrong:
                    wrong[name, seed] = wrong_answers(runs[name][seed])
            tables.append([wrong[name, seed] for seed in seeds])
        sizes = {len(answers) for table in tables for answers in table}
        if len(sizes) != 1:
            rows.append(EvidenceRow(variant, None))
            continue
        rng = np.random.default_rng([20120930, number_of])  # the same report each time
        rows.append(
            EvidenceRow(variant, image_evidence(np.stack(tables[0]), np.stack(tables[1]), rng, study.file.confidence))
        )
    return rows


def wrong_answers(run: Run) -> NDArray[np.bool_]:
    """Which test images a finished run gets wrong, in the images' order. Raises `UserError` for a broken table."""
    table = read_predictions(run.folder.predictions, ["index", "correct"])
    order = np.argsort(table["index"].to_numpy(), kind="stable")
    return np.asarray(~table["correct"].to_numpy().astype(bool)[order])


def evidence_csv(rows: Sequence[EvidenceRow], confidence: float) -> list[dict[str, Any]]:
    """A row a variant; differences and standard errors in points."""
    table = []
    for row in rows:
        own: dict[str, Any] = {"variant": row.variant}
        if row.evidence:
            e = row.evidence
            own |= {
                "seeds": e.seeds,
                "images": e.images,
                "difference": e.mean,
                "se_seeds": e.sd_seeds,
                "se_images": e.sd_images,
                "low": e.low,
                "high": e.high,
                "confidence": confidence,
                "only_variant_wrong": e.pooled.only_variant,
                "only_baseline_wrong": e.pooled.only_baseline,
                "mcnemar_p": e.pooled.p,
                "seeds_with_p_below_alpha": sum(one.p <= 1 - confidence for one in e.per_seed),
                "floor": e.floor,
            }
        table.append(own)
    return table


def evidence_section(rows: Sequence[EvidenceRow], metric: str) -> dict[str, Any]:
    """The section's rows and its sentences, ready for the template; empty without evidence.

    `other`: that the study compares another error, where it does; `floor`: what the test part's size fixes.
    """
    there = [row.evidence for row in rows if row.evidence]
    if not there:
        return {}
    floors, images = sorted(e.floor for e in there), there[0].images
    return {
        "rows": [_cells(row) for row in rows],
        "other": ""
        if metric == OWN
        else f" The study compares the {METRICS[metric]}; this section is of the top-1 error of the centre crop alone.",
        "floor": f"One run's error on {images:,} images has a standard error of {number(floors[-1])} points by the "
        "images alone (binomial); a difference of two runs on the same images has less, since most images are right or "
        "wrong in both.",
    }


def _cells(row: EvidenceRow) -> list[str]:
    e = row.evidence
    if e is None:
        return [code(row.variant), *[NOTHING] * 6]
    places = decimals(e.sd_seeds or e.sd_images)
    both = (
        f"{number(e.low, places, sign=True)} to {number(e.high, places, sign=True)}".replace(" ", "\N{NO-BREAK SPACE}")
        if e.low is not None
        else "no interval"
    )
    return [
        code(row.variant),
        number(e.mean, places, sign=True),
        number(e.sd_seeds, places),
        number(e.sd_images, places),
        both,
        f"{e.pooled.only_variant:,} : {e.pooled.only_baseline:,}",
        p_value(e.pooled.p),
    ]
