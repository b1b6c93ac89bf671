"""A study's own metric is a function of the predictions: judged, tabled, named with its hash, and checked."""

from pathlib import Path

import pandas as pd
import pytest
from fake_study import make_results, make_study

from harness import results
from harness.errors import UserError
from harness.files import hash_file, read_json
from harness.pipeline.checked import write_checked
from harness.report.build import render
from harness.report.runs import read_results
from harness.settings.load import load_study

FILE = "experiments/balanced.py"
CODE = '''"""Own errors."""

import pandas as pd


def balanced_error(predictions: pd.DataFrame) -> float:
    return 100 * (1 - predictions.groupby("label").correct.mean().mean())
'''
STUDY = """
name: own
title: T
purpose: P.
data: {source: fashion-mnist-8k}
seeds: [0, 1, 2, 3, 4]
metric: balanced_error
metrics: {balanced_error: experiments/balanced.py}
variants:
  base:   &base {preset: [paper, small], width: 0.5, colour: 0, epochs: 2}
  no-lrn: {<<: *base, lrn: false}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    study = make_study(tmp_path, STUDY)
    make_results(study, tmp_path)
    (tmp_path / FILE).write_text(CODE)
    return tmp_path


def test_it_is_judged_tabled_and_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    study = load_study(Path("experiments/study.yaml"))
    render(study, None, Path("."))
    cells = pd.read_csv(study.folder / "cells.csv").set_index(["variant", "seed"])
    for cell in study.cells:
        table = pd.read_parquet(cell.results / "eval/predictions.parquet")
        recall = [table.correct[table.label == label].mean() for label in sorted(set(table.label))]
        error = 100 * (1 - sum(recall) / len(recall))
        assert cells.balanced_error[cell.variant, cell.seed] == pytest.approx(error)
        assert error != pytest.approx(cells.test_top1[cell.variant, cell.seed])
    variants = pd.read_csv(study.folder / "variants.csv").set_index("variant")
    means = cells.balanced_error.groupby("variant").mean()
    assert variants["metric"].unique().tolist() == ["balanced_error"]
    assert dict(variants["mean"]) == pytest.approx(dict(means))
    assert variants["balanced_error"]["no-lrn"] == variants["mean"]["no-lrn"]
    assert variants.difference["no-lrn"] == pytest.approx(means["no-lrn"] - means["base"])
    pages = "".join(path.read_text() for path in (study.report, study.folder / "details.md"))
    assert "balanced error" in pages
    assert f"`{FILE}` (SHA-256 {hash_file(root / FILE)[:12]})" in pages
    frame = results.results_of(study, Path(".")).runs
    assert (frame if isinstance(frame, pd.DataFrame) else frame()).balanced_error.notna().all()


def test_a_changed_file_makes_the_report_stale_and_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    study = load_study(Path("experiments/study.yaml"))
    states = []
    for code in (CODE, CODE.replace("100 *", "99 *")):
        (root / FILE).write_text(code)
        write_checked(study, None, Path("."))
        states.append(read_json(study.checked))
    assert {key for key in states[0] if states[0][key] != states[1][key]} == {"study"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, f"{FILE}: cannot be read: No such file"),
        ("def balanced_error(p:\n    pass\n", f"{FILE}:1: SyntaxError: "),
        ("import nothing_of_this_name\n", f"{FILE}:1: ModuleNotFoundError: "),
        ("def error(p):\n    return 1.0\n", f"{FILE}: has no function balanced_error"),
        ("\n\ndef balanced_error(p):\n    return float('nan')\n", f"{FILE}:3: balanced_error gives nan; "),
        ("def balanced_error(p):\n    return '3'\n", f"{FILE}:1: balanced_error gives '3'; "),
        ("def balanced_error(p):\n    return 101\n", f"{FILE}:1: balanced_error gives 101; "),
        ("def balanced_error(p):\n    x = 1\n    return p.nothing.mean()\n", f"{FILE}:3: AttributeError: "),
    ],
)
def test_a_bad_file_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch, code: str | None, words: str) -> None:
    monkeypatch.chdir(root)
    (root / FILE).unlink()
    if code is not None:
        (root / FILE).write_text(code)
    with pytest.raises(UserError) as error:
        read_results(load_study(Path("experiments/study.yaml")), None, Path("."))
    assert str(error.value).startswith(words)


@pytest.mark.parametrize("name", ["test_own", "Own", "gap", "a-b"])
def test_a_name_that_evaluation_has_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="metrics: got the name"):
        make_study(tmp_path, STUDY.replace("balanced_error:", f"{name}:"))
