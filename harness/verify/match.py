"""A record against its re-run: what agrees, where the two part, and why. Pure but for the predictions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.predictions import same_predictions
from harness.record import TIMES, Run, hash_losses
from harness.report.circumstances import CIRCUMSTANCES, differing

INPUTS = ("data", "code", "batch order", "augmentation stream")
LOSSES = "losses"
"""The loss of every step, compared one by one; `loss stream` is the hash over all of them."""

INITIAL = "initial weights of "
METRIC = "metric "
DRAWS = ("torch", "numpy", "instructions")
"""What random numbers depend on: torch draws normal numbers by other operations where there is no AVX2."""

ALTERED = "nothing that is recorded explains it; the record may have been altered"


@dataclass(frozen=True)
class Made:
    """A re-run, in whole or over its first steps: the hashes that were made, by the names used here.

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
class Match:
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
        "data": "data", "code": "code", "batch_order": "batch order", "augmentation": "augmentation stream",
        "losses": "loss stream", "weights": "final weights",
    }  # fmt: skip
    found = {names[key]: value for key, value in hashes.items() if key in names}
    return found | {f"{INITIAL}{layer}": value for layer, value in hashes.get("initial", {}).items()}


def compare(record: Run, made: Made, here: bool) -> Match:
    """Hold a run that was re-run against its record. Only what both have is compared, and all layers."""
    own = named_hashes(record.hashes.model_dump())
    layers = any(name.startswith(INITIAL) for name in made.hashes)
    pairs: dict[str, tuple[Any, Any]] = {
        name: (own.get(name), made.hashes.get(name))
        for name in own | made.hashes
        if (name in own and name in made.hashes) or (layers and name.startswith(INITIAL))
    }
    history = texts(record.history)
    row, columns = _part_of_rows(history, made)
    if made.history:
        cells = [
            tuple(rows[row - 1][column] if row and row <= len(rows) else None for column in columns)
            for rows in (history, made.history)
        ]
        pairs["history"] = (cells[0], cells[1])
    losses, found, step = record.losses, made.losses, None
    steps = of_steps = 0
    if losses is not None:
        of_steps = len(losses)
        if found is not None:
            steps = min(len(losses), len(found))
            step = _part(_bits(losses), _bits(found), made.whole)
            pairs[LOSSES] = (None, None) if step is None else _shown_losses(losses, found, step)
    pairs |= _evaluated(record, made)
    differs = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    environment = differing(record.provenance, made)
    place = None if step is None else (step // (of_steps // len(history)) + 1, step % (of_steps // len(history)) + 1)
    return Match(
        [name for name in pairs if name not in differs],
        differs,
        environment,
        min([epoch for epoch in (row, place and place[0]) if epoch], default=None),
        place,
        row,
        columns,
        len(made.history),
        len(history),
        steps,
        of_steps,
        likely_cause(record, differs, environment, here),
    )


def texts(history: list[dict[str, float]]) -> list[dict[str, str]]:
    """Rows of a history as texts: equal texts are equal to the last bit, also where a value is no number."""
    return [{name: repr(value) for name, value in row.items()} for row in history]


def measured(run: Run) -> dict[str, Any]:
    """What a run's evaluation measured, without what names its code; empty before it."""
    return run.measured.model_copy(update={"code": None, "weights": None}).as_json() if run.measured else {}


def _part(recorded: Sequence[Any], found: Sequence[Any], whole: bool) -> int | None:
    """The first place (from 0) at which two sequences differ; of a whole run, also where the found one ends early."""
    for at, (one, other) in enumerate(zip(recorded, found, strict=False)):
        if one != other:
            return at
    ends = len(found) > len(recorded) or (whole and len(found) < len(recorded))
    return min(len(found), len(recorded)) if ends else None


def _part_of_rows(recorded: list[dict[str, str]], made: Made) -> tuple[int | None, list[str]]:
    """The first epoch (from 1) whose rows differ, and in which of the columns that both have."""
    shared = [name for name in recorded[0] if made.history and name in made.history[0] and name not in TIMES]
    rows = [[[row[name] for name in shared] for row in history] for history in (recorded, made.history)]
    at = _part(rows[0], rows[1], made.whole)
    if at is None:
        return None, []
    if at >= min(map(len, rows)):
        return at + 1, ["epoch"]
    return at + 1, [name for name, one, other in zip(shared, rows[0][at], rows[1][at], strict=True) if one != other]


def _bits(losses: np.ndarray) -> list[int]:
    found: list[int] = np.asarray(losses, np.float32).view(np.uint32).tolist()
    return found


def _shown_losses(recorded: np.ndarray, found: np.ndarray, step: int) -> tuple[str | None, str | None]:
    """Both losses of a step (from 0) at which they differ, with their bits where they read alike; None past an end."""
    told = [str(losses[step]) if step < len(losses) else None for losses in (recorded, found)]
    if told[0] == told[1]:  # many values are no number
        told = [f"{text} ({_bits(losses)[step]:#010x})" for text, losses in zip(told, (recorded, found), strict=True)]
    return told[0], told[1]


def _evaluated(record: Run, made: Made) -> dict[str, tuple[Any, Any]]:
    own = measured(record)
    pairs = {f"{METRIC}{name}": (own[name], made.metrics[name]) for name in own if name in made.metrics}
    if made.predictions and record.folder.predictions.exists():
        same = same_predictions(record.folder.predictions, made.predictions)
        pairs["predictions"] = ("as recorded", "as recorded" if same else "another table")
    return pairs


def likely_cause(
    record: Run, differs: Mapping[str, Any], environment: Mapping[str, tuple[Any, Any]], here: bool
) -> str:
    """Why a run came out otherwise, as far as its record tells: the first cause along the way from data to metrics."""

    def circumstances(names: Iterable[str]) -> str:
        return ", ".join(f"{name} {show(environment[name])}" for name in names if name in environment)

    if not differs or (here and differs.keys() == {"code"}):
        return ""
    if "data" in differs:
        return "other images"
    if "code" in differs and here:
        return "the present code is not the recorded one"
    if "code" in differs:
        dirty = record.provenance.dirty
        return (
            f"the run was made with changes that its commit does not hold (hash {dirty[:12]})" if dirty
            else "the code at the recorded commit is not the recorded one: the record may have been altered"
        )  # fmt: skip
    if any(name in INPUTS or name.startswith(INITIAL) for name in differs):
        return circumstances(DRAWS) or ALTERED
    losses = record.losses if LOSSES in differs and "loss stream" not in differs else None
    if losses is not None and hash_losses(losses) != record.hashes.losses:
        return "losses.npy is not what the record's hash of the losses says: the file may have been altered"
    computed = circumstances(name for name in CIRCUMSTANCES if name != "os")
    if {"loss stream", "history", LOSSES} & differs.keys():
        return computed or ALTERED
    if "final weights" in differs:
        return "every loss agrees, so the weights should: the record may have been altered"
    own = f"; {computed}" if computed else ""
    return f"the evaluation: the weights agree{own} (its code is not in the run's code hash: it may have been another)"


def show(pair: tuple[Any, Any]) -> str:
    """`1 -> 2`: recorded and found."""
    return " -> ".join("none" if value is None else str(value) for value in pair)
