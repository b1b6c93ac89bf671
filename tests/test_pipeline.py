"""The real pipeline in a clone: what runs again when something changes, and nothing else."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FILES = ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", ".dvc/plots/study.json")
VARIANTS = ("base", "no-lrn")
SEEDS = (0,)
CELLS = {f"{stage}@{variant}-{seed}" for stage in ("train", "eval") for variant in VARIANTS for seed in SEEDS}
AFTER = {"report", "publish"}
CANDIDATE = {"train-candidate", "eval-candidate"}

STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "Tests.",
    "data": {"source": "synthetic", "train_limit": 120, "test_limit": 60},
    "seeds": list(SEEDS), "baseline": "base",
    "variants": {"base": TINY | {"epochs": 1}, "no-lrn": TINY | {"epochs": 1, "lrn": False}},
}  # fmt: skip


def write(path: Path, content: Any) -> None:
    with path.open("w") as file:
        YAML(typ="safe").dump(content, file)


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_", "PYTHON"))}
    who = {f"GIT_{role}_{what}": "tests@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | who | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", "HOME": str(folder)}


def call(folder: Path, *words: str, status: int | None = 0) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert status is None or done.returncode == status, done.stdout
    return done.stdout


def ran(output: str) -> set[str]:
    """Stages whose command was run."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def commit(folder: Path) -> None:
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "state")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose tiny study has run once, committed."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    shutil.copytree(ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    (folder / "experiments").mkdir()
    write(folder / "experiments/study.yaml", STUDY)
    write(folder / "params.yaml", TINY | {"epochs": 1, "seed": 0, "lrn": True, "dropout": 0.5})
    call(folder, "git", "init", "-q", "-b", "main")
    commit(folder)
    assert ran(call(folder, "dvc", "repro")) == {"check", "data", "gallery"} | CELLS | CANDIDATE | AFTER
    commit(folder)
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of the built clone, to change."""
    folder = tmp_path / "project"
    shutil.copytree(built, folder, symlinks=True)
    return folder


def edit(folder: Path, **changes: Any) -> None:
    write(folder / "experiments/study.yaml", STUDY | changes)


def test_nothing_runs_again_without_a_change(project: Path) -> None:
    assert ran(call(project, "dvc", "repro")) == set()
    assert call(project, "git", "status", "--short") == ""


def test_a_changed_variant_and_a_new_seed_run_their_cells_alone_and_a_revert_is_restored(project: Path) -> None:
    before = (project / "runs/tiny/no-lrn-0/model.safetensors").read_bytes()
    changed = TINY | {"epochs": 1, "lrn": False, "lrn_k": 1.0, "dropout": 0.1}
    edit(project, variants=STUDY["variants"] | {"no-lrn": changed}, seeds=[*SEEDS, 7])
    mine = {f"{stage}@{cell}" for stage in ("train", "eval") for cell in ("no-lrn-0", "no-lrn-7", "base-7")}
    assert ran(call(project, "dvc", "repro")) == {"check"} | mine | AFTER
    edit(project)
    told = call(project, "dvc", "repro", "report")
    assert not [stage for stage in ran(told) if stage.startswith("train@")]
    assert "Stage 'train@no-lrn-0' is cached" in told
    assert (project / "runs/tiny/no-lrn-0/model.safetensors").read_bytes() == before


def test_editing_the_reports_code_or_words_retrains_nothing(project: Path) -> None:
    with (project / "harness/report/render.py").open("a") as file:
        file.write("# another line\n")
    edit(project, title="Another title")
    told = ran(call(project, "dvc", "repro"))
    assert told == {"check"} | AFTER
    assert "# Another title" in (project / "reports/tiny.md").read_text()


def test_editing_the_net_retrains_everything(project: Path) -> None:
    with (project / "harness/net/lrn.py").open("a") as file:
        file.write("# another line\n")
    told = call(project, "dvc", "status", "--json", "train", "train-candidate")
    assert {stage for stage in json.loads(told) if stage.startswith("train")} == {
        stage for stage in CELLS | CANDIDATE if stage.startswith("train")
    }


def test_the_code_that_dvc_watches_is_the_code_in_the_fingerprint() -> None:
    from harness.record import NUMERIC_CODE

    with (ROOT / "dvc.yaml").open() as file:
        stages = YAML(typ="safe").load(file)["stages"]
    for stage in ("train", "train-candidate"):
        deps = stages[stage]["deps"]
        assert {d for d in deps if d.startswith("harness/")} == {f"harness/{path}" for path in NUMERIC_CODE}


def test_a_flip_runs_the_candidate_and_the_report_alone_and_is_read_as_a_table(project: Path) -> None:
    told = call(project, "dvc", "exp", "run", "--temp", "-n", "flip", "-S", "lrn=false")
    assert ran(told) == {"check"} | CANDIDATE | AFTER
    assert call(project, "git", "status", "--short") == "", "--temp leaves the workspace alone"
    shown = call(project, "dvc", "exp", "show", "--csv")
    assert "test_top1" in shown.splitlines()[0]
    assert any("flip" in line for line in shown.splitlines())
    assert re.search(r"params\.yaml\s+lrn\s+True\s+False", call(project, "dvc", "params", "diff", "HEAD", "flip"))
    assert "test_top1" in call(project, "dvc", "metrics", "diff", "HEAD", "flip", "--all")
    call(project, "dvc", "exp", "apply", "flip")
    report = (project / "reports/tiny.md").read_text()
    row = next(line for line in report.splitlines() if line.startswith("| *candidate*"))
    assert "lrn" in row
    # The flipped candidate is the declared cell no-lrn-0, trained apart: equal to the bit.
    record = json.loads((project / "reports/tiny/candidate/provenance.json").read_text())
    twin = json.loads((project / "reports/tiny/cells/no-lrn-0/provenance.json").read_text())
    assert record["hashes"] == twin["hashes"]


def test_a_queue_of_experiments_runs_a_sweep(project: Path) -> None:
    call(project, "dvc", "exp", "run", "--queue", "-S", "dropout=0.1,0.3")
    call(project, "dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 240
    status = ""
    while time.monotonic() < deadline:
        status = call(project, "dvc", "queue", "status")
        if not re.search(r"Queued|Running", status):
            break
        time.sleep(2)
    assert status.count("Success") == 2, status
    values = json.loads(call(project, "dvc", "exp", "show", "--json"))
    assert {"0.1", "0.3"} <= set(re.findall(r'"dropout": ([0-9.]+)', json.dumps(values)))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-S", "lnr=false"], "lnr"),
        (["-S", "+lnr=false"], "params.yaml: unknown setting 'lnr'"),
        (["-S", "lrn=banana"], "params.yaml: lrn: got 'banana'; allowed: true or false"),
        (["-S", "lrn=off"], "params.yaml: lrn: got 'off'; allowed: true or false"),
    ],
)
def test_a_bad_flip_is_refused_before_any_training(project: Path, words: list[str], told: str) -> None:
    said = call(project, "dvc", "exp", "run", *words, status=None)
    assert told in said
    assert ran(said) <= {"check"}
    assert "ERROR" in said


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"variants": {"base": TINY | {"lnr": False}}}, "study.yaml: variants.base: unknown setting 'lnr'"),
        ({"variants": {"base": TINY, "no.lrn": TINY}}, "study.yaml: variants.no.lrn: a name has"),
        ({"sedes": [1]}, "study.yaml: unknown setting 'sedes'"),
    ],
)
def test_a_bad_study_is_refused_before_any_training(project: Path, change: dict[str, Any], told: str) -> None:
    edit(project, **change)
    said = call(project, "dvc", "repro", status=None)
    assert told in said
    assert ran(said) <= {"check"}


def test_check_takes_less_than_a_second_of_its_own_time(project: Path) -> None:
    times = []
    for _ in range(3):
        begin = os.times()
        call(project, "python", "-m", "harness", "check")
        end = os.times()
        times.append(end.children_user + end.children_system - begin.children_user - begin.children_system)
    assert min(times) < 1, times


def test_a_fresh_clone_runs_nothing_and_shows_metrics_and_plots(built: Path, tmp_path: Path) -> None:
    call(tmp_path, "git", "clone", "-q", str(built), "fresh")
    fresh = tmp_path / "fresh"
    assert ran(call(fresh, "dvc", "repro", "--allow-missing")) == set()
    assert "test_top1" in call(fresh, "dvc", "metrics", "show")
    assert "index.html" in call(fresh, "dvc", "plots", "show")
    assert (fresh / "reports/tiny.md").exists()


def test_dvc_makes_the_report_of_a_verification_again_to_the_byte(project: Path) -> None:
    def reports() -> dict[str, bytes]:
        found = sorted((project / "reports").rglob("*"))
        return {path.relative_to(project).as_posix(): path.read_bytes() for path in found if path.is_file()}

    before = reports()
    call(project, "python", "-m", "harness", "verify", "reports/tiny.md", "base", "--quick", "1")
    after = reports()
    assert {path for path in after if after[path] != before.get(path)} == {
        "reports/tiny.md",
        "reports/tiny/verified.json",
    }
    assert b"1 of 1 over the first 1 step" in after["reports/tiny.md"]
    assert ran(call(project, "dvc", "repro")) == AFTER
    assert reports() == after
    assert ran(call(project, "dvc", "repro")) == set()


def test_the_committed_reports_are_those_of_the_committed_code(tmp_path: Path) -> None:
    """In a fresh clone nothing is to be run: not the runs, and no report either."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False)
    if status.returncode or status.stdout:
        pytest.skip("the working tree is no commit")
    call(tmp_path, "git", "clone", "-q", str(ROOT), "clone")
    done = [str(path.relative_to(ROOT).with_suffix(".yaml")) for path in ROOT.glob("experiments/*/dvc.lock")]
    assert len(done) >= 4
    assert ran(call(tmp_path / "clone", "dvc", "repro", "--dry", "--allow-missing", "dvc.yaml", *sorted(done))) == set()


def test_cells_in_parallel_go_on_when_stopped_give_the_same_results_and_leave_nothing_to_do(
    built: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "parallel"
    call(tmp_path, "git", "clone", "-q", str(built), str(folder))
    shutil.rmtree(folder / "reports")
    (folder / "dvc.lock").unlink()
    edit(folder, variants={**STUDY["variants"], "long": TINY | {"epochs": 150, "dropout": 0.3}})
    words = ["python", "-m", "harness", "run", "-j", "2"]
    process = subprocess.Popen(
        words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    log = folder / ".dvc/tmp/cells/long-0.log"
    deadline = time.monotonic() + 240
    while not (log.exists() and " steps, " in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert out.rstrip().endswith("harness: stopped; the same command goes on")
    assert "stopped long-0" in out
    assert "FAILED" not in out
    assert "3 variants x 1 seed = 3 cells" in out
    assert list((folder / ".checkpoints").glob("long-0-*/*.json")), "the trainer saved its state"

    said = call(folder, *words)
    assert "goes on in epoch" in log.read_text()
    assert json.loads((folder / "reports/tiny/cells/long-0/provenance.json").read_text())["resumed"], said
    assert ran(call(folder, "dvc", "repro")) == set()
    for cell in sorted((built / "reports/tiny/cells").iterdir()):
        other = folder / "reports/tiny/cells" / cell.name
        for name in ("metrics.json", "predictions.parquet", "config.json"):
            assert (cell / name).read_bytes() == (other / name).read_bytes(), (cell.name, name)
        one, two = (json.loads((path / "provenance.json").read_text())["hashes"] for path in (cell, other))
        assert one == two
    with (built / "dvc.lock").open() as one, (folder / "dvc.lock").open() as two:
        alone, parallel = (YAML(typ="safe").load(file)["stages"] for file in (one, two))
    assert parallel.keys() - alone.keys() == {"train@long-0", "eval@long-0"}
    for stage in CELLS | CANDIDATE:
        assert [alone[stage].get(part) for part in ("cmd", "params")] == [
            parallel[stage].get(part) for part in ("cmd", "params")
        ]


def test_a_failed_cell_does_not_stop_the_others_and_is_named(project: Path) -> None:
    edit(
        project,
        variants={
            **STUDY["variants"],
            "too-big": TINY | {"batch": 115},  # more than are left to train: only training can know
            "new": TINY | {"epochs": 1, "dropout": 0.2},
        },
    )
    said = call(project, "python", "-m", "harness", "run", "-j", "2", status=2)
    assert "1 of 2 cells failed" in said
    log = project / ".dvc/tmp/cells/too-big-0.log"
    assert str(log.relative_to(project)) in said
    assert "batch: got 115" in log.read_text()
    assert "FAILED too-big-0: batch: got 115, but there are 108 training images" in said
    assert (project / "runs/tiny/new-0/model.safetensors").exists()
    report = (project / "reports/tiny.md").read_text()
    assert re.search(r"too-big-0.*missing", report)
    assert json.loads((project / "reports/tiny/cells/new-0/metrics.json").read_text())["status"] == "finished"


def test_a_study_folder_runs_by_itself_and_shares_its_cells(project: Path) -> None:
    folder = project / "experiments/extra"
    folder.mkdir()
    write(
        folder / "study.yaml",
        {
            "extends": "../study.yaml", "name": "extra", "title": "Extra", "purpose": "Tests.",
            "ensembles": ["base"],
            "settings": TINY | {"epochs": 1},
            "factors": {"no-lrn": {"lrn": False}, "no-dropout": {"dropout": 0}},
            "plan": [{"kind": "one_factor"}],
        },
    )  # fmt: skip
    said = call(project, "python", "-m", "harness", "run", "experiments/extra/study.yaml", status=2)
    assert "cells.yaml: is missing; run: harness plan experiments/extra/study.yaml --write" in said
    said = call(project, "python", "-m", "harness", "plan", "experiments/extra/study.yaml", "--write")
    assert "3 variants x 1 seed = 3 runs" in said
    said = call(project, "python", "-m", "harness", "run", "extra", "--gpus", "0,1")
    assert "3 cells to run, 2 at once" in said
    # Cells that are those of the other study were not trained again.
    logs = {path.name: path.read_text() for path in (project / ".dvc/tmp/cells").glob("extra-*.log")}
    shared = {name for name, text in logs.items() if "is the run of runs/tiny/" in text}
    assert shared == {f"extra-{variant}-0.log" for variant in VARIANTS}
    twin = (project / "runs/tiny/no-lrn-0/model.safetensors").read_bytes()
    assert (project / "runs/extra/no-lrn-0/model.safetensors").read_bytes() == twin
    report = (project / "reports/extra.md").read_text()
    assert "`no-dropout`" in report
    assert "candidate" not in report
    assert set(json.loads((project / "reports/extra/ensembles.json").read_text())) == {"base"}
    assert ran(call(project, "dvc", "repro", "experiments/extra/dvc.yaml")) == set()
    # The default study does not notice.
    assert ran(call(project, "dvc", "repro")) == set()
