"""The tables of a report: what is compared and what comes out, as rows of numbers. How they look is decided elsewhere."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from harness.report.cells import CURVE, Result, Results, Run
from harness.report.numbers import binomial_sd
from harness.settings.study import Published, Study
from harness.statistics.paired import Difference, Summary, compare, summarise

ERRORS = (
    "test_top1",
    "test_top1_10crop",
    "test_top5",
    "test_top5_10crop",
    "train_top1",
    "train_top5",
    "validation_top1",
    "validation_top5",
)
"""Errors of a run, in percent, where its data has them."""


@dataclass(frozen=True)
class VariantRow:
    """A variant against the baseline.

    `changes`: setting -> (baseline's, variant's). `errors`: each of ERRORS over the finished seeds, where every one of
    them has it; the study's `metric` is among them. `difference`: over complete pairs. `seconds`: mean wall time.
    """

    variant: str
    is_baseline: bool
    changes: dict[str, tuple[Any, Any]]
    declared: int
    finished: int
    unfinished: list[Result]
    metric: str
    errors: dict[str, Summary]
    difference: Difference
    published: Published | None
    parameters: int | None
    seconds: float | None
    test_images: int | None

    @property
    def error(self) -> Summary:
        return self.errors.get(self.metric, summarise([]))

    @property
    def floor(self) -> float | None:
        """Standard error of one run's error on so many test images, in points: what its digits are worth by itself."""
        if self.error.mean is None or not self.test_images:
            return None
        return binomial_sd(self.error.mean, self.test_images)

    @property
    def gap(self) -> Summary | None:
        """Test error less training error: how much the net has learned by heart."""
        return self.errors.get("gap")


def variant_rows(study: Study, results: Results) -> list[VariantRow]:
    """A row a variant, in the order of the study."""
    baseline = results.finished(study.baseline)
    return [_row(study, results, variant, baseline) for variant in study.variants]


def _row(study: Study, results: Results, variant: str, baseline: dict[int, Run]) -> VariantRow:
    runs = results.finished(variant)
    cells = results.of(variant)
    first = next(iter(runs.values()), None)
    return VariantRow(
        variant,
        variant == study.baseline,
        study.differences(variant),
        len(cells),
        len(runs),
        [cell for cell in cells if cell.status != "finished"],
        study.file.metric,
        _errors(list(runs.values())),
        pair(runs, baseline, study.file.metric, study.file.confidence),
        study.published.get(variant),
        first.provenance.parameters if first else None,
        summarise(run.provenance.wall_seconds for run in runs.values()).mean,
        first.images.counts.get("test") if first else None,
    )


def pair(runs: dict[int, Run], baseline: dict[int, Run], metric: str, confidence: float) -> Difference:
    """Compare runs by seed. A pair is complete when both have finished, on the same images."""
    seeds = [s for s in runs if s in baseline and runs[s].images.hash == baseline[s].images.hash]
    return compare(
        {seed: runs[seed].metrics[metric] for seed in seeds},
        {seed: baseline[seed].metrics[metric] for seed in seeds},
        confidence,
    )


def _errors(runs: list[Run]) -> dict[str, Summary]:
    summaries = {
        name: summarise(run.metrics[name] for run in runs)
        for name in ERRORS
        if runs and all(name in run.metrics for run in runs)
    }
    if {"test_top1", "train_top1"} <= summaries.keys():
        summaries["gap"] = summarise(run.metrics["test_top1"] - run.metrics["train_top1"] for run in runs)
    return summaries


def other_crop(metric: str) -> str:
    """The test error of the way of cropping that the study does not compare."""
    return "test_top1" if metric == "test_top1_10crop" else "test_top1_10crop"


# ---- as CSV: rows with every digit, and their columns


VARIANT_COLUMNS = [
    "variant", "changes", "declared", "finished", "diverged", "missing", "stale", "metric", "mean", "sd", "pairs",
    "difference", "low", "high", "confidence", "paper_difference", "paper_where", "parameters", "wall_seconds",
    *ERRORS, "gap",
]  # fmt: skip


def variants_csv(rows: list[VariantRow]) -> list[dict[str, Any]]:
    """A row a variant: means over its finished seeds, errors in percent, differences in points."""
    table = []
    for row in rows:
        states = Counter(cell.status for cell in row.unfinished)
        table.append(
            {
                "variant": row.variant,
                "changes": "; ".join(f"{key}: {a} -> {b}" for key, (a, b) in row.changes.items()),
                "declared": row.declared,
                "finished": row.finished,
                **{status: states[status] for status in ("diverged", "missing", "stale")},
                "metric": row.metric,
                "mean": row.error.mean,
                "sd": row.error.sd,
                "parameters": row.parameters,
                "wall_seconds": row.seconds,
                **{name: summary.mean for name, summary in row.errors.items()},
            }
        )
        if row.published:
            table[-1] |= {"paper_difference": row.published.top1, "paper_where": row.published.where}
        if not row.is_baseline:
            d = row.difference
            table[-1] |= {
                "pairs": d.n,
                "difference": d.mean,
                "low": d.low,
                "high": d.high,
                "confidence": d.confidence,
            }
    return table


CELL_COLUMNS = [
    "variant", "seed", "status", "note", *ERRORS, "test_loss", "diverged_epoch", "wall_seconds", "parameters",
    "fingerprint", "commit", "dirty", "code", "data", "batch_order", "augmentation", "losses", "weights", "device",
    "device_name", "threads", "cpu", "os", "python", "torch", "numpy", "cuda", "cudnn", "packages", "command",
]  # fmt: skip


def cells_csv(results: Results) -> list[dict[str, Any]]:
    """A row a declared cell, and the candidate's."""
    table = []
    for cell in results.all:
        row: dict[str, Any] = {"variant": cell.variant, "seed": cell.seed, "status": cell.status, "note": cell.note}
        if cell.run:
            run = cell.run
            stored = {
                **run.provenance.machine,
                **run.provenance.versions,
                **run.provenance.model_dump(),
                **run.hashes.model_dump(),
                **run.metrics,
                "fingerprint": run.fingerprint,
                "diverged_epoch": run.diverged_epoch,
            }
            row |= {key: stored.get(key) for key in CELL_COLUMNS if key not in row}
        table.append(row)
    return table


CURVE_COLUMNS = ["variant", "seed", "status", "epoch", *CURVE]


def curves_csv(results: Results) -> list[dict[str, Any]]:
    """A row an epoch of every run that counts or diverged, and of the candidate; a loss that is not finite as it is."""
    return [
        {"variant": cell.variant, "seed": cell.seed, "status": cell.status, **row}
        for cell in results.all
        if cell.run and cell.status in ("finished", "diverged")
        for row in cell.run.history
    ]


def chance(results: Results) -> tuple[int, float] | None:
    """Classes, and the error in percent of guessing one of them at random; None before any run is there."""
    classes = {cell.run.images.classes for cell in results.cells if cell.run and cell.status != "stale"}
    return (min(classes), 100 * (1 - 1 / min(classes))) if classes else None
