"""Looking early: boundaries against published ones, what a report says at each look, and what was declared before."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_study import alter, make_results, make_study
from reading import golden, section, told, warnings_of
from scipy import stats
from typer.testing import CliRunner

from benchmarks.calibration.simulate import LookCell, simulate_looks
from harness.cli import app
from harness.errors import UserError
from harness.report.circumstances import late_declaration
from harness.report.findings import Findings
from harness.report.runs import Results, check_early, read_results, standing
from harness.settings import declared
from harness.settings.load import load_study
from harness.settings.schema import LATER, Settings
from harness.settings.study import Study
from harness.statistics.comparison import Rules, compare_all
from harness.statistics.sequential import LEAST, Walk, nominal, spent

# ---- boundaries


def crossing(bounds: list[float], shares: list[float]) -> np.ndarray:
    """Chance of each look, at a share of the seeds, that |z| exceeds its bound there for the first time."""
    walk = Walk()
    return np.array([walk.cross(bound, share) for bound, share in zip(bounds, shares, strict=True)])


def boundaries(looks: tuple[int, ...], alpha: float) -> list[float]:
    """Bounds of |z| of one comparison at each look."""
    return [float(stats.norm.isf(each / 2)) for each in nominal(looks, alpha)]


@pytest.mark.parametrize(
    ("looks", "flat", "constant", "published"),
    # Jennison and Turnbull 2000, tables 2.1 (Pocock) and 2.3 (O'Brien and Fleming: z at look k is C sqrt(K / k)), and
    # Lan and DeMets' bounds for O'Brien and Fleming's spending (program ld98); alpha .05 two-sided, equal looks.
    [
        (2, 2.178, 1.977, (2.9626, 1.9686)),
        (3, 2.289, 2.004, (3.7103, 2.5114, 1.9930)),
        (5, 2.413, 2.040, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
    ],
)
def test_published_bounds_spend_alpha(looks: int, flat: float, constant: float, published: tuple[float, ...]) -> None:
    shares = np.arange(1, looks + 1) / looks
    assert crossing([flat] * looks, list(shares)).sum() == pytest.approx(0.05, abs=1.5e-4)
    assert crossing(list(constant / np.sqrt(shares)), list(shares)).sum() == pytest.approx(0.05, abs=1.5e-4)
    assert boundaries(tuple(range(1, looks + 1)), 0.05) == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize(("looks", "alpha"), [((3, 5, 8), 0.05), ((2, 3), 0.01), ((5, 8, 12, 20), 0.1)])
def test_all_of_alpha_is_spent_and_no_more(looks: tuple[int, ...], alpha: float) -> None:
    chances = crossing(boundaries(looks, alpha), [n / looks[-1] for n in looks])
    assert np.cumsum(chances) == pytest.approx(spent([n / looks[-1] for n in looks], alpha), abs=1e-9)
    assert chances.sum() == pytest.approx(alpha, abs=1e-9)


@pytest.mark.parametrize("comparisons", [1, 7, 50])
def test_looks_and_comparisons_together_keep_bonferronis_bound(comparisons: int) -> None:
    looks = (3, 5, 8)
    alphas = nominal(looks, 0.05, comparisons)
    bounds = [-stats.norm.ppf(alpha / comparisons / 2) for alpha in alphas]
    assert comparisons * crossing(bounds, [n / 8 for n in looks]).sum() == pytest.approx(0.05, abs=1e-6)
    assert list(alphas) == sorted(alphas)
    assert alphas[-1] < 0.05


def test_one_look_is_a_study_without_looks_and_a_very_early_one_has_an_alpha_that_a_number_can_hold() -> None:
    assert nominal((8,), 0.05) == pytest.approx([0.05])
    assert nominal((2, 500), 0.05) == pytest.approx([LEAST, 0.05], abs=1e-9)


# ---- error rates, by simulation


def looked(noise: str, k: int, looks: tuple[int, ...] = (3, 5, 8)) -> dict[float, LookCell]:
    return {c.effect: c for c in simulate_looks(3000, (), (noise,), (looks,), (k,))}


@pytest.mark.parametrize("noise", ["normal", "skewed"])
def test_all_looks_together_keep_alpha(noise: str) -> None:
    null = looked(noise, 7)[0.0]
    # 3,000 studies: two standard errors are .9 points.
    assert null.family_error <= 0.065 + 0.009
    assert null.coverage >= 0.935 - 0.009
    assert null.unruled > null.family_error + 0.015  # looking at .05 each time is not the same


# ---- a study with looks

TEXT = """
name: components
title: Which components of AlexNet help?
purpose: Components are taken out of the net, one at a time.
data: {source: fashion-mnist-8k}
seeds: [0, 1, 2, 3, 4, 5, 6, 7]
looks: [3, 5, 8]
margin: 0.5
variants:
  base:       &base {preset: [paper, small], width: 0.5, colour: 0, epochs: 2}
  no-lrn:     {<<: *base, lrn: false}
  no-augment: {<<: *base, augment: false}
  no-decay:   {<<: *base, weight_decay: 0}
"""
NO_LOOKS = TEXT.replace("looks: [3, 5, 8]\n", "")


def results(root: Path, text: str, complete: int, early: bool = False) -> tuple[Study, Results]:
    """A study of which so many seeds are complete; of the baseline one more."""
    study = make_study(root, text)
    make_results(study, root)
    for cell in study.cells:
        if cell.seed >= complete + (cell.variant == "base"):
            shutil.rmtree(root / cell.results)
    return study, read_results(study, None, root, early)


@pytest.mark.parametrize(
    ("complete", "look", "compared", "interim"),
    [(0, 0, 8, True), (2, 0, 8, True), (3, 1, 3, True), (4, 1, 3, True), (5, 2, 5, True), (7, 2, 5, True),
     (8, 3, 8, False)],
)  # fmt: skip
def test_a_look_is_made_on_the_seeds_that_it_declares(
    complete: int, look: int, compared: int, interim: bool, tmp_path: Path
) -> None:
    study, stored = results(tmp_path, TEXT, complete)
    now = standing(study, stored)
    assert (now.look, now.interim, now.judged) == (look, interim, look > 0)
    assert now.seeds == tuple(range(compared))
    assert now.alpha == (nominal((3, 5, 8), 0.05, 3)[look - 1] if look else 0.05)
    for comparison in Findings(study, stored, None, tmp_path).comparisons.values():
        assert comparison.in_family == (look > 0)
        assert comparison.difference.n == (compared if look else complete)
        assert comparison.alpha == now.alpha


def test_the_verdicts_of_a_look_are_those_of_its_alpha(tmp_path: Path) -> None:
    study, stored = results(tmp_path, TEXT, 5)
    values = {
        variant: {s: run.metrics["test_top1"] for s, run in stored.finished(variant).items() if s < 5}
        for variant in study.variants
    }
    alone = compare_all(values, "base", Rules(alpha=nominal((3, 5, 8), 0.05, 3)[1], margin=0.5))
    assert Findings(study, stored, None, tmp_path).comparisons == alone
    once = compare_all(values, "base", Rules(margin=0.5))
    assert alone["no-lrn"].p == once["no-lrn"].p
    assert alone["no-lrn"].difference.low < once["no-lrn"].difference.low  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "complete", "look", "shown", "judged"),
    [(TEXT, 2, "0", True, False), (TEXT, 5, "2", True, True), (TEXT, 8, "3", False, True),
     (NO_LOOKS, 5, "", True, False)],
)  # fmt: skip
def test_a_report_says_at_which_look_it_is_and_gives_verdicts_by_its_rule_alone(
    text: str, complete: int, look: str, shown: bool, judged: bool, tmp_path: Path
) -> None:
    study, stored = results(tmp_path, text, complete, early=text == NO_LOOKS)
    report = told(study, tmp_path, early=text == NO_LOOKS)
    if complete == 5:
        golden("interim.md" if judged else "interim-no-verdicts.md", report.page)
    rows = report.csv("variants")
    assert {(row["interim"], row["look"]) for row in rows} == {(str(shown).lower(), look)}
    assert [page.startswith("# Interim: ") for page in (report.page, report.details)] == [shown] * 2
    assert all(row["difference"] for row in rows[1:]), "estimates are there"
    assert {bool(row["verdict"]) for row in rows[1:]} == {judged}
    assert len({len(cells) for cells in report.components.values()} | {3 + judged}) == 1
    verdicts = re.compile(r"\b(helps|hurts|equivalent|undecided|inconclusive)\b")
    told_of = report.page.partition("Effect:")[0] + section(report.details, "Variants").partition("Error:")[0]
    assert judged or not verdicts.search(told_of)
    alpha = standing(study, stored).alpha
    assert {float(row["alpha"]) for row in rows[1:]} == {alpha}
    assert (alpha < 0.05) == (judged and text == TEXT)


def test_a_study_that_is_done_has_no_interim_report(tmp_path: Path) -> None:
    study, stored = results(tmp_path, TEXT, 8, early=True)
    with pytest.raises(UserError, match="--interim"):
        check_early(study, stored)


def test_the_command_looks_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results(tmp_path, NO_LOOKS, 4)
    (tmp_path / "params.yaml").write_text("preset: [paper, small]\nseed: 0\nwidth: 0.5\ncolour: 0\nepochs: 2\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", "--interim"])
    assert done.exit_code == 0, done.output
    assert Path(done.output.strip()).read_text().startswith("# Interim: ")


@pytest.mark.parametrize(
    ("looks", "says"),
    [("[8]", "looks: got [8]"), ("[5, 3, 8]", "looks: got [5, 3, 8]"), ("[3, 5, 9]", "8 seeds"), ("early", "looks")],
)
def test_a_bad_plan_of_looks_is_one_line(looks: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        make_study(tmp_path, TEXT.replace("[3, 5, 8]", looks))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


# ---- declared before


def declare(root: Path, text: str) -> Study:
    study = make_study(root, text)
    declared.record(study, root)
    return study


def state(study: Study, root: Path) -> tuple[tuple[int, int], str]:
    """How many runs came before the declaration, own ones and of earlier designs; what the report says of it."""
    findings = Findings(study, read_results(study, None, root), None, root)
    late = late_declaration(findings.results, findings.declarations)
    return (late["own"], late["earlier"]), findings.declaration


def test_a_declaration_is_written_down_once(tmp_path: Path) -> None:
    study = make_study(tmp_path, TEXT)
    assert declared.record(study, tmp_path)
    assert not declared.record(study, tmp_path)
    make_results(study, tmp_path)
    assert not declared.record(study, tmp_path)
    assert state(study, tmp_path)[0] == (0, 0)
    assert declared.read(study, tmp_path)[0].declaration == study.declaration


def test_a_declaration_that_came_after_runs_says_so(tmp_path: Path) -> None:
    study = make_study(tmp_path, TEXT)
    make_results(study, tmp_path)
    declared.record(study, tmp_path)
    late, text = state(study, tmp_path)
    assert late == (32, 0)
    assert "32 runs" in text


def test_runs_of_another_study_that_this_one_takes_over_are_counted(tmp_path: Path) -> None:
    make_results(make_study(tmp_path, TEXT.replace("name: components", "name: other")), tmp_path)
    study = declare(tmp_path, TEXT.replace("[0, 1, 2, 3, 4, 5, 6, 7]", "[6, 7, 8]").replace("[3, 5, 8]", "[2, 3]"))
    make_results(study, tmp_path)
    record = tmp_path / study.folder / "runs" / "base-6" / "train/provenance.json"
    alter(record, lambda values: values.update(reused_from="runs/other/base-6"))
    late, text = state(study, tmp_path)
    assert late == (8, 0)
    assert "1 of `other`" in text


@pytest.mark.parametrize(
    ("new", "names"),
    [
        ("margin: 1.5", {"margin", "0.5", "1.5"}),
        ("test: paired_t", {"margin", "0.5", "test", "block", "paired_t"}),
        ("family: [no-lrn]\nmargin: 0.5", {"family", "[no-lrn]"}),
        ("confidence: 0.9\nmargin: 0.5", {"confidence", "0.95", "0.9"}),
    ],
)
def test_a_change_after_runs_is_said(new: str, names: set[str], tmp_path: Path) -> None:
    make_results(declare(tmp_path, TEXT), tmp_path)
    study = declare(tmp_path, TEXT.replace("margin: 0.5", new))
    late, text = state(study, tmp_path)
    assert late == (32, 0)
    assert names <= set(re.findall("`([^`]+)`", text))
    if new == "margin: 1.5":
        report = told(study, tmp_path)
        assert text in report.details
        assert any("32 runs" in line for line in warnings_of(report.page))
        assert f"`{study.declaration}`" in report.details


def test_designs_before_this_one_whose_runs_were_seen_are_said(tmp_path: Path) -> None:
    make_results(declare(tmp_path, TEXT), tmp_path)
    study = declare(tmp_path, TEXT.replace("epochs: 2", "epochs: 3"))
    make_results(study, tmp_path)
    assert state(study, tmp_path)[0] == (0, 32)
    assert any("32 runs" in line for line in warnings_of(told(study, tmp_path).page))


def test_a_draft_takes_the_place_of_the_draft_before_it(tmp_path: Path) -> None:
    for margin in ("0.6", "0.7", "0.5"):
        study = declare(tmp_path, TEXT.replace("margin: 0.5", f"margin: {margin}"))
    assert [entry.declaration for entry in declared.read(study, tmp_path)] == [study.declaration]
    make_results(study, tmp_path)
    for margin in ("0.6", "0.7"):
        study = declare(tmp_path, TEXT.replace("margin: 0.5", f"margin: {margin}"))
    seen = declared.read(study, tmp_path)
    assert [(len(entry.runs), entry.statement["margin"]) for entry in seen] == [(0, 0.5), (32, 0.7)]


@pytest.mark.parametrize("text", [TEXT, NO_LOOKS])
def test_seeds_are_added_by_the_declared_looks_or_the_report_says_so(text: str, tmp_path: Path) -> None:
    three, five = (text.replace("[0, 1, 2, 3, 4, 5, 6, 7]", seeds) for seeds in ("[0, 1, 2]", "[0, 1, 2, 3, 4]"))
    make_results(declare(tmp_path, three), tmp_path)
    study = declare(tmp_path, five)
    make_results(study, tmp_path)
    assert state(study, tmp_path)[0] == ((0, 0) if text == TEXT else (12, 0))
    assert standing(study, read_results(study, None, tmp_path)).look == (2 if text == TEXT else None)


@pytest.mark.parametrize("change", ["seeds: [0, 1, 2, 9, 4]", "seeds: [0, 1, 3, 4, 5]"])
def test_other_seeds_are_not_added_ones(change: str, tmp_path: Path) -> None:
    three = TEXT.replace("seeds: [0, 1, 2, 3, 4, 5, 6, 7]", "seeds: [0, 1, 2]")
    make_results(declare(tmp_path, three), tmp_path)
    study = declare(tmp_path, TEXT.replace("seeds: [0, 1, 2, 3, 4, 5, 6, 7]", change))
    changes = declared.changes(declared.read(study, tmp_path))
    assert [c.by_rule for c in changes] == ["2, 9" in change]


def test_a_setting_that_the_schema_gains_declares_nothing_new(tmp_path: Path) -> None:
    study = make_study(tmp_path, TEXT)
    stated, fields = study.statement["variants"]["no-lrn"], Settings.model_fields
    assert stated["lrn"] is False
    assert not any(value == fields[name].default for name, value in stated.items() if name not in LATER)


def test_check_writes_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(tmp_path, TEXT)
    (tmp_path / "params.yaml").write_text("preset: [paper, small]\nseed: 0\nwidth: 0.5\ncolour: 0\nepochs: 2\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["check"])
    assert done.exit_code == 0, done.output
    study = load_study(Path("experiments/study.yaml"))
    assert declared.read(study, tmp_path)[-1].declaration == study.declaration


@pytest.mark.parametrize("content", ["{", '{"declarations": [{"declaration": 3}]}', '{"other": []}'])
def test_a_broken_record_of_declarations_is_one_line(content: str, tmp_path: Path) -> None:
    study: Any = make_study(tmp_path, TEXT)
    (tmp_path / "experiments" / "study.declared.json").write_text(content)
    with pytest.raises(UserError) as error:
        declared.record(study, tmp_path)
    assert "study.declared.json" in str(error.value)
    assert "\n" not in str(error.value)
