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
from harness.record import Config, Metrics, RunFolder, paired
from harness.report.circumstances import CIRCUMSTANCES
from harness.settings.parse import parse

RULE = ("metric", "test", "alpha", "margin", "confidence", "look", "interim")
"""Columns of variants.csv that say how a row was judged. An older report may lack one."""


@dataclass(frozen=True)
class Run:
    """A run of a side. `error`: by the study's metric; None where it has none. `settings`: none where not recorded.

    `code`: numerics identity; in reports of before there was one, the hash of the code.
    `environment`: what the columns of `CIRCUMSTANCES` say, of those that the report has.
    """

    seed: int
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
    except (KeyError, ValueError, TypeError, AttributeError, OSError, csv.Error) as error:
        raise UserError(f"{source.name}: its tables are not a report's: {error!r}; make the report again") from error


def _table(text: str) -> list[dict[str, str]]:
    # The candidate is no declared row: it has no verdict, and one run.
    return [row for row in csv.DictReader(io.StringIO(text)) if row["variant"] != "candidate"]


def _side(source: Source, variants: list[dict[str, str]], cells: list[dict[str, str]]) -> Side:
    baselines = [row["variant"] for row in variants if not row["pairs"]]
    if len(baselines) != 1:
        raise ValueError(f"{len(baselines)} rows without a comparison")
    metric = variants[0]["metric"]
    ran = [cell for cell in cells if cell["fingerprint"] and cell["status"] in ("finished", "diverged")]
    there = {f"{cell['variant']}-{cell['seed']}": cell for cell in ran}
    files = source.read([file for key in there for file in (*_now(key), *_before(key))])
    runs: dict[str, dict[int, Run]] = {row["variant"]: {} for row in variants}
    for key, cell in there.items():
        run = _run(f"{source.name}: runs/{key}", key, cell, metric, files)
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


def _run(where: str, key: str, cell: dict[str, str], metric: str, files: Mapping[str, str]) -> Run:
    """A run by its row of cells.csv, and its records where they are there; older ones hold whatever they do.

    Raises `UserError` for present records that are broken, or another run's.
    """
    config, metrics = (json.loads(files.get(file, "null")) for file in _now(key))
    if config is None:
        config, numbers = (json.loads(files.get(file, "{}")) for file in _before(key))
    else:
        config = parse(Config, config, f"{where}: config.json").model_dump()
        numbers = {} if metrics is None else Metrics.parsed(metrics, f"{where}: metrics.json").numbers
    if config.get("fingerprint", cell["fingerprint"]) != cell["fingerprint"]:
        raise UserError(f"{where}: another run than the one in cells.csv; make the report again")
    return Run(
        int(cell["seed"]),
        _number(cell.get(metric) or numbers.get(metric)) if cell["status"] == "finished" else None,
        cell["fingerprint"],
        cell["weights"],
        cell["code"],
        cell["data"],
        {key: cell[key] or "none" for key in CIRCUMSTANCES if key in cell},
        config.get("settings", {}),
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
        {name: row[name] or "none" for name in RULE if name in row},
    )


def _number(text: Any) -> float | None:
    if text is None or text == "":
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
