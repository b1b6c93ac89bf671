"""Runs in parallel: told to stop they save, DVC records what was run; a damaged record is not the end."""

import ast
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trainers
from fake_study import make_study

from harness.errors import UserError
from harness.pipeline import dvc, pool, worker
from harness.pipeline.dvc import KINDS
from harness.pipeline.dvc_files import ROOT, keep_lock
from harness.record import RunFolder
from harness.settings.study import Study

LOCK = "schema: '2.0'\nstages:\n  data:\n    cmd: python -m harness data\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study that has its runs, in whose folder the test is; what DVC would record is written down."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pool, "PRELOADED", [])
    words = [sys.executable, "-c", "import sys; open('record', 'a').write(' '.join(sys.argv[1:]) + ' ')"]
    monkeypatch.setattr(pool, "record", lambda stages: subprocess.Popen([*words, *stages], stdout=subprocess.PIPE))
    study = make_study(tmp_path, epochs=1)
    study.checked.write_text("{}")
    for cell in study.cells:
        files = RunFolder.of(cell.results)
        for file in (files.provenance, files.metrics):
            file.parent.mkdir(parents=True)
            file.touch()
    return study


def test_told_to_stop_every_trainer_saves_and_leaves(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "work", trainers.saves)

    def stop() -> None:
        while not Path("begun-base-0").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        pool.run_cells(study, dict.fromkeys(["base-0", "base-1"], KINDS), 1, [])
    assert Path("saved-base-0").exists()
    assert not Path("begun-base-1").exists()
    output = capsys.readouterr().out
    assert "stopped base-0" in output
    assert not Path("record").exists(), "older results are there, and were not made now"
    assert "FAILED" not in output


@pytest.mark.usefixtures("study")
def test_of_a_parent_that_was_killed_the_trainers_save_and_leave() -> None:
    script = (
        "from pathlib import Path; from harness.settings.load import load_study; import trainers; "
        "from harness.pipeline import pool, worker; pool.PRELOADED = []; worker.work = trainers.saves; "
        "pool.run_cells(load_study(Path('experiments/study.yaml')), {'base-0': ('train',)}, 1, [])"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}) as parent:
        while not Path("begun-base-0").exists():
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    while not Path("saved-base-0").exists():
        time.sleep(0.05)


def test_what_is_wrong_with_a_cell_is_said_beside_its_name(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "work", trainers.fails)
    assert pool.run_cells(study, {"base-0": KINDS}, 1, []) == ["base-0"]
    assert "FAILED base-0: batch: got 5000; allowed: at most 86; see " in capsys.readouterr().out
    assert not Path("record").exists()


def test_dvc_records_what_was_run_and_nothing_whose_inputs_changed_meanwhile(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "work", trainers.changes_inputs)
    study.checked.write_text("before")
    assert pool.run_cells(study, dict.fromkeys(["base-0", "base-1", "no-lrn-0"], KINDS), 1, []) == []
    assert Path("record").read_text().split() == [f"{kind}@{cell}" for cell in ("no-lrn-0", "base-1") for kind in KINDS]
    assert "base-0: not recorded" in capsys.readouterr().out


def test_a_process_has_its_users_environment_and_the_bits_of_its_run(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_ALLOW_DIRTY", "1")
    monkeypatch.setattr(worker, "work", trainers.tells_environment)
    # The server of copies is started once a process, by an earlier test perhaps.
    spawn = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: spawn)
    pool.run_cells(study, {"base-0": KINDS}, 1, [])
    environment = ast.literal_eval(pool.log_of("base-0", ROOT).read_text())
    assert environment["HARNESS_ALLOW_DIRTY"] == "1"
    assert environment["PATH"].endswith(os.environ["PATH"])
    assert os.environ["HARNESS_ALLOW_DIRTY"] == "1"


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
    monkeypatch.setattr(dvc, "DVC", (sys.executable, "-c", words))
    with pytest.raises(UserError) as refused:
        dvc.repro(ROOT)
    assert str(refused.value) == why


def test_what_dvc_prints_is_shown_without_its_hints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (
        "Running stage 'data':\n\nTo track the changes with git, run:\n\n\tgit add dvc.lock\n\nTo enable auto staging, "
        "run:\n\n\tdvc config core.autostage true\nUse `dvc push` to send your updates to remote storage.\ndata: 1\n"
    )
    monkeypatch.setattr(dvc, "DVC", (sys.executable, "-c", f"print({said!r}, end='')"))
    assert dvc.repro(ROOT) == said
    assert capsys.readouterr().out == "Running stage 'data':\ndata: 1\n"


@pytest.mark.parametrize("left", ["", LOCK[:-9], "schema: '2.0'\n", "nonsense: [\n"])
@pytest.mark.usefixtures("study")
def test_half_a_record_is_replaced_by_its_last_sound_copy(left: str, capsys: pytest.CaptureFixture[str]) -> None:
    lock = Path("dvc.lock")
    lock.write_text(LOCK)
    keep_lock(ROOT)
    assert lock.read_text() == LOCK
    lock.write_text(left)
    keep_lock(ROOT)
    assert lock.read_text() == LOCK
    assert "dvc.lock: damaged" in capsys.readouterr().out


@pytest.mark.usefixtures("study")
def test_half_a_record_without_a_copy_is_one_line_that_says_what_to_do() -> None:
    pipeline = Path("experiments/mine/dvc.yaml")
    keep_lock(pipeline)  # none is there yet
    pipeline.parent.mkdir(parents=True)
    pipeline.with_suffix(".lock").write_text("")
    with pytest.raises(UserError, match=r"mine/dvc\.lock: damaged.*git checkout HEAD -- experiments/mine/dvc\.lock"):
        keep_lock(pipeline)


def test_the_runs_that_wait_are_those_that_dvc_would_run(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = {"train@tanh-4", "eval@no-lrn-1", "train-candidate"}
    asked: list[tuple[str, ...]] = []

    def asks(*words: str, show: bool = False) -> str:
        options, groups = words[:3], words[3:]
        assert options == ("repro", "-s", "--dry")
        asked.append(groups)
        return "".join(f"Running stage '{one}':\n" for one in sorted(stale) if re.split("@", one)[0] in groups)

    monkeypatch.setattr(dvc, "dvc", asks)
    # DVC fails on the evaluation of a run whose training is not there, as the candidate's.
    assert dvc.waiting(study) == dict.fromkeys(["tanh-4", "candidate"], KINDS)
    assert asked == [("train", "train-candidate")]
    assert re.search(r"asking DVC .* \(41 runs, about \d+ s\)", capsys.readouterr().out)
    RunFolder.of(study.candidate_results).training.mkdir(parents=True)
    assert dvc.waiting(study, {"no-lrn-1", "tanh-4"}) == {"no-lrn-1": ("eval",), "tanh-4": KINDS}
    stale.clear()
    assert dvc.waiting(study) == {}
