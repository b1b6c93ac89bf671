"""The differences image by image: what of them is the seeds', and what the test images'."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.predictions import read_predictions
from harness.record import Run, paired
from harness.report.cells import Results
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
