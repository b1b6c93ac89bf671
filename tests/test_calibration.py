"""The tests err as rarely as they say, by simulation; the report on it says what the simulation found."""

from pathlib import Path

import numpy as np
import pytest
from reading import tables_of

from benchmarks.calibration import page as calibration
from benchmarks.calibration.simulate import (
    LOOKS,
    METHODS,
    NOISES,
    LookCell,
    SimulatedCell,
    choose,
    draw,
    judge,
    misses,
    misses_of_looks,
    scales,
    simulate,
)
from harness.errors import UserError
from harness.statistics.comparison import Rules, compare_all
from harness.statistics.judging import DEFAULT, VERDICTS
from harness.statistics.models import residuals_of


def cells(noise: str, method: str = DEFAULT, n: int = 5, k: int = 7, studies: int = 3000) -> list[SimulatedCell]:
    return list(simulate(studies, (), (noise,), (n,), (k,), (method,)))


@pytest.mark.parametrize("noise", ["normal", "skewed", "variant-4x", "baseline-4x"])
def test_the_default_test_keeps_its_error_rates(noise: str) -> None:
    null = cells(noise)[0]
    # 3,000 studies: two standard errors are .9 points.
    assert null.family_error <= 0.065 + 0.009
    assert null.coverage >= 0.935 - 0.009
    assert null.equivalent + null.helps + null.hurts + null.inconclusive == pytest.approx(1)


def test_without_the_rule_for_other_scales_the_block_design_errs() -> None:
    assert cells("variant-4x", "plain_block")[0].family_error > 0.1
    assert cells("baseline-4x", "plain_block")[0].coverage < 0.85


def test_a_difference_as_large_as_the_margin_is_seldom_called_equivalent() -> None:
    at_margin = {c.effect: c for c in cells("normal", n=20, k=3)}[2.0]
    assert at_margin.equivalent <= 0.06
    none = {c.effect: c for c in cells("normal", n=20, k=3)}[0.0]
    assert none.equivalent > 0.9


def test_the_simulation_judges_as_a_study_is_judged() -> None:
    values = draw(np.random.default_rng(0), "normal", 30, 6, 5)
    values[..., 1] += 2
    judged = judge(METHODS["block"](values), 0.05, 1.5)
    for number, table in enumerate(values):
        arms = {f"a{arm}": dict(enumerate(table[:, arm].tolist())) for arm in range(5)}
        found = list(compare_all(arms, "a0", Rules(margin=1.5)).values())
        assert [c.adjusted for c in found] == pytest.approx(judged.adjusted[number].tolist())
        assert [VERDICTS.index(c.verdict) for c in found] == judged.codes[number].tolist()


@pytest.mark.parametrize("noise", NOISES)
def test_noise_has_mean_zero_and_the_sd_that_it_says(noise: str) -> None:
    residuals = [residuals_of(np.random.default_rng(1).normal(20, 0.5, (5, 8)))]
    values = draw(np.random.default_rng(2), noise, 4000, 5, 4, residuals)
    assert values.shape == (4000, 5, 4)
    assert values.mean() == pytest.approx(0, abs=0.04)
    kind, _, factor = noise.partition("-")
    sds = values.std((0, 1))
    wanted = np.ones(4)
    if kind != "runs" and factor:
        wanted[0 if kind == "baseline" else -1] = float(factor.rstrip("x"))
    # Student's t with 3 degrees of freedom has no fourth moment: its sd is seldom near the true one.
    assert sds == pytest.approx(wanted, rel=0.6 if noise == "heavy" else 0.15)


def test_the_test_with_the_most_power_among_those_that_miss_nowhere_is_chosen() -> None:
    def cell(test: str, error: float, power: float, effect: float) -> SimulatedCell:
        return SimulatedCell("normal", 5, 7, test, effect, 10_000, error, 0.95, power, 0, 0, 0, 1)

    kinds = {"paired_t": (0.04, 0.2), "block": (0.065, 0.5)}
    for error, best in ((0.065, "block"), (0.07, "paired_t")):
        kinds["block"] = (error, 0.5)
        made = [cell(test, error, 0.0, 0.0) for test, (error, _) in kinds.items()]
        made += [cell(test, 0.04, power, 2.0) for test, (_, power) in kinds.items()]
        assert [c.test for c in misses(made, "block")] == ["block"] * (best != "block")
        assert choose(made) == best
    assert choose([c for c in made if c.test == "block"]) is None


def test_scales_of_real_runs_scatter_as_the_true_ones_do_and_not_as_those_seen() -> None:
    rng = np.random.default_rng(4)
    alike = residuals_of(rng.normal(20, 0.5, (5, 15)))
    seen = alike.std(0, ddof=1)
    assert seen.max() > 1.5 * seen.min()  # as sds of five seeds do
    assert scales(alike)[0] > 20
    values = draw(rng, "runs", 2000, 20, 4, [alike])
    spread = values.std(1, ddof=1)
    assert spread.std() / spread.mean() < 0.25

    apart = residuals_of(rng.normal(20, 0.5, (5, 15)) * np.geomspace(0.2, 5, 15))
    assert scales(apart)[0] < 5
    # Each study has the scales of one of the two; `runs-apart` those of the second alone.
    both, one = (draw(rng, noise, 2000, 20, 4, [alike, apart]).std(1, ddof=1) for noise in ("runs", "runs-apart"))
    ratio = [values.max(1) / values.min(1) for values in (both, one)]
    assert 0.4 < np.mean(ratio[0] < 2.5) < 0.7
    assert np.mean(ratio[1] < 2.5) < 0.4


def test_the_committed_calibration_picks_the_default_and_keeps_what_looks_promise() -> None:
    folder = Path(__file__).parent.parent / "reports" / "calibration"
    stored = calibration.read_rows(folder / "calibration.csv", SimulatedCell)
    assert misses(stored, DEFAULT) == []
    assert choose(stored) == DEFAULT
    assert min(c.studies for c in stored if c.test in ("block", "paired_t")) >= 10_000
    assert {c.noise for c in stored} == set(NOISES)
    looks = calibration.read_rows(folder / "looks.csv", LookCell)
    assert misses_of_looks(looks) == []
    assert {c.looks for c in looks} == {"-".join(map(str, plan)) for plan in LOOKS}
    assert {c.noise for c in looks} == set(NOISES)
    assert min(c.studies for c in looks) >= 10_000


SIMULATED = {"seeds": (5,), "comparisons": (3,), "methods": ("block",), "plans": ((4, 6),)}


def test_the_same_calibration_is_the_same_each_time_whole_or_one_noise_again(tmp_path: Path) -> None:
    out = tmp_path / "one" / "calibration"
    page = calibration.calibrate(out, 200, tmp_path, **SIMULATED)  # type: ignore[arg-type]
    calibration.calibrate(tmp_path / "two" / "calibration", 200, tmp_path, **SIMULATED)  # type: ignore[arg-type]

    def files(name: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*") if path.is_file()}

    before = files("one")
    assert before == files("two")
    assert len(before) == 7
    assert len(tables_of(page.read_text())) >= 2
    lines = (out / "calibration.csv").read_text().splitlines(keepends=True)
    (out / "calibration.csv").write_text("".join(line for line in lines if not line.startswith("heavy")))
    calibration.calibrate(out, 200, tmp_path, ("heavy",), **SIMULATED)  # type: ignore[arg-type]
    assert files("one") == before
    with pytest.raises(UserError, match="--noise pink"):
        calibration.calibrate(out, 200, tmp_path, ("pink",), **SIMULATED)  # type: ignore[arg-type]
    (out / "looks.csv").write_text("noise,looks\nnormal,3\n")
    with pytest.raises(UserError, match=r"looks\.csv"):
        calibration.calibrate(out, 200, tmp_path, ("heavy",), **SIMULATED)  # type: ignore[arg-type]
