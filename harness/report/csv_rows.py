"""A report's CSV files: their columns, and their rows with every digit."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from harness.record import CURVE
from harness.report.format import value
from harness.report.runs import CANDIDATE, Results, rerun
from harness.report.variants import ERRORS, Candidate, Standing, VariantRow, errors_of
from harness.settings.study import Study

VARIANT_COLUMNS = [
    "variant", "changes", "declared", "finished", "diverged", "missing", "stale", "metric", "mean", "sd", "pairs",
    "seeds", "difference", "low", "high", "confidence", "test", "p", "adjusted_p", "margin", "adjusted_p_equivalent",
    "verdict", "alpha", "look", "interim", "detectable", "se", "df", "pooled", "standardised", "correlation",
    "unpaired_runs", "diverged_pairs", "sign_flip_p", "sign_flip_least_p", "sign_flip_adjusted_p", "paper_difference",
    "paper_where", "parameters", "wall_seconds", *ERRORS, "gap",
]  # fmt: skip


COMPARISON = {
    "adjusted_p": "adjusted", "adjusted_p_equivalent": "adjusted_equivalent", "unpaired_runs": "unpaired",
    "diverged_pairs": "diverged", "sign_flip_adjusted_p": "flip_adjusted",
} | {
    name: name
    for name in ("test", "alpha", "p", "margin", "detectable", "se", "df", "standardised", "correlation")
}  # fmt: skip
"""Columns that are a comparison's, and its attribute."""


def variants_csv(rows: list[VariantRow], candidate: Candidate | None, now: Standing) -> list[dict[str, Any]]:
    """A row a variant, and the candidate's: means over finished seeds, errors in percent, differences in points."""
    table = [_variant(row, now) for row in rows]
    return [*table, *([_candidate(candidate, rows[0].metric)] if candidate else [])]


def _variant(row: VariantRow, now: Standing) -> dict[str, Any]:
    d, c = row.difference, row.comparison
    values: dict[str, Any] = {
        "variant": row.variant,
        "changes": _changes(row.changes),
        "declared": row.declared,
        "finished": row.finished,
        **_statuses(cell.status for cell in row.unfinished),
        "metric": row.metric,
        "look": now.look,
        "interim": str(now.interim).lower(),
        "mean": row.error.mean,
        "sd": row.error.sd,
        "parameters": row.parameters,
        "wall_seconds": row.seconds,
        **{name: summary.mean for name, summary in row.errors.items() if name in VARIANT_COLUMNS},
    }
    if row.published and row.paper is not None:
        values |= {"paper_difference": row.paper, "paper_where": row.published.where}
    if not row.is_baseline:
        values |= {"pairs": d.n, "seeds": " ".join(map(str, d.seeds)), "difference": d.mean}
        values |= {"low": d.low, "high": d.high, "confidence": d.confidence}
    if c:
        values |= {name: getattr(c, attribute) for name, attribute in COMPARISON.items()}
        values |= {"verdict": c.verdict if c.in_family else None, "pooled": str(c.pooled).lower()}
        values |= {"sign_flip_p": c.flip.p, "sign_flip_least_p": c.flip.least}
    return values


def _candidate(candidate: Candidate, metric: str) -> dict[str, Any]:
    run, status = candidate.run, candidate.result.status
    values: dict[str, Any] = {
        "variant": CANDIDATE,
        "changes": _changes(candidate.changes),
        "declared": 1,
        "finished": int(run is not None),
        "metric": metric,
        **_statuses([status]),
    }
    if run:
        values |= {
            "mean": candidate.error,
            "pairs": int(candidate.difference is not None),
            "difference": candidate.difference,
            "parameters": run.provenance.parameters,
            "wall_seconds": run.provenance.wall_seconds,
            **{name: summary.mean for name, summary in errors_of([run]).items()},
        }
    return values


def _statuses(found: Iterable[str]) -> dict[str, int]:
    counts = Counter(found)
    return {status: counts[status] for status in ("diverged", "missing", "stale")}


def _changes(changes: dict[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{key}: {value(a)} -> {value(b)}" for key, (a, b) in changes.items())


CELL_COLUMNS = [
    "variant", "seed", "status", "note", *ERRORS, "test_loss", "diverged_epoch", "wall_seconds", "parameters",
    "fingerprint", "commit", "dirty", "code", "data", "batch_order", "augmentation", "losses", "weights", "device",
    "device_name", "threads", "cpu", "instructions", "os", "python", "torch", "numpy", "cuda", "cudnn", "packages",
    "command",
]  # fmt: skip


def cells_csv(results: Results) -> list[dict[str, Any]]:
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
        if cell.ended
        for row in cell.ended.history
    ]


MADE_BY = ["runs", "command"]
"""Columns of a table with a row a variant: its runs, as seed: fingerprint, and what makes them and the baseline's."""


def carried(study: Study, results: Results, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table with a row a variant, each with what made its numbers: see `MADE_BY`."""

    def made(variant: str) -> dict[str, str]:
        cells = [results.candidate] if variant == CANDIDATE else results.of(variant)
        runs = [f"{c.seed}: {c.run.fingerprint[:12]}" for c in cells if c and c.run and c.status == "finished"]
        pair = list(dict.fromkeys([variant, study.baseline]))
        return {"runs": "; ".join(runs), "command": rerun(study, [variant] if variant == CANDIDATE else pair)}

    return [row | made(row["variant"]) for row in table]
