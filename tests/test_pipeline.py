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

from harness.pipeline import STAGES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FILES = (
    "dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", ".dvc/plots/study.json", ".dvc/plots/page.html",
    "experiments/pipeline.yaml", "experiments/claims.yaml",
)  # fmt: skip
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
    write(folder / "experiments/study.yaml", STUDY)
    write(folder / "params.yaml", TINY | {"epochs": 1, "seed": 0, "lrn": True, "dropout": 0.5})
    call(folder, "git", "init", "-q", "-b", "main")
    commit(folder)
    assert ran(call(folder, "dvc", "repro")) == {"check", "data", "gallery", "ensemble"} | CELLS | CANDIDATE | AFTER
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


def trained(output: str) -> set[str]:
    """Stages that really trained, and took no records of an equal run."""
    parts = re.split(r"^Running stage '([^']+)':$", output, flags=re.MULTILINE)
    return {
        name for name, text in zip(parts[1::2], parts[2::2], strict=True) if re.search(r"^train: \d+ of", text, re.M)
    }


def test_a_changed_variant_and_a_new_seed_run_alone_and_a_revert_is_restored_without_training(project: Path) -> None:
    place = project / "reports/tiny/runs/no-lrn-0"
    before = {path.name: path.read_bytes() for path in place.rglob("*.*")}
    changed = TINY | {"epochs": 1, "lrn": False, "lrn_k": 1.0, "dropout": 0.1}
    edit(project, variants=STUDY["variants"] | {"no-lrn": changed}, seeds=[*SEEDS, 7])
    mine = {f"{stage}@{cell}" for stage in ("train", "eval") for cell in ("no-lrn-0", "no-lrn-7", "base-7")}
    assert ran(call(project, "dvc", "repro")) == {"check", "ensemble"} | mine | AFTER
    commit(project)
    edit(project)
    # Not in the last commit any more: the cache of weights has it.
    output = call(project, "dvc", "repro")
    assert "is a run that was made before" in output
    assert trained(output) == set()
    assert {path.name: path.read_bytes() for path in place.rglob("*.*")} == before
    call(project, "git", "checkout", "-q", ".")
    shutil.rmtree(project / "runs")
    edit(project, variants=STUDY["variants"] | {"no-lrn": TINY | {"epochs": 1, "lrn": False, "dropout": 0.2}})
    assert trained(call(project, "dvc", "repro", "-s", "check", "train@no-lrn-0")) == {"train@no-lrn-0"}
    edit(project, variants=STUDY["variants"] | {"no-lrn": changed}, seeds=[*SEEDS, 7])
    output = call(project, "dvc", "repro", "-s", "check", "train@no-lrn-0")
    assert "restored from the last commit" in output
    assert trained(output) == set()


def test_a_run_is_trained_again_when_that_is_asked_for(project: Path) -> None:
    weights = json.loads((project / "reports/tiny/runs/base-0/train/provenance.json").read_text())["hashes"]
    assert trained(call(project, "dvc", "repro", "-f", "-s", "train@base-0")) == {"train@base-0"}
    assert json.loads((project / "reports/tiny/runs/base-0/train/provenance.json").read_text())["hashes"] == weights


def test_editing_the_reports_code_or_words_retrains_nothing_and_a_comment_runs_nothing(project: Path) -> None:
    with (project / "harness/report/render.py").open("a") as file:
        file.write("# another line\n")
    assert ran(call(project, "dvc", "repro")) == {"check"}
    with (project / "harness/report/render.py").open("a") as file:
        file.write("ANOTHER = 1\n")
    edit(project, title="Another title")
    assert ran(call(project, "dvc", "repro")) == {"check", "ensemble"} | AFTER
    assert "# Another title" in (project / "reports/tiny.md").read_text()


def status(folder: Path) -> set[str]:
    """Stages that are not up to date."""
    return set(json.loads(call(folder, "dvc", "status", "--json")))


def test_a_comment_in_the_net_makes_nothing_stale_and_a_change_everything_as_all_commands_say(project: Path) -> None:
    net = project / "harness/net/lrn.py"
    net.write_text("# another line\n" + net.read_text())
    call(project, "python", "-m", "harness", "check")
    assert not {stage for stage in status(project) if stage.startswith(("train", "eval"))}
    assert "stale" not in call(project, "python", "-m", "harness", "doctor")
    net.write_text(net.read_text().replace("if beta == 0.75:", "if beta == 0.76:"))
    call(project, "python", "-m", "harness", "check")
    trainings = {stage for stage in CELLS | CANDIDATE if stage.startswith("train")}
    assert trainings <= status(project)
    doctor = call(project, "python", "-m", "harness", "doctor")
    assert re.search(rf"stale: {len(trainings) - 1} runs: its numerics identity is", doctor), doctor
    assert "stale: the candidate: its numerics identity is" in doctor
    strict = call(project, "python", "-m", "harness", "report", "--strict", status=1)
    assert f"runs: {len(trainings) - 1} stale" in strict, "the candidate is not of the study"
    planned = ran(call(project, "dvc", "repro", "-s", "--dry", "dvc.yaml"))
    assert trainings <= planned


def test_evaluation_code_that_changed_evaluates_again_and_trains_nothing(project: Path) -> None:
    code = project / "harness/evaluate.py"
    code.write_text(code.read_text().replace("3).astype(np.float32)", "4).astype(np.float32)"))
    output = call(project, "dvc", "repro", "eval")
    assert {stage for stage in ran(output) if stage.startswith("eval@")} == {c for c in CELLS if c.startswith("eval")}
    assert "train: " not in output
    shutil.rmtree(project / "runs")
    code.write_text(code.read_text().replace("4).astype(np.float32)", "5).astype(np.float32)"))
    output = call(project, "dvc", "repro", "-s", "check", "eval@base-0")
    assert re.search(r"base-0: its weights are not here: training it again, \d+ s as recorded", output)
    metrics = json.loads((project / "reports/tiny/runs/base-0/eval/metrics.json").read_text())
    assert "weights" not in metrics, "they came out as recorded"


@pytest.fixture
def clone(built: Path, tmp_path: Path) -> Path:
    """A fresh clone: no packed images, no weights, no cache of DVC."""
    call(tmp_path, "git", "clone", "-q", str(built), "clone")
    return tmp_path / "clone"


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
    row = next(
        line for line in (clone / "reports/tiny.md").read_text().splitlines() if line.startswith("| *candidate*")
    )
    assert "lrn" in row
    # The flipped candidate is the declared run no-lrn-0, trained apart: bitwise identical.
    record = json.loads((clone / "reports/tiny/candidate/train/provenance.json").read_text())
    twin = json.loads((clone / "reports/tiny/runs/no-lrn-0/train/provenance.json").read_text())
    assert record["hashes"] == twin["hashes"]
    call(clone, "dvc", "exp", "branch", "flip", "flipped")
    assert "flipped" in call(clone, "git", "branch", "--list")
    call(clone, "dvc", "exp", "remove", "flip")
    assert "flip]" not in call(clone, "dvc", "exp", "show")
    assert call(clone, "python", "-m", "harness", "candidate", "--reset").strip()
    assert call(clone, "git", "status", "--short") == ""


def test_in_a_clone_a_new_variant_trains_its_runs_alone(clone: Path) -> None:
    edit(clone, variants=STUDY["variants"] | {"narrow": TINY | {"epochs": 1, "fc_width": 8}})
    output = call(clone, "python", "-m", "harness", "run", "--allow-dirty")
    assert "1 run to do, 1 at once" in output
    assert not (clone / "runs").exists() or len(list((clone / "runs").iterdir())) == 1
    assert ran(call(clone, "dvc", "repro")) == set()


def test_a_queue_of_experiments_runs_a_sweep(clone: Path) -> None:
    call(clone, "dvc", "exp", "run", "--queue", "-S", "dropout=0.1,0.3")
    call(clone, "dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 240
    status = ""
    while time.monotonic() < deadline:
        status = call(clone, "dvc", "queue", "status")
        if not re.search(r"Queued|Running", status):
            break
        time.sleep(2)
    assert status.count("Success") == 2, status
    values = json.loads(call(clone, "dvc", "exp", "show", "--json"))
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
    done = [path.with_suffix(".yaml") for path in sorted((tmp_path / "clone/experiments").glob("*/dvc.lock"))]
    assert len(done) >= 4
    for path in done:
        shutil.copy(tmp_path / "clone" / STAGES, path)
    assert ran(call(tmp_path / "clone", "dvc", "repro", "--dry", "dvc.yaml", *map(str, done))) == set()


def stages_of(path: Path) -> dict[str, Any]:
    with path.open() as file:
        return YAML(typ="safe").load(file)["stages"]


def test_the_stages_are_the_same_everywhere() -> None:
    folders, root = stages_of(ROOT / STAGES), stages_of(ROOT / "dvc.yaml")
    assert root.keys() - folders.keys() == {"train-candidate", "eval-candidate"}
    for name, stage in folders.items():
        assert stage.pop("wdir") == "../.."
        own = (
            json.dumps(root[name])
            .replace("${baseline}-${seeds[0]}", "${first}")
            .replace('"experiments/checked', '"${folder}/checked')
        )
        candidate = {dep for dep in root[name].get("deps", []) if "candidate" in dep}
        found = json.loads(own)
        if name == "check":  # what is watched besides: the plan's list, and the study that it extends
            assert {*found.pop("deps")} - {"params.yaml"} <= {*stage.pop("deps")}
        elif candidate:
            found["deps"] = [dep for dep in found["deps"] if dep not in candidate]
        found["cmd"] = re.sub(r" (?=\$\{key\})", " ${name}:", found["cmd"])
        found["cmd"] += "" if "key" in found["cmd"] else " ${folder}"
        assert found == stage, name


def test_what_dvc_recorded_of_the_default_study_is_small() -> None:
    assert (ROOT / "dvc.lock").stat().st_size <= 40_000


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

    said = call(folder, *words)
    assert "resuming in epoch" in log.read_text()
    assert json.loads((folder / "reports/tiny/runs/long-0/train/provenance.json").read_text())["resumed"], said
    assert ran(call(folder, "dvc", "repro")) == set()
    for cell in sorted((built / "reports/tiny/runs").iterdir()):
        other = folder / "reports/tiny/runs" / cell.name
        for name in ("eval/metrics.json", "eval/predictions.parquet", "train/config.json", "train/losses.npy"):
            assert (cell / name).read_bytes() == (other / name).read_bytes(), (cell.name, name)
        one, two = (json.loads((path / "train/provenance.json").read_text())["hashes"] for path in (cell, other))
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
    assert "1 run failed" in said
    log = project / ".dvc/tmp/logs/too-big-0.log"
    assert str(log.relative_to(project)) in said
    assert "batch: got 115" in log.read_text()
    assert "FAILED too-big-0: batch: got 115, but there are 108 training images" in said
    assert (project / "reports/tiny/runs/new-0/train/config.json").exists()
    report = (project / "reports/tiny.md").read_text()
    assert re.search(r"too-big-0.*missing", report)
    assert json.loads((project / "reports/tiny/runs/new-0/eval/metrics.json").read_text())["status"] == "finished"


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
    call(project, "python", "-m", "harness", "check", "extra")
    assert not (folder / "dvc.yaml").exists()
    said = call(project, "python", "-m", "harness", "run", "extra", "--gpus", "0,1")
    assert "3 runs to do, 2 at once" in said
    # Runs that are those of the other study were not trained again.
    logs = {path.name: path.read_text() for path in (project / ".dvc/tmp/logs/extra").glob("*.log")}
    # (The candidate is the same run as base-0, and may have left the records that were taken.)
    shared = {name for name, text in logs.items() if re.search(r"is a run that was made before \(train[@-]", text)}
    assert shared == {f"{variant}-0.log" for variant in VARIANTS}
    records = [json.loads((project / f"reports/{study}/runs/no-lrn-0/train/provenance.json").read_text())
               for study in ("tiny", "extra")]  # fmt: skip
    assert records[0]["hashes"] == records[1]["hashes"]
    assert records[1]["reused_from"] == "train@no-lrn-0"
    report = (project / "reports/extra.md").read_text()
    assert "`no-dropout`" in report
    assert "candidate" not in report
    assert set(json.loads((project / "reports/extra/ensembles.json").read_text())) == {"base"}
    assert ran(call(project, "dvc", "repro", "experiments/extra/dvc.yaml")) == set()
    assert ran(call(project, "dvc", "repro", "-s", "experiments/extra/dvc.yaml")) == set()
    # The default study does not notice.
    assert ran(call(project, "dvc", "repro")) == set()
