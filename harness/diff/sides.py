"""One side of a comparison of two reports: its rows and its runs, as its tables and the runs' own records have them."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from harness.diff.source import Source
from harness.errors import UserError
from harness.record import Config, RunFolder, paired, parse_metrics
from harness.settings.parse import parse

ENVIRONMENT = (
    "device", "device_name", "threads", "cpu", "instructions", "os", "python", "torch", "numpy", "cuda", "cudnn",
)  # fmt: skip
"""Columns of cells.csv that say where a run was computed. An older report may lack one."""

RULE = ("metric", "test", "alpha", "margin", "confidence", "look", "interim")
"""Columns of variants.csv that say how a row was judged."""


@dataclass(frozen=True)
class Run:
    """A run of a side. `error`: by the study's metric; None where it has none. `settings`: none where not recorded.

    `code`: numerics identity; in reports of before there was one, the hash of the code.
    `environment`: what the columns of `ENVIRONMENT` say, of those that the report has.
    """

    seed: int
    status: str
    error: float | None
    fingerprint: str
    weights: str
    code: str
    images_hash: str
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
    places = [_places(f"{cell['variant']}-{cell['seed']}") for cell in there]
    files = source.read([file.as_posix() for place in places for file in (*place.now, *place.before)])
    runs: dict[str, dict[int, Run]] = {row["variant"]: {} for row in variants}
    for cell, place in zip(there, places, strict=True):
        run = _run(cell, metric, _records(source.name, place, files))
        runs[cell["variant"]][run.seed] = run
    (baseline,) = baselines
    others = [row for row in variants if row["variant"] != baseline]
    rows = {row["variant"]: _row(row, runs[row["variant"]], runs[baseline]) for row in others}
    return Side(source.name, baseline, rows, runs)


@dataclass(frozen=True)
class _Places:
    """Where config.json and metrics.json of a run lie within a report's folder, and where they lay in older reports."""

    now: tuple[PurePosixPath, PurePosixPath]
    before: tuple[PurePosixPath, PurePosixPath]


def _places(key: str) -> _Places:
    folder, old = RunFolder.of(Path("runs") / key), PurePosixPath("cells") / key
    return _Places(
        (PurePosixPath(folder.config), PurePosixPath(folder.metrics)), (old / "config.json", old / "metrics.json")
    )


@dataclass(frozen=True)
class _Records:
    """What is read of a run's records. `fingerprint`: None where there is no config.json."""

    where: str
    fingerprint: str | None
    settings: Mapping[str, Any]
    numbers: Mapping[str, Any]


def _records(name: str, place: _Places, files: Mapping[str, str]) -> _Records:
    """A run's records; of older reports whatever they hold. Raises `UserError` for present ones that are broken."""
    config, metrics = (files.get(file.as_posix()) for file in place.now)
    where = f"{name}: {place.now[0].parent.parent}"
    if config is not None:
        stored = parse(Config, json.loads(config), f"{where}: config.json")
        numbers = parse_metrics(json.loads(metrics), f"{where}: metrics.json").numbers if metrics else {}
        return _Records(where, stored.fingerprint, stored.settings, numbers)
    config, metrics = (files.get(file.as_posix()) for file in place.before)
    older = json.loads(config) if config else {}
    return _Records(
        f"{name}: {place.before[0].parent}",
        older.get("fingerprint"),
        older.get("settings", {}),
        json.loads(metrics) if metrics else {},
    )


def _run(cell: dict[str, str], metric: str, records: _Records) -> Run:
    if records.fingerprint not in (None, cell["fingerprint"]):
        raise UserError(f"{records.where}: another run than the one in cells.csv; make the report again")
    stored = cell.get(metric) or records.numbers.get(metric)
    return Run(
        int(cell["seed"]),
        cell["status"],
        _number(stored) if cell["status"] == "finished" else None,
        cell["fingerprint"],
        cell["weights"],
        cell["code"],
        cell["data"],
        {key: cell[key] or "none" for key in ENVIRONMENT if key in cell},
        records.settings,
    )


def _row(row: dict[str, str], own: dict[int, Run], base: dict[int, Run]) -> Row:
    if row.get("seeds"):
        seeds = tuple(int(seed) for seed in row["seeds"].split())
    else:  # a report of before the column: every complete pair on the same images
        seeds = tuple(s for s in paired(own, base) if None not in (own[s].error, base[s].error))
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
