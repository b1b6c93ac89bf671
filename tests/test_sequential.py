"""Looking early: boundaries against published ones, what a report says at each look, and what was declared before."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_study import diverge, make_results, make_study
from harness.report.cells import Results, read_results
from harness.report.looks import check_early, standing
from harness.report.render import render
from harness.report.tables import comparisons
from scipy import stats
from typer.testing import CliRunner

from harness.calibration.simulate import LOOK_EFFECTS as EFFECTS
from harness.calibration.simulate import LookCell, misses_of_looks, simulate_looks
from harness.cli import app
from harness.errors import UserError
from harness.report import declared as report_declared
from harness.settings import declared
from harness.settings.load import load_study
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
    ("looks", "constant"),
    # Jennison and Turnbull 2000, table 2.3: O'Brien and Fleming's C, alpha .05; z at look k is C sqrt(K / k).
    [(2, 1.977), (3, 2.004), (4, 2.024), (5, 2.040)],
)
def test_obrien_and_flemings_constants_spend_alpha(looks: int, constant: float) -> None:
    shares = np.arange(1, looks + 1) / looks
    assert crossing(list(constant / np.sqrt(shares)), list(shares)).sum() == pytest.approx(0.05, abs=1.5e-4)


@pytest.mark.parametrize(
    ("looks", "constant"),
    [(2, 2.178), (3, 2.289), (4, 2.361), (5, 2.413)],  # the same book, table 2.1: Pocock
)
def test_pococks_constants_spend_alpha(looks: int, constant: float) -> None:
    shares = np.arange(1, looks + 1) / looks
    assert crossing([constant] * looks, list(shares)).sum() == pytest.approx(0.05, abs=1.5e-4)


@pytest.mark.parametrize(
    ("looks", "published"),
    # Lan and DeMets' bounds for O'Brien and Fleming's spending, two-sided .05, equal looks (program ld98).
    [
        (2, (2.9626, 1.9686)),
        (3, (3.7103, 2.5114, 1.9930)),
        (4, (4.3326, 2.9631, 2.3590, 2.0141)),
        (5, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
    ],
)
def test_the_bounds_are_lan_and_demets(looks: int, published: tuple[float, ...]) -> None:
    assert boundaries(tuple(range(1, looks + 1)), 0.05) == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize("looks", [(3, 5, 8), (2, 3), (5, 8, 12, 20)])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_all_of_alpha_is_spent_and_no_more(looks: tuple[int, ...], alpha: float) -> None:
    chances = crossing(boundaries(looks, alpha), [n / looks[-1] for n in looks])
    assert np.cumsum(chances) == pytest.approx(spent([n / looks[-1] for n in looks], alpha), abs=1e-9)
    assert chances.sum() == pytest.approx(alpha, abs=1e-9)


def test_two_looks_by_the_bivariate_normal_distribution() -> None:
    first, last = boundaries((3, 8), 0.05)
    joint = stats.multivariate_normal([0, 0], [[1, (3 / 8) ** 0.5], [(3 / 8) ** 0.5, 1]])
    stays = joint.cdf([first, last], lower_limit=[-first, -last])
    assert 1 - stays == pytest.approx(0.05, abs=1e-6)


def test_random_walks_cross_as_often_as_is_computed() -> None:
    bounds, n = [2.5, 2.2, 2.1], 200_000
    steps = np.random.default_rng(0).normal(size=(n, 8)).cumsum(1)
    z = np.abs(steps[:, [2, 4, 7]]) / np.sqrt([3, 5, 8])
    first = np.argmax(np.column_stack([z > bounds, np.ones(n, dtype=bool)]), axis=1)
    simulated = np.bincount(first, minlength=4)[:3] / n
    assert simulated == pytest.approx(crossing(bounds, [3 / 8, 5 / 8, 1]), abs=0.001)


@pytest.mark.parametrize("comparisons", [1, 3, 7, 12, 50])
def test_looks_and_comparisons_together_keep_bonferronis_bound(comparisons: int) -> None:
    looks = (3, 5, 8)
    alphas = nominal(looks, 0.05, comparisons)
    bounds = [-stats.norm.ppf(alpha / comparisons / 2) for alpha in alphas]
    assert comparisons * crossing(bounds, [n / 8 for n in looks]).sum() == pytest.approx(0.05, abs=1e-6)
    assert list(alphas) == sorted(alphas)
    assert alphas[-1] < 0.05


def test_one_look_is_a_study_without_looks() -> None:
    assert nominal((8,), 0.05) == pytest.approx([0.05])


def test_a_very_early_look_has_an_alpha_that_a_number_can_hold() -> None:
    assert nominal((2, 500), 0.05)[0] == LEAST
    assert nominal((2, 500), 0.05)[1] == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("looks", "alpha", "comparisons"),
    [((), 0.05, 1), ((5, 3), 0.05, 1), ((0, 3), 0.05, 1), ((3, 5), 0.6, 1), ((3,), 0.05, 0)],
)
def test_what_is_no_plan_is_refused(looks: tuple[int, ...], alpha: float, comparisons: int) -> None:
    with pytest.raises(ValueError, match="got"):
        nominal(looks, alpha, comparisons)


# ---- error rates, by simulation


def looked(noise: str, k: int, looks: tuple[int, ...] = (3, 5, 8)) -> dict[float, LookCell]:
    return {c.effect: c for c in simulate_looks(3000, (), (noise,), (looks,), (k,))}


@pytest.mark.parametrize("noise", ["normal", "skewed", "heavy", "discrete"])
def test_all_looks_together_keep_alpha(noise: str) -> None:
    null = looked(noise, 7)[0.0]
    # 3,000 studies: two standard errors are .9 points.
    assert null.family_error <= 0.065 + 0.009
    assert null.coverage >= 0.935 - 0.009
    assert null.unruled > null.family_error + 0.015  # looking at .05 each time is not the same


def test_what_looking_costs_and_saves() -> None:
    cells = looked("normal", 7, (5, 10))
    assert list(cells) == list(EFFECTS)
    assert cells[2.0].power >= cells[2.0].once - 0.03
    assert cells[4.0].seeds_used < 9
    assert cells[0.0].seeds_used == pytest.approx(10, abs=0.1)
    assert cells[2.0].equivalent <= 0.06  # a difference as large as the margin


def test_a_cell_that_errs_is_a_miss() -> None:
    good = looked("normal", 3)[0.0]
    assert misses_of_looks([good]) == []
    for change in ({"family_error": 0.08}, {"coverage": 0.92}, {"effect": 2.0, "equivalent": 0.09}):
        bad = LookCell(**{**good.__dict__, **change})
        assert misses_of_looks([bad]) == [bad]


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
    study, found = results(tmp_path, TEXT, complete)
    now = standing(study, found)
    assert (now.look, now.interim, now.judged) == (look, interim, look > 0)
    assert now.seeds == tuple(range(compared))
    assert now.alpha == (nominal((3, 5, 8), 0.05, 3)[look - 1] if look else 0.05)
    for comparison in comparisons(study, found).values():
        assert comparison.in_family == (look > 0)
        assert comparison.difference.n == (compared if look else complete)
        assert comparison.alpha == now.alpha


def test_the_verdicts_of_a_look_are_those_of_its_alpha(tmp_path: Path) -> None:
    study, found = results(tmp_path, TEXT, 5)
    values = {
        variant: {s: run.metrics["test_top1"] for s, run in found.finished(variant).items() if s < 5}
        for variant in study.variants
    }
    alone = compare_all(values, "base", Rules(alpha=nominal((3, 5, 8), 0.05, 3)[1], margin=0.5))
    assert comparisons(study, found) == alone
    once = compare_all(values, "base", Rules(margin=0.5))
    assert alone["no-lrn"].p == once["no-lrn"].p
    assert alone["no-lrn"].difference.low < once["no-lrn"].difference.low  # type: ignore[operator]


def test_an_interim_report_says_so_everywhere(tmp_path: Path) -> None:
    study, _ = results(tmp_path, TEXT, 5)
    text = render(study, None, tmp_path).read_text()
    assert text.startswith("# Interim: Which components")
    assert "**Interim: look 2 of 3.** The study declares looks at 3, 5 and 8 seeds" in text
    assert "## Variants (interim)" in text
    assert "99.1" in text  # of the intervals
    assert "no more than 5 % of studies" in text
    lines = (tmp_path / "reports" / "components" / "variants.csv").read_text().splitlines()
    columns = lines[0].split(",")
    for line in lines[1:]:
        row = dict(zip(columns, line.split(","), strict=False))
        assert (row["interim"], row["look"]) == ("true", "2")


def test_the_last_look_is_no_interim_report(tmp_path: Path) -> None:
    study, found = results(tmp_path, TEXT, 8)
    text = render(study, None, tmp_path).read_text()
    assert text.startswith("# Which components")
    assert "**Look 3 of 3, the last.**" in text
    assert "Interim" not in text
    assert comparisons(study, found)["no-lrn"].alpha < 0.05


def test_without_looks_an_interim_report_has_no_verdicts(tmp_path: Path) -> None:
    study, found = results(tmp_path, NO_LOOKS, 5, early=True)
    assert not any(c.in_family for c in comparisons(study, found).values())
    text = render(study, None, tmp_path, early=True).read_text()
    assert "**Interim: 5 of 8 seeds are complete.** No rule for looking early was declared" in text
    table = text.partition("## Variants")[2].partition("Error:")[0]
    assert "+" in table  # estimates
    for word in ("helps", "hurts", "equivalent", "inconclusive"):
        assert word not in table
        assert f"**{word}**" not in text
    assert ",helps," not in (tmp_path / "reports" / "components" / "variants.csv").read_text()


def test_before_the_first_look_there_are_no_verdicts(tmp_path: Path) -> None:
    study, _ = results(tmp_path, TEXT, 2)
    text = render(study, None, tmp_path).read_text()
    assert "the first is not reached" in text
    assert "**helps**" not in text


@pytest.mark.parametrize("text", [TEXT, NO_LOOKS])
def test_a_study_that_is_done_has_no_interim_report(text: str, tmp_path: Path) -> None:
    study, found = results(tmp_path, text, 8, early=True)
    with pytest.raises(UserError, match="--interim: every run of components has ended"):
        check_early(study, found)


def test_the_command_looks_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results(tmp_path, NO_LOOKS, 4)
    (tmp_path / "params.yaml").write_text("preset: [paper, small]\nseed: 0\nwidth: 0.5\ncolour: 0\nepochs: 2\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", "--interim"])
    assert done.exit_code == 0, done.output
    assert Path(done.output.strip()).read_text().startswith("# Interim: ")


def test_a_diverged_run_has_ended(tmp_path: Path) -> None:
    study, _ = results(tmp_path, TEXT, 3)
    folder = tmp_path / "reports" / "components" / "runs" / "no-lrn-1"
    diverge(folder, 1)
    found = read_results(study, None, tmp_path)
    assert standing(study, found).look == 1
    assert comparisons(study, found)["no-lrn"].diverged == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[3, 5, 8]", "[8]", "looks: got [8]; allowed: two or more"),
        ("[3, 5, 8]", "[5, 3, 8]", "looks: got [5, 3, 8]; allowed: two or more numbers of seeds, rising"),
        ("[3, 5, 8]", "[3, 3, 8]", "looks: got [3, 3, 8]"),
        ("[3, 5, 8]", "[3, 5, 9]", "and 8 seeds; allowed: as many seeds as one look has"),
        ("[3, 5, 8]", "[1, 8]", "looks"),
        ("[3, 5, 8]", "[3.5, 8]", "looks"),
        ("[3, 5, 8]", "early", "looks"),
    ],
)
def test_a_bad_plan_of_looks_is_one_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        make_study(tmp_path, TEXT.replace(old, new))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


# ---- declared before


def declare(root: Path, text: str) -> Study:
    study = make_study(root, text)
    declared.record(study, root)
    return study


def said(study: Study, root: Path) -> tuple[str, list[str]]:
    found, seen = read_results(study, None, root), declared.read(study, root)
    return report_declared.text(study, found, seen), report_declared.warnings(found, seen)


def test_a_declaration_is_written_down_once(tmp_path: Path) -> None:
    study = make_study(tmp_path, TEXT)
    assert "not written down" in said(study, tmp_path)[0]
    assert declared.record(study, tmp_path)
    assert not declared.record(study, tmp_path)
    make_results(study, tmp_path)
    assert not declared.record(study, tmp_path)
    assert said(study, tmp_path) == ("It was first written down before any run.", [])
    path = tmp_path / "experiments" / "study.declared.json"
    assert json.loads(path.read_text())["declarations"][0]["declaration"] == study.declaration


def test_a_declaration_that_came_after_runs_says_so(tmp_path: Path) -> None:
    study = make_study(tmp_path, TEXT)
    make_results(study, tmp_path)
    declared.record(study, tmp_path)
    text, warned = said(study, tmp_path)
    assert text == "It was first written down when 32 runs (all of them in this report) had been made."
    assert warned == [f"{text} Alpha does not cover what was chosen after they were seen."]


def test_runs_of_another_study_that_this_one_takes_over_are_counted(tmp_path: Path) -> None:
    other = make_study(tmp_path, TEXT.replace("name: components", "name: other"))
    make_results(other, tmp_path)
    study = declare(tmp_path, TEXT.replace("[0, 1, 2, 3, 4, 5, 6, 7]", "[6, 7, 8]").replace("[3, 5, 8]", "[2, 3]"))
    make_results(study, tmp_path)
    record = tmp_path / study.folder / "runs" / "base-6" / "train/provenance.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"reused_from": "runs/other/base-6"}))
    text, warned = said(study, tmp_path)
    first = (
        "It was first written down when 8 runs (all of them in this report) of other studies whose settings and seeds "
        "are its own had been made."
    )
    assert text.startswith(first)
    assert "Of its 12 runs, some are those of other studies with equal settings and seeds: 1 of `other`." in text
    assert warned == [f"{first} Alpha does not cover what was chosen after they were seen."]


def test_a_design_that_was_dropped_before_the_first_declaration_is_said(tmp_path: Path) -> None:
    make_results(make_study(tmp_path, TEXT.replace("epochs: 2", "epochs: 3")), tmp_path)
    study = declare(tmp_path, TEXT)
    make_results(study, tmp_path)
    (warned,) = said(study, tmp_path)[1]
    assert warned.startswith("This design was declared after 32 runs of another (none in this report): alpha covers")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("margin: 0.5", "margin: 1.5", "`margin` from `0.5` to `1.5`"),
        ("margin: 0.5", "test: paired_t", "`margin` from `0.5` to nothing and `test` from `block` to `paired_t`"),
        ("margin: 0.5", "family: [no-lrn]\nmargin: 0.5", "`family` from nothing to `[no-lrn]`"),
        ("margin: 0.5", "confidence: 0.9\nmargin: 0.5", "`confidence` from `0.95` to `0.9`"),
        ("margin: 0.5", "metric: train_top1\nmargin: 0.5", "`metric` from `test_top1` to `train_top1`"),
        ("[3, 5, 8]", "[5, 8]", "`looks` from `[3, 5, 8]` to `[5, 8]`"),
        ("lrn: false", "lrn: false, lr: 0.02", "`variants.no-lrn.lr` from nothing to `0.02`"),
    ],
)
def test_a_change_after_runs_is_said(old: str, new: str, what: str, tmp_path: Path) -> None:
    make_results(declare(tmp_path, TEXT), tmp_path)
    study = declare(tmp_path, TEXT.replace(old, new))
    text, warned = said(study, tmp_path)
    assert "**changed after 32 runs" in text
    assert what in text
    assert len(warned) == 1
    assert warned[0] in text


def test_a_change_after_runs_stands_at_the_head_of_the_report(tmp_path: Path) -> None:
    make_results(declare(tmp_path, TEXT), tmp_path)
    study = declare(tmp_path, TEXT.replace("margin: 0.5", "margin: 1.5"))
    report = render(study, None, tmp_path).read_text()
    warned = said(study, tmp_path)[1][0]
    assert f"> **Careful.** {warned}" in report.partition("## Variants")[0]
    assert f"`{study.declaration}`. It was first written down before any run. {warned}" in report


def test_a_change_before_any_run_is_none(tmp_path: Path) -> None:
    declare(tmp_path, TEXT)
    study = declare(tmp_path, TEXT.replace("margin: 0.5", "margin: 1"))
    make_results(study, tmp_path)
    assert said(study, tmp_path) == ("It was first written down before any run.", [])


def test_designs_before_this_one_whose_runs_were_seen_are_said(tmp_path: Path) -> None:
    make_results(declare(tmp_path, TEXT), tmp_path)
    study = declare(tmp_path, TEXT.replace("epochs: 2", "epochs: 3"))
    make_results(study, tmp_path)
    text, warned = said(study, tmp_path)
    assert "**changed after 32 runs (none of them in this report)**" in text
    assert len(warned) == 1
    assert warned[0].startswith("This design was declared after 32 runs of another (none in this report;")
    report = render(study, None, tmp_path).read_text()
    assert f"> **Careful.** {warned[0]}" in report.partition("## Variants")[0]


def test_a_draft_takes_the_place_of_the_draft_before_it(tmp_path: Path) -> None:
    for margin in ("0.6", "0.7", "0.5"):
        study = declare(tmp_path, TEXT.replace("margin: 0.5", f"margin: {margin}"))
    assert [entry.declaration for entry in declared.read(study, tmp_path)] == [study.declaration]
    make_results(study, tmp_path)
    for margin in ("0.6", "0.7"):
        study = declare(tmp_path, TEXT.replace("margin: 0.5", f"margin: {margin}"))
    seen = declared.read(study, tmp_path)
    assert [(len(entry.runs), entry.statement["margin"]) for entry in seen] == [(0, 0.5), (32, 0.7)]


def test_seeds_are_added_by_the_declared_looks_or_the_report_says_so(tmp_path: Path) -> None:
    three = TEXT.replace("[0, 1, 2, 3, 4, 5, 6, 7]", "[0, 1, 2]")
    five = TEXT.replace("[0, 1, 2, 3, 4, 5, 6, 7]", "[0, 1, 2, 3, 4]")
    make_results(declare(tmp_path / "by-rule", three), tmp_path / "by-rule")
    study = declare(tmp_path / "by-rule", five)
    make_results(study, tmp_path / "by-rule")
    text, warned = said(study, tmp_path / "by-rule")
    assert "Seeds 3 and 4 were added after 12 runs (all of them in this report), as the declared looks allow." in text
    assert warned == []
    assert standing(study, read_results(study, None, tmp_path / "by-rule")).look == 2

    without = [text.replace("looks: [3, 5, 8]\n", "") for text in (three, five)]
    make_results(declare(tmp_path / "without", without[0]), tmp_path / "without")
    study = declare(tmp_path / "without", without[1])
    text, warned = said(study, tmp_path / "without")
    assert "Seeds were added without a declared rule (`looks`)" in text
    assert len(warned) == 1


@pytest.mark.parametrize("change", ["seeds: [0, 1, 2, 9, 4]", "seeds: [0, 1, 3, 4, 5]"])
def test_other_seeds_are_not_added_ones(change: str, tmp_path: Path) -> None:
    three = TEXT.replace("seeds: [0, 1, 2, 3, 4, 5, 6, 7]", "seeds: [0, 1, 2]")
    make_results(declare(tmp_path, three), tmp_path)
    study = declare(tmp_path, TEXT.replace("seeds: [0, 1, 2, 3, 4, 5, 6, 7]", change))
    found = declared.changes(declared.read(study, tmp_path))
    assert [c.by_rule for c in found] == ["2, 9" in change]


def test_verdicts_on_an_unfinished_study_without_a_rule_are_said_to_be_such(tmp_path: Path) -> None:
    study, found = results(tmp_path, NO_LOOKS, 6)
    text = report_declared.text(study, found, [])
    assert "The verdicts were given with 6 of 8 seeds complete and without a declared rule" in text
    study, found = results(tmp_path, TEXT, 6)
    assert "without a declared rule" not in report_declared.text(study, found, [])


def test_a_setting_that_the_schema_gains_declares_nothing_new(tmp_path: Path) -> None:
    study = make_study(tmp_path, TEXT)
    stated = study.statement["variants"]["no-lrn"]
    assert stated["lrn"] is False
    defaults = {name: field.default for name, field in type(study.variants["base"]).model_fields.items()}
    assert not any(value == defaults[name] for name, value in stated.items())


def test_check_writes_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(tmp_path, TEXT)
    (tmp_path / "params.yaml").write_text("preset: [paper, small]\nseed: 0\nwidth: 0.5\ncolour: 0\nepochs: 2\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["check"])
    assert done.exit_code == 0, done.output
    study = load_study(Path("experiments/study.yaml"))
    assert declared.read(study, tmp_path)[-1].declaration == study.declaration


@pytest.mark.parametrize("content", ["{", "[]", '{"declarations": [{"declaration": 3}]}', '{"other": []}'])
def test_a_broken_record_of_declarations_is_one_line(content: str, tmp_path: Path) -> None:
    study: Any = make_study(tmp_path, TEXT)
    (tmp_path / "experiments" / "study.declared.json").write_text(content)
    with pytest.raises(UserError) as error:
        declared.record(study, tmp_path)
    assert "study.declared.json" in str(error.value)
    assert "\n" not in str(error.value)
