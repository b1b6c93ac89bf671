"""Two reports side by side: estimates that agree or not, verdicts that changed and why, from folders and from git."""

import re
import shutil
from pathlib import Path
from typing import Any

import conftest
import numpy as np
import pandas as pd
import pytest
from conftest import git
from fake_study import EFFECTS, make_run, make_study
from reading import rows_of
from scipy import stats
from typer.testing import CliRunner

from harness.cli import app
from harness.cli import main as cli
from harness.diff.changes import Moved, RowChange, compare, same_runs, unpaired
from harness.diff.sides import Side, Snapshot, open_report, read_side
from harness.diff.table import table
from harness.files import write_csv, write_text
from harness.report.runs import CELL_COLUMNS, cells_csv, read_results, standing
from harness.report.variants import VARIANT_COLUMNS, variant_rows, variants_csv
from harness.settings.study import Study

TEXT = """
name: components
title: Which components of AlexNet help?
purpose: Components are taken out of the net, one at a time.
data: {source: fashion-mnist-8k}
seeds: [0, 1, 2, 3, 4]
variants:
  base:     &base {preset: [paper, small], width: 0.5, colour: 0, epochs: EPOCHS}
  no-lrn:   {<<: *base, lrn: false}
  no-decay: {<<: *base, weight_decay: 0}
  tanh:     {<<: *base, activation: tanh}
"""


def made(root: Path, text: str = TEXT, **changes: Any) -> Study:
    """The tables of a report below `root`. `changes`: of every run, as in `make_run`; `effects`: variant -> points."""
    effects = EFFECTS | changes.pop("effects", {})
    study = make_study(root, text, epochs=2)
    for cell in study.cells:
        make_run(root / cell.results, study.variants[cell.variant], cell.seed, effects[cell.variant], **changes)
    results = read_results(study, None, root)
    rows, now = variant_rows(study, results), standing(study, results)
    write_csv(root / study.folder / "variants.csv", variants_csv(rows, None, now), VARIANT_COLUMNS)
    write_csv(root / study.folder / "cells.csv", cells_csv(study, results), CELL_COLUMNS)
    write_text(root / study.report, "# The report\n")
    return study


def side(root: Path) -> Side:
    return read_side(Snapshot(root.name, root / "reports" / "components"))


def changed(old: Path, new: Path) -> dict[str, RowChange]:
    return {change.variant: change for change in compare(side(old), side(new))}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report, to be read alone."""
    root = tmp_path_factory.mktemp("old")
    made(root)
    return root


def test_the_same_runs_are_said_to_be_the_same(old: Path, tmp_path: Path) -> None:
    made(tmp_path)
    changes = changed(old, tmp_path)
    assert list(changes) == ["no-lrn", "no-decay", "tanh"]
    assert {c.agreement for c in changes.values()} == {"same runs"}
    assert {c.moved.mean for c in changes.values()} == {0.0}
    assert not any(c.verdict_changed or c.why for c in changes.values())
    one, other = side(old), side(tmp_path)
    assert same_runs(one, other)
    assert "Both hold the same runs" in table(one, other, compare(one, other))


def test_a_moved_estimate_differs_and_says_what_else_does(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXT.replace("lrn: false", "lrn: false, momentum: 0.5")  # other settings: other noise
    for module in ("harness.report.runs", "harness.record", "fake_study"):  # a harness that computes other numbers
        monkeypatch.setattr(f"{module}.identity", lambda scope: "c" * 64)
    made(tmp_path, text, effects={"no-lrn": 5.0}, provenance__versions__torch="9.9")
    changes = changed(old, tmp_path)
    lrn = changes["no-lrn"]
    assert (lrn.agreement, lrn.verdict_changed) == ("differ", True)
    assert lrn.old
    assert lrn.new
    assert (lrn.old.verdict, lrn.new.verdict) == ("inconclusive", "helps")
    assert lrn.moved.mean == pytest.approx(4.8, abs=0.8)
    assert "environment, torch: 2.9.0 -> 9.9" in lrn.why
    assert any(why.startswith("numerics identity: ") and why.endswith("cccccccccccc") for why in lrn.why)
    assert not changes["no-decay"].verdict_changed


@pytest.mark.parametrize(
    ("changes", "agreement", "why"),
    [
        ({"provenance__machine__instructions": "AVX512", "provenance__hashes__weights": "f" * 64},
         "unknown", ("environment, instructions: AVX2 -> AVX512",)),
        ({"provenance__versions__cuda": "13.0"}, "same runs", ("environment, cuda: none -> 13.0",)),
        ({"config__fingerprint": "e" * 64, "provenance__fingerprint": "e" * 64}, "equal", ()),
    ],
)  # fmt: skip
def test_what_differs_of_the_runs_is_named(
    changes: dict[str, Any], agreement: str, why: tuple[str, ...], old: Path, tmp_path: Path
) -> None:
    made(tmp_path, **changes)
    assert {(change.agreement, change.why) for change in changed(old, tmp_path).values()} == {(agreement, why)}


@pytest.mark.parametrize("older", ["old", "new"])
def test_what_a_report_of_before_a_column_does_not_say_is_no_change(older: str, tmp_path: Path) -> None:
    for name in ("old", "new"):
        made(tmp_path / name, provenance__hashes__weights=name)
    path = tmp_path / older / "reports" / "components" / "cells.csv"
    rows = rows_of(path)
    assert rows[0]["instructions"] == "AVX2"
    columns = [name for name in CELL_COLUMNS if name != "instructions"]
    write_csv(path, [{name: row[name] for name in columns} for row in rows], columns)
    (why,) = {c.why for c in changed(tmp_path / "old", tmp_path / "new").values()}
    assert why == ("the runs were re-run with another outcome, though all that both cells.csv have is the same",)


def test_interval_and_word_do_not_disagree(old: Path, tmp_path: Path) -> None:
    made(tmp_path, TEXT.replace("epochs: EPOCHS", "epochs: 3"))
    for change in changed(old, tmp_path).values():
        low, high = change.moved.low, change.moved.high
        assert low is not None
        assert high is not None
        assert change.agreement == ("agree" if low <= 0 <= high else "differ")
        before, after = (row.difference if row else None for row in (change.old, change.new))
        assert before is not None
        assert after is not None
        assert change.moved.mean == pytest.approx(after - before)
        assert "settings, epochs: 2 -> 3" in change.why


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("seeds: [0, 1, 2, 3, 4]", "seeds: [0, 1, 2, 3, 4, 5]", "seeds: 0, 1, 2, 3, 4 -> 0, 1, 2, 3, 4, 5"),
        ("seeds: [0,", "margin: 0.5\nseeds: [0,", "rule, margin: none -> 0.5"),
        ("seeds: [0,", "confidence: 0.9\nseeds: [0,", "rule, alpha: 0.05 -> 0.1"),
        ("seeds: [0,", "metric: validation_top1\nseeds: [0,", "rule, metric: test_top1 -> validation_top1"),
        ("lrn: false", "lrn: false, momentum: 0.5", "settings of no-lrn, momentum: 0.9 -> 0.5"),
    ],
)
def test_why_a_row_may_have_moved(before: str, after: str, why: str, old: Path, tmp_path: Path) -> None:
    made(tmp_path, TEXT.replace(before, after))
    change = changed(old, tmp_path)["no-lrn"]
    assert why in change.why
    assert (change.agreement == "not comparable") == ("metric" in why)


def test_other_verdicts_of_the_same_runs_are_put_down_to_the_statistics(old: Path, tmp_path: Path) -> None:
    shutil.copytree(old, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "reports" / "components" / "variants.csv"
    path.write_text(path.read_text().replace("inconclusive", "equivalent"))
    other_verdict = [c for c in changed(old, tmp_path).values() if c.verdict_changed]
    assert other_verdict
    assert {c.why for c in other_verdict} == {("how verdicts are computed: runs and rules are the same",)}


def test_rows_of_one_side_alone_are_shown_and_no_changed_verdict(old: Path, tmp_path: Path) -> None:
    text = TEXT.replace("  tanh: ", "  slow: ").replace("activation: tanh", "lr: 0.02")
    made(tmp_path, text, effects={"slow": 1.0})
    changes = changed(old, tmp_path)
    assert changes["tanh"].new is None
    assert changes["slow"].old is None
    assert not changes["tanh"].verdict_changed
    text = table(side(old), side(tmp_path), list(changes.values()))
    assert "only in the old" in text
    assert "only in the new" in text


# ---- the interval of the change


def moved(old: np.ndarray, new: np.ndarray, first: int = 0) -> Moved:
    """The change between values of the seeds from 0 and from `first` on."""
    return unpaired(pd.Series(old), pd.Series(new, range(first, first + len(new))), 0.05)


@pytest.mark.parametrize("shared", [False, True])
def test_without_shared_seeds_it_is_welchs_and_with_all_shared_the_paired_t_test(shared: bool) -> None:
    a, b = np.random.default_rng(5).normal(size=(2, 6))
    ours = moved(a, 3 * b, first=0 if shared else 100)
    theirs = stats.ttest_rel(3 * b, a) if shared else stats.ttest_ind(3 * b, a, equal_var=False)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_runs_that_both_sides_have_cancel_in_the_variance() -> None:
    # Five of eight runs are the same: mean8 - mean5 has the variance s^2 (1/5 - 1/8).
    changes = [moved(values[:5], values) for values in np.random.default_rng(1).normal(size=(500, 8))]
    assert sum(c.low <= 0 <= c.high for c in changes if c.low is not None and c.high is not None) / 500 >= 0.93


@pytest.mark.parametrize(("n", "m"), [(0, 3), (1, 3), (3, 1)])
def test_too_few_seeds_have_no_interval(n: int, m: int) -> None:
    change = moved(np.arange(n, dtype=float), np.arange(m) + 1.0)
    assert change.low is None
    assert (change.mean is None) == (n == 0)


def test_the_change_by_seed_is_the_declared_test_on_changes(tmp_path: Path) -> None:
    text = TEXT.replace("seeds:", "test: paired_t\nseeds:")
    made(tmp_path / "old", text)
    made(tmp_path / "new", text.replace("EPOCHS", "3"))
    one, other = side(tmp_path / "old"), side(tmp_path / "new")
    theirs = stats.ttest_rel(other.compared("tanh"), one.compared("tanh"))
    (change,) = [change for change in compare(one, other) if change.variant == "tanh"]
    assert change.moved.p == pytest.approx(theirs.pvalue)


# ---- the command


def commit(root: Path) -> None:
    git("init", "-q", "-b", "main", root=root)
    conftest.commit(root)


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits of a report; in the second the verdict on `no-lrn` is another."""
    root = tmp_path_factory.mktemp("committed")
    made(root)
    commit(root)
    made(root, effects={"no-lrn": 5.0}, provenance__hashes__weights="f" * 64)
    commit(root)
    return root


@pytest.fixture
def repository(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be changed: the working folder."""
    shutil.copytree(committed, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


REPORT = Path("reports/components")


def test_two_revisions_are_compared_without_a_checkout(repository: Path) -> None:
    (REPORT / "variants.csv").unlink()
    before = git("status", "--porcelain")
    done = CliRunner().invoke(app, ["diff", "HEAD~1", "HEAD"])
    assert done.exit_code == 0, done.output
    assert re.search("(?m)^no-lrn .* inconclusive -> helps$", done.output)
    assert "Verdicts: 1 of 3 changed." in done.output
    assert "Both hold the same runs" not in done.output  # the fingerprints are the same, but what came out is not
    assert "the runs were re-run with another outcome" in done.output
    assert git("status", "--porcelain") == before


def test_a_revision_in_the_older_layout_is_compared_with_one_in_the_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Its compared error is in no column of cells.csv, so that it is read from the records.
    text = TEXT.replace("seeds:", "metric: test_top1_mc_geometric\nseeds:")
    numbers = {"metrics__test_top1_mc_geometric": 20.0}
    made(tmp_path, text, **numbers)
    for run in (REPORT / "runs").iterdir():  # as it was before: one folder a run, below cells/
        shutil.copytree(run / "train", REPORT / "cells" / run.name)
        shutil.copytree(run / "eval", REPORT / "cells" / run.name, dirs_exist_ok=True)
    shutil.rmtree(REPORT / "runs")
    commit(tmp_path)
    shutil.rmtree(REPORT / "cells")
    made(tmp_path, text, **numbers)
    commit(tmp_path)
    made(tmp_path, text.replace("lrn: false", "lrn: false, momentum: 0.5"), effects={"no-lrn": 5.0}, **numbers)
    commit(tmp_path)
    one, two, three = (read_side(open_report(name, REPORT)) for name in ("HEAD~2", "HEAD~1", "HEAD"))
    assert one.errors.equals(two.errors)
    assert set(one.errors["no-lrn"]) == {20.0}
    assert same_runs(one, two)
    assert {(change.agreement, change.why) for change in compare(one, two)} == {("same runs", ())}
    why = {change.variant: change.why for change in compare(one, three)}
    assert why == {"no-lrn": ("settings of no-lrn, momentum: 0.9 -> 0.5",), "no-decay": (), "tanh": ()}


def test_check_fails_on_a_changed_verdict_alone(repository: Path) -> None:
    for old, new, status in (
        ("HEAD~1", "HEAD", 1), ("HEAD", "HEAD", 0), ("HEAD", REPORT, 0), ("HEAD~1", f"{REPORT}.md", 1)
    ):  # fmt: skip
        assert CliRunner().invoke(app, ["diff", old, str(new), "--check"]).exit_code == status


def test_a_subfolder_of_the_repository_reads_its_own_report(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(repository / "inner")
    commit(repository)
    monkeypatch.chdir(repository / "inner")
    assert read_side(open_report("HEAD", REPORT)).rows["no-lrn"].verdict == "inconclusive"


@pytest.mark.parametrize(
    ("file", "broken", "arguments", "message"),
    [
        ("cells.csv", "", ["nothing", "HEAD"],
         "diff: got 'nothing'; allowed: a report's folder that is there, or a git revision"),
        ("cells.csv", "", ["HEAD", "HEAD\nHEAD"], "diff: got"),
        ("cells.csv", "", ["experiments", "HEAD"], "experiments: variants.csv: no such file"),
        ("cells.csv", "", ["HEAD", "HEAD", "--study", "none"],
         "none: no study of that name; allowed: components, or a study's file"),
        ("cells.csv", "variant,seed\nbase,zero\n", [str(REPORT), "HEAD"],
         "reports/components: its tables are not a report's"),
        ("runs/base-0/train/config.json", "{", [str(REPORT), "HEAD"],
         "reports/components: its tables are not a report's"),
        ("runs/base-0/train/config.json", '{"fingerprint": "0"}', ["HEAD", str(REPORT)],
         "reports/components: records of another run than the one in cells.csv"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    file: str,
    broken: str,
    arguments: list[str],
    message: str,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (REPORT / file).write_text(broken)
    monkeypatch.setattr("sys.argv", ["harness", "diff", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli()
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith(f"harness: {message}")
    assert error.count("\n") == 1
