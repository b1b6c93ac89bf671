"""A report's CSV files: their columns, and their rows with every digit."""

from collections import Counter
from typing import Any

from harness.record import CURVE
from harness.report.candidate import Candidate
from harness.report.cells import CANDIDATE, Results
from harness.report.looks import Standing
from harness.report.numbers import value
from harness.report.tables import ERRORS, VariantRow, errors_of
from harness.statistics.comparison import Comparison

UNFINISHED = ("diverged", "missing", "stale")

VARIANT_COLUMNS = [
    "variant", "changes", "declared", "finished", "diverged", "missing", "stale", "metric", "mean", "sd", "pairs",
    "seeds", "difference", "low", "high", "confidence", "test", "p", "adjusted_p", "margin", "adjusted_p_equivalent",
    "verdict", "alpha", "look", "interim", "detectable", "se", "df", "pooled", "standardised", "correlation",
    "unpaired_runs", "diverged_pairs", "sign_flip_p", "sign_flip_least_p", "sign_flip_adjusted_p", "paper_difference",
    "paper_where", "parameters", "wall_seconds", *ERRORS, "gap",
]  # fmt: skip


def variants_csv(rows: list[VariantRow], candidate: Candidate | None, now: Standing) -> list[dict[str, Any]]:
    """A row a variant, and the candidate's: means over finished seeds, errors in percent, differences in points."""
    table = []
    for row in rows:
        states: Counter[str] = Counter(cell.status for cell in row.unfinished)
        table.append(
            {
                "variant": row.variant,
                "changes": _changes(row.changes),
                "declared": row.declared,
                "finished": row.finished,
                **dict.fromkeys(UNFINISHED, 0),
                **states,
                "metric": row.metric,
                "look": now.look,
                "interim": str(now.interim).lower(),
                "mean": row.error.mean,
                "sd": row.error.sd,
                "parameters": row.parameters,
                "wall_seconds": row.seconds,
                **{name: summary.mean for name, summary in row.errors.items() if name in VARIANT_COLUMNS},
            }
        )
        if row.published and row.paper is not None:
            table[-1] |= {"paper_difference": row.paper, "paper_where": row.published.where}
        if not row.is_baseline:
            d = row.difference
            table[-1] |= {
                "pairs": d.n,
                "seeds": " ".join(map(str, d.seeds)),
                "difference": d.mean,
                "low": d.low,
                "high": d.high,
                "confidence": d.confidence,
            }
        if row.comparison:
            table[-1] |= _comparison_csv(row.comparison)
    return [*table, *([_candidate_csv(candidate, rows[0].metric)] if candidate else [])]


def _comparison_csv(c: Comparison) -> dict[str, Any]:
    return {
        "test": c.test,
        "alpha": c.alpha,
        "p": c.p,
        "adjusted_p": c.adjusted,
        "margin": c.margin,
        "adjusted_p_equivalent": c.adjusted_equivalent,
        "verdict": c.verdict if c.in_family else None,
        "detectable": c.detectable,
        "se": c.se,
        "df": c.df,
        "pooled": str(c.pooled).lower(),
        "standardised": c.standardised,
        "correlation": c.correlation,
        "unpaired_runs": c.unpaired,
        "diverged_pairs": c.diverged,
        "sign_flip_p": c.flip.p,
        "sign_flip_least_p": c.flip.least,
        "sign_flip_adjusted_p": c.flip_adjusted,
    }


def _candidate_csv(candidate: Candidate, metric: str) -> dict[str, Any]:
    result = candidate.result
    row: dict[str, Any] = {
        "variant": CANDIDATE,
        "changes": _changes(candidate.changes),
        "declared": 1,
        "finished": int(result.status == "finished"),
        "metric": metric,
        **{status: int(result.status == status) for status in UNFINISHED},
    }
    if result.run and result.status == "finished":
        row |= {
            "mean": candidate.error,
            "pairs": int(candidate.difference is not None),
            "difference": candidate.difference,
            "parameters": result.run.provenance.parameters,
            "wall_seconds": result.run.provenance.wall_seconds,
            **{name: summary.mean for name, summary in errors_of([result.run]).items()},
        }
    return row


def _changes(changes: dict[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{key}: {value(a)} -> {value(b)}" for key, (a, b) in changes.items())


CELL_COLUMNS = [
    "variant", "seed", "status", "note", *ERRORS, "test_loss", "diverged_epoch", "wall_seconds", "parameters",
    "fingerprint", "commit", "dirty", "code", "data", "batch_order", "augmentation", "losses", "weights", "device",
    "device_name", "threads", "cpu", "instructions", "os", "python", "torch", "numpy", "cuda", "cudnn", "packages",
    "command",
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
    """A row an epoch of every run that counts or diverged, and of the candidate; what is not finite stays as it is.

    Six digits are more than a curve needs, and keep a large study's file small; all of them are in its history.csv.
    """
    return [
        {"variant": cell.variant, "seed": cell.seed, "status": cell.status, "epoch": int(row["epoch"])}
        | {column: float(f"{row[column]:.6g}") for column in CURVE}
        for cell in results.all
        if cell.run and cell.status in ("finished", "diverged")
        for row in cell.run.history
    ]
