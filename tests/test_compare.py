"""An experiment is compared with a baseline that was computed alike, and its results can be kept, carried or dropped.

With the real DVC, in clones of the tiny study of tests/clones.py.
"""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from clones import STUDY, TINY, built, call, clone, commit, edit, project, ran, write
from fake_study import alter

from harness.compare.baseline import noise
from harness.files import read_yaml
from harness.pipeline.checked import write_checked
from harness.process import LIMITS
from harness.settings.load import load_study

__all__ = ["built", "clone", "project"]  # fixtures

HARNESS = ("python", "-m", "harness")
FLIP = ("dvc", "exp", "run", "--temp", "-S", "lrn=false", "-S", "epochs=12", "-n")


def test_noise_is_pooled_over_the_variants_paired_differences() -> None:
    base, none = [20.0, 22.0, 21.0], math.nan
    errors = pd.DataFrame({"base": base, "a": [21.0, 23.0, 25.0], "b": [20.0, 24.0, none], "c": [1.0, none, none]})
    scatter = noise(errors, "base", 0.95)
    assert scatter
    # Differences 1, 1, 4 (variance 3, two degrees of freedom) and 0, 2 (variance 2, one).
    assert scatter["sd"] == pytest.approx(math.sqrt((2 * 3 + 1 * 2) / 3))
    assert (scatter["variants"], scatter["pairs"]) == (2, 5)
    # Of two degrees of freedom, those of the largest set of seeds.
    assert scatter["half"] == pytest.approx(4.302653 * scatter["sd"])
    for unknown in (errors[["base"]], errors[:1], errors[:0]):
        assert noise(unknown, "base", 0.95) is None


def difference(output: str) -> str:
    (points,) = re.findall(r"(?m)^difference: ([+-]?[0-9.]+) points$", output)
    return str(points)


def of_metrics(folder: Path, base: Path, name: str = "flip") -> str:
    """The difference of two metrics files: of the candidate of the experiment `name`, and the baseline's at `base`."""
    refs = call(folder, "git", "for-each-ref", "refs/exps", "--format=%(refname) %(objectname)")
    (experiment,) = re.findall(rf"(?m)/{name} ([0-9a-f]+)$", refs)
    candidate = json.loads(call(folder, "git", "show", f"{experiment}:reports/tiny/candidate/eval/metrics.json"))
    return f"{candidate['test_top1'] - json.loads(base.read_text())['test_top1']:+.2f}"


@pytest.mark.slow
def test_an_experiment_is_compared_with_a_baseline_that_was_computed_alike(clone: Path) -> None:
    call(clone, *FLIP, "flip")
    expected = of_metrics(clone, clone / "reports/tiny/runs/base-0/eval/metrics.json")
    output = call(clone, *HARNESS, "compare", "flip")
    assert re.search(r"^flip: .*lrn: true -> false", output, re.MULTILINE)
    assert expected not in ("+0.00", "-0.00"), "it would be a weak test"
    assert "training it" not in output
    assert "base-0: 90.00 % (as recorded)" in output
    assert difference(output) == expected
    assert output.rstrip().endswith("one seed: no verdict")
    assert call(clone, "git", "status", "--short") == ""
    # Without a name it is the workspace's candidate, here the baseline.
    output = call(clone, *HARNESS, "compare")
    assert "nothing differs from base" in output
    assert difference(output) == "0.00"
    assert "an experiment of DVC: flip" in call(clone, *HARNESS, "compare", "nothing", status=2)

    # The committed baseline was computed elsewhere: one is made here, and is found the next time.
    record = clone / "reports/tiny/runs/base-0/train/provenance.json"
    alter(record, lambda values: values["machine"].update(instructions="OTHER"))
    commit(clone)
    output = call(clone, *HARNESS, "compare", "flip")
    assert re.search(r"base-0: no run of it with cpu, \w+, torch \S+ is here: training it, \d+ s as recorded", output)
    (made,) = (clone / "runs").glob("*/eval/metrics.json")
    assert difference(output) == of_metrics(clone, made) == expected
    output = call(clone, *HARNESS, "compare", "flip")
    assert "train" not in output
    assert "(made here)" in output
    assert difference(output) == expected
    assert call(clone, "git", "status", "--short") == ""

    # Code that computes other numbers gives no baseline for it.
    net = clone / "harness/net/lrn.py"
    net.write_text(net.read_text().replace("if norm.beta == 0.75:", "if norm.beta == 0.76:"))
    output = call(clone, *HARNESS, "compare", "flip", status=2)
    assert re.fullmatch(
        r"harness: compare: the candidate was trained by code of another numerics identity .*\n", output
    )


@pytest.mark.nightly
@pytest.mark.slow
def test_the_baseline_is_made_with_the_experiments_instructions(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.backends.cpu.get_cpu_capability() in LIMITS:
        pytest.skip("this processor has no wider instructions than those that it can be held to")
    with monkeypatch.context() as narrow:
        for name, value in LIMITS["AVX2"].items():
            narrow.setenv(name, value)
        call(clone, *FLIP, "narrow")
    output = call(clone, *HARNESS, "compare", "narrow")
    assert "no run of it with cpu, AVX2, torch" in output
    (made,) = (clone / "runs").glob("*/eval/metrics.json")
    record = json.loads((made.parents[1] / "provenance.json").read_text())
    assert record["machine"]["instructions"] == "AVX2"
    assert difference(output) == of_metrics(clone, made, "narrow")


@pytest.mark.slow
def test_a_new_variant_and_a_flip_are_taken_back_one_by_one(clone: Path) -> None:
    edit(clone, variants=STUDY["variants"] | {"narrow": TINY | {"epochs": 1, "fc_width": 8}})
    settings = TINY | {"epochs": 1, "seed": 0, "lrn": False, "dropout": 0.5}
    write(clone / "params.yaml", settings)
    output = call(clone, *HARNESS, "run", "--allow-dirty")
    assert "2 runs to do" in output
    assert re.search(r"^run: \d+ files differ from the committed results: ", output, re.MULTILINE)
    assert "narrow-0: new; the candidate: of other settings (lrn)" in output
    assert output.rstrip().endswith("drop them: harness discard tiny")
    assert "candidate: lrn: true -> false; seed 0" in call(clone, *HARNESS, "candidate")
    output = call(clone, *HARNESS, "candidate", "--reset")
    assert "differ from the last commit as well, and the report is not touched" in output
    # The candidate's records are those of the commit, and are not made again.
    assert ran(call(clone, "dvc", "repro")) <= {"check", "report", "publish"}
    assert (clone / "reports/tiny/runs/narrow-0").exists()
    assert "candidate" not in call(clone, "git", "status", "--short")

    edit(clone)
    assert "discard: dvc.lock: 1 file brought back from the last commit" in call(clone, *HARNESS, "discard", "tiny")
    assert not (clone / "reports/tiny/runs/narrow-0").exists()
    assert ran(call(clone, "dvc", "repro")) == set()
    # What was declared stays written down.
    assert call(clone, "git", "status", "--short").split() in ([], ["M", "experiments/study.declared.json"])


@pytest.mark.nightly
@pytest.mark.slow
def test_weights_that_dvc_carries_are_pulled_and_nothing_is_trained(project: Path, tmp_path: Path) -> None:
    edit(project, weights="dvc")
    call(project, "dvc", "remote", "add", "-d", "local", str(tmp_path / "remote"))
    output = call(project, *HARNESS, "run")
    assert "run: every run is up to date" in output
    assert "weights/tiny.dvc: weights of 2 runs" in output
    assert (project / "weights/.gitignore").read_text().strip() == "/tiny"
    commit(project)
    call(project, "dvc", "push")
    call(tmp_path, "git", "clone", "-q", str(project), "fresh")
    fresh, record = tmp_path / "fresh", Path("weights/tiny.dvc")
    # A new run's weights are not recorded over those that are not here.
    edit(fresh, weights="dvc", variants=STUDY["variants"] | {"narrow": TINY | {"epochs": 1, "fc_width": 8}})
    assert f"{record}: weights of 2 runs are not here" in call(fresh, *HARNESS, "run", "--allow-dirty")
    assert (fresh / record).read_text() == (project / record).read_text()
    call(fresh, "dvc", "pull", str(record))
    assert "training it again" not in call(fresh, *HARNESS, "gallery")
    assert f"{record}: weights of 3 runs" in call(fresh, *HARNESS, "run", "--allow-dirty")
    (out,) = read_yaml(fresh / record)["outs"]
    assert out["nfiles"] == 3


def test_where_weights_lie_is_not_declared(tmp_path: Path) -> None:
    path = tmp_path / "experiments/study.yaml"
    path.parent.mkdir()
    declared = []
    for change in ({}, {"weights": "cache"}, {"weights": "dvc"}):
        write(path, STUDY | change)
        study = load_study(path)
        write_checked(study, None, tmp_path)
        declared.append((study.declaration, study.checked.read_bytes()))
    assert declared[0] == declared[1] == declared[2]
