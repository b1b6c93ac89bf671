"""Two reports side by side: estimates that agree or not, verdicts that changed and why, from folders and from git."""

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_study import EFFECTS, make_run, make_study
from scipy import stats
from typer.testing import CliRunner

from harness.cli import app
from harness.cli import main as cli
from harness.diff.changes import RowChange, compare, same_runs, unpaired
from harness.diff.sides import Source, open_source, read_side
from harness.diff.table import table
from harness.errors import UserError
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


OLDER = [name for name in CELL_COLUMNS if name != "instructions"]
"""Columns of cells.csv in reports of before it had the instructions."""


def made(root: Path, text: str = TEXT, **changes: Any) -> Study:
    """The tables of a report below `root`. `changes`: of every run, as in `make_run`; `effects`: variant -> points."""
    effects = EFFECTS | changes.pop("effects", {})
    study = make_study(root, text, epochs=2)
    for cell in study.cells:
        make_run(root / cell.results, study.variants[cell.variant], cell.seed, effects[cell.variant], **changes)
    results = read_results(study, None, root)
    rows, now = variant_rows(study, results), standing(study, results)
    write_csv(root / study.folder / "variants.csv", variants_csv(rows, None, now), VARIANT_COLUMNS)
    write_csv(root / study.folder / "cells.csv", cells_csv(results), CELL_COLUMNS)
    write_text(root / study.report, "# The report\n")
    return study


def sides(old: Path, new: Path) -> dict[str, RowChange]:
    one, other = (read_side(Source(path.name, path / "reports" / "components")) for path in (old, new))
    return {change.variant: change for change in compare(one, other)}


def test_the_same_runs_are_said_to_be_the_same(tmp_path: Path) -> None:
    made(tmp_path / "a")
    made(tmp_path / "b")
    changes = sides(tmp_path / "a", tmp_path / "b")
    assert list(changes) == ["no-lrn", "no-decay", "tanh"]
    assert {c.agreement for c in changes.values()} == {"same runs"}
    assert {c.moved.mean for c in changes.values()} == {0.0}
    assert not any(c.verdict_changed or c.why for c in changes.values())
    one, other = (read_side(Source(n, tmp_path / n / "reports" / "components")) for n in ("a", "b"))
    assert same_runs(one, other)
    assert "Both hold the same runs" in table(one, other, compare(one, other))


def test_a_moved_estimate_differs_and_says_what_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "a")
    text = TEXT.replace("lrn: false", "lrn: false, momentum: 0.5")  # other settings: other noise
    for module in ("report.runs", "record"):  # a harness that computes other numbers
        monkeypatch.setattr(f"harness.{module}.identity", lambda scope: "c" * 64)
    monkeypatch.setattr("fake_study.identity", lambda scope: "c" * 64)
    made(tmp_path / "b", text, effects={"no-lrn": 5.0}, provenance__versions__torch="9.9")
    changes = sides(tmp_path / "a", tmp_path / "b")
    lrn = changes["no-lrn"]
    assert (lrn.agreement, lrn.verdict_changed) == ("differ", True)
    assert lrn.old is not None
    assert lrn.new is not None
    assert (lrn.old.verdict, lrn.new.verdict) == ("inconclusive", "helps")
    assert lrn.moved.mean == pytest.approx(4.8, abs=0.8)
    assert "environment, torch: 2.9.0 -> 9.9" in lrn.why
    assert any(why.startswith("numerics identity: ") and why.endswith("cccccccccccc") for why in lrn.why)
    assert not changes["no-decay"].verdict_changed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"provenance__machine__instructions": "AVX512", "provenance__hashes__weights": "f" * 64},
         "environment, instructions: AVX2 -> AVX512"),
        ({"provenance__versions__cuda": "13.0"}, "environment, cuda: none -> 13.0"),
    ],
)  # fmt: skip
def test_what_differs_of_the_runs_is_named(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    made(tmp_path / "a")
    made(tmp_path / "b", **changes)
    assert {change.why for change in sides(tmp_path / "a", tmp_path / "b").values()} == {(why,)}


def test_other_runs_with_the_same_outcome_are_equal(tmp_path: Path) -> None:
    made(tmp_path / "a")
    made(tmp_path / "b", config__fingerprint="e" * 64, provenance__fingerprint="e" * 64)
    assert {c.agreement for c in sides(tmp_path / "a", tmp_path / "b").values()} == {"equal"}


@pytest.mark.parametrize("older", ["ab", "a", "b"])
def test_what_a_report_of_before_a_column_does_not_say_is_no_change(older: str, tmp_path: Path) -> None:
    for name in "ab":
        made(tmp_path / name, provenance__hashes__weights=name * 64)
    for name in older:
        path = tmp_path / name / "reports" / "components" / "cells.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["instructions"] == "AVX2"
        write_csv(path, [{k: v for k, v in row.items() if k != "instructions"} for row in rows], OLDER)
    (why,) = {c.why for c in sides(tmp_path / "a", tmp_path / "b").values()}
    assert why == ("the runs were re-run with another outcome, though all that both cells.csv have is the same",)


def test_interval_and_word_do_not_disagree(tmp_path: Path) -> None:
    made(tmp_path / "a")
    made(tmp_path / "b", TEXT.replace("epochs: EPOCHS", "epochs: 3"))
    changes = sides(tmp_path / "a", tmp_path / "b")
    for change in changes.values():
        moved = change.moved
        assert moved.low is not None
        assert moved.high is not None
        assert change.agreement == ("agree" if moved.low <= 0 <= moved.high else "differ")
        assert change.old is not None
        assert change.new is not None
        assert change.old.difference is not None
        assert change.new.difference is not None
        assert moved.mean == pytest.approx(change.new.difference - change.old.difference)
        assert "settings, epochs: 2 -> 3" in change.why


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds: [0, 1, 2, 3, 4]", "seeds: [0, 1, 2, 3, 4, 5]", "seeds: 0, 1, 2, 3, 4 -> 0, 1, 2, 3, 4, 5"),
        ("seeds: [0,", "margin: 0.5\nseeds: [0,", "rule, margin: none -> 0.5"),
        ("seeds: [0,", "confidence: 0.9\nseeds: [0,", "rule, alpha: 0.05 -> 0.1"),
        ("seeds: [0,", "metric: validation_top1\nseeds: [0,", "rule, metric: test_top1 -> validation_top1"),
        ("lrn: false", "lrn: false, momentum: 0.5", "settings of no-lrn, momentum: 0.9 -> 0.5"),
    ],
)
def test_why_a_row_may_have_moved(old: str, new: str, said: str, tmp_path: Path) -> None:
    made(tmp_path / "a")
    made(tmp_path / "b", TEXT.replace(old, new))
    change = sides(tmp_path / "a", tmp_path / "b")["no-lrn"]
    assert said in change.why
    if "metric" in said:
        assert change.agreement == "not comparable"


def test_other_verdicts_of_the_same_runs_are_put_down_to_the_statistics(tmp_path: Path) -> None:
    made(tmp_path / "a")
    made(tmp_path / "b")
    path = tmp_path / "b" / "reports" / "components" / "variants.csv"
    path.write_text(path.read_text().replace("inconclusive", "equivalent"))
    changed = [c for c in sides(tmp_path / "a", tmp_path / "b").values() if c.verdict_changed]
    assert changed
    assert {c.why for c in changed} == {("how verdicts are computed: runs and rules are the same",)}


def test_rows_of_one_side_alone_are_shown_and_no_changed_verdict(tmp_path: Path) -> None:
    made(tmp_path / "a")
    text = TEXT.replace("  tanh: ", "  slow: ").replace("activation: tanh", "lr: 0.02")
    made(tmp_path / "b", text, effects={"slow": 1.0})
    changes = sides(tmp_path / "a", tmp_path / "b")
    assert changes["tanh"].new is None
    assert changes["slow"].old is None
    assert not changes["tanh"].verdict_changed
    one, other = (read_side(Source(n, tmp_path / n / "reports" / "components")) for n in ("a", "b"))
    text = table(one, other, compare(one, other))
    assert "only in the old" in text
    assert "only in the new" in text


# ---- the interval of the change


def draws(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape)


def test_without_shared_seeds_it_is_welchs(tmp_path: Path) -> None:
    a, b = draws(12)[:5], 3 * draws(12)[5:]
    ours = unpaired(dict(enumerate(a)), dict(enumerate(b, 100)), 0.05)
    theirs = stats.ttest_ind(b, a, equal_var=False)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_with_all_seeds_shared_it_is_the_paired_t_test() -> None:
    a, b = draws(2, 6)
    ours = unpaired(dict(enumerate(a)), dict(enumerate(b + a)), 0.05)
    theirs = stats.ttest_rel(b + a, a)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_runs_that_both_sides_have_cancel_in_the_variance() -> None:
    # Five of eight runs are the same: mean8 - mean5 has the variance s^2 (1/5 - 1/8).
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(500):
        values = rng.normal(size=8)
        moved = unpaired(dict(enumerate(values[:5])), dict(enumerate(values)), 0.05)
        assert moved.low is not None
        assert moved.high is not None
        inside += moved.low <= 0 <= moved.high
    assert inside / 500 >= 0.93


@pytest.mark.parametrize(("n", "m"), [(0, 3), (1, 3), (3, 1)])
def test_too_few_seeds_have_no_interval(n: int, m: int) -> None:
    moved = unpaired({s: float(s) for s in range(n)}, {s: s + 1.0 for s in range(m)}, 0.05)
    assert moved.low is None
    assert (moved.mean is None) == (n == 0)


def test_the_change_by_seed_is_the_declared_test_on_changes(tmp_path: Path) -> None:
    made(tmp_path / "a", TEXT.replace("seeds:", "test: paired_t\nseeds:"))
    made(tmp_path / "b", TEXT.replace("seeds:", "test: paired_t\nseeds:").replace("EPOCHS", "3"))
    change = sides(tmp_path / "a", tmp_path / "b")["tanh"]
    one, other = (read_side(Source(n, tmp_path / n / "reports" / "components")) for n in ("a", "b"))
    theirs = stats.ttest_rel(list(other.compared("tanh").values()), list(one.compared("tanh").values()))
    assert change.moved.p == pytest.approx(theirs.pvalue)


# ---- the command


def git(root: Path, *arguments: str) -> str:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *own, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits of a report; in the second the verdict on `no-lrn` is another."""
    root = tmp_path / "repository"
    made(root)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    made(root, effects={"no-lrn": 5.0}, provenance__hashes__weights="f" * 64)
    git(root, "commit", "-qam", "two")
    monkeypatch.chdir(root)
    return root


def test_two_revisions_are_compared_without_a_checkout(repository: Path) -> None:
    (repository / "reports" / "components" / "variants.csv").unlink()
    before = git(repository, "status", "--porcelain")
    done = CliRunner().invoke(app, ["diff", "HEAD~1", "HEAD"])
    assert done.exit_code == 0, done.output
    assert "no-lrn" in done.output
    assert "inconclusive -> helps" in done.output
    assert "Verdicts: 1 of 3 changed." in done.output
    assert "Both hold the same runs" not in done.output  # the fingerprints are the same, but what came out is not
    assert "the runs were re-run with another outcome" in done.output
    assert git(repository, "status", "--porcelain") == before


def older(root: Path) -> None:
    """Lay a report's records out as they were before: one folder a run, below cells/."""
    for run in sorted((root / "reports/components/runs").iterdir()):
        folder = root / "reports/components/cells" / run.name
        folder.mkdir(parents=True)
        for file in (*(run / "train").iterdir(), *(run / "eval").iterdir()):
            file.rename(folder / file.name)
    shutil.rmtree(root / "reports/components/runs")


def test_a_revision_in_the_older_layout_is_compared_with_one_in_the_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repository"
    # Its compared error is in no column of cells.csv, so that it is read from the records.
    text = TEXT.replace("seeds:", "metric: test_top1_mc_geometric\nseeds:")
    numbers = {"metrics__test_top1_mc_geometric": 20.0}
    made(root, text, **numbers)
    older(root)
    cells = root / "reports/components/cells"
    config = cells / "no-lrn-0/config.json"
    values = json.loads(config.read_text())
    values["settings"].pop("curve_images")  # of before the setting; and a key that is there no longer
    config.write_text(json.dumps(values | {"gone": 1}))
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    shutil.rmtree(cells)
    made(root, text, **numbers)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "two")
    made(root, text.replace("lrn: false", "lrn: false, momentum: 0.5"), effects={"no-lrn": 5.0}, **numbers)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "three")
    monkeypatch.chdir(root)
    folder = Path("reports/components")
    one, two, three = (read_side(open_source(name, folder)) for name in ("HEAD~2", "HEAD~1", "HEAD"))
    assert one.runs["no-lrn"][0].error == two.runs["no-lrn"][0].error == 20.0
    assert same_runs(one, two)
    assert {change.agreement for change in compare(one, two)} == {"same runs"}
    assert not any(change.why for change in compare(one, two))
    why = {change.variant: change.why for change in compare(one, three)}
    assert why == {"no-lrn": ("settings of no-lrn, momentum: 0.9 -> 0.5",), "no-decay": (), "tanh": ()}
    done = CliRunner().invoke(app, ["diff", "HEAD~2", "HEAD~1"])
    assert done.exit_code == 0, done.output
    assert "Both hold the same runs" in done.output


def test_a_record_in_git_that_is_none_is_one_line(repository: Path) -> None:
    path = repository / "reports/components/runs/base-0/train/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gone": 1}))
    git(repository, "commit", "-qam", "three")
    with pytest.raises(UserError, match=r"HEAD: runs/base-0: config\.json: unknown setting 'gone'") as error:
        read_side(open_source("HEAD", Path("reports/components")))
    assert "\n" not in str(error.value)


def test_check_fails_on_a_changed_verdict_alone(repository: Path) -> None:
    assert CliRunner().invoke(app, ["diff", "HEAD~1", "HEAD", "--check"]).exit_code == 1
    assert CliRunner().invoke(app, ["diff", "HEAD", "HEAD", "--check"]).exit_code == 0
    assert CliRunner().invoke(app, ["diff", "HEAD", "reports/components", "--check"]).exit_code == 0
    assert CliRunner().invoke(app, ["diff", "HEAD~1", "reports/components.md", "--check"]).exit_code == 1


def test_a_subfolder_of_the_repository_reads_its_own_report(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(repository / "inner")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "three")
    monkeypatch.chdir(repository / "inner")
    side = read_side(open_source("HEAD", Path("reports/components")))
    assert side.rows["no-lrn"].verdict == "inconclusive"


def broken(root: Path, file: str, text: str) -> None:
    (root / "reports" / "components" / file).write_text(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing", "HEAD"], "diff: got 'nothing'; allowed: a report's folder that is there, or a git revision"),
        (["HEAD", "HEAD\nHEAD"], "diff: got"),
        (["experiments", "HEAD"], "experiments: variants.csv: no such file"),
        (["HEAD", "HEAD", "--study", "none"], "none: no study of that name; allowed: components, or a study's file"),
        (["reports/components", "HEAD"], "reports/components: its tables are not a report's"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    said: str,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken(repository, "cells.csv", "variant,seed\nbase,zero\n")
    monkeypatch.setattr("sys.argv", ["harness", "diff", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli()
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("harness: ")
    assert said in error
    assert error.count("\n") == 1


def test_a_report_of_before_other_runs_is_refused(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = repository / "reports" / "components" / "runs" / "base-0" / "train/config.json"
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    done = CliRunner().invoke(app, ["diff", "HEAD", "reports/components"])
    assert "another run than the one in cells.csv" in str(done.exception)
