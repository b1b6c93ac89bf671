"""One side of a comparison of two reports: its rows and its runs, as its tables and the runs' own records have them."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harness.commits import commit_of, files_of
from harness.errors import UserError
from harness.record import RunFolder
from harness.report.circumstances import CIRCUMSTANCES
from harness.settings.load import PAGES

RULE = ("metric", "test", "alpha", "margin", "confidence", "look", "interim")
"""Columns of variants.csv that say how a row was judged. An older report may lack one."""


@dataclass(frozen=True)
class ReportRow:
    """A variant's row. `verdict`: empty where none was given. `seeds`: of the pairs that its estimate is made of."""

    difference: float | None
    verdict: str
    seeds: tuple[int, ...]
    rule: Mapping[str, str]


@dataclass(frozen=True)
class Side:
    """A report. `rows`: of all variants but the baseline. `runs`: by variant and seed, of all that ran.

    Columns of `runs`: `error` by the study's metric (nan where it has none); `settings` as recorded (none where they
    are not); `fingerprint`, `weights`, `code` (numerics identity; in reports of before there was one, the hash of the
    code), `data` (hash of the images); and those of `CIRCUMSTANCES` that the report has.
    """

    name: str
    baseline: str
    rows: dict[str, ReportRow]
    runs: pd.DataFrame

    @cached_property
    def errors(self) -> pd.DataFrame:
        """A column a variant that ran, a row a seed."""
        return self.runs["error"].unstack("variant")

    def settings(self, variant: str) -> Mapping[str, Any]:
        """As the records have them, the same for all its runs."""
        return next(filter(None, self.runs.query("variant == @variant")["settings"]), {})

    def compared(self, variant: str) -> "pd.Series[float]":
        """Differences to the baseline over the seeds of the row's estimate."""
        errors = self.errors.reindex(self.rows[variant].seeds, columns=[variant, self.baseline])
        return (errors[variant] - errors[self.baseline]).dropna()


@dataclass(frozen=True)
class Snapshot:
    """A folder: on the disk, or of a `commit`, of which nothing is checked out. `name`: in what is printed."""

    name: str
    folder: Path
    commit: str | None = None

    def read(self, files: Sequence[str]) -> dict[str, str]:
        """The text of those files that are there, by their path within the folder. Raises `UserError`, `ValueError`."""
        paths = {(self.folder / file).as_posix(): file for file in files}
        if self.commit:
            contents = files_of(self.commit, list(paths), Path("."))
        else:
            contents = {path: Path(path).read_bytes() for path in paths if Path(path).is_file()}
        return {paths[path]: content.decode() for path, content in contents.items()}


def open_report(name: str, folder: Path) -> Snapshot:
    """A report by its folder, its page, or a git revision, of which `folder` is read. Raises `UserError`."""
    path = Path(name)
    if path.suffix in PAGES and path.is_file():
        path = path.with_suffix("")
    if name and path.is_dir():
        return Snapshot(name, path)
    commit = commit_of(name, Path("."))
    if commit is None:
        raise UserError(f"diff: got {name!r}; allowed: a report's folder that is there, or a git revision")
    return Snapshot(name, folder, commit)


def read_side(report: Snapshot) -> Side:
    """Read a report's tables and its runs' records. Raises `UserError` when they are not a report's."""
    files = ["variants.csv", "cells.csv"]
    try:
        texts = report.read(files)
        if missing := [file for file in files if file not in texts]:
            raise UserError(f"{report.name}: {missing[0]}: no such file; not a report")
        variants, cells = (pd.read_csv(io.StringIO(texts[file]), dtype=str, keep_default_na=False) for file in files)
        # The candidate is no declared row: it has no verdict, and one run.
        return _side(report, variants[variants["variant"] != "candidate"], cells[cells["variant"] != "candidate"])
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{report.name}: its tables are not a report's: {error!r}; make the report again") from error


def _side(report: Snapshot, variants: pd.DataFrame, cells: pd.DataFrame) -> Side:
    (baseline,) = variants.loc[variants["pairs"] == "", "variant"]
    metric = variants["metric"].iloc[0]
    ran = cells[(cells["fingerprint"] != "") & cells["status"].isin(["finished", "diverged"])]
    ran = ran.set_index([ran["variant"], ran["seed"].astype(int)])
    columns = ["fingerprint", "weights", "code", "data", *(name for name in CIRCUMSTANCES if name in ran)]
    runs = ran[columns].replace("", "none")
    configs, metrics = _records(report, [f"{variant}-{seed}" for variant, seed in ran.index.tolist()])
    for config, fingerprint in zip(configs, runs["fingerprint"], strict=True):
        if config.get("fingerprint", fingerprint) != fingerprint:
            raise UserError(f"{report.name}: records of another run than the one in cells.csv; make the report again")
    runs["settings"] = pd.Series([dict(config.get("settings", {})) for config in configs], runs.index, dtype=object)
    errors = ran[metric] if metric in ran else pd.Series([one.get(metric) for one in metrics], ran.index)
    runs["error"] = errors.where(ran["status"] == "finished").map(_number).astype(float)
    side = Side(report.name, baseline, {}, runs)
    for row in variants[variants["variant"] != baseline].to_dict("records"):
        variant, seeds = row["variant"], row.get("seeds", "").split()
        if "seeds" not in row:  # a report of before the column: every complete pair
            seeds = side.errors.reindex(columns=[variant, baseline]).dropna().index
        rule = {name: _plain(row[name]) for name in RULE if name in row}
        side.rows[variant] = ReportRow(_number(row["difference"]), row.get("verdict", ""), tuple(map(int, seeds)), rule)
    return side


def _records(report: Snapshot, runs: list[str]) -> list[list[dict[str, Any]]]:
    """Content of every run's config.json, and of its metrics.json; nothing where they are not there."""
    now = [RunFolder.of(Path("runs", run)) for run in runs]
    before = [RunFolder(Path("cells", run), Path("cells", run)) for run in runs]  # in older reports
    for folders in (now, before):
        files = [[folder.config.as_posix() for folder in folders], [folder.metrics.as_posix() for folder in folders]]
        if texts := report.read([*files[0], *files[1]]):
            break
    return [[dict(json.loads(texts.get(file, "{}"))) for file in kind] for kind in files]


def _plain(text: str) -> str:
    """A number without the digits that another way to compute it may change; `none` for nothing."""
    try:
        return f"{float(text):.9g}"
    except ValueError:
        return text or "none"


def _number(text: Any) -> float | None:
    if pd.isna(text) or text == "":
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
