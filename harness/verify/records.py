"""What a run left behind, read for comparison: of whichever version of the harness, as long as the hashes are there."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError
from harness.files import read_json
from harness.record import RunFolder, chain
from harness.report.cells import Hashes, Provenance
from harness.settings.parse import parse


@dataclass(frozen=True)
class Record:
    """A run's record. `history`: a row an epoch, as texts, so that equal means equal to the last bit.

    `metrics` is empty where nothing was evaluated; `predictions` is the path of their table, or None. `losses`: the
    loss of every step, (steps,) float32; None in records of a harness that did not keep them.
    """

    folder: Path
    seed: int
    settings: dict[str, Any]
    provenance: Provenance
    hashes: Hashes
    history: list[dict[str, str]]
    metrics: dict[str, Any]
    predictions: Path | None
    losses: np.ndarray | None = None

    @property
    def steps(self) -> int:
        """Steps an epoch, as far as the losses tell; else 0."""
        return 0 if self.losses is None else len(self.losses) // len(self.history)

    @property
    def losses_sound(self) -> bool:
        """Whether the losses are those of the record's own hash over them."""
        return self.losses is not None and hash_losses(self.losses) == self.hashes.losses


def read_record(path: Path) -> Record:
    """Read the folder of a run or of its results. Raises `UserError` for a file that is missing or broken."""
    folder = RunFolder(path)
    config, stored = read_json(folder.config), read_json(folder.provenance)
    if not isinstance(config, dict) or not isinstance(config.get("settings"), dict):
        raise UserError(f"{folder.config}: settings: missing; not a run's config.json")
    if type(config.get("seed")) is not int:
        raise UserError(f"{folder.config}: seed: got {config.get('seed')!r}; a whole number is allowed")
    provenance = parse(Provenance, stored, str(folder.provenance))
    if config.get("fingerprint") != provenance.fingerprint:
        raise UserError(f"{folder.provenance}: fingerprint: not that of config.json beside it; evaluate the run again")
    metrics = read_json(folder.metrics) if folder.metrics.exists() else {}
    if not isinstance(metrics, dict):
        raise UserError(f"{folder.metrics}: got {type(metrics).__name__}; a mapping of numbers is allowed")
    history = _history(folder.history)
    return Record(
        path,
        config["seed"],
        config["settings"],
        provenance,
        parse(Hashes, stored.get("hashes"), f"{folder.provenance}: hashes"),
        history,
        metrics,
        folder.predictions if folder.predictions.exists() else None,
        _losses(folder.losses, len(history)),
    )


def hash_losses(losses: np.ndarray) -> str:
    """The hash over a stream of losses, as training makes it step by step."""
    link = ""
    for loss in losses:
        link = chain(link, loss.tobytes())
    return link


def _losses(path: Path, epochs: int) -> np.ndarray | None:
    try:
        losses = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not the losses of a run: {said}; evaluate the run again") from error
    if not isinstance(losses, np.ndarray) or losses.dtype != np.float32 or losses.ndim != 1:
        raise UserError(f"{path}: not the losses of a run: a row of float32 is needed; evaluate the run again")
    if not len(losses) or len(losses) % epochs:
        raise UserError(
            f"{path}: got {len(losses)} losses, which are no whole number for each of {epochs} epochs of history.csv; "
            "evaluate the run again"
        )
    return losses


def _history(path: Path) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a run's history: {error}") from error
    whole = all(None not in row and None not in row.values() for row in rows)
    if not rows or not whole or [row.get("epoch") for row in rows] != [str(n) for n in range(1, len(rows) + 1)]:
        raise UserError(f"{path}: not a run's history: a row an epoch, from 1, is needed")
    return rows
