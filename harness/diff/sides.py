"""One side of a comparison of two reports: its rows and its runs, as its tables and the runs' own records have them."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.diff.source import Source
from harness.errors import UserError

ENVIRONMENT = (
    "device", "device_name", "threads", "cpu", "instructions", "os", "python", "torch", "numpy", "cuda", "cudnn",
)  # fmt: skip
"""Columns of cells.csv that say where a run was computed. An older report may lack one."""

RULE = ("metric", "test", "alpha", "margin", "confidence", "look", "interim")
"""Columns of variants.csv that say how a row was judged."""


@dataclass(frozen=True)
class Run:
    """A run of a side. `error`: by the study's metric; None where it has none. `settings`: none where not recorded.

    `environment`: what the columns of `ENVIRONMENT` say, of those that the report has.
    """

    seed: int
    status: str
    error: float | None
    fingerprint: str
    weights: str
    code: str
    data: str
    environment: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A variant's row. `verdict`: empty where none was given. `seeds`: of the pairs that its estimate is made of."""

    variant: str
    difference: float | None
    low: float | None
    high: float | None
    verdict: str
    seeds: tuple[int, ...]
    rule: Mapping[str, str]


@dataclass(frozen=True)
class Side:
    """A report. `runs`: variant -> seed -> run, of all that are there; `rows`: of all variants but the baseline."""

    name: str
    baseline: str
    rows: dict[str, Row]
    runs: dict[str, dict[int, Run]]

    def compared(self, variant: str) -> dict[int, float]:
        """Differences to the baseline over the seeds of the row's estimate."""
        own, base = self.runs[variant], self.runs[self.baseline]
        pairs = {seed: (own[seed].error, base[seed].error) for seed in self.rows[variant].seeds}
        return {seed: a - b for seed, (a, b) in pairs.items() if a is not None and b is not None}


def read_side(source: Source) -> Side:
    """Read a report's tables and its runs' records. Raises `UserError` when they are not a report's."""
    tables = source.read(["variants.csv", "cells.csv"])
    for file in ("variants.csv", "cells.csv"):
        if file not in tables:
            raise UserError(f"{source.name}: {file}: no such file; not a report")
    try:
        return _side(source, _table(tables["variants.csv"]), _table(tables["cells.csv"]))
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"{source.name}: its tables are not a report's: {error!r}; make the report again") from error


def _table(text: str) -> list[dict[str, str]]:
    # The candidate is no declared row: it has no verdict, and one run.
    return [row for row in csv.DictReader(io.StringIO(text)) if row["variant"] != "candidate"]


def _side(source: Source, variants: list[dict[str, str]], cells: list[dict[str, str]]) -> Side:
    baselines = [row["variant"] for row in variants if not row["pairs"]]
    if len(baselines) != 1:
        raise ValueError(f"{len(baselines)} rows without a comparison")
    metric = variants[0]["metric"]
    there = [cell for cell in cells if cell["fingerprint"] and cell["status"] in ("finished", "diverged")]
    keys = [f"cells/{cell['variant']}-{cell['seed']}" for cell in there]
    records = source.read([f"{key}/{file}.json" for key in keys for file in ("config", "metrics")])
    runs: dict[str, dict[int, Run]] = {row["variant"]: {} for row in variants}
    for cell, key in zip(there, keys, strict=True):
        config, metrics = (records.get(f"{key}/{file}.json") for file in ("config", "metrics"))
        run = _run(f"{source.name}: {key}", cell, metric, config, metrics)
        runs[cell["variant"]][run.seed] = run
    (baseline,) = baselines
    others = [row for row in variants if row["variant"] != baseline]
    rows = {row["variant"]: _row(row, runs[row["variant"]], runs[baseline]) for row in others}
    return Side(source.name, baseline, rows, runs)


def _run(where: str, cell: dict[str, str], metric: str, config: str | None, metrics: str | None) -> Run:
    record = json.loads(config) if config else {}
    if record.get("fingerprint", cell["fingerprint"]) != cell["fingerprint"]:
        raise UserError(f"{where}: another run than the one in cells.csv; make the report again")
    settings = record.get("settings", {})
    stored = cell.get(metric) or (json.loads(metrics).get(metric) if metrics else None)
    return Run(
        int(cell["seed"]),
        cell["status"],
        _number(stored) if cell["status"] == "finished" else None,
        cell["fingerprint"],
        cell["weights"],
        cell["code"],
        cell["data"],
        {name: cell[name] or "none" for name in ENVIRONMENT if name in cell},
        settings,
    )


def _row(row: dict[str, str], own: dict[int, Run], base: dict[int, Run]) -> Row:
    if row.get("seeds"):
        seeds = tuple(int(seed) for seed in row["seeds"].split())
    else:  # a report of before the column: every complete pair on the same images
        seeds = tuple(
            s for s in own if s in base and own[s].data == base[s].data and None not in (own[s].error, base[s].error)
        )
    return Row(
        row["variant"],
        _number(row["difference"]),
        _number(row["low"]),
        _number(row["high"]),
        row.get("verdict") or "",
        seeds,
        {name: row.get(name) or _without(name, row) for name in RULE},
    )


def _without(name: str, row: dict[str, str]) -> str:
    """What a rule was that an older report has no column of."""
    if name == "alpha" and row["confidence"]:
        return f"{round(1 - float(row['confidence']), 12):g}"
    return "false" if name == "interim" else "none"


def _number(text: Any) -> float | None:
    if text is None or text == "":
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
