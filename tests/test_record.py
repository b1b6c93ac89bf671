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

from harness.errors import UserError
from harness.files import write_json
from harness.record import (
    CLEAN,
    HISTORY,
    Config,
    Hashes,
    Images,
    Metrics,
    Provenance,
    Run,
    RunFolder,
    hash_losses,
    paired,
    read_config,
    read_history,
    read_metrics,
    read_provenance,
    read_run,
    write_metrics,
    write_training,
)

IMAGES = Images(
    name="some", hash="d" * 64, size=32, classes=10, channels=3, class_names=[f"class {n}" for n in range(10)],
    counts={"train": 9, "validation": 3, "test": 6}, left_out=1,
)  # fmt: skip
LOSSES = np.array([2.5, 2.25, 2.125, math.nan], np.float32)
ROWS = [
    dict(zip(HISTORY, values, strict=True))
    for values in ((1, 0.01, 2.375, 80.0, 2.2, 70.0, 2.1, 75.0, 1.5, 1.7e9), (2, 0.005, *[math.nan] * 6, 1.5, 1.7e9))
]


def config(**changes: Any) -> Config:
    return Config.of(tiny(**changes), 3, IMAGES)


def provenance(fingerprint: str, **changes: Any) -> Provenance:
    values: dict[str, Any] = {
        "fingerprint": fingerprint, "status": "finished", "diverged_epoch": None, "resumed": [1], "command": "train",
        "commit": "c" * 40, "dirty": None, "dvc_stage": "train@base-3", "machine": {"threads": 1, "cpu": "some"},
        "versions": {"torch": "2", "cuda": None}, "packages": "p" * 64,
        "hashes": Hashes(
            data=IMAGES.hash, code="c", initial={"conv1": "i"}, batch_order="b", augmentation="a",
            losses=hash_losses(LOSSES), weights="w" * 64,
        ),
        "started": 1.7e9, "wall_seconds": 3.5, "images_per_second": 12.5, "peak_memory_mb": 100.25, "parameters": 10,
        "steps": 4,
    }  # fmt: skip
    return Provenance(**(values | changes))


METRICS = Metrics(status="finished", diverged_epoch=None, code="e" * 64, numbers={"test_top1": 20.5, "test_images": 6})


def written(root: Path, **changes: Any) -> RunFolder:
    """A run's records below `root`."""
    folder, given = RunFolder.of(root), config()
    write_training(folder.training, given, provenance(given.fingerprint, **changes), ROWS, LOSSES)
    write_metrics(folder, METRICS)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return written(tmp_path / "base-3")


def read(folder: RunFolder) -> Run:
    """Read all of a run."""
    run = read_run(folder)
    assert run.losses is not None
    return run


@pytest.mark.parametrize("start", [None, "s" * 64])
def test_a_config_comes_back_as_it_was_written(tmp_path: Path, start: str | None) -> None:
    given = Config.of(tiny(lrn=False), 3, IMAGES, start)
    write_training(tmp_path / "train", given, provenance(given.fingerprint), ROWS, LOSSES)
    found = read_config(tmp_path / "train/config.json")
    assert found == given
    assert found.resolved == tiny(lrn=False)
    assert ("start" in json.loads((tmp_path / "train/config.json").read_text())) is (start is not None)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "diverged", "diverged_epoch": 2},
        {"reused_from": "train@other-3"},
        {"commit": None, "dirty": "d" * 64, "dvc_stage": None},
    ],
)
def test_provenance_comes_back_as_it_was_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    given = provenance(config().fingerprint, **changes)
    write_training(tmp_path / "train", config(), given, ROWS, LOSSES)
    assert read_provenance(tmp_path / "train/provenance.json") == given
    stored = json.loads((tmp_path / "train/provenance.json").read_text())
    assert ("reused_from" in stored) is ("reused_from" in changes)


@pytest.mark.parametrize(
    "metrics",
    [
        METRICS,
        METRICS.model_copy(update={"weights": "w" * 64}),
        Metrics(status="diverged", diverged_epoch=2, code="e" * 64),
        Metrics(status="finished", diverged_epoch=None, numbers={"train_loss": 0.1 + 0.2}),
    ],
)
def test_metrics_come_back_as_they_were_written(tmp_path: Path, metrics: Metrics) -> None:
    folder = RunFolder.of(tmp_path)
    write_metrics(folder, metrics)
    assert read_metrics(folder.metrics) == metrics
    stored = json.loads(folder.metrics.read_text())
    assert stored.items() >= metrics.numbers.items(), "flat, as DVC shows them"
    assert {"code", "weights"} & stored.keys() == {name for name in ("code", "weights") if getattr(metrics, name)}


def test_history_and_losses_come_back_to_the_bit(folder: RunFolder) -> None:
    run = read(folder)
    assert [repr({name: row[name] for name in HISTORY}) for row in run.history] == [repr(row) for row in ROWS]
    assert run.losses is not None
    assert run.losses.tobytes() == LOSSES.tobytes()
    assert hash_losses(run.losses) == run.hashes.losses
    assert (run.metrics, run.seed, run.images) == (METRICS.numbers, 3, IMAGES)


def test_a_run_is_read_before_it_is_evaluated_and_without_losses(folder: RunFolder) -> None:
    folder.metrics.unlink()
    folder.losses.unlink()
    run = read_run(folder)
    assert (run.measured, run.metrics, run.losses) == (None, {}, None)


def test_a_history_of_before_the_clean_curve_is_read(folder: RunFolder) -> None:
    with folder.history.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in HISTORY if name not in CLEAN], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(ROWS)
    assert [set(HISTORY) - row.keys() for row in read_history(folder.history)] == [set(CLEAN)] * 2


Change = Callable[[Any], object]
HAND = ["was it changed by hand", "Restore it from git, or run its stage again"]
AGAIN = ["evaluate the run again"]


def taken(*keys: str) -> Change:
    """Take a key away, of a mapping in a mapping for several."""

    def change(values: Any) -> None:
        for key in keys[:-1]:
            values = values[key]
        del values[keys[-1]]

    return change


def put(value: Any, *keys: str) -> Change:
    """Set a key, of a mapping in a mapping for several."""

    def change(values: Any) -> None:
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", taken("seed"), ["config.json: seed: missing", *HAND]),
        ("config.json", taken("data", "hash"), ["config.json: data.hash: missing", *HAND]),
        ("config.json", put(1, "data", "sice"), ["config.json: unknown setting 'data.sice'; did you mean size", *HAND]),
        ("config.json", put("0", "seed"), ["config.json: seed: got '0'", *HAND]),
        ("provenance.json", taken("hashes", "weights"), ["provenance.json: hashes.weights: missing", *HAND]),
        ("provenance.json", put("x", "hashes", "wieghts"), ["provenance.json: unknown setting 'hashes.wieg", *HAND]),
        ("provenance.json", put("failed", "status"), ["provenance.json: status: got 'failed'", "finished", *HAND]),
        ("provenance.json", put("f" * 64, "fingerprint"), ["provenance.json: fingerprint: got ffffffffffff", *HAND]),
        ("metrics.json", taken("status"), ["metrics.json: status: missing", *AGAIN]),
        ("metrics.json", put("20", "test_top1"), ["metrics.json: test_top1: got '20'", "a finite number", *AGAIN]),
        ("metrics.json", put("failed", "status"), ["metrics.json: status: got 'failed'", *AGAIN]),
        ("metrics.json", put("diverged", "status"), ["metrics.json: diverged_epoch: missing", *AGAIN]),
    ],
)  # fmt: skip
def test_a_key_that_is_missing_unknown_or_of_a_wrong_type_is_one_line(
    folder: RunFolder, file: str, change: Change, said: list[str]
) -> None:
    path = (folder.evaluation if file == "metrics.json" else folder.training) / file
    values = json.loads(path.read_text())
    change(values)
    write_json(path, values)
    refused(lambda: read(folder), str(path), *said)


def refused(go: Callable[[], object], *parts: str) -> None:
    """It is refused, in one line with these parts."""
    with pytest.raises(UserError) as mistake:
        go()
    assert len(str(mistake.value).splitlines()) == 1
    for part in parts:
        assert part in str(mistake.value)


@pytest.mark.parametrize("file", ["config.json", "provenance.json", "metrics.json"])
def test_what_is_no_mapping_or_no_json_is_one_line(folder: RunFolder, file: str) -> None:
    path = (folder.evaluation if file == "metrics.json" else folder.training) / file
    for content in ("[]", "null", '"text"', "3", "{", ""):
        path.write_text(content)
        refused(lambda: read(folder), str(path))


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
    ("change", "said"),
    [
        (lambda text: text.replace("train_loss", "trian_loss"), "trian_loss belongs to no column"),
        (rows(lambda table: [row.pop() for row in table]), "'time'"),
        (rows(lambda table: table[1].__setitem__(1, "fast")), "'fast'"),
        (rows(lambda table: table[2].__setitem__(0, "3")), "a row an epoch, from 1"),
        (rows(lambda table: table.append(table[1])), "a row an epoch, from 1"),
        (lambda text: "", "a row an epoch, from 1"),
        (lambda text: text.replace("0.01", '"0.01'), "not a run's history"),
    ],
)
def test_a_history_that_is_none_is_one_line(folder: RunFolder, change: Callable[[str], str], said: str) -> None:
    folder.history.write_text(change(folder.history.read_text()))
    refused(lambda: read(folder), f"{folder.history}: not a run's history: ", said, *HAND)


def test_a_history_with_an_unknown_column_is_one_line(folder: RunFolder) -> None:
    lines = folder.history.read_text().splitlines()
    folder.history.write_text("".join(f"{line},{'top5' if not number else 1}\n" for number, line in enumerate(lines)))
    refused(lambda: read(folder), f"{folder.history}: ", "top5", *HAND)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (LOSSES.astype(np.float64), "an array (steps,) of float32"),
        (LOSSES.reshape(2, 2), "an array (steps,) of float32"),
        (LOSSES[:3], "got 3 losses for 2 epochs"),
        (b"", "not the losses of a run"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4' \n", "not the losses of a run"),
    ],
)
def test_losses_that_are_none_are_one_line(folder: RunFolder, losses: Any, said: str) -> None:
    if isinstance(losses, bytes):
        folder.losses.write_bytes(losses)
    else:
        np.save(folder.losses, losses, allow_pickle=False)
    refused(lambda: read(folder), f"{folder.losses}: ", said, *HAND)


def test_a_missing_file_is_named(folder: RunFolder) -> None:
    for path in (folder.history, folder.provenance, folder.config):
        path.unlink()
        refused(lambda: read(folder), f"{path}: no such file")


def test_a_setting_that_the_present_code_does_not_know_is_named_by_its_run(folder: RunFolder) -> None:
    values = json.loads(folder.config.read_text())
    write_json(folder.config, values | {"settings": values["settings"] | {"cutout": 8}})
    run = read(folder)
    refused(lambda: run.config.resolved, f"run {run.fingerprint[:12]}: settings: unknown setting 'cutout'")


def test_records_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_training(
            tmp_path / "train", config(), provenance("f", images_per_second=math.inf), ROWS, LOSSES
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_runs_are_paired_by_seed_on_the_same_images_alone(tmp_path: Path) -> None:
    run = read(written(tmp_path / "run"))
    other = replace(run, config=run.config.model_copy(update={"data": IMAGES.model_copy(update={"hash": "e" * 64})}))
    one = {0: run, 1: run, 2: run, 5: run}
    two = {2: run, 1: other, 0: run, 4: run}
    assert paired(one, two) == paired(two, one) == [0, 2]
    assert paired(one, one) == [0, 1, 2, 5]
    assert paired({0: run}, {0: other}) == paired({0: other}, {0: run}) == []
    assert paired({}, one) == []
