"""A run's records: one model of the files that training and evaluation leave; they are written and read here alone.

Training leaves config.json (what the run is), history.csv (a row an epoch), losses.npy (of every step) and
provenance.json (where it comes from, what went in and what came out, as hashes). Evaluation adds metrics.json and
predictions.parquet. They are small, and committed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import UserError
from harness.files import hash_json, read_json, write_array, write_csv, write_json
from harness.identity.known import founding, identity
from harness.settings.parse import parse
from harness.settings.schema import MACHINE, Settings, recorded, sparse

if TYPE_CHECKING:
    import numpy as np

CURVE = ("lr", "train_loss", "train_top1", "validation_loss", "validation_top1")
"""Columns of history.csv that are compared, beside the epoch."""

CLEAN = ("clean_loss", "clean_top1")
"""Columns of history.csv with training loss and error in evaluation mode: nan where a run did not measure them."""

TIMES = ("seconds", "time")
"""Columns of history.csv that say when: seconds an epoch took, and UNIX time at its end."""

HISTORY = ("epoch", *CURVE, *CLEAN, *TIMES)

CHANGED = "was it changed by hand, or made by another version? Restore it from git, or run its stage again"
"""What to do about a record that is not one."""


class Record(BaseModel):
    """A part of a record: every key is known, there, and of its type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it from its file. Raises `UserError` when that is missing or is not one."""
        try:
            return parse(cls, read_json(path), str(path))
        except UserError as error:
            if not path.exists():
                raise
            raise UserError(f"{error}; {CHANGED}") from error

    def as_json(self) -> dict[str, Any]:
        """The content of its file: optional keys stand there only where they are set."""
        return self.model_dump(exclude_defaults=True)


class Images(Record):
    """The images that a run saw. `size`: side in pixels; `counts`: images a part; `left_out`: unreadable files."""

    name: str
    hash: str
    size: int
    classes: int
    channels: int
    class_names: list[str]
    counts: dict[str, int]
    left_out: int


class Config(Record):
    """What a run is: settings, seed and images. `fingerprint` is its identity.

    `start`: fingerprint of the run whose weights it starts from, where its settings name one.
    """

    fingerprint: str
    seed: int
    data: Images
    settings: dict[str, Any]
    start: str | None = None

    @staticmethod
    def of(settings: Settings, seed: int, data: Images, start: str | None = None) -> Config:
        """The config of a run by the present code."""
        return Config(
            fingerprint=fingerprint(settings, seed, data.hash, start),
            seed=seed,
            data=data,
            settings=sparse(settings),
            start=start,
        )

    @cached_property
    def resolved(self) -> Settings:
        """All settings, checked. Raises `UserError` where the present code does not know one of them."""
        return parse(Settings, recorded(self.settings), f"run {self.fingerprint[:12]}: settings")


def fingerprint(settings: Settings, seed: int, data: str, start: str | None = None) -> str:
    """Identity of a run: hash of settings, seed, images and of the numerics identity of the code that trains it.

    The settings of the group `machine` (device, threads, workers) are not in it: they say where a run was computed;
    what they came to is recorded in provenance.json and compared there.
    """
    packing = identity("data")
    return hash_json(
        {
            "settings": {k: v for k, v in sparse(settings).items() if k not in MACHINE},
            "seed": seed,
            "data": data,
            "code": identity("train"),
            # The hash of the images does not have their mean and colours, which are packed with them.
            **({} if packing == founding("data") else {"packing": packing}),
            **({"start": start} if start else {}),
        }
    )


class Hashes(Record):
    """Hashes of what went into a run and of what came out; `code` is the numerics identity."""

    data: str
    code: str
    initial: dict[str, str]
    batch_order: str
    augmentation: str
    losses: str
    weights: str


class Provenance(Record):
    """Where a run comes from, and what it took. Times in seconds, memory in MB.

    `package`: version and digest of an installed package that made it: see `harness.provenance.package`.
    `reused_from`: the run of another study whose records these are a copy of.
    """

    fingerprint: str
    status: Literal["finished", "diverged"]
    diverged_epoch: int | None
    resumed: list[int]
    command: str
    commit: str | None
    dirty: str | None
    dvc_stage: str | None
    machine: dict[str, str | int | None]
    versions: dict[str, str | None]
    packages: str
    hashes: Hashes
    started: float = Field(allow_inf_nan=False)
    wall_seconds: float = Field(allow_inf_nan=False)
    images_per_second: float
    peak_memory_mb: float
    parameters: int
    steps: int
    reused_from: str | None = None
    package: dict[str, str] | None = None


class Metrics(Record):
    """What an evaluation measured. `numbers`: errors in percent, losses in nats, counts; none of a diverged run.

    `code`: numerics identity of the evaluation. `weights`: hash of the weights that were evaluated, where training the
    run again on this machine gave others than its record names.
    """

    status: Literal["finished", "diverged"]
    diverged_epoch: int | None
    code: str | None = None
    weights: str | None = None
    numbers: dict[str, float] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        values = read_json(path)
        try:
            if not isinstance(values, dict):
                raise UserError(f"{path}: got {type(values).__name__}; a mapping of numbers is allowed")
            numbers = {k: v for k, v in values.items() if k not in cls.model_fields or k == "numbers"}
            for key, value in numbers.items():
                # An integer may be beyond the range of floats.
                if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
                    raise UserError(f"{path}: {key}: got {value!r:.60}; allowed: a finite number")
            named = {key: values[key] for key in values.keys() - numbers.keys()}
            metrics = parse(cls, {**named, "numbers": numbers}, str(path))
            if metrics.status == "diverged" and metrics.diverged_epoch is None:
                raise UserError(f"{path}: diverged_epoch: missing; a diverged run has one")
        except UserError as error:
            raise UserError(f"{error}; evaluate the run again") from error
        return metrics

    def as_json(self) -> dict[str, Any]:
        """The content of metrics.json: flat, as DVC shows it."""
        return self.model_dump(exclude_defaults=True, exclude={"numbers"}) | self.numbers


@dataclass(frozen=True)
class RunFolder:
    """The files of a run: what its training left in one folder, and its evaluation in another."""

    training: Path
    evaluation: Path

    @staticmethod
    def of(path: Path) -> RunFolder:
        """The folder of a declared run, or of the candidate."""
        return RunFolder(path / "train", path / "eval")

    @property
    def config(self) -> Path:
        return self.training / "config.json"

    @property
    def history(self) -> Path:
        return self.training / "history.csv"

    @property
    def losses(self) -> Path:
        return self.training / "losses.npy"

    @property
    def provenance(self) -> Path:
        return self.training / "provenance.json"

    @property
    def metrics(self) -> Path:
        return self.evaluation / "metrics.json"

    @property
    def predictions(self) -> Path:
        return self.evaluation / "predictions.parquet"


@dataclass(frozen=True)
class Run:
    """A stored run. `measured` is None until it is evaluated; `history`: a row an epoch."""

    folder: RunFolder
    config: Config
    provenance: Provenance
    history: list[dict[str, float]]
    measured: Metrics | None

    @property
    def fingerprint(self) -> str:
        return self.config.fingerprint

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as stored: those that a later version added stand there only where they are not at default."""
        return self.config.settings

    @property
    def images(self) -> Images:
        return self.config.data

    @property
    def images_hash(self) -> str:
        return self.images.hash

    @property
    def hashes(self) -> Hashes:
        return self.provenance.hashes

    @property
    def diverged_epoch(self) -> int | None:
        return self.provenance.diverged_epoch

    @property
    def metrics(self) -> Mapping[str, float]:
        """Numbers of the evaluation; none for a diverged run, or before it."""
        return self.measured.numbers if self.measured else {}

    @cached_property
    def losses(self) -> np.ndarray:
        """The loss of every step, (steps,) float32. Raises `UserError`."""
        import numpy as np

        path, epochs = self.folder.losses, len(self.history)
        try:
            losses = np.load(path, allow_pickle=False)
        except Exception as error:  # numpy raises several kinds, those of Python's own parser among them
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path}: not the losses of a run: {reason}; {CHANGED}") from error
        if not isinstance(losses, np.ndarray) or losses.dtype != np.float32 or losses.ndim != 1:
            raise UserError(f"{path}: not the losses of a run: an array (steps,) of float32 is needed; {CHANGED}")
        if not len(losses) or len(losses) % epochs:
            raise UserError(f"{path}: got {len(losses)} losses for {epochs} epochs of history.csv; {CHANGED}")
        return losses


def paired(one: Mapping[int, Any], other: Mapping[int, Any]) -> list[int]:
    """Seeds that two sets of runs, by seed, have in common on the same images: only these are compared."""
    return sorted(s for s in one.keys() & other.keys() if one[s].images_hash == other[s].images_hash)


def write_training(
    folder: Path,
    config: Config,
    provenance: Provenance,
    history: Sequence[Mapping[str, Any]],
    losses: np.ndarray,
) -> None:
    """Write the records of a training into `folder`. Raises `UserError`."""
    files = RunFolder(folder, folder)
    write_json(files.config, config.as_json())
    write_csv(files.history, history, HISTORY)
    write_array(files.losses, losses)
    write_json(files.provenance, provenance.as_json())


def write_metrics(folder: RunFolder, metrics: Metrics) -> None:
    """Write metrics.json."""
    write_json(folder.metrics, metrics.as_json())


def read_run(folder: RunFolder) -> Run:
    """Read a run, evaluated or not. Raises `UserError` for a file that is missing or is not what it should be."""
    config, provenance = Config.read(folder.config), Provenance.read(folder.provenance)
    if provenance.fingerprint != config.fingerprint:
        raise UserError(
            f"{folder.provenance}: fingerprint: got {provenance.fingerprint[:12]}, but config.json beside it has "
            f"{config.fingerprint[:12]}; {CHANGED}"
        )
    measured = Metrics.read(folder.metrics) if folder.metrics.exists() else None
    if measured and (measured.status, measured.diverged_epoch) != (provenance.status, provenance.diverged_epoch):
        raise UserError(f"{folder.metrics}: status: not that of {folder.provenance}; evaluate the run again")
    return Run(folder, config, provenance, read_history(folder.history), measured)


def read_history(path: Path) -> list[dict[str, float]]:
    """Rows of a history.csv, an epoch each, from 1. Raises `UserError`."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
        rows = list(reader)
        if unknown := {*(reader.fieldnames or ()), *(key for row in rows for key in row)} - {*HISTORY}:
            raise ValueError(f"{unknown.pop() or 'a value'} belongs to no column")
        columns = [key for key in HISTORY[1:] if key not in CLEAN or key in (reader.fieldnames or ())]
        epochs = [{"epoch": int(row["epoch"])} | {key: float(row[key]) for key in columns} for row in rows]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a run's history: {error!r}; {CHANGED}") from error
    if not epochs or [row["epoch"] for row in epochs] != list(range(1, len(epochs) + 1)):
        raise UserError(f"{path}: not a run's history: a row an epoch, from 1, is needed; {CHANGED}")
    return epochs


def chain(link: str, content: bytes) -> str:
    """The next link of a hash over a stream: it needs the last link alone, so a resumed run goes on from it."""
    return hashlib.sha256(link.encode() + content).hexdigest()


def hash_losses(losses: Iterable[np.float32]) -> str:
    """The hash over a stream of losses, as training makes it step by step."""
    link = ""
    for loss in losses:
        link = chain(link, loss.tobytes())
    return link


def checkpoint_folder(config: Config, out: Path, numerics: dict[str, Any]) -> Path:
    """Where an unfinished run keeps its state: outside its own folder, which DVC deletes before it starts a stage.

    Keyed by stage (else by `out`), fingerprint and what the machine settings came to: the candidate may have the
    settings of a run that is training at the same time, and a run must not go on with other numerics than it began
    with.
    """
    stage = os.environ.get("DVC_STAGE") or out.resolve().as_posix()
    key = json.dumps([stage, config.fingerprint, numerics], sort_keys=True)
    name = out.parent.name if out.name == "train" else out.name
    return caches() / ".checkpoints" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def caches() -> Path:
    """The folder below which lies what is heavy and can be made again: packed images, weights, checkpoints.

    DVC runs an experiment in a temporary clone, and names the repository in DVC_ROOT.
    """
    return Path(os.environ.get("DVC_ROOT") or ".")
