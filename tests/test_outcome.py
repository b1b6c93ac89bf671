"""What a run left is explained, and taken back: files of a study against the last commit, in small git repositories."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from conftest import commit, git
from fake_study import IMAGES, make_run, make_study

from harness.commits import restore
from harness.diff.changes import compare
from harness.diff.sides import Snapshot, read_side
from harness.errors import UserError
from harness.files import write_csv, write_json, write_text
from harness.pipeline.discard import discard, reset_candidate
from harness.pipeline.outcome import IDENTICAL, cause, differing, summary, verdict_line
from harness.record import Config, Run, RunFolder, read_run
from harness.settings.schema import Settings
from harness.settings.study import Study

STUDY = """
name: tiny
title: Tiny
purpose: Tests.
data: {source: synthetic}
seeds: [0, 1]
variants:
  base: &base {preset: [paper, small], epochs: 1}
  no-lrn: {<<: *base, lrn: false}
"""

LOCK = """schema: '2.0'
stages:
  check:
    cmd: check {0}
  train-candidate:
    cmd: train
    params:
      params.yaml:
        lrn: {1}
    outs:
    - path: reports/tiny/candidate/train
      md5: {1}
  eval-candidate:
    cmd: eval {1}
  report:
    cmd: report {0}
"""


def run(settings: Settings, seed: int = 0, **changes: Any) -> Run:
    """A run; `changes`: see `make_run`."""
    with TemporaryDirectory() as folder:
        make_run(Path(folder), settings, seed, **changes)
        return read_run(RunFolder.of(Path(folder)))


def write_report(study: Study, root: Path, verdict: str) -> None:
    """The tables of a report, as far as verdicts are compared."""
    rule = {"metric": "test_top1", "test": "block", "alpha": 0.05, "margin": "", "confidence": 0.95, "look": "",
            "interim": "false"}  # fmt: skip
    rows = [{"variant": "base", **rule}, {"variant": "no-lrn", "pairs": 2, "seeds": "0 1", "difference": 0.5,
             "low": 0.1, "high": 0.9, "verdict": verdict, **rule}]  # fmt: skip
    cells = [
        {"variant": cell.variant, "seed": cell.seed, "status": "finished", "test_top1": 20.0,
         "fingerprint": Config.of(study.variants[cell.variant], cell.seed, IMAGES).fingerprint,
         "weights": "w", "code": "c", "data": "d", "device": "cpu"}
        for cell in study.cells
    ]  # fmt: skip
    for name, table in (("variants", rows), ("cells", cells)):
        write_csv(root / study.folder / f"{name}.csv", table, list(table[-1]))
    write_text(root / study.report, f"# {verdict}\n")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A committed study of four runs and a candidate, in the working directory."""
    monkeypatch.chdir(tmp_path)
    study = make_study(Path("."), STUDY)
    for cell in study.cells:
        make_run(cell.results, study.variants[cell.variant], cell.seed)
    make_run(study.candidate_results, study.variants["base"], 0)
    write_report(study, tmp_path, "hurts")
    Path("dvc.lock").write_text(LOCK.format("old", "true"))
    Path("params.yaml").write_text("preset: [paper, small]\nepochs: 1\nseed: 0\nlrn: true\n")
    write_json(study.checked, {"settings": {}})
    git("init", "-q", "-b", "main")
    commit()
    return study


AVX512: dict[str, Any] = {
    "provenance__machine__instructions": "AVX512",
    "provenance__machine__device_name": "Xeon",
    "provenance__hashes__weights": "other",
}


def test_the_cause_of_a_difference_is_the_first_that_explains_it() -> None:
    base, other = Settings(epochs=1), Settings(epochs=1, lrn=False)
    old = run(base)
    assert cause(None, old) == "new"
    assert cause(old, None) == "missing"
    assert cause(old, run(base, provenance__started=1.8e9, provenance__machine__cpu="Xeon")) == IDENTICAL
    assert cause(old, run(other, **AVX512)) == "of other settings (lrn)"
    # The processor's name says no more than its instructions do.
    assert cause(old, run(base, **AVX512)) == "re-run with other instructions (AVX2 -> AVX512)"
    changed = {"provenance__hashes__weights": "other"}
    for key, value, text in (
        ("provenance__machine__device_name", "Xeon", "another processor (AMD EPYC -> Xeon)"),
        ("provenance__machine__threads", 4, "another number of threads (1 -> 4)"),
        ("provenance__machine__device", "cuda:0", "another device (cpu -> cuda:0)"),
        ("provenance__versions__torch", "2.10.0", "another version of torch (2.9.0 -> 2.10.0)"),
        ("provenance__versions__numpy", None, "another version of numpy (2.0.0 -> none)"),
        ("provenance__hashes__code", "abc", f"another numerics identity ({old.hashes.code[:12]} -> abc)"),
        ("config__data__hash", "abc", f"other images ({IMAGES.hash[:12]} -> abc)"),
    ):
        assert cause(old, run(base, **changed, **{key: value})) == f"re-run with {text}", key
    assert cause(old, run(base, **changed)) == "re-run with other results, which no record explains"
    assert old.measured
    code = f"{str(old.measured.code)[:12]} -> {'f' * 12}"
    assert cause(old, run(base, metrics__code="f" * 64, metrics__test_top1=21.0)) == f"evaluated by other code ({code})"


def test_causes_are_counted_most_runs_first_and_one_run_is_named() -> None:
    why = {f"base-{seed}": "re-run" for seed in range(40)} | {"no-lrn-0": "new", "candidate": IDENTICAL}
    assert summary(why, 42) == f"40 of 42 runs: re-run; no-lrn-0: new; the candidate: {IDENTICAL}"
    assert summary({"base-0": "re-run"}, 1) == "base-0: re-run"


def test_verdicts_are_compared_with_the_committed_report(study: Study, tmp_path: Path) -> None:
    def side() -> Any:
        return read_side(Snapshot("it", study.folder))

    old = side()
    assert verdict_line(compare(old, side())) == "verdicts agree in 1 row"
    write_report(study, tmp_path, "inconclusive")
    assert verdict_line(compare(old, side())) == "verdicts changed: no-lrn: hurts -> inconclusive"
    assert verdict_line(compare(side(), old)) == "verdicts changed: no-lrn: inconclusive -> hurts"
    write_report(study, tmp_path, "")
    assert verdict_line(compare(side(), old)) == "verdicts: the committed report has none"


def test_nothing_is_said_where_nothing_of_the_study_differs(study: Study, tmp_path: Path) -> None:
    assert differing(study, tmp_path) == []
    Path("README.md").write_text("something else\n")
    Path("reports/other.md").write_text("another study's\n")
    assert differing(study, tmp_path) == []


def test_a_run_on_another_processor_is_explained_with_what_to_do(study: Study, tmp_path: Path) -> None:
    for cell in study.cells:
        make_run(cell.results, study.variants[cell.variant], cell.seed, **AVX512)
    make_run(study.candidate_results, study.variants["base"], 0, provenance__started=1.8e9)
    write_report(study, tmp_path, "inconclusive")
    assert differing(study, tmp_path) == [
        "run: 7 files differ from the committed results: 4 of 5 runs: re-run with other instructions (AVX2 -> "
        f"AVX512); the candidate: {IDENTICAL}",
        "verdicts changed: no-lrn: hurts -> inconclusive",
        "keep them: git add reports/tiny reports/tiny.md && git commit",
        "drop them: harness discard tiny",
    ]


def test_outside_git_nothing_is_said_and_nothing_is_taken_back(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    subprocess.run(["rm", "-rf", ".git"], check=True)
    write_report(study, tmp_path, "inconclusive")
    assert differing(study, tmp_path) == []
    for command in (discard, reset_candidate):
        with pytest.raises(UserError, match="no git repository with a commit"):
            command(study, tmp_path)


def test_a_first_run_is_new_and_cannot_be_dropped(study: Study, tmp_path: Path) -> None:
    git("rm", "-rqf", "--cached", "reports", "dvc.lock", "experiments/checked.json")
    git("commit", "-qm", "none")
    lines = differing(study, tmp_path)
    assert "5 of 5 runs: new" in lines[0]
    assert lines[1] == "verdicts: the committed report has none"
    assert len(lines) == 3
    with pytest.raises(UserError, match="the last commit has none of reports/tiny"):
        discard(study, tmp_path)


def status() -> str:
    return git("status", "--porcelain", "-uall")


def test_discard_brings_back_the_studys_results_and_nothing_else(study: Study, tmp_path: Path) -> None:
    def change() -> None:
        make_run(study.cells[0].results, study.variants["base"], 0, **AVX512)
        make_run(study.folder / "runs/new-0", study.variants["base"], 7)
        Path("dvc.lock").write_text(LOCK.format("new", "true"))
        Path("reports/tiny/forest.svg").write_text("new\n")
        (study.folder / "variants.csv").unlink()

    mine = {"params.yaml": "seed: 3\n", "reports/other.md": "another study's\n", "experiments/study.yaml": STUDY + "\n"}
    for name, text in mine.items():
        Path(name).write_text(text)
    before = status()
    change()
    git("add", "reports/tiny/forest.svg")  # staged or not
    lines = discard(study, tmp_path)
    assert status() == before
    assert {name: Path(name).read_text() for name in mine} == mine
    assert not (study.folder / "runs/new-0").exists()
    assert lines == [
        "discard: reports/tiny: 2 files brought back from the last commit, 7 new files removed",
        "discard: dvc.lock: 1 file brought back from the last commit",
    ]
    assert discard(study, tmp_path) == ["discard: tiny: nothing differs from the last commit"]
    assert restore(tmp_path, ["reports/tiny"]) == []


def flip(study: Study, tmp_path: Path) -> None:
    """What `dvc exp apply` leaves of a flipped candidate."""
    make_run(study.candidate_results, study.variants["no-lrn"], 0, provenance__hashes__weights="other")
    Path("params.yaml").write_text("preset: [paper, small]\nepochs: 1\nseed: 0\nlrn: false\n")
    Path("dvc.lock").write_text(LOCK.format("new", "false"))
    write_json(study.checked, {"settings": {"candidate": "other"}})
    write_report(study, tmp_path, "hurts, and the candidate differs")


def test_the_candidates_flip_alone_is_taken_back(study: Study, tmp_path: Path) -> None:
    Path("notes.txt").write_text("mine\n")
    flip(study, tmp_path)
    lines = reset_candidate(study, tmp_path)
    assert status() == "?? notes.txt\n"
    assert lines == [
        "candidate: params.yaml: 1 file brought back from the last commit",
        "candidate: reports/tiny/candidate: 5 files brought back from the last commit",
        "candidate: report, dvc.lock and checked.json: 4 files likewise",
    ]
    assert reset_candidate(study, tmp_path) == ["candidate: nothing differs from the last commit"]


def test_with_other_changes_of_the_study_its_report_and_lock_stay(study: Study, tmp_path: Path) -> None:
    flip(study, tmp_path)
    make_run(study.cells[0].results, study.variants["base"], 0, **AVX512)
    lines = reset_candidate(study, tmp_path)
    assert "reports/tiny/runs/base-0/train/provenance.json differ" in lines[-1]
    assert "`dvc repro` makes it again" in lines[-1]
    assert "params.yaml" not in status()
    assert "candidate/" not in status()
    assert "reports/tiny.md" in status()
    # What DVC has recorded of the candidate is that of its records; of all else, of the rest.
    assert Path("dvc.lock").read_text() == LOCK.format("new", "true")


@pytest.mark.parametrize("command", [discard, reset_candidate])
def test_a_files_name_may_be_anything(
    study: Study, tmp_path: Path, command: Callable[[Study, Path], list[str]]
) -> None:
    flip(study, tmp_path)
    odd = study.candidate_results / "train/ä \t.json"
    odd.write_text("{}")
    command(study, tmp_path)
    assert not odd.exists()
    assert json.loads((study.candidate_results / "train/provenance.json").read_text())["hashes"]["weights"] != "other"
