"""The results of a study's cells, as they lie in the repository: what is there, what is not, what does not count."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import UserError
from harness.files import read_json
from harness.record import RunFolder
from harness.settings.parse import parse
from harness.settings.schema import Settings
from harness.settings.study import TOP5_CLASSES, Study, top_of, unequal

CANDIDATE = "candidate"
"""The candidate's name in tables and figures."""

Status = Literal["finished", "diverged", "missing", "stale"]
"""missing: not run, or failed; stale: the run of other settings than those that are declared now."""

CURVE = ("lr", "train_loss", "train_top1", "validation_loss", "validation_top1")
"""Columns of history.csv that are compared, beside the epoch."""

CLEAN = ("clean_loss", "clean_top1")
"""Columns of history.csv with training loss and error in evaluation mode: nan where a run did not measure them."""

TIMES = ("seconds", "time")
"""Columns of history.csv that say when: seconds an epoch took, and UNIX time at its end."""


class Stored(BaseModel):
    """What is read of a stored file; other keys may stand beside it."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Images(Stored):
    """The images that a run saw. `counts`: images a part; `left_out`: images that could not be read."""

    name: str
    hash: str
    classes: int
    counts: dict[str, int]
    left_out: int


class _Config(Stored):
    fingerprint: str
    seed: int
    data: dict[str, Any]
    settings: dict[str, Any]


class Hashes(Stored):
    """Hashes of what went into a run and of what came out."""

    data: str
    code: str
    initial: dict[str, str]
    batch_order: str
    augmentation: str
    losses: str
    weights: str


class Provenance(Stored):
    """Where a run comes from, and what it took. Times in seconds."""

    fingerprint: str
    command: str
    commit: str | None
    dirty: str | None
    machine: dict[str, str | int | None]
    versions: dict[str, str | None]
    packages: str
    dvc_stage: str | None = None
    reused_from: str | None = None
    started: float = Field(allow_inf_nan=False)
    wall_seconds: float = Field(allow_inf_nan=False)
    parameters: int


@dataclass(frozen=True)
class Run:
    """A stored run. `metrics`: its numbers, errors in percent; none for a diverged run. `history`: a row an epoch."""

    folder: RunFolder
    fingerprint: str
    seed: int
    settings: dict[str, Any]
    images: Images
    provenance: Provenance
    hashes: Hashes
    diverged_epoch: int | None
    metrics: dict[str, float]
    history: list[dict[str, float]]


@dataclass(frozen=True)
class Result:
    """A declared run and what was found of it. `run` is None when it is missing; `note` says why it does not count."""

    variant: str
    seed: int
    status: Status
    note: str
    run: Run | None

    @property
    def key(self) -> str:
        return CANDIDATE if self.variant == CANDIDATE else f"{self.variant}-{self.seed}"


@dataclass(frozen=True)
class Results:
    """What was found of every declared cell, in the order of the study, and of the candidate (None: not declared).

    `early`: it is looked at on purpose before the study is done.
    """

    cells: list[Result]
    candidate: Result | None
    early: bool = False

    @property
    def all(self) -> list[Result]:
        return [*self.cells, *([self.candidate] if self.candidate else [])]

    def of(self, variant: str) -> list[Result]:
        """A variant's cells."""
        return [cell for cell in self.cells if cell.variant == variant]

    def finished(self, variant: str) -> dict[int, Run]:
        """A variant's finished runs by seed."""
        return {c.seed: c.run for c in self.of(variant) if c.status == "finished" and c.run}


def read_results(study: Study, candidate: tuple[Settings, int] | None, root: Path, early: bool = False) -> Results:
    """Read every declared cell below `root`, and the candidate. Raises `UserError` for a file that is broken."""
    cells = [
        _result(root / cell.results, cell.variant, cell.seed, study.variants[cell.variant], study.file.metric)
        for cell in study.cells
    ]
    own = None
    if candidate:
        own = _result(root / study.candidate_results, CANDIDATE, candidate[1], candidate[0], study.file.metric)
    return Results(cells, own, early)


def _result(path: Path, variant: str, seed: int, declared: Settings, metric: str) -> Result:
    folder = RunFolder(path)
    if not path.is_dir() or not any(path.iterdir()):
        return Result(variant, seed, "missing", "no result; not run yet, or failed", None)
    run = _read_run(folder)
    differing = unequal(declared, run.settings)
    if run.seed != seed:
        differing.append("seed")
    if differing:
        return Result(variant, seed, "stale", f"its result is of other settings: {', '.join(differing)}", run)
    if not run.metrics:
        return Result(variant, seed, "diverged", f"the loss was not finite in epoch {run.diverged_epoch}", run)
    if metric not in run.metrics:
        few = top_of(metric) == 5 and run.images.classes < TOP5_CLASSES
        why = f", and with {run.images.classes} classes top-5 is not measured" if few else ""
        raise UserError(f"{folder.metrics}: {metric}: missing; the study compares it{why}")
    return Result(variant, seed, "finished", "", run)


def _read_run(folder: RunFolder) -> Run:
    config = parse(_Config, read_json(folder.config), str(folder.config))
    record = read_json(folder.provenance)
    provenance = parse(Provenance, record, str(folder.provenance))
    if provenance.fingerprint != config.fingerprint:
        raise UserError(
            f"{folder.provenance}: fingerprint: got {provenance.fingerprint[:12]}, but config.json beside it has "
            f"{config.fingerprint[:12]}; evaluate the run again"
        )
    diverged, metrics = _read_metrics(folder.metrics)
    return Run(
        folder,
        config.fingerprint,
        config.seed,
        config.settings,
        parse(Images, config.data, f"{folder.config}: data"),
        provenance,
        parse(Hashes, record.get("hashes"), f"{folder.provenance}: hashes"),
        diverged,
        metrics,
        _read_history(folder.history),
    )


def _read_metrics(path: Path) -> tuple[int | None, dict[str, float]]:
    """The epoch of a diverged run, or None and the numbers of a finished one."""
    values = read_json(path)
    status = values.get("status") if isinstance(values, dict) else None
    epoch = values.get("diverged_epoch") if isinstance(values, dict) else None
    if status == "diverged" and isinstance(epoch, int):
        return epoch, {}
    if status != "finished":
        raise UserError(f"{path}: status: got {status!r}; allowed: finished, or diverged with its diverged_epoch")
    try:
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    except OverflowError as error:
        raise UserError(f"{path}: a number is too large: {error}") from error
    unsound = [key for key, value in numbers.items() if not math.isfinite(value)]
    if unsound:
        raise UserError(f"{path}: {unsound[0]}: got {numbers[unsound[0]]}; a finite number is allowed")
    return None, numbers


def _read_history(path: Path) -> list[dict[str, float]]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        return [
            {"epoch": int(row["epoch"])}
            | {key: float(row[key]) for key in (*CURVE, *TIMES)}
            | {key: float(row[key]) for key in CLEAN if key in row}
            for row in rows
        ]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a run's history: {error!r}; evaluate the run again") from error
