"""A record against the same run made again: what agrees, where the two part, and why. Pure but for the predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.predictions import same_predictions
from harness.record import TIMES, Run, hash_losses

INPUTS = ("data", "code", "batch order", "augmentation stream")
LOSSES = "losses"
"""The loss of every step, compared one by one; `loss stream` is the hash over all of them."""

INITIAL = "initial weights of "
METRIC = "metric "

# What a run's numbers depend on beside its settings, the likelier causes first.
ENVIRONMENT = (
    ("threads", "machine"), ("device", "machine"), ("device_name", "machine"), ("cpu", "machine"),
    ("instructions", "machine"), ("torch", "versions"), ("numpy", "versions"), ("cuda", "versions"),
    ("cudnn", "versions"), ("driver", "versions"), ("python", "versions"), ("os", "machine"),
)  # fmt: skip
DRAWS = ("torch", "numpy", "instructions")
"""What random numbers depend on: torch draws normal numbers by other operations where there is no AVX2."""


@dataclass(frozen=True)
class Made:
    """A run made again, in whole or over its first steps: the hashes that were made, by the names used here.

    `losses`: of every step that was taken, float32; None where its code keeps none.
    """

    whole: bool
    hashes: dict[str, str]
    history: list[dict[str, str]]
    machine: dict[str, Any]
    versions: dict[str, Any]
    commit: str | None
    dirty: str | None
    metrics: dict[str, Any] = field(default_factory=dict)
    predictions: Path | None = None
    losses: np.ndarray | None = None


@dataclass(frozen=True)
class Comparison:
    """What was compared. `differs`: name -> (recorded, found). `environment`: the same, of machine and versions.

    `first_epoch`: where the two part. `first_step`: epoch and step within it, of `steps_an_epoch`, of the first loss
    that differs; all from 1. It may come later: the errors on other images can show first what the losses do not yet.
    `row`: the first epoch whose row of history.csv differs, and `columns`: in which of its columns. `epochs`
    and `steps`: how many were compared, `of` and `of_steps` that the record has; no steps where one of the two has no
    losses.
    """

    agrees: list[str]
    differs: dict[str, tuple[Any, Any]]
    environment: dict[str, tuple[Any, Any]]
    first_epoch: int | None
    first_step: tuple[int, int] | None
    row: int | None
    columns: list[str]
    epochs: int
    of: int
    steps: int
    of_steps: int
    cause: str

    @property
    def steps_an_epoch(self) -> int:
        return self.of_steps // self.of

    def verified(self, here: bool) -> bool:
        """Whether the run came out as recorded; `here`: by other code on purpose, so that the code may differ."""
        return not (self.differs.keys() - ({"code"} if here else set()))


def named_hashes(hashes: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of a provenance.json (or those of them that are there) under the names that the user reads."""
    names = {
        "data": "data",
        "code": "code",
        "batch_order": "batch order",
        "augmentation": "augmentation stream",
        "losses": "loss stream",
        "weights": "final weights",
    }
    found = {names[key]: value for key, value in hashes.items() if key in names}
    return found | {f"{INITIAL}{layer}": value for layer, value in hashes.get("initial", {}).items()}


def compare(record: Run, made: Made, here: bool) -> Comparison:
    """Hold a run that was made again against its record. Only what both have is compared."""
    own = named_hashes(record.hashes.model_dump())
    layers = any(name.startswith(INITIAL) for name in made.hashes)
    pairs: dict[str, tuple[Any, Any]] = {
        name: (own.get(name), made.hashes.get(name))
        for name in own | made.hashes
        if (name in own and name in made.hashes) or (layers and name.startswith(INITIAL))
    }
    history = texts(record.history)
    first, columns = _part(history, made.history, made.whole)
    if made.history:
        one, other = (_row(rows, first) for rows in (history, made.history))
        pairs["history"] = tuple(map(one.get, columns)), tuple(map(other.get, columns))
    step, values = _part_of_losses(record.losses, made.losses, made.whole)
    compared = 0 if record.losses is None or made.losses is None else min(len(record.losses), len(made.losses))
    if compared:
        pairs[LOSSES] = values
    pairs |= _metrics(record, made)
    environment = {
        key: (getattr(record.provenance, place).get(key), getattr(made, place).get(key))
        for key, place in ENVIRONMENT
        if getattr(record.provenance, place).get(key) != getattr(made, place).get(key)
    }
    differs = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    agrees = [name for name in pairs if name not in differs]
    steps = 0 if record.losses is None else len(record.losses) // len(history)
    place = None if step is None else (step // steps + 1, step % steps + 1)
    parted = [epoch for epoch in (first, place[0] if place else None) if epoch is not None]
    return Comparison(
        agrees,
        differs,
        environment,
        min(parted, default=None),
        place,
        first,
        columns,
        len(made.history),
        len(history),
        compared,
        0 if record.losses is None else len(record.losses),
        likely_cause(record, differs, environment, here),
    )


def texts(history: list[dict[str, float]]) -> list[dict[str, str]]:
    """Rows of a history as texts: equal texts are equal to the last bit, also where a value is no number."""
    return [{name: repr(value) for name, value in row.items()} for row in history]


def measured(run: Run) -> dict[str, Any]:
    """What a run's evaluation measured, without what names its code; empty before it."""
    return run.measured.model_copy(update={"code": None, "weights": None}).as_json() if run.measured else {}


def _sound(record: Run) -> bool:
    """Whether the losses are those of the record's own hash over them."""
    return record.losses is not None and hash_losses(record.losses) == record.hashes.losses


def _row(history: list[dict[str, str]], epoch: int | None) -> dict[str, str]:
    return history[epoch - 1] if epoch is not None and epoch <= len(history) else {}


def _part(recorded: list[dict[str, str]], found: list[dict[str, str]], whole: bool) -> tuple[int | None, list[str]]:
    """The first epoch whose rows differ, and in which columns; of a whole run, also where one of the two goes on."""
    for epoch, (one, other) in enumerate(zip(recorded, found, strict=False), 1):
        shared = [column for column in one if column in other and column not in TIMES]
        if columns := [column for column in shared if one[column] != other[column]]:
            return epoch, columns
    if len(found) > len(recorded) or (whole and len(found) < len(recorded)):
        return min(len(found), len(recorded)) + 1, ["epoch"]
    return None, []


def _part_of_losses(
    recorded: np.ndarray | None, found: np.ndarray | None, whole: bool
) -> tuple[int | None, tuple[str | None, str | None]]:
    """The first step (from 0) whose loss is another to the bit, and both losses; also where one of the two goes on."""
    if recorded is None or found is None:
        return None, (None, None)
    count = min(len(recorded), len(found))
    bits = [np.asarray(losses, np.float32).view(np.uint32) for losses in (recorded, found)]
    parted = np.flatnonzero(bits[0][:count] != bits[1][:count])
    if len(parted):
        count = int(parted[0])
    elif len(found) <= len(recorded) and not (whole and len(found) < len(recorded)):
        return None, (None, None)
    told = [str(losses[count]) if count < len(losses) else None for losses in (recorded, found)]
    if told[0] == told[1]:  # 0.0 and -0.0 are two values, and there are many that are no number
        told = [f"{text} ({pattern[count]:#010x})" for text, pattern in zip(told, bits, strict=True)]
    return count, (told[0], told[1])


def _metrics(record: Run, made: Made) -> dict[str, tuple[Any, Any]]:
    own = measured(record)
    pairs = {f"{METRIC}{name}": (own[name], made.metrics[name]) for name in own if name in made.metrics}
    predictions = record.folder.predictions
    if made.predictions and predictions.exists():
        same = same_predictions(predictions, made.predictions)
        pairs["predictions"] = ("as recorded", "as recorded" if same else "another table")
    return pairs


def likely_cause(
    record: Run, differs: Mapping[str, Any], environment: Mapping[str, tuple[Any, Any]], here: bool
) -> str:
    """Why a run came out otherwise, as far as its record tells: the first cause along the way from data to metrics."""
    if not differs:
        return ""
    if "data" in differs:
        return "other images"
    if "code" in differs:
        if here and differs.keys() == {"code"}:
            return ""
        return _other_code(record, here)
    altered = "nothing that is recorded explains it; the record may have been altered"
    if any(name in INPUTS or name.startswith(INITIAL) for name in differs):
        return _versions(environment, DRAWS) or altered
    if LOSSES in differs and "loss stream" not in differs and not _sound(record):
        return "losses.npy is not what the record's hash of the losses says: the file may have been altered"
    if {"loss stream", "history", LOSSES} & differs.keys():
        return _versions(environment, [key for key, _ in ENVIRONMENT if key != "os"]) or altered
    if "final weights" in differs:
        return "every loss agrees, so the weights should: the record may have been altered"
    return (
        f"the evaluation: the weights agree; {_versions(environment, [key for key, _ in ENVIRONMENT if key != 'os'])}"
    ).removesuffix("; ") + " (its code is not in the run's code hash: it may have been another)"


def _other_code(record: Run, here: bool) -> str:
    if here:
        return "the present code is not the recorded one"
    if record.provenance.dirty:
        return f"the run was made with changes that its commit does not hold (hash {record.provenance.dirty[:12]})"
    return "the code at the recorded commit is not the recorded one: the record may have been altered"


def _versions(environment: Mapping[str, tuple[Any, Any]], keys: Any) -> str:
    return ", ".join(f"{key} {show(environment[key])}" for key in keys if key in environment)


def show(pair: tuple[Any, Any]) -> str:
    """`1 -> 2`: recorded and found."""
    return " -> ".join("none" if value is None else str(value) for value in pair)
