"""A sample of what `nox -s reliability` runs at full size: other circumstances, kills, full disks, bad input."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from reading import rows_of

ROOT = Path(__file__).parent.parent

TRIED = {
    "runs": {
        "determinism": {"determinism": 4, "other numerics": 4},
        "operators": {"operators": 50},
        "kills": {"kill -9": 24, "after kills": 4},
        "signals": {"signals and locks": 8},
        "disk": {"full disk": 6, "damaged checkpoint": 18},
    },
    "stages": {
        "stages": {"kill -9 in other stages": 4, "full disk": 2},
        "pipeline": {"DVC killed alone": 1},
        "inputs": {"fuzzing": 40},
    },
}
"""Trials that the sample of each kind comes to at least. Kinds of one group share the runs they are held against."""


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("group", TRIED)
def test_a_sample_of_the_trials_loses_nothing(group: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reliability", "--sample", "--only", *TRIED[group], "--out", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    rows = rows_of(tmp_path / "reliability.csv")
    assert all(row["survived"] == row["tried"] for row in rows)
    tried, wanted = Counter[str](), sum((Counter(least) for least in TRIED[group].values()), Counter[str]())
    for row in rows:
        tried[row["kind"]] += int(row["tried"])
    assert wanted <= tried
    assert (tmp_path / "reliability.md").read_text().startswith("# Reliability")


def test_what_was_lost_is_counted_and_said(tmp_path: Path) -> None:
    from benchmarks.reliability.report import Found, write
    from benchmarks.reliability.tally import Tally

    tally = Tally()
    tally.add("kill -9", "in the middle of a step", True)
    tally.add("kill -9", "in the middle of a step", False, "base: weights", note="started again")
    write(tmp_path, "cpu", tally, Found(), 0, 60.0, 60.0, "a machine")
    (row,) = rows_of(tmp_path / "reliability.csv")
    assert row == {
        "kind": "kill -9", "what": "in the middle of a step", "tried": "2", "survived": "1", "lost": "1",
        "note": "base: weights; started again",
    }  # fmt: skip
    assert "2 trials, 1 lost: 2 times `kill -9`" in (tmp_path / "reliability.md").read_text()


def test_a_run_in_other_bits_is_lost(tmp_path: Path) -> None:
    from benchmarks.reliability.variants import differing

    assert differing({"weights": "a", "losses": "b"}, {"weights": "c", "losses": "b"}) == ["weights"]
    assert differing({"weights": "a"}, {}) == ["weights"]


def test_the_report_in_the_repository_counts_what_is_asked_and_lost_nothing() -> None:
    rows = rows_of(ROOT / "reports/reliability.csv")
    assert list(rows[0]) == ["kind", "what", "tried", "survived", "lost", "note"]
    assert all(int(row["lost"]) == 0 and int(row["survived"]) == int(row["tried"]) > 0 for row in rows)
    tried = Counter[str]()
    for row in rows:
        tried[row["kind"]] += int(row["tried"]) if row["what"] != "settings: valid" else 0
    assert tried["kill -9"] >= 200
    assert tried["fuzzing"] >= 1000
    places = {row["what"] for row in rows if row["kind"] == "kill -9"}
    assert {
        "in the middle of a step", "in the middle of a checkpoint", "in the middle of a validation",
        "in the middle of an evaluation", "just before the last rename", "just after the last rename",
    } <= places  # fmt: skip


def test_the_report_on_a_gpu_has_every_variant_in_every_circumstance() -> None:
    from benchmarks.reliability.determinism import OTHERS
    from benchmarks.reliability.operators import studies
    from benchmarks.reliability.variants import declared

    rows = rows_of(ROOT / "reports/reliability-cuda.csv")
    tried = {(row["kind"], row["what"]): int(row["tried"]) for row in rows}
    assert all(int(row["lost"]) == 0 for row in rows)
    again = [row["what"] for row in rows if row["kind"] == "determinism"]
    assert {one.what for one in OTHERS if one.abreast == 1} <= set(again)
    assert all(tried["determinism", what] == len(declared()) for what in again)
    # Variants that were declared since wait for a device.
    assert 75 <= tried["operators", "a variant of any study runs with no warn-only"] <= len(studies("cuda"))
