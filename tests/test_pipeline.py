"""The real pipeline: what runs again when something changes, and nothing else."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from clones import (
    AFTER,
    CANDIDATE,
    CELLS,
    ROOT,
    SEEDS,
    STUDY,
    TINY,
    built,
    call,
    commit,
    edit,
    project,
    ran,
    record,
    status,
    trained,
)  # fmt: skip
from pictures import picture, tree

from harness.files import read_yaml
from harness.pipeline.dvc_files import STAGES

__all__ = ["built", "project"]  # fixtures
pytestmark = pytest.mark.slow


def test_nothing_runs_again_without_a_change_unless_it_is_asked_for(project: Path) -> None:
    assert ran(call(project, "dvc", "repro")) == set()
    assert call(project, "git", "status", "--short") == ""
    run = project / "reports/tiny/runs/base-0"
    before = record(run)
    assert trained(call(project, "dvc", "repro", "-f", "-s", "train@base-0")) == {"train@base-0"}
    again = record(run)
    assert (again["hashes"], again["started"] > before["started"]) == (before["hashes"], True)


def test_a_changed_variant_and_a_new_seed_run_alone_and_a_revert_trains_nothing(project: Path) -> None:
    place = project / "reports/tiny/runs/no-lrn-0"
    before = {path.name: path.read_bytes() for path in place.rglob("*.*")}
    changed = TINY | {"epochs": 1, "lrn": False, "lrn_k": 1.0, "dropout": 0.1}
    edit(project, variants=STUDY["variants"] | {"no-lrn": changed}, seeds=[*SEEDS, 7])
    mine = {f"{stage}@{cell}" for stage in ("train", "eval") for cell in ("no-lrn-0", "no-lrn-7", "base-7")}
    assert ran(call(project, "dvc", "repro")) == {"check", "ensemble"} | mine | AFTER
    commit(project)
    edit(project)
    # Not in the last commit any more: the cache of weights has it.
    assert trained(call(project, "dvc", "repro")) == set()
    assert {path.name: path.read_bytes() for path in place.rglob("*.*")} == before


def test_a_comment_runs_nothing_and_the_reports_code_and_words_retrain_nothing(project: Path) -> None:
    for file in ("harness/report/build.py", "harness/net/lrn.py", "harness/evaluate.py"):
        (project / file).write_text("# another line\n" + (project / file).read_text())
    assert ran(call(project, "dvc", "repro")) == {"check"}
    assert "stale" not in call(project, "python", "-m", "harness", "doctor")
    with (project / "harness/report/build.py").open("a") as file:
        file.write("ANOTHER = 1\n")
    edit(project, title="Another title")
    assert ran(call(project, "dvc", "repro")) == {"check", "ensemble"} | AFTER
    assert "# Another title" in (project / "reports/tiny.md").read_text()


def test_a_change_in_the_net_makes_every_run_stale_as_all_commands_say(project: Path) -> None:
    net = project / "harness/net/lrn.py"
    net.write_text(net.read_text().replace("if norm.beta == 0.75:", "if norm.beta == 0.76:"))
    call(project, "python", "-m", "harness", "check")
    trainings = {stage for stage in CELLS | CANDIDATE if stage.startswith("train")}
    assert trainings <= status(project)
    doctor = call(project, "python", "-m", "harness", "doctor")
    assert re.search(rf"stale: {len(trainings)} runs: its numerics identity is", doctor), doctor
    # Made alike, they are compared all the same, and the report says by what.
    strict = call(project, "python", "-m", "harness", "report", "--strict", status=1)
    assert "runs: made by earlier code: of each, its numerics identity is" in strict
    assert "Made by earlier code" in (project / "reports/tiny.md").read_text()
    rows = csv.DictReader((project / "reports/tiny/variants.csv").open())
    assert [(row["finished"], row["stale"]) for row in rows] == [("1", "0")] * 3
    planned = ran(call(project, "dvc", "repro", "-s", "--dry", "dvc.yaml"))
    assert trainings <= planned


@pytest.mark.nightly
def test_changed_images_of_a_folder_are_packed_again_and_trained_on(project: Path) -> None:
    root = tree(project / "images", ["a", "b"], 24)
    variants = {"base": TINY | {"epochs": 1, "batch": 8, "colour": 0}}
    edit(project, data={"source": "folder", "root": "images", "size": 32, "validation": 0.25}, variants=variants)
    (project / "params.yaml").write_text(json.dumps(variants["base"] | {"seed": 1}))
    run, place = ("python", "-m", "harness", "run"), project / "reports/tiny/runs/base-0"
    call(project, *run)
    first = record(place)
    (root / "train/a/image 0.png").touch()
    assert ran(call(project, *run)) == {"data"}, "another time alone, and the same images"
    assert record(place) == first
    picture(root / "train/a/image 0.png", 99)
    assert "warning: images: its images changed since they were packed" in call(project, *run)
    assert record(place)["hashes"]["data"] != first["hashes"]["data"]


def test_evaluation_code_that_changed_evaluates_again_and_trains_nothing(project: Path) -> None:
    code = project / "harness/evaluate.py"
    code.write_text(code.read_text().replace("3).astype(np.float32)", "4).astype(np.float32)"))
    output = call(project, "dvc", "repro", "eval")
    assert {stage for stage in ran(output) if stage.startswith("eval@")} == {c for c in CELLS if c.startswith("eval")}
    assert "train: " not in output


def test_a_bad_flip_or_study_is_refused_before_any_training(project: Path) -> None:
    for change, message in (
        ("lnr=false", "lnr"),
        ("+lnr=false", "params.yaml: unknown setting 'lnr'"),
        ("lrn=off", "params.yaml: lrn: got 'off'"),
    ):
        output = call(project, "dvc", "exp", "run", "-S", change, status=None)
        assert message in output
        assert "ERROR" in output
        assert ran(output) <= {"check"}
        call(project, "git", "checkout", "-q", ".")
    edit(project, variants={"base": TINY | {"lnr": False}})
    output = call(project, "dvc", "repro", status=None)
    assert "study.yaml: variants.base: unknown setting 'lnr'" in output
    assert ran(output) <= {"check"}


@pytest.mark.nightly
def test_dvc_makes_the_report_of_a_verification_again_to_the_byte(project: Path) -> None:
    def reports() -> dict[str, bytes]:
        files = (path for path in (project / "reports").rglob("*") if path.is_file())
        return {path.relative_to(project).as_posix(): path.read_bytes() for path in files}

    before = reports()
    call(project, "python", "-m", "harness", "verify", "reports/tiny.md", "base", "--quick", "1")
    after = reports()
    assert {path for path in after if after[path] != before.get(path)} == {
        "reports/tiny/details.md",
        "reports/tiny/verified.json",
    }
    assert b"1 of 1 over the first 1 step" in after["reports/tiny/details.md"]
    assert ran(call(project, "dvc", "repro")) == AFTER
    assert reports() == after


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


def test_the_stages_are_the_same_everywhere() -> None:
    folders, root = (read_yaml(ROOT / path)["stages"] for path in (STAGES, "dvc.yaml"))
    assert root.keys() - folders.keys() == {"train-candidate", "eval-candidate"}
    # A run depends on its own settings, on the images and on the code that trains: on nothing else.
    assert "deps" not in folders["train"]
    own = {"${folder}/checked.json": ["code.train", "settings.${item.variant}"]}
    assert folders["train"]["params"] == [own, {"reports/${name}/data.json": ["id"]}]
    for name, stage in folders.items():
        assert stage.pop("wdir") == "../.."
        text = json.dumps(root[name]).replace("${baseline}-${seeds[0]}", "${first}")
        expected = json.loads(text.replace('"experiments/checked', '"${folder}/checked'))
        if name == "check":  # what is watched besides: the plan's list, and the study that it extends
            assert {*expected.pop("deps")} - {"params.yaml"} <= {*stage.pop("deps")}
        elif "deps" in expected:
            expected["deps"] = [dep for dep in expected["deps"] if "candidate" not in dep]
        expected["cmd"] = re.sub(r" (?=\$\{key\})", " ${name}:", expected["cmd"])
        expected["cmd"] += "" if "key" in expected["cmd"] else " ${folder}"
        assert expected == stage, name


def test_what_dvc_recorded_of_the_default_study_is_small() -> None:
    assert (ROOT / "dvc.lock").stat().st_size <= 40 * 1024
