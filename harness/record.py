"""A run's identity and its folder: what it is, which files it has, and the one place where their paths are derived."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.files import hash_json, read_json
from harness.settings.parse import parse
from harness.settings.schema import MACHINE, Settings

PACKAGE = Path(__file__).parent

NUMERIC_CODE = (
    "randomness.py",
    "numerics.py",
    "data/crops.py",
    "data/batches.py",
    "data/packed.py",
    "net/layout.py",
    "net/local.py",
    "net/lrn.py",
    "net/alexnet.py",
    "net/predict.py",
    "train/recipe.py",
    "train/checkpoint.py",
    "train/loop.py",
)
"""Code that can change a run's numbers, relative to the package: the `deps` of the train stage in dvc.yaml.

Schema and presets are not in it: what they say of a run stands in its resolved settings, each of them.
"""


@cache
def code_hash() -> str:
    """SHA-256 over the names and bytes of the code that can change a run's numbers."""
    digest = hashlib.sha256()
    for entry in NUMERIC_CODE:
        digest.update(f"{entry}\0".encode() + (PACKAGE / entry).read_bytes() + b"\0")
    return digest.hexdigest()


def chain(link: str, content: bytes) -> str:
    """The next link of a hash over a stream: it needs the last link alone, so a resumed run goes on from it."""
    return hashlib.sha256(link.encode() + content).hexdigest()


@dataclass(frozen=True)
class DataRecord:
    """The images that a run saw: where they are from, and the hash of their content."""

    name: str
    hash: str
    size: int
    classes: int
    channels: int
    class_names: list[str]
    counts: dict[str, int]
    left_out: int


@dataclass(frozen=True)
class Config:
    """What a run is: resolved settings, seed and data. Its fingerprint is its identity.

    `start`: fingerprint of the run whose weights it starts from, where its settings name one.
    """

    settings: Settings
    seed: int
    data: DataRecord
    start: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of all that may change the numbers by declaration: settings, seed, data and code.

        The settings of the group `machine` (device, threads, workers) are not in it: they say where a run was computed;
        what they came to is recorded in provenance.json and compared there.
        """
        return hash_json(
            {
                "settings": {k: v for k, v in self.settings.model_dump().items() if k not in MACHINE},
                "seed": self.seed,
                "data": self.data.hash,
                "code": code_hash(),
                **({"start": self.start} if self.start else {}),
            }
        )

    def as_json(self) -> dict[str, Any]:
        """The content of config.json."""
        return {
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "data": asdict(self.data),
            "settings": self.settings.model_dump(),
            **({"start": self.start} if self.start else {}),
        }


def read_config(path: Path) -> Config:
    """Read a config.json. Raises `UserError` when it is missing or is not one."""
    values = read_json(path)
    try:
        settings, seed, data = values["settings"], values["seed"], DataRecord(**values["data"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not a run's config.json: {error}") from error
    start = values.get("start")
    if start is not None and not isinstance(start, str):
        raise UserError(f"{path}: start: got {start!r}; a run's fingerprint is allowed")
    return Config(parse(Settings, settings, f"{path}: settings"), seed, data, start)


@dataclass(frozen=True)
class RunFolder:
    """The files of a run's folder, or of the folder that its evaluation leaves."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def history(self) -> Path:
        return self.path / "history.csv"

    @property
    def losses(self) -> Path:
        return self.path / "losses.npy"

    @property
    def provenance(self) -> Path:
        return self.path / "provenance.json"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    def fingerprint(self) -> str:
        """The fingerprint stored with the run: not that of today's code. Raises `UserError`."""
        values = read_json(self.provenance)
        if not isinstance(values, dict) or not isinstance(values.get("fingerprint"), str):
            raise UserError(f"{self.provenance}: has no fingerprint; not a run's provenance.json")
        return str(values["fingerprint"])


def checkpoint_folder(config: Config, out: Path, numerics: dict[str, Any]) -> Path:
    """Where an unfinished run keeps its state: outside its own folder, which DVC deletes before it starts a stage.

    Keyed by stage (else by `out`), fingerprint and what the machine settings came to: the candidate may have the
    settings of a cell that is training at the same time, and a run must not go on with other numerics than it began
    with.
    """
    root = Path(os.environ.get("DVC_ROOT") or ".")
    stage = os.environ.get("DVC_STAGE") or out.resolve().as_posix()
    identity = json.dumps([stage, config.fingerprint, numerics], sort_keys=True)
    return root / ".checkpoints" / f"{out.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
