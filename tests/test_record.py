"""A run's records are read as they were written; what is not one is refused in one line that says what to do."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny
from fake_study import alter, make_run

from harness.errors import UserError
from harness.files import write_json
from harness.record import (
    CLEAN,
    HISTORY,
    Metrics,
    Record,
    Run,
    RunFolder,
    paired,
    read_history,
    read_run,
    write_metrics,
    write_training,
)

LOSSES = np.array([2.5, 2.25, 2.125, math.nan], np.float32)
ROWS = [
    dict(zip(HISTORY, values, strict=True))
    for values in ((1, 0.01, 2.375, 80.0, 2.2, 70.0, 2.1, 75.0, 1.5, 1.7e9), (2, 0.005, *[math.nan] * 6, 1.5, 1.7e9))
]
METRICS = Metrics(status="finished", diverged_epoch=None, code="e" * 64, numbers={"test_top1": 20.5, "test_images": 6})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The records of a run of two epochs of two steps."""
    made = RunFolder.of(tmp_path / "made")
    make_run(tmp_path / "made", tiny(epochs=2), 3)
    run, folder = read_run(made), RunFolder.of(tmp_path / "base-3")
    write_training(folder.training, run.config, run.provenance, ROWS, LOSSES)
    write_metrics(folder, METRICS)
    return folder


def read(folder: RunFolder) -> Run:
    """Read all of a run."""
    run = read_run(folder)
    assert run.losses is not None
    return run


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config", {}),
        ("config", {"start": "s" * 64}),
        ("provenance", {}),
        ("provenance", {"status": "diverged", "diverged_epoch": 2}),
        ("provenance", {"reused_from": "train@other-3"}),
        ("provenance", {"commit": None, "dirty": "d" * 64, "dvc_stage": None}),
        ("metrics", {}),
        ("metrics", {"weights": "w" * 64}),
        ("metrics", {"status": "diverged", "diverged_epoch": 2, "numbers": {}}),
        ("metrics", {"code": None, "numbers": {"train_loss": 0.1 + 0.2}}),
    ],
)
def test_a_record_comes_back_as_it_was_written(folder: RunFolder, file: str, changes: dict[str, Any]) -> None:
    run, path = read(folder), getattr(folder, file)
    records: dict[str, Record] = {"config": run.config, "provenance": run.provenance, "metrics": METRICS}
    record = records[file].model_copy(update=changes)
    write_json(path, record.as_json())
    assert type(record).read(path) == record
    # Optional keys stand there only where they are set; metrics are flat, as DVC shows them.
    stored = json.loads(path.read_text())
    for key in {"start", "reused_from", "code", "weights"} & record.model_dump().keys():
        assert (key in stored) is (getattr(record, key) is not None)
    assert stored.items() >= getattr(record, "numbers", {}).items()


def test_history_and_losses_come_back_to_the_bit(folder: RunFolder) -> None:
    run = read(folder)
    assert [repr({name: row[name] for name in HISTORY}) for row in run.history] == [repr(row) for row in ROWS]
    assert run.losses.tobytes() == LOSSES.tobytes()
    assert (run.metrics, run.seed, run.images) == (METRICS.numbers, 3, run.config.data)


def test_a_run_is_read_before_it_is_evaluated(folder: RunFolder) -> None:
    folder.metrics.unlink()
    run = read_run(folder)
    assert (run.measured, run.metrics) == (None, {})


def test_a_history_of_before_the_clean_curve_is_read(folder: RunFolder) -> None:
    with folder.history.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in HISTORY if name not in CLEAN], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(ROWS)
    assert [set(HISTORY) - row.keys() for row in read_history(folder.history)] == [set(CLEAN)] * 2


HAND = ["was it changed by hand", "Restore it from git, or run its stage again"]
AGAIN = ["evaluate the run again"]
GONE = object()


@pytest.mark.parametrize(
    ("file", "key", "value", "parts"),
    [
        ("config", "seed", GONE, ["config.json: seed: missing", *HAND]),
        ("config", "data.hash", GONE, ["config.json: data.hash: missing", *HAND]),
        ("config", "data.sice", 1, ["config.json: unknown setting 'data.sice'; did you mean size", *HAND]),
        ("config", "seed", "0", ["config.json: seed: got '0'", *HAND]),
        ("provenance", "hashes.weights", GONE, ["provenance.json: hashes.weights: missing", *HAND]),
        ("provenance", "hashes.wieghts", "x", ["provenance.json: unknown setting 'hashes.wieg", *HAND]),
        ("provenance", "status", "failed", ["provenance.json: status: got 'failed'", "finished", *HAND]),
        ("provenance", "fingerprint", "f" * 64, ["provenance.json: fingerprint: got ffffffffffff", *HAND]),
        ("metrics", "status", GONE, ["metrics.json: status: missing", *AGAIN]),
        ("metrics", "test_top1", "20", ["metrics.json: test_top1: got '20'", "a finite number", *AGAIN]),
        ("metrics", "status", "failed", ["metrics.json: status: got 'failed'", *AGAIN]),
        ("metrics", "status", "diverged", ["metrics.json: diverged_epoch: missing", *AGAIN]),
    ],
)
def test_a_key_that_is_missing_unknown_or_of_a_wrong_type_is_one_line(
    folder: RunFolder, file: str, key: str, value: Any, parts: list[str]
) -> None:
    def change(values: Any) -> None:
        *above, last = key.split(".")
        for name in above:
            values = values[name]
        values[last] = value
        if value is GONE:
            del values[last]

    path = getattr(folder, file)
    alter(path, change)
    refused(lambda: read(folder), str(path), *parts)


def refused(go: Callable[[], object], *parts: str) -> None:
    """It is refused, in one line with these parts."""
    with pytest.raises(UserError) as mistake:
        go()
    assert len(str(mistake.value).splitlines()) == 1
    for part in parts:
        assert part in str(mistake.value)


def test_metrics_of_another_outcome_than_the_training_s_are_refused(folder: RunFolder) -> None:
    write_metrics(folder, Metrics(status="diverged", diverged_epoch=2))
    refused(
        lambda: read(folder), f"{folder.metrics}: status: not that of {folder.provenance}", "evaluate the run again"
    )


def rows(change: Callable[[list[list[str]]], object]) -> Callable[[str], str]:
    """A change of a table's rows of words, the header among them."""

    def changed(text: str) -> str:
        table = [line.split(",") for line in text.splitlines()]
        change(table)
        return "".join(",".join(row) + "\n" for row in table)

    return changed


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda text: text.replace("train_loss", "trian_loss"), "trian_loss belongs to no column"),
        (rows(lambda table: [row.append("5") for row in table]), "5 belongs to no column"),
        (rows(lambda table: [row.pop() for row in table]), "'time'"),
        (rows(lambda table: table[1].__setitem__(1, "fast")), "'fast'"),
        (rows(lambda table: table[2].__setitem__(0, "3")), "a row an epoch, from 1"),
        (rows(lambda table: table.append(table[1])), "a row an epoch, from 1"),
        (lambda text: "", "a row an epoch, from 1"),
        (lambda text: text.replace("0.01", '"0.01'), "not a run's history"),
    ],
)
def test_a_history_that_is_none_is_one_line(folder: RunFolder, change: Callable[[str], str], part: str) -> None:
    folder.history.write_text(change(folder.history.read_text()))
    refused(lambda: read(folder), f"{folder.history}: not a run's history: ", part, *HAND)


@pytest.mark.parametrize(
    ("losses", "part"),
    [
        (LOSSES.astype(np.float64), "an array (steps,) of float32"),
        (LOSSES.reshape(2, 2), "an array (steps,) of float32"),
        (LOSSES[:3], "got 3 losses for 2 epochs"),
        (b"", "not the losses of a run"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4' \n", "not the losses of a run"),
    ],
)
def test_losses_that_are_none_are_one_line(folder: RunFolder, losses: Any, part: str) -> None:
    if isinstance(losses, bytes):
        folder.losses.write_bytes(losses)
    else:
        np.save(folder.losses, losses, allow_pickle=False)
    refused(lambda: read(folder), f"{folder.losses}: ", part, *HAND)


def test_a_missing_file_is_named(folder: RunFolder) -> None:
    for path in (folder.history, folder.provenance, folder.config):
        path.unlink()
        refused(lambda: read(folder), f"{path}: no such file")


def test_a_setting_that_the_present_code_does_not_know_is_named_by_its_run(folder: RunFolder) -> None:
    alter(folder.config, lambda values: values["settings"].update(cutout=8))
    run = read(folder)
    refused(lambda: run.config.resolved, f"run {run.fingerprint[:12]}: settings: unknown setting 'cutout'")


def test_runs_are_paired_by_seed_on_the_same_images_alone(folder: RunFolder) -> None:
    run = read(folder)
    images = run.images.model_copy(update={"hash": "e" * 64})
    other = replace(run, config=run.config.model_copy(update={"data": images}))
    one = {0: run, 1: run, 2: run, 5: run}
    two = {2: run, 1: other, 0: run, 4: run}
    assert paired(one, two) == paired(two, one) == [0, 2]
    assert paired(one, one) == [0, 1, 2, 5]
    assert paired({0: run}, {0: other}) == paired({0: other}, {0: run}) == []
    assert paired({}, one) == []
