"""Cells in parallel: told to stop, DVC keeps its record; a damaged record is not the end; what is new is run."""

import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest
from fake_study import make_study

from harness.errors import UserError
from harness.pipeline import pool
from harness.pipeline.dvc_files import keep_lock
from harness.record import RunFolder

LOCK = "schema: '2.0'\nstages:\n  data:\n    cmd: python -m harness data\n"

LIKE_DVC = """
import subprocess, sys, time
done = subprocess.run([sys.executable, "-c", "import time; time.sleep(60)", "harness"])
with open("record", "w") as file:
    for part in range(10):
        file.write(f"{part}\\n")
        file.flush()
        time.sleep(0.05)
sys.exit(done.returncode != 0)
"""
"""Starts a trainer, waits for it, and then writes its record bit by bit; a signal of its own would end it."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_told_to_stop_the_trainer_leaves_and_dvc_writes_its_record(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pool, "DVC", (sys.executable, "-c", LIKE_DVC))
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        pool.run_cells(["base-0", "base-1"], 1, [])
    assert Path("record").read_text().split() == [str(part) for part in range(10)]
    output = capsys.readouterr().out
    assert "stopped base-0" in output
    assert "FAILED" not in output
    assert not pool.log_of("base-1").exists()


def test_what_is_wrong_with_a_cell_is_said_beside_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "print('harness: batch: got 5000; allowed: at most 86'); print('ERROR: failed'); raise SystemExit(1)"
    monkeypatch.setattr(pool, "DVC", (sys.executable, "-c", words))
    assert pool.run_cells(["base-0"], 1, []) == ["base-0"]
    assert "FAILED base-0: batch: got 5000; allowed: at most 86; see " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("harness: seed: got -1\nERROR: failed to run", "seed: got -1"),
        ("harness: first\nharness: last\n", "last"),
        ("a line\nERROR: bad stage 'x'\n\nHaving any troubles?\n", "dvc: bad stage 'x'"),
        ("Traceback (most recent call last):\nOSError: Not a directory: 'x'\n", "dvc: OSError: Not a directory: 'x'"),
        ("", "dvc repro -s dvc.yaml: failed with status 3"),
    ],
)
def test_the_last_word_on_a_dvc_that_failed_is_why(monkeypatch: pytest.MonkeyPatch, printed: str, why: str) -> None:
    words = f"import sys; sys.stderr.write({printed!r}); raise SystemExit(3)"
    monkeypatch.setattr(pool, "DVC", (sys.executable, "-c", words))
    with pytest.raises(UserError) as refused:
        pool.repro(pool.ROOT)
    assert str(refused.value) == why


def test_what_dvc_prints_is_shown_without_its_hints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (
        "Running stage 'data':\n\nTo track the changes with git, run:\n\n\tgit add dvc.lock\n\nTo enable auto staging, "
        "run:\n\n\tdvc config core.autostage true\nUse `dvc push` to send your updates to remote storage.\ndata: 1\n"
    )
    monkeypatch.setattr(pool, "DVC", (sys.executable, "-c", f"print({said!r}, end='')"))
    assert pool.repro(pool.ROOT) == said
    assert capsys.readouterr().out == "Running stage 'data':\ndata: 1\n"


@pytest.mark.parametrize("left", ["", LOCK[:-9], "schema: '2.0'\n", "nonsense: [\n"])
def test_half_a_record_is_replaced_by_its_last_sound_copy(left: str, capsys: pytest.CaptureFixture[str]) -> None:
    lock = Path("dvc.lock")
    lock.write_text(LOCK)
    keep_lock(pool.ROOT)
    assert lock.read_text() == LOCK
    lock.write_text(left)
    keep_lock(pool.ROOT)
    assert lock.read_text() == LOCK
    assert "dvc.lock: damaged" in capsys.readouterr().out


def test_half_a_record_without_a_copy_is_one_line_that_says_what_to_do() -> None:
    pipeline = Path("experiments/mine/dvc.yaml")
    keep_lock(pipeline)  # none is there yet
    pipeline.parent.mkdir(parents=True)
    pipeline.with_suffix(".lock").write_text("")
    with pytest.raises(UserError, match=r"mine/dvc\.lock: damaged.*git checkout HEAD -- experiments/mine/dvc\.lock"):
        keep_lock(pipeline)


def test_the_runs_that_wait_are_those_that_dvc_would_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path, epochs=1)
    stale = {"train@tanh-4", "eval@no-lrn-1", "train-candidate"}
    asked: list[tuple[str, ...]] = []

    def dvc(*words: str, show: bool = False) -> str:
        options, groups = words[:3], words[3:]
        assert options == ("repro", "-s", "--dry")
        asked.append(groups)
        return "".join(f"Running stage '{one}':\n" for one in sorted(stale) if re.split("@", one)[0] in groups)

    monkeypatch.setattr(pool, "dvc", dvc)
    # DVC fails on the evaluation of a run whose training is not there.
    assert pool.waiting(study) == ["tanh-4", "candidate"]
    assert asked == [("train", "train-candidate")]
    assert re.search(r"asking DVC .* \(41 runs, about \d+ s\)", capsys.readouterr().out)
    for place in [*(cell.results for cell in study.cells), study.candidate_results]:
        RunFolder.of(place).training.mkdir(parents=True)
    assert pool.waiting(study) == ["no-lrn-1", "tanh-4", "candidate"]
    stale.clear()
    assert pool.waiting(study) == []
