"""One side of a comparison of two reports: its rows and its runs, as its tables and the runs' own records have them."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.commits import commit_of, files_of
from harness.errors import UserError
from harness.record import Config, RunFolder, paired, parse_metrics
from harness.report.conditions import CIRCUMSTANCES
from harness.settings.parse import parse

RULE = ("metric", "test", "alpha", "margin", "confidence", "look", "interim")
"""Columns of variants.csv that say how a row was judged."""


@dataclass(frozen=True)
class Run:
    """A run of a side. `error`: by the study's metric; None where it has none. `settings`: none where not recorded.

    `code`: numerics identity; in reports of before there was one, the hash of the code.
    `environment`: what the columns of `CIRCUMSTANCES` say, of those that the report has.
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


@dataclass(frozen=True)
class Source:
    """A report's folder: on the disk, or of a `commit`, of which nothing is checked out. `name`: in what is printed."""

    name: str
    folder: Path
    commit: str | None = None

    def read(self, files: Sequence[str]) -> dict[str, str]:
        """The text of those files that are there, by their path within the folder. Raises `UserError`, `ValueError`."""
        paths = {(self.folder / file).as_posix(): file for file in files}
        if self.commit:
            found = files_of(self.commit, list(paths), Path("."))
        else:
            found = {path: Path(path).read_bytes() for path in paths if Path(path).is_file()}
        return {paths[path]: content.decode() for path, content in found.items()}


def open_source(given: str, folder: Path) -> Source:
    """A report's folder, its Markdown file, or a git revision, of which `folder` is read. Raises `UserError`."""
    path = Path(given)
    if given.endswith(".md") and path.is_file():
        path = path.with_suffix("")
    if given and path.is_dir():
        return Source(given, path)
    commit = commit_of(given, Path("."))
    if commit is None:
        raise UserError(f"diff: got {given!r}; allowed: a report's folder that is there, or a git revision")
    return Source(given, folder, commit)


def read_side(source: Source) -> Side:
    """Read a report's tables and its runs' records. Raises `UserError` when they are not a report's."""
    files = ["variants.csv", "cells.csv"]
    try:
        tables = source.read(files)
        for file in files:
            if file not in tables:
                raise UserError(f"{source.name}: {file}: no such file; not a report")
        return _side(source, *(_table(tables[file]) for file in files))
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
    keys = [f"{cell['variant']}-{cell['seed']}" for cell in there]
    files = source.read([file for key in keys for place in (_now(key), _before(key)) for file in place])
    runs: dict[str, dict[int, Run]] = {row["variant"]: {} for row in variants}
    for cell, key in zip(there, keys, strict=True):
        run = _run(cell, metric, _records(source.name, key, files))
        runs[cell["variant"]][run.seed] = run
    (baseline,) = baselines
    others = [row for row in variants if row["variant"] != baseline]
    rows = {row["variant"]: _row(row, runs[row["variant"]], runs[baseline]) for row in others}
    return Side(source.name, baseline, rows, runs)


def _now(key: str) -> tuple[str, str]:
    """Where config.json and metrics.json of a run lie within a report's folder."""
    folder = RunFolder.of(Path("runs") / key)
    return folder.config.as_posix(), folder.metrics.as_posix()


def _before(key: str) -> tuple[str, str]:
    """Where they lay in older reports."""
    return f"cells/{key}/config.json", f"cells/{key}/metrics.json"


@dataclass(frozen=True)
class _Records:
    """What is read of a run's records. `fingerprint`: None where there is no config.json."""

    where: str
    fingerprint: str | None
    settings: Mapping[str, Any]
    numbers: Mapping[str, Any]


def _records(name: str, key: str, files: Mapping[str, str]) -> _Records:
    """A run's records; of older reports whatever they hold. Raises `UserError` for present ones that are broken."""
    config, metrics = (files.get(file) for file in _now(key))
    where = f"{name}: runs/{key}"
    if config is not None:
        stored = parse(Config, json.loads(config), f"{where}: config.json")
        numbers = parse_metrics(json.loads(metrics), f"{where}: metrics.json").numbers if metrics else {}
        return _Records(where, stored.fingerprint, stored.settings, numbers)
    older, numbers = (json.loads(files.get(file, "{}")) for file in _before(key))
    return _Records(f"{name}: cells/{key}", older.get("fingerprint"), older.get("settings", {}), numbers)


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
        {key: cell[key] or "none" for key in CIRCUMSTANCES if key in cell},
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
