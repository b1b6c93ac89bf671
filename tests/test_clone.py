"""In a fresh clone nothing is to be run; what is new is run in parallel, goes on when stopped, and alone fails."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from clones import (
    AFTER,
    CANDIDATE,
    CELLS,
    STUDY,
    TINY,
    VARIANTS,
    built,
    call,
    clone,
    edit,
    environment,
    project,
    ran,
    record,
    write,
)  # fmt: skip

from harness.files import read_yaml

__all__ = ["built", "clone", "project"]  # fixtures
pytestmark = pytest.mark.slow


def test_a_clone_is_complete(clone: Path) -> None:
    assert ran(call(clone, "dvc", "repro")) == set()
    assert call(clone, "git", "status", "--short") == ""
    assert "test_top1" in call(clone, "dvc", "metrics", "show")
    assert "index.html" in call(clone, "dvc", "plots", "show")
    # A flip packs, trains, evaluates and reports; --temp leaves the workspace alone.
    output = call(clone, "dvc", "exp", "run", "--temp", "-n", "flip", "-S", "lrn=false")
    assert ran(output) == {"check"} | CANDIDATE | AFTER
    assert call(clone, "git", "status", "--short") == ""
    shown = call(clone, "dvc", "exp", "show", "--csv")
    assert "test_top1" in shown.splitlines()[0]
    assert any("flip" in line for line in shown.splitlines())
    assert re.search(r"params\.yaml\s+lrn\s+True\s+False", call(clone, "dvc", "params", "diff", "HEAD", "flip"))
    assert "test_top1" in call(clone, "dvc", "metrics", "diff", "HEAD", "flip", "--all")
    call(clone, "dvc", "exp", "apply", "flip")
    page = (clone / "reports/tiny.md").read_text()
    assert re.search(r"^Candidate \(`lrn: true", page, re.MULTILINE)
    # The flipped candidate is the declared run no-lrn-0, trained apart: bitwise identical.
    assert record(clone / "reports/tiny/candidate")["hashes"] == record(clone / "reports/tiny/runs/no-lrn-0")["hashes"]
    assert call(clone, "python", "-m", "harness", "candidate", "--reset").strip()
    assert call(clone, "git", "status", "--short") == ""


@pytest.mark.nightly
def test_a_queue_of_experiments_runs_a_sweep(clone: Path) -> None:
    def waits() -> bool:
        """Asked of git first, which answers at once: DVC starts for a second, on the same cores."""
        refs = call(clone, "git", "for-each-ref", "refs/exps", "--format=%(refname)")
        done = len(re.findall(r"^refs/exps/[0-9a-f]{2}/", refs, re.MULTILINE))
        return done < 2 or bool(re.search(r"Queued|Running", call(clone, "dvc", "queue", "status")))

    call(clone, "dvc", "exp", "run", "--queue", "-S", "dropout=0.1,0.3")
    call(clone, "dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 300
    while waits() and time.monotonic() < deadline:
        time.sleep(0.5)
    status = call(clone, "dvc", "queue", "status")
    assert status.count("Success") == 2, status
    values = json.loads(call(clone, "dvc", "exp", "show", "--json"))
    assert {"0.1", "0.3"} <= set(re.findall(r'"dropout": ([0-9.]+)', json.dumps(values)))


@pytest.mark.nightly
def test_cells_in_parallel_go_on_when_stopped_give_the_same_results_and_leave_nothing_to_do(
    built: Path, clone: Path
) -> None:
    folder = clone
    shutil.rmtree(folder / "reports")
    (folder / "dvc.lock").unlink()
    edit(folder, variants={**STUDY["variants"], "long": TINY | {"epochs": 150, "dropout": 0.3}})
    words = ["python", "-m", "harness", "run", "-j", "2"]
    process = subprocess.Popen(
        words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    log = folder / ".dvc/tmp/logs/long-0.log"
    deadline = time.monotonic() + 240
    while not (log.exists() and " steps, " in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert out.rstrip().endswith("harness: stopped; run it again to resume")
    assert "stopped long-0" in out
    assert "FAILED" not in out
    assert "3 variants x 1 seed = 3 runs" in out
    assert list((folder / ".checkpoints").glob("long-0-*/*.json")), "the trainer saved its state"

    out = call(folder, *words)
    assert "resuming in epoch" in log.read_text()
    assert record(folder / "reports/tiny/runs/long-0")["resumed"], out
    assert ran(call(folder, "dvc", "repro")) == set()
    for cell in sorted((built / "reports/tiny/runs").iterdir()):
        other = folder / "reports/tiny/runs" / cell.name
        for name in ("eval/metrics.json", "eval/predictions.parquet", "train/config.json", "train/losses.npy"):
            assert (cell / name).read_bytes() == (other / name).read_bytes(), (cell.name, name)
        assert record(cell)["hashes"] == record(other)["hashes"]
    alone, parallel = (read_yaml(project / "dvc.lock")["stages"] for project in (built, folder))
    assert parallel.keys() - alone.keys() == {"train@long-0", "eval@long-0"}
    for stage in CELLS | CANDIDATE:
        assert all(alone[stage].get(part) == parallel[stage].get(part) for part in ("cmd", "params"))


def test_a_failed_cell_does_not_stop_the_others_and_is_named(project: Path) -> None:
    edit(
        project,
        variants={
            **STUDY["variants"],
            "too-big": TINY | {"batch": 115},  # more than are left to train: only training can know
            "new": TINY | {"epochs": 1, "dropout": 0.2},
        },
    )
    output = call(project, "python", "-m", "harness", "run", "-j", "2", status=2)
    assert "1 run failed" in output
    log = project / ".dvc/tmp/logs/too-big-0.log"
    assert str(log.relative_to(project)) in output
    assert "batch: got 115" in log.read_text()
    assert "FAILED too-big-0: batch: got 115, but there are 108 training images" in output
    assert (project / "reports/tiny/runs/new-0/train/config.json").exists()
    report = (project / "reports/tiny.md").read_text()
    assert re.search(r"Warning.*`too-big` 0", report)
    assert re.search(r"too-big-0.*missing", (project / "reports/tiny/details.md").read_text())
    assert json.loads((project / "reports/tiny/runs/new-0/eval/metrics.json").read_text())["status"] == "finished"


@pytest.mark.nightly
def test_a_study_folder_runs_by_itself_and_shares_its_cells(project: Path) -> None:
    folder = project / "experiments/extra"
    folder.mkdir()
    write(
        folder / "study.yaml",
        {
            "extends": "../study.yaml", "name": "extra", "title": "Extra", "purpose": "Tests.",
            "ensembles": ["base"],
            "settings": TINY | {"epochs": 1},
            # A name that YAML reads as a number stays one for DVC.
            "factors": {"no-lrn": {"lrn": False}, "1e-3": {"dropout": 0}},
            "plan": [{"kind": "one_factor"}],
        },
    )  # fmt: skip
    call(project, "python", "-m", "harness", "check", "extra")
    assert not (folder / "dvc.yaml").exists()
    output = call(project, "python", "-m", "harness", "run", "extra", "--gpus", "0,1")
    assert "3 runs to do, 2 at once" in output
    # Runs that are those of the other study were not trained again.
    logs = {path.name: path.read_text() for path in (project / ".dvc/tmp/logs/extra").glob("*.log")}
    # (The candidate is the same run as base-0, and may have left the records that were taken.)
    shared = {name for name, text in logs.items() if re.search(r"is a run that was made before \(train[@-]", text)}
    assert shared == {f"{variant}-0.log" for variant in VARIANTS}
    records = [record(project / f"reports/{study}/runs/no-lrn-0") for study in ("tiny", "extra")]
    assert records[0]["hashes"] == records[1]["hashes"]
    assert records[1]["reused_from"] == "train@no-lrn-0"
    report = (project / "reports/extra.md").read_text()
    assert "`1e-3`" in report
    assert "candidate" not in report
    assert set(json.loads((project / "reports/extra/ensembles.json").read_text())) == {"base"}
    assert ran(call(project, "dvc", "repro", "experiments/extra/dvc.yaml")) == set()
    # One variant alone, though it is on record; a name that is none is refused.
    output = call(project, "python", "-m", "harness", "run", "extra", "--force", "--only", "1e-3")
    assert "1 run to do again" in output
    log = (project / ".dvc/tmp/logs/extra/1e-3-0.log").read_text()
    assert re.findall(r"^(\S+): python -m harness", log, re.M) == [
        f"experiments/extra/dvc.yaml:{kind}@1e-3-0" for kind in ("train", "eval")
    ]
    output = call(project, "python", "-m", "harness", "run", "extra", "--only", "dropout", status=2)
    assert "run: --only: got 'dropout'; allowed: " in output
    # The default study does not notice.
    assert ran(call(project, "dvc", "repro")) == set()
