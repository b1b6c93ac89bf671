"""A record against its re-run: what agrees, where the two part, and why. Pure but for the predictions."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from harness.grammar import counted
from harness.predictions import same_predictions
from harness.record import TIMES, Run, hash_losses
from harness.report.circumstances import CIRCUMSTANCES, differing
from harness.report.isolation import Noise, Verification, identity

NAMES = {
    "data": "data", "code": "code", "batch_order": "batch order", "augmentation": "augmentation stream",
    "losses": "loss stream", "weights": "final weights",
}  # fmt: skip
"""Hashes of a provenance.json by the names that the user reads; those of the initial weights are beside them."""

INPUTS = ("data", "code", "batch order", "augmentation stream")
LOSSES = "losses"
"""The loss of every step, compared one by one; `loss stream` is the hash over all of them."""

INITIAL = "initial weights of "
DRAWS = ("torch", "numpy", "instructions")
"""What random numbers depend on: torch draws normal numbers by other operations where there is no AVX2."""

ALTERED = "nothing that is recorded explains it; the record may have been altered"


@dataclass(frozen=True)
class Made:
    """A re-run, in whole or over its first steps. `hashes`: those of provenance.json that were made.

    `losses`: of every step that was taken, float32; None where there are none.
    """

    whole: bool
    hashes: Mapping[str, Any]
    history: list[dict[str, float]]
    machine: dict[str, Any]
    versions: dict[str, Any]
    commit: str | None = None
    dirty: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    predictions: Path | None = None
    losses: np.ndarray | None = None

    @staticmethod
    def of(run: Run) -> "Made":
        """A whole run, evaluated where its record is; its metrics without what names the evaluation's code."""
        origin, measured = run.provenance, run.measured
        metrics = measured.model_copy(update={"code": None, "weights": None}).as_json() if measured else {}
        return Made(
            True, run.hashes.model_dump(), run.history, origin.machine, origin.versions, origin.commit, origin.dirty,
            metrics, run.folder.predictions if measured else None, run.losses,
        )  # fmt: skip


ERROR_RATE = 0.05
"""Of all re-runs of a verification together: that one with other bits is held to differ by more than noise."""


def noise_of(match: "Match", record: Run, made: Made, others: Sequence[Run], metric: str, count: int) -> Noise | None:
    """Whether a re-run that differs agrees within noise; None where nothing but the machine may be the reason.

    `others`: the recorded runs of its variant, its own among them. `metric`: what whole runs are compared by.
    `count`: runs of the verification, which share its error rate (Bonferroni).
    """
    differs = match.outcome.differs
    if not differs or set(differs) & set(INPUTS) or not _elsewhere(match, record, made):
        return None
    if made.whole and metric in made.metrics:
        name, value = metric, float(made.metrics[metric])
        recorded = [run.metrics[metric] for run in others if metric in run.metrics]
    elif made.losses is not None and len(made.losses):
        name, value = f"mean loss of {counted(len(made.losses), 'step')}", float(made.losses.mean())
        recorded = [float(run.losses[: len(made.losses)].mean()) for run in others]
    else:
        return None
    if len(recorded) < 2:
        return None
    # Of a further run: Student's t, with the scatter of the recorded ones and that of their mean.
    middle, n = float(np.mean(recorded)), len(recorded)
    half = stats.t.ppf(1 - ERROR_RATE / 2 / count, n - 1) * float(np.std(recorded, ddof=1)) * math.sqrt(1 + 1 / n)
    return Noise(name=name, value=value, low=middle - half, high=middle + half, runs=n)


def _elsewhere(match: "Match", record: Run, made: Made) -> bool:
    """Whether a re-run was computed with something that may give other bits."""
    before, now = (machine.get("bits") for machine in (record.provenance.machine, made.machine))
    if before and now and before != now:
        return True
    # Where the portable bits were measured to be the same, the processor's name is no reason.
    same = before is not None and before == now and record.settings.get("bits") == "portable"
    return bool(match.environment.keys() - ({"os", "cpu", "device_name"} if same else {"os"}))


@dataclass(frozen=True)
class Match:
    """What was compared. `differs`: name -> (recorded, re-run). `environment`: the same, of machine and versions.

    `row`: the first epoch whose row of history.csv differs; `differs` has its columns that do. `of_steps`: how many
    losses the record has. The first loss that differs may come after that epoch: the errors on other images can show
    first what the losses do not yet.
    """

    outcome: Verification
    differs: dict[str, tuple[Any, Any]]
    environment: dict[str, tuple[Any, Any]]
    row: int | None
    of_steps: int


def compare(record: Run, made: Made, here: bool) -> Match:
    """Hold a re-run against its record. Only what both have is compared, and all layers.

    `here`: it was made by other code on purpose, so that the code may differ.
    """
    old = Made.of(record)
    pairs: dict[str, tuple[Any, Any]] = {
        name: (old.hashes[key], made.hashes[key]) for key, name in NAMES.items() if key in made.hashes
    }
    initial, other = old.hashes["initial"], made.hashes.get("initial", {})
    layers = {f"{INITIAL}{name}": (initial.get(name), other.get(name)) for name in (initial | other if other else ())}
    metrics = {f"metric {n}": (value, made.metrics[n]) for n, value in old.metrics.items() if n in made.metrics}
    row, *cells = _part_of_rows(old.history, made)
    if made.history:
        pairs["history"] = (cells[0], cells[1])
    if made.predictions and old.predictions and old.predictions.exists():
        same = same_predictions(old.predictions, made.predictions)
        pairs["predictions"] = ("as recorded", "as recorded" if same else "another table")
    differs = {name: pair for name, pair in (pairs | layers | metrics).items() if pair[0] != pair[1]}
    of, of_steps, steps, step = len(old.history), len(record.losses), 0, None
    if made.losses is not None:
        steps = min(of_steps, len(made.losses))
        one, two = (losses.view(np.uint32).tolist() for losses in (record.losses, made.losses))
        step = _part(one, two, made.whole)
        pairs[LOSSES] = (None, None)
        if step is not None:
            values = [losses[step] if step < len(losses) else None for losses in (record.losses, made.losses)]
            differs[LOSSES] = values[0], values[1]
    first_step = None if step is None else [step // (of_steps // of) + 1, step % (of_steps // of) + 1]
    environment = differing(record.provenance, made)
    groups = {"initial weights ({} layers)": layers, "metrics ({})": metrics}
    counts = {text: len(group.keys() - differs.keys()) for text, group in groups.items()}
    outcome = Verification(
        verified=not (differs.keys() - ({"code"} if here else set())),
        record=identity(record.provenance.fingerprint, record.hashes),
        epochs=len(made.history),
        of=of,
        when=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=made.commit,
        dirty=made.dirty,
        here=here,
        machine=made.machine,
        versions=made.versions,
        agrees=[name for name in pairs if name not in differs] + [text.format(n) for text, n in counts.items() if n],
        differs=list(differs),
        first_epoch=min([epoch for epoch in (row, first_step and first_step[0]) if epoch], default=None),
        first_step=first_step,
        steps=steps,
        cause=likely_cause(record, differs, environment, here),
    )
    return Match(outcome, differs, environment, row, of_steps)


def _part(recorded: Sequence[Any], made: Sequence[Any], whole: bool) -> int | None:
    """The first place (from 0) at which two sequences differ; of a whole run, also where the re-run ends early."""
    pairs = zip_longest(recorded if whole else recorded[: len(made)], made)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), None)


def _part_of_rows(history: list[dict[str, float]], made: Made) -> tuple[int | None, dict[str, str], dict[str, str]]:
    """The first epoch (from 1) whose rows differ, and of the columns that both have what differs in it."""
    shared = [name for name in history[0] if made.history and name in made.history[0] and name not in TIMES]
    # As texts: equal ones are equal to the last bit, also where a value is no number.
    tables = [[{name: repr(row[name]) for name in shared} for row in rows] for rows in (history, made.history)]
    at = _part(tables[0], tables[1], made.whole)
    if at is None:
        return None, {}, {}
    one, other = (table[at] if at < len(table) else {} for table in tables)
    if not one or not other:
        return at + 1, {"epoch": one.get("epoch", "none")}, {"epoch": other.get("epoch", "none")}
    names = [name for name in shared if one[name] != other[name]]
    return at + 1, {name: one[name] for name in names}, {name: other[name] for name in names}


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
    if LOSSES in differs and "loss stream" not in differs and hash_losses(record.losses) != record.hashes.losses:
        return "losses.npy is not what the record's hash of the losses says: the file may have been altered"
    computed = circumstances(name for name in CIRCUMSTANCES if name != "os")
    if {"loss stream", "history", LOSSES} & differs.keys():
        return computed or ALTERED
    if "final weights" in differs:
        return "every loss agrees, so the weights should: the record may have been altered"
    machine = f"; {computed}" if computed else ""
    return (
        f"the evaluation: the weights agree{machine} (its code is not in the run's code hash: it may have been another)"
    )


def show(pair: tuple[Any, Any]) -> str:
    """`1 -> 2`: recorded and re-run; of a hash its first twelve characters."""
    return " -> ".join(
        "none" if value is None else re.sub("^([0-9a-f]{12})[0-9a-f]{52}$", r"\1", str(value)) for value in pair
    )
