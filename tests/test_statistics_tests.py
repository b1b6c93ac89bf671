"""Tests of many comparisons give the p-values that others give, and intervals and tests cannot disagree."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from benchmarks.calibration.power import power as simulated_power
from benchmarks.calibration.simulate import plain_block
from harness.statistics import models as block
from harness.statistics import multiplicity as family
from harness.statistics import power
from harness.statistics.power import Design
from harness.statistics.sign_flip import DRAWS, sign_flip, signed_ranks

DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
"""Darwin's maize, cross- less self-fertilised, in eighths of an inch (Fisher, Design of Experiments, 1935)."""

steps = st.integers(-80, 80).map(lambda step: step / 40)


def normal(seed: int, n: int, arms: int, effect: float = 0.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(20, 0.5, (n, arms))
    values[:, 1] += effect
    return values


# ---- the family


@settings(deadline=None, max_examples=12)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    assert family.holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_a_comparison_that_is_not_there_still_counts_as_one() -> None:
    assert family.holm([0.01, math.nan, 0.04]).tolist() == pytest.approx([0.03, math.nan, 0.08], nan_ok=True)


@pytest.mark.parametrize(
    ("df", "values"),
    [(5, (2.57, 3.03, 3.29, 3.48, 3.62)), (60, (2.00, 2.27, 2.41, 2.51, 2.58))],
)  # fmt: skip
def test_critical_values_are_those_of_dunnetts_table(df: int, values: tuple[float, ...]) -> None:
    # Dunnett, Biometrics 20 (1964), table II: two-sided, 5 %.
    assert [family.critical_value(0.05, k, df) for k in range(1, 6)] == pytest.approx(values, abs=0.0051)


@pytest.mark.parametrize(("k", "n"), [(2, 4), (12, 3)])
def test_adjusted_p_is_that_of_scipys_dunnett(k: int, n: int) -> None:
    rng = np.random.default_rng(k)
    arms, control = rng.normal(0.6, 1, (k, n)), rng.normal(0, 1, n)
    theirs = stats.dunnett(*arms, control=control, random_state=np.random.default_rng(0))
    df = n * (k + 1) - (k + 1)
    single = 2 * stats.t.sf(np.abs(theirs.statistic), df)
    assert family.many_to_one(single, k, df) == pytest.approx(theirs.pvalue, abs=2e-3)


def test_adjusted_p_is_that_of_the_multivariate_t() -> None:
    shape = np.full((3, 3), 0.3) + 0.7 * np.eye(3)
    for statistic in (1.0, 2.2):
        corner = np.full(3, statistic)
        inside = stats.multivariate_t(shape=shape, df=12, seed=1).cdf(corner, lower_limit=-corner, maxpts=200_000)
        p = 2 * stats.t.sf(statistic, 12)
        assert float(family.many_to_one(p, 3, 12, 0.3)) == pytest.approx(1 - inside, abs=4e-4)


def test_adjusting_never_makes_a_p_smaller_nor_larger_than_bonferroni() -> None:
    p = np.geomspace(1e-12, 1, 200)
    for k, df in ((2, 8), (12, 200)):
        critical = 2 * stats.t.sf(family.critical_value(0.05, k, df), df)
        assert float(family.many_to_one(critical, k, df)) == pytest.approx(0.05, abs=1e-6)
        adjusted = family.many_to_one(p, k, df)
        assert (adjusted >= p).all()
        assert (adjusted <= np.minimum(k * p, 1) + 1e-15).all()
        assert (np.diff(adjusted) >= 0).all()


# ---- the models


@pytest.mark.parametrize(("n", "arms"), [(5, 4), (8, 8)])
def test_seeds_as_blocks_is_the_two_way_analysis_of_variance(
    n: int, arms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = normal(1, n, arms)
    rows = [{"y": values[i, j], "seed": f"s{i}", "arm": f"a{j:02}"} for i in range(n) for j in range(arms)]
    fit = ols("y ~ C(seed) + C(arm)", data=pd.DataFrame(rows)).fit()
    ours = plain_block(values)
    for place in range(arms - 1):
        name = f"C(arm)[T.a{place + 1:02}]"
        assert ours.mean[place] == pytest.approx(fit.params[name])
        assert ours.se[place] == pytest.approx(fit.bse[name])
        assert ours.df[place] == fit.df_resid
    # Nothing leaves, and no difference varies more than the pool's: then the default is the same.
    monkeypatch.setattr(block, "SCREEN", 1e-300)
    monkeypatch.setattr(block, "SCREEN_BASELINE", 1e-300)
    assert block.block(values).se == pytest.approx(np.maximum(ours.se, block.paired(values).se))


def test_an_arm_of_another_scale_leaves_the_pool_by_an_exact_f_test() -> None:
    values = normal(3, 8, 5)
    values[:, 2] = 20 + 10 * (values[:, 2] - 20)
    assert block.pool(values).tolist() == [True, True, False, True, True]
    found = block.block(values)
    assert found.pooled.tolist() == [True, False, True, True]
    assert found.df.tolist() == [21, 7, 21, 21]
    assert found.se[1] == pytest.approx(block.paired(values).se[1])
    # The share of arms that leave although all have one scale is the threshold's (one arm can leave: four are tested).
    same = np.random.default_rng(4).normal(size=(20_000, 6, 5))
    p = block._scale_p(same - same.mean(-2, keepdims=True), np.ones((20_000, 5), dtype=bool))
    assert stats.kstest(p[:, 3], "uniform").pvalue > 0.001


def test_a_baseline_of_another_scale_keeps_its_own_variance_beside_the_variants_shared_one() -> None:
    values = normal(5, 8, 5)
    values[:, 0] = 20 + 10 * (values[:, 0] - 20)
    model = block.block(values)
    assert model.pooled.all()
    # By hand: the variants' residual after seeds and arms, and the baseline against the variants' mean.
    variants = values[:, 1:]
    shared = (block.residuals_of(variants) ** 2).sum() / (7 * 3)
    a = (values[:, 0] - variants.mean(1)).var(ddof=1)
    rest = shared * (1 - 1 / 4)
    assert model.sd == pytest.approx(math.sqrt(a + rest))
    assert model.se == pytest.approx(np.maximum(model.sd / math.sqrt(8), block.paired(values).se))
    assert set(model.df.tolist()) == {math.floor((a + rest) ** 2 / (a**2 / 7 + rest**2 / 21))}


def test_with_few_seeds_or_few_comparisons_nothing_is_shared() -> None:
    for values in (normal(6, 4, 8), normal(6, 5, 3), normal(6, 2, 8)):
        found, alone = block.block(values), block.paired(values)
        assert not found.pooled.any()
        assert found.se == pytest.approx(alone.se)
        assert (found.df == len(values) - 1).all()


# ---- the sign-flip test


def test_darwins_maize_as_fisher_worked_it() -> None:
    # Fisher, section 21: 1,726 of the 32,768 sums are as far from zero, 5.267 %.
    flip = sign_flip(DARWIN)
    assert flip.p == pytest.approx(1726 / 32768)
    assert flip.least == 2 / 2**15


@settings(deadline=None, max_examples=60)
@given(st.lists(steps, min_size=1, max_size=9))
def test_sign_flip_is_brute_force_and_scipys(d: list[float]) -> None:
    observed = abs(sum(d))
    sums = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    wanted = np.mean([s >= observed - 1e-9 for s in sums])
    assert sign_flip(d).p == pytest.approx(wanted)
    assert sign_flip(d).p == sign_flip([-3 * x for x in reversed(d)]).p
    if len(d) > 1 and observed > 1e-9:  # a sum of zero is a tie, which scipy finds up to rounding alone
        theirs = stats.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert sign_flip(d).p == pytest.approx(min(1.0, theirs.pvalue), abs=1e-9)


@pytest.mark.parametrize(("n", "least"), [(1, 1.0), (5, 0.0625), (16, 2**-15)])
def test_the_smallest_p_is_known_and_reached(n: int, least: float) -> None:
    flip = sign_flip([1.0 + place / 7 for place in range(n)])
    assert flip.p == flip.least == least
    assert flip.can_reject(0.05) == (least <= 0.05)
    assert not sign_flip([1.0] * 8).can_reject(0.05, comparisons=8)
    assert sign_flip([1.0] * 9).can_reject(0.05, comparisons=8)


def test_above_sixteen_pairs_signs_are_drawn_and_the_observed_one_counts() -> None:
    rng = np.random.default_rng(9)
    large = sign_flip(rng.normal(5, 1, 20))
    assert large.p == large.least == 1 / (DRAWS + 1)
    d = rng.normal(0.2, 1, 18)
    bits = 1 - 2.0 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1)
    exact = float((np.abs(bits @ d) >= abs(d.sum()) - 1e-12).mean())
    assert sign_flip(d).p == pytest.approx(exact, abs=0.015)


def test_a_diverged_run_has_the_worst_rank() -> None:
    assert signed_ranks([0.1, -0.3, math.inf, 0.0]).tolist() == [1.0, -2.0, 3.0, 0.0]
    assert sign_flip([0.1, 0.3, 0.2, 0.4, 0.25, math.inf]).p == 2 / 64
    theirs = stats.wilcoxon([1.5, -0.2, 0.7, 2.2, 0.9, 99.0], method="exact").pvalue
    assert sign_flip([1.5, -0.2, 0.7, 2.2, 0.9, math.inf]).p == pytest.approx(theirs)
    with pytest.raises(ValueError, match="not a number"):
        sign_flip([0.1, math.nan])


@pytest.mark.parametrize("d", [[], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
def test_no_pair_ties_and_constant_differences_have_defined_answers(d: list[float]) -> None:
    flip = sign_flip(d)
    assert flip.p == (None if not d else 1.0 if not any(d) else 0.25)


# ---- power


def test_the_detectable_effect_has_the_power_that_it_says() -> None:
    for n in (3, 5, 12):
        critical = float(stats.t.isf(0.025, n - 1))
        effect = power.detectable(1 / math.sqrt(n), n - 1, critical)
        assert TTestPower().power(effect, n, 0.05) == pytest.approx(0.8, abs=1e-4)
        assert power.power(effect, 1 / math.sqrt(n), n - 1, critical) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("effect", [0.4, 2.0])
def test_the_seeds_needed_are_those_of_statsmodels(effect: float) -> None:
    theirs = math.ceil(TTestPower().solve_power(effect, alpha=0.05, power=0.8))
    assert power.seeds_needed(effect, Design(1.0)) == theirs
    more = power.seeds_needed(effect, Design(1.0, 7))
    shared = power.seeds_needed(effect, Design(1.0, 7, True))
    assert more is not None
    assert shared is not None
    assert theirs <= shared <= more
    assert power.seeds_needed(1e-4, Design(1.0)) is None
    assert power.seeds_needed(1.0, Design(0.0)) == 2


def test_the_pilots_sd_has_an_upper_bound_that_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    sd = rng.normal(size=(20_000, 5)).std(1, ddof=1)
    holds = np.mean([power.sd_bound(float(s), 4) >= 1 for s in sd[:4000]])
    assert holds == pytest.approx(0.8, abs=0.02)


def test_more_seeds_detect_less_and_the_block_design_less_than_the_paired_test() -> None:
    paired, shared = (
        [power.detectable_at(Design(1.0, 7, kind), seeds, 0.05) for seeds in (3, 5, 6, 8, 13, 20, 60, 200)]
        for kind in (False, True)
    )
    assert paired[1] == pytest.approx(power.detectable(1 / math.sqrt(5), 4, float(stats.t.isf(0.05 / 14, 4))))
    assert shared[0] == paired[0], "nothing is shared by three seeds"
    for sizes in (paired, shared):
        assert sizes == sorted(sizes, reverse=True)
    assert all(one < other for one, other in zip(shared[1:5], paired[1:5], strict=True))


@pytest.mark.parametrize(("seeds", "comparisons"), [(5, 7), (9, 6), (12, 12), (5, 1), (8, 2)])
@pytest.mark.parametrize("wanted", [0.6, 0.8])
def test_a_study_finds_the_detectable_effect_as_often_as_it_says(seeds: int, comparisons: int, wanted: float) -> None:
    effect = power.detectable_at(Design(math.sqrt(2), comparisons, True), seeds, 0.05, wanted)
    share = next(simulated_power(seeds, comparisons, np.array([effect]), 4000, draw="another"))
    # Two points, as calibration promises, and two standard errors of 4,000 studies.
    assert share == pytest.approx(wanted, abs=0.02 + 2 * math.sqrt(wanted * (1 - wanted) / 4000))


def test_pairing_is_worth_the_runs_that_it_saves() -> None:
    assert power.unpaired_seeds(5, 1.0, 1.0, math.sqrt(2)) == 5
    assert power.unpaired_seeds(5, 1.0, 1.0, math.sqrt(2) / 2) == 20
    assert power.unpaired_seeds(5, 1.0, 1.0, 0.0) is None
