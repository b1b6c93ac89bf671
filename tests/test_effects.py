"""Effects beside the compared error: each is what its runs' files say, and none says more than that."""

import json
import math
import re
import shutil
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from fake_study import alter, diverge, make_results, make_run, make_study
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import Report, by_first, section, tables_of, told
from scipy import stats

from harness.errors import UserError
from harness.record import Run, RunFolder, read_run
from harness.report.effects import Effects, components, factorials
from harness.report.findings import Findings
from harness.report.format import paragraph
from harness.report.runs import read_results
from harness.settings.study import Study
from harness.statistics.comparison import Rules, compare_all
from harness.statistics.effects import LevelRatio, Reached, level_ratio, log_ratio

DESIGNS = """
name: designs
title: Switches together
purpose: Three components, alone and together.
data: {source: fashion-mnist-8k}
seeds: [0, 1, 2, 3, 4]
settings: {preset: [paper, small], width: 0.5, colour: 0, epochs: 12, curve_images: 500}
factors:
  no-dropout: {dropout: 0}
  no-augment: {augment: false}
  no-lrn: {lrn: false}
plan:
  - kind: one_factor
  - kind: factorial
    factors: [no-dropout, no-augment]
  - kind: add_one_in
"""

POINTS = {
    "no-dropout": 2.0, "no-augment": 3.0, "no-lrn": 0.3, "no-dropout_no-augment": 8.0, "all": 9.0,
    "all-but-no-dropout": 4.0, "all-but-no-augment": 3.0, "all-but-no-lrn": 8.5,
}  # fmt: skip
"""Points of test error, variant less baseline: dropout and augmentation do part of the same work."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study with a factorial and with components added and taken out, all finished."""
    root = tmp_path_factory.mktemp("designs")
    study = make_study(root, DESIGNS)
    rng = np.random.default_rng(0)
    for cell in study.cells:
        points = POINTS.get(cell.variant, 0.0)
        changes = {
            "metrics__train_top1": 15.0 - points / 2 + float(rng.normal(0, 0.5)),
            "provenance__wall_seconds": 60.0 - 2 * points + float(rng.normal(0, 3)),
        }
        make_run(root / cell.results, study.variants[cell.variant], cell.seed, points, **changes)
    return study, root


@pytest.fixture(scope="module")
def report(made: tuple[Study, Path]) -> Report:
    """The study's report; its tables lie beside it."""
    return told(*made)


@pytest.fixture
def copied(made: tuple[Study, Path], tmp_path: Path) -> tuple[Study, Path]:
    """The same results, to be changed."""
    study, root = made
    shutil.copytree(root, tmp_path / "copied")
    return study, tmp_path / "copied"


def effects_in(study: Study, root: Path) -> Effects:
    return Findings(study, read_results(study, None, root), None, root).effects


def runs_of(study: Study, root: Path, variant: str) -> list[Run]:
    """What the files of a variant's runs hold, a seed each."""
    return [read_run(RunFolder.of(root / cell.results)) for cell in study.cells if cell.variant == variant]


# ---- epochs to a level


def reached(*epochs: float, length: float = 20.0) -> dict[int, Reached]:
    return {seed: Reached(one, length) for seed, one in enumerate(epochs)}


def test_epochs_to_a_level_are_compared_on_the_log_scale() -> None:
    one, other = (6.0, 8.0, 7.0, 10.0), (10.0, 12.0, 11.0, 15.0)
    r = level_ratio(reached(*one), reached(*other))
    plain = log_ratio(dict(enumerate(one)), dict(enumerate(other)))
    assert (r.n, r.ratio, r.low, r.high, r.bound) == (4, plain.ratio, plain.low, plain.high, "")
    assert r.p == 2 / 2**4  # all four on one side: the smallest that four pairs give
    back = level_ratio(reached(*other), reached(*one))
    assert (back.ratio, back.low) == (pytest.approx(1 / r.ratio), pytest.approx(1 / r.high))  # type: ignore[operator]
    assert back.p == r.p


def test_a_level_that_is_never_reached_leaves_a_bound_and_no_interval() -> None:
    slow = level_ratio(reached(10, math.inf, 14, 16), reached(8, 9, 10, 11))
    assert (slow.variant_never, slow.baseline_never, slow.neither, slow.bound) == (1, 0, 0, "at least")
    assert slow.ratio == pytest.approx(stats.gmean([10 / 8, 20 / 9, 14 / 10, 16 / 11]))
    assert (slow.low, slow.high, slow.p) == (None, None, 0.125)
    fast = level_ratio(reached(8, 9, 10, 11), reached(10, math.inf, 14, 16))
    assert (fast.bound, fast.ratio, fast.p) == ("at most", pytest.approx(1 / slow.ratio), slow.p)  # type: ignore[operator]
    each = level_ratio(reached(8, math.inf), reached(math.inf, 9))
    assert (each.ratio, each.bound, each.low, each.p) == (None, "at least", None, 1.0)
    neither = level_ratio(reached(math.inf, 9, 10, 11), reached(math.inf, 9, 10, 12))
    assert (neither.neither, neither.bound, neither.low) == (1, "", None)
    assert neither.ratio == pytest.approx((11 / 12) ** (1 / 3))
    assert level_ratio({}, {}) == LevelRatio(0, 0, 0, 0, None, "", None, None, None)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 25), st.integers(1, 25)), min_size=1, max_size=7))
def test_a_bound_holds_whatever_a_run_that_fell_short_would_have_needed(pairs: list[tuple[int, int]]) -> None:
    whole = level_ratio(reached(*(a for a, _ in pairs), length=25), reached(*(b for _, b in pairs), length=25))
    cut = [{s: Reached(e if e <= 15 else math.inf, 15) for s, e in enumerate(arm)} for arm in zip(*pairs, strict=True)]
    r = level_ratio(cut[0], cut[1])
    assert r.n == len(pairs)
    if r.neither or r.ratio is None:
        return
    assert whole.ratio is not None
    assert {"at least": whole.ratio >= r.ratio - 1e-9, "at most": whole.ratio <= r.ratio + 1e-9,
            "": whole.ratio == pytest.approx(r.ratio)}[r.bound]  # fmt: skip


# ---- designs of a plan


def test_the_cells_of_a_factorial_are_the_plans_variants(made: tuple[Study, Path]) -> None:
    study, _ = made
    (design,) = factorials(study)
    assert design.factors == ("no-dropout", "no-augment")
    assert design.cells == {
        (0, 0): "base", (1, 0): "no-dropout", (0, 1): "no-augment", (1, 1): "no-dropout_no-augment",
    }  # fmt: skip
    assert design.clash == ""
    assert components(study) == {
        name: ("all", f"all-but-{name}", "base", name) for name in ("no-dropout", "no-augment", "no-lrn")
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("no-augment: {augment: false}", "no-augment: {augment: false, dropout: 0.2}"),  # both set dropout
        ("plan:", "variants: {base: {lr: 0.02}}\nplan:"),  # the baseline is not the cell without any switch
    ],
)
def test_switches_that_do_not_add_up_are_no_factorial(tmp_path: Path, old: str, new: str) -> None:
    study = make_study(tmp_path, DESIGNS.replace(old, new))
    (design,) = factorials(study)
    assert design.clash
    assert "no-dropout" not in components(study)
    make_results(study, tmp_path)
    assert [one.contrasts for one in effects_in(study, tmp_path).factorials] == [{}]


# ---- what the runs show


def test_gaps_and_times_are_those_of_the_runs_files(made: tuple[Study, Path]) -> None:
    study, root = made
    gaps = {
        variant: np.array([r.metrics["test_top1"] - r.metrics["train_top1"] for r in runs_of(study, root, variant)])
        for variant in study.variants
    }
    for one in effects_in(study, root).variants:
        assert one.gap.mean == pytest.approx(gaps[one.variant].mean())
        if one.variant == "base":
            assert (one.gap_difference, one.time_ratio) == (None, None)
            continue
        theirs = stats.ttest_rel(gaps[one.variant], gaps["base"]).confidence_interval(0.95)
        assert one.gap_difference is not None
        assert one.time_ratio is not None
        assert (one.gap_difference.low, one.gap_difference.high) == pytest.approx(tuple(theirs))
        seconds = [
            [run.provenance.wall_seconds for run in runs_of(study, root, variant)] for variant in (one.variant, "base")
        ]
        assert one.time_ratio.ratio == pytest.approx(stats.gmean(seconds[0]) / stats.gmean(seconds[1]))


@pytest.mark.parametrize("column", ["validation_top1", "clean_top1"])
def test_the_level_is_the_baselines_end_and_the_epochs_are_the_first_at_it(
    made: tuple[Study, Path], column: str
) -> None:
    study, root = made
    effects = effects_in(study, root)
    level = max(run.history[-1][column] for run in runs_of(study, root, "base"))
    assert effects.levels[column] == pytest.approx(level)
    for one in effects.variants:
        wanted = [
            next((row["epoch"] for row in run.history if row[column] <= level), math.inf)
            for run in runs_of(study, root, one.variant)
        ]
        assert list(one.times[column].epochs) == wanted, one.variant
        assert (one.times[column].ratio is None) == (one.variant == "base")
    slow = next(one for one in effects.variants if one.variant == "all").times["validation_top1"]
    assert all(map(math.isinf, slow.epochs)), "nine points above the baseline: never"
    assert slow.ratio is not None
    assert (slow.ratio.bound, slow.ratio.low) == ("at least", None)


def test_the_contrasts_are_those_of_the_cells_errors(made: tuple[Study, Path]) -> None:
    study, root = made
    effects = effects_in(study, root)
    e = {v: np.array([run.metrics["test_top1"] for run in runs_of(study, root, v)]) for v in study.variants}
    base, dropout, augment, both = (e[v] for v in ("base", "no-dropout", "no-augment", "no-dropout_no-augment"))
    wanted = {
        ("no-dropout",): (dropout + both - base - augment) / 2,
        ("no-augment",): (augment + both - base - dropout) / 2,
        ("no-dropout", "no-augment"): (both - dropout - augment + base) / 2,
    }
    assert list(effects.factorials[0].contrasts) == list(wanted)
    for which, values in wanted.items():
        d = effects.factorials[0].contrasts[which]
        theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (d.mean, d.low, d.high) == pytest.approx((values.mean(), *theirs)), which
    assert effects.factorials[0].contrasts["no-dropout", "no-augment"].sign == 1, "8 is more than 2 + 3"
    for factor, two in effects.components.items():
        added, removed = e[f"all-but-{factor}"] - e["all"], e["base"] - e[factor]
        assert (two.added.mean, two.removed.mean) == pytest.approx((added.mean(), removed.mean()))
        assert two.interaction.mean == pytest.approx((removed - added).mean())


def test_a_diverged_run_never_gets_there_and_has_no_gap(copied: tuple[Study, Path]) -> None:
    study, root = copied
    levels = effects_in(study, root).levels
    diverge(root / study.folder / "runs" / "no-lrn-2", 11)
    diverge(root / study.folder / "runs" / "no-dropout_no-augment-0", 2)
    effects = effects_in(study, root)
    (lost,) = [one for one in effects.variants if one.variant == "no-lrn"]
    assert lost.gap.n == 4
    assert lost.times["validation_top1"].epochs[2] == math.inf
    assert len(lost.times["validation_top1"].epochs) == 5
    assert [d.n for d in effects.factorials[0].contrasts.values()] == [4, 4, 4]
    assert effects.levels == levels, "the baseline's copied runs all finished"


def test_times_of_other_machines_are_not_compared(copied: tuple[Study, Path]) -> None:
    study, root = copied
    path = root / study.folder / "runs" / "no-lrn-1" / "train/provenance.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"machine": values["machine"] | {"threads": 8}}))
    counts = {one.variant: one.time_ratio.n for one in effects_in(study, root).variants if one.time_ratio}
    assert (counts["no-lrn"], counts["no-dropout"]) == (4, 5)
    path.write_text(json.dumps(values | {"wall_seconds": 0.0}))
    with pytest.raises(UserError, match="wall_seconds: got 0") as error:
        effects_in(study, root)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_runs_leave_what_the_others_show(copied: tuple[Study, Path]) -> None:
    study, root = copied
    for seed in study.seeds:
        shutil.rmtree(root / study.folder / "runs" / f"all-{seed}")
    shutil.rmtree(root / study.folder / "runs" / "no-lrn-0")
    effects = effects_in(study, root)
    assert {one.variant: one.gap.n for one in effects.variants}.get("all", 0) == 0
    assert {factor: two.added.n for factor, two in effects.components.items()} == dict.fromkeys(
        ("no-dropout", "no-augment", "no-lrn"), 0
    )
    assert [d.n for d in effects.factorials[0].contrasts.values()] == [5, 5, 5]
    tables = tables_of(section(told(study, root).details, "Other effects"))
    assert by_first(tables[0])["all"][1:] == ["–", "–", "0"]
    assert [list(row.values())[1:] for row in tables[-1]] == [["–", "–", "–", "0"]] * 3


# ---- the section and the CSV


def test_the_section_shows_each_effect(made: tuple[Study, Path], report: Report) -> None:
    study, _ = made
    text = section(report.details, "Other effects")
    gaps, times, contrasts, ways = tables_of(text)
    assert len(re.findall("(?m)^### ", text)) == 4
    assert list(by_first(gaps)) == list(by_first(times)) == list(study.variants)
    assert "5 of 5" in by_first(times)["all"][2], "never in any run"
    assert (len(contrasts), len(ways)) == (3, 3)
    assert not re.search(r"\b(better|worse|best|faster|slower|significant\w*|helps|hurts)\b", text)


def test_the_csv_holds_every_number_with_its_digits_and_its_command(made: tuple[Study, Path], report: Report) -> None:
    rows, effects = report.csv("effects"), effects_in(*made)
    table = {(row["effect"], row["of"]): row for row in rows}
    assert len(table) == len(rows)
    assert all(row["command"].startswith("harness run designs --force --only ") for row in rows)
    for one in effects.variants:
        assert float(table["gap", one.variant]["value"]) == one.gap.mean
        middle = median(one.times["clean_top1"].epochs)
        shown = table["epochs to clean_top1", one.variant]["value"]
        assert shown == ("" if math.isinf(middle) else str(middle))
        if one.gap_difference:
            assert float(table["gap, difference", one.variant]["value"]) == one.gap_difference.mean
            assert float(table["training time, ratio", one.variant]["value"]) == one.time_ratio.ratio  # type: ignore[union-attr]
            bound = table["epochs to validation_top1, ratio", one.variant]["bound"]
            assert bound == one.times["validation_top1"].ratio.bound  # type: ignore[union-attr]
    for which, d in effects.factorials[0].contrasts.items():
        row = table["main effect" if len(which) == 1 else "interaction", " x ".join(which)]
        assert (float(row["value"]), float(row["low"]), row["n"]) == (d.mean, d.low, "5")
    both = table["interaction", "no-dropout x no-augment"]["command"].rpartition(" ")[2].split(",")
    assert set(both) == {"base", "no-dropout", "no-augment", "no-dropout_no-augment"}
    assert {row["effect"] for row in rows} >= {"added", "removed", "removed less added"}


def test_a_study_without_runs_or_designs_has_no_such_tables(tmp_path: Path) -> None:
    study = make_study(tmp_path, DESIGNS.partition("plan:")[0] + "plan: [{kind: one_factor}]\n")
    report = told(study, tmp_path)
    assert (report.csv("effects"), "## Other effects" in report.details) == ([], False)
    make_results(study, tmp_path)
    assert len(tables_of(section(told(study, tmp_path).details, "Other effects"))) == 2


# ---- what verdicts rest on


FIVE = """
name: five
title: T
purpose: P
data: {source: fashion-mnist-8k}
seeds: [0, 1, 2, 3, 4]
settings: {preset: [paper, small], width: 0.5, colour: 0, epochs: 2}
variants:
  base: {}
  no-lrn: {lrn: false}
  one-gpu: {gpus: 1}
  no-overlap: {overlap_pool: false}
  no-decay: {weight_decay: 0}
"""


def test_a_verdict_that_rests_on_the_shared_residual_is_named(tmp_path: Path) -> None:
    study = make_study(tmp_path, FIVE)
    make_results(study, tmp_path)

    def arms(noise: np.ndarray, effect: float) -> dict[str, dict[int, float]]:
        shifts = [effect * (name == "no-lrn") for name in study.variants]
        return {name: dict(enumerate(20 + noise[:, a] + shifts[a])) for a, name in enumerate(study.variants)}

    def text(noise: np.ndarray, effect: float) -> str:
        for name, errors in arms(noise, effect).items():
            for seed, error in errors.items():
                path = tmp_path / study.folder / "runs" / f"{name}-{seed}" / "eval/metrics.json"
                alter(path, lambda values, error=error: values.update(test_top1=float(error)))
        return paragraph("robust", findings=Findings(study, read_results(study, None, tmp_path), None, tmp_path))

    def verdicts(noise: np.ndarray) -> list[str]:
        errors = arms(noise, 0.6)
        return [compare_all(errors, "base", Rules(test=test))["no-lrn"].verdict for test in ("block", "paired_t")]

    noises = [np.random.default_rng(seed).normal(0, 0.3, (5, 5)) for seed in range(60)]
    parted = [noise for noise in noises if verdicts(noise) == ["helps", "inconclusive"]]
    assert len(parted) > 1
    assert "`no-lrn`" in text(parted[0], 0.6)
    assert "no-lrn" not in text(parted[0], 20.0), "both tests say so"
    assert "**" in text(noises[0] * [1, 0.02, 1, 0.02, 30], 0.0), "arms that scatter differently are told"
    assert not any("**" in text(noise, 0.0) for noise in noises[:4])
