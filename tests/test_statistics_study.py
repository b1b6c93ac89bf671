"""A study's comparisons: what they answer in every case, verdicts by one rule, and the whole within its limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from harness.statistics.comparison import Rules, compare_all
from harness.statistics.images import image_evidence, mcnemar
from harness.statistics.judging import VERDICTS, Test, Verdict, codes

Values = dict[str, dict[int, float]]

TESTS: tuple[Test, ...] = ("block", "paired_t")


def study(seed: int, n: int = 5, arms: int = 8, effects: dict[int, float] | None = None) -> Values:
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 0.5, n)
    names = ["base", *(f"v{arm}" for arm in range(1, arms))]
    return {
        name: {s: float(20 + common[s] + (effects or {}).get(arm, 0.0) + rng.normal(0, 0.4)) for s in range(n)}
        for arm, name in enumerate(names)
    }


# ---- verdicts


@pytest.mark.parametrize(
    ("mean", "p", "p_equivalent", "verdict"),
    [
        (1.0, 0.04, None, "helps"),
        (1.0, 0.05, None, "helps"),  # at alpha: as in the test's own definition
        (1.0, 0.0500001, None, "inconclusive"),
        (-1.0, 0.05, None, "hurts"),
        (0.1, 0.6, 0.05, "equivalent"),
        (0.1, 0.6, 0.0500001, "inconclusive"),
        (0.1, 0.01, 0.01, "equivalent"),  # surely there, and surely smaller than what matters
        (0.6, 0.01, 0.06, "helps"),
        (0.0, 0.0, None, "inconclusive"),  # a direction needs a sign
        (None, None, None, "inconclusive"),
        (0.5, None, 0.5, "inconclusive"),
    ],
)
def test_the_one_rule_on_borderline_cases(
    mean: float | None, p: float | None, p_equivalent: float | None, verdict: Verdict
) -> None:
    numbers = (math.nan if x is None else x for x in (mean, p, p_equivalent))
    assert VERDICTS[int(codes(*numbers, 0.05))] == verdict


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 10_000), st.integers(1, 9), st.integers(2, 6), st.sampled_from(TESTS),
    st.sampled_from([None, 0.2, 2.0]), st.floats(-3, 3),
)  # fmt: skip
def test_interval_test_equivalence_and_verdict_never_disagree(
    seed: int, n: int, arms: int, test: Test, margin: float | None, effect: float
) -> None:
    for c in compare_all(study(seed, n, arms, {1: effect}), "base", Rules(margin=margin, test=test)).values():
        d = c.difference
        if c.p is not None and d.low is not None and d.high is not None:
            assert (c.p <= 0.05) == (d.low > 0 or d.high < 0)
            assert d.low < d.mean < d.high  # type: ignore[operator]
        if c.adjusted is not None:
            assert c.p is not None
            assert c.adjusted >= c.p - 1e-12
        if c.verdict in ("helps", "hurts"):
            assert d.sign == (1 if c.verdict == "helps" else -1)
        if c.verdict == "equivalent":
            assert margin is not None
            assert abs(d.mean) < margin  # type: ignore[arg-type]
            if c.se and c.df:
                half = float(stats.t.ppf(0.95, c.df)) * c.se
                assert -margin < d.mean - half  # type: ignore[operator]
                assert d.mean + half < margin  # type: ignore[operator]
        if n == 1:
            assert (c.verdict, d.low, c.detectable) == ("inconclusive", None, None)


def test_paired_t_is_scipys_and_statsmodels_with_holm() -> None:
    values = study(1, n=6, arms=4, effects={1: 1.0})
    found = compare_all(values, "base", Rules(margin=0.7, test="paired_t"))
    singles, outside = {}, {}
    for arm, c in found.items():
        one, base = (np.array(list(values[name].values())) for name in (arm, "base"))
        singles[arm] = stats.ttest_rel(one, base).pvalue
        low, high = stats.ttest_rel(one, base).confidence_interval(0.95)
        assert c.p == pytest.approx(singles[arm])
        assert (c.difference.low, c.difference.high) == (pytest.approx(low), pytest.approx(high))
        outside[arm] = DescrStatsW(one - base).ttost_mean(-0.7, 0.7)[0]
        assert c.correlation == pytest.approx(np.corrcoef(one, base)[0, 1])
        assert c.standardised == pytest.approx((one - base).mean() / (one - base).std(ddof=1))
    for ours, theirs in (("adjusted", singles), ("adjusted_equivalent", outside)):
        wanted = multipletests(list(theirs.values()), method="holm")[1]
        assert [getattr(c, ours) for c in found.values()] == pytest.approx(wanted)


@pytest.mark.parametrize("test", TESTS)
def test_shift_scale_sign_and_order_of_a_study(test: Test) -> None:
    values = study(2, n=6, effects={1: 1.5, 2: -1.0})
    found = compare_all(values, "base", Rules(margin=0.5, test=test))
    turned = {
        arm: {seed: 7 - 10 * value for seed, value in reversed(runs.items())} for arm, runs in reversed(values.items())
    }
    other = compare_all(turned, "base", Rules(margin=5.0, test=test))
    opposite = {"helps": "hurts", "hurts": "helps"}
    for arm, c in found.items():
        assert other[arm].adjusted == pytest.approx(c.adjusted)
        assert other[arm].adjusted_equivalent == pytest.approx(c.adjusted_equivalent)
        assert other[arm].verdict == opposite.get(c.verdict, c.verdict)
        assert other[arm].detectable == (None if c.detectable is None else pytest.approx(10 * c.detectable))


# ---- what is missing, constant, infinite


def test_only_complete_pairs_are_compared_and_a_shorter_arm_costs_no_others_pairs() -> None:
    values = study(3, n=8)
    del values["v1"][0], values["v1"][1], values["v1"][2], values["base"][7]
    found = compare_all(values, "base", Rules())
    assert found["v1"].difference.seeds == (3, 4, 5, 6)
    assert {found[f"v{place}"].difference.n for place in range(2, 8)} == {7}
    assert found["v2"].df is not None
    assert all(c.p is not None for c in found.values())
    whole = {arm: {s: v for s, v in runs.items() if s in range(7)} for arm, runs in values.items() if arm != "v1"}
    alone = compare_all(whole, "base", Rules())
    assert found["v2"].se == pytest.approx(alone["v2"].se)


@pytest.mark.parametrize("test", TESTS)
def test_no_pair_one_pair_constant_and_equal_arms_have_defined_answers(test: Test) -> None:
    values = study(4)
    values |= {"none": {}, "one": {0: 30.0}, "shifted": {s: v + 0.5 for s, v in values["base"].items()}}
    values["equal"] = dict(values["base"])
    found = compare_all(values, "base", Rules(margin=0.5, test=test))
    for name in ("none", "one", "shifted", "equal"):
        c = found[name]
        assert (c.difference.low, c.se, c.detectable) == (None, None, None), name
        assert c.verdict == "inconclusive"
    assert found["none"].difference.mean is None
    assert (found["equal"].difference.mean, found["equal"].difference.sd) == (0.0, 0.0)
    assert found["v1"].comparisons == 11
    for single in (compare_all({"base": {0: 1.0}}, "base", Rules()), compare_all({"base": {}}, "base", Rules())):
        assert single == {}


def test_a_diverged_run_is_in_no_mean_but_has_the_worst_rank_and_is_counted() -> None:
    values = study(5, n=7)
    values["v1"][2] = math.inf
    values["v2"] = dict.fromkeys(range(7), math.inf)
    values["base"][6] = math.inf
    found = compare_all(values, "base", Rules(margin=1.0))
    assert (found["v1"].difference.n, found["v1"].diverged) == (5, 2)
    assert (found["v2"].difference.n, found["v2"].diverged, found["v2"].verdict) == (0, 7, "inconclusive")
    assert found["v2"].flip.p == 2 / 2**6 / 2 * 2  # six of one sign, and a pair in which both diverged
    assert all(math.isfinite(c.difference.mean or 0.0) for c in found.values())


@pytest.mark.parametrize("test", TESTS)
def test_diverged_runs_take_a_direction_back_that_they_contradict(test: Test) -> None:
    n = 12
    base = {s: 20 + s / 100 for s in range(n)}
    fewer = {s: 18 + s / 110 if s < 4 else math.inf for s in range(n)}
    found = compare_all({"base": base, "v": fewer}, "base", Rules(margin=50.0, test=test))["v"]
    assert found.difference.mean < 0  # type: ignore[operator]
    assert found.verdict == "inconclusive"
    mostly = {s: 18 + s / 110 if s < 11 else math.inf for s in range(n)}
    found = compare_all({"base": base, "v": mostly}, "base", Rules(margin=50.0, test=test))["v"]
    assert (found.verdict, found.diverged) == ("hurts", 1)


def test_the_family_is_what_was_declared() -> None:
    values = study(6, effects={1: 1.0})
    all_of, two = (compare_all(values, "base", Rules(test="paired_t"), family) for family in (None, ["v1", "v2"]))
    assert (two["v1"].comparisons, all_of["v1"].comparisons) == (2, 7)
    assert two["v1"].adjusted < all_of["v1"].adjusted  # type: ignore[operator]
    assert (two["v3"].in_family, two["v3"].adjusted, two["v3"].verdict) == (False, None, "inconclusive")
    with pytest.raises(ValueError, match="v9"):
        compare_all(values, "base", Rules(), ["v9"])
    with pytest.raises(ValueError, match="not a number"):
        compare_all({"base": {0: math.nan}, "v": {0: 1.0}}, "base", Rules())


# ---- images


def test_mcnemar_is_statsmodels() -> None:
    rng = np.random.default_rng(7)
    one, other = rng.random(500) < 0.25, rng.random(500) < 0.2
    table = [[int((a & b).sum()) for b in (other, ~other)] for a in (one, ~one)]
    assert mcnemar(one, other).p == pytest.approx(their_mcnemar(table, exact=True).pvalue)
    assert mcnemar(one, one).p == 1.0


def test_seed_noise_is_told_from_the_noise_of_the_test_images() -> None:
    rng = np.random.default_rng(8)
    hard = rng.random((1, 4000)) < 0.2
    same = np.repeat(hard, 6, 0)
    worse = same | (rng.random((1, 4000)) < 0.03)  # the same images for every seed: nothing comes from the seeds
    only_images = image_evidence(worse, same, np.random.default_rng(0))
    assert only_images.sd_seeds == 0.0
    assert only_images.mean == pytest.approx(2.4, abs=0.6)
    assert only_images.low < only_images.mean < only_images.high  # type: ignore[operator]
    assert (only_images.high - only_images.low) / 2 == pytest.approx(1.96 * only_images.sd_images, rel=0.15)  # type: ignore[operator]
    shares = np.array([[0.1], [0.02], [0.15], [0.0], [0.08], [0.2]])
    seeds = same | (rng.random((6, 4000)) < shares)
    both = image_evidence(seeds, same, np.random.default_rng(0))
    assert both.sd_seeds > 4 * both.sd_images  # type: ignore[operator]
    assert both.high - both.low > 2 * 1.5 * both.sd_seeds  # type: ignore[operator]
    assert both.floor == pytest.approx(100 * math.sqrt(same.mean() * (1 - same.mean()) / 4000))


def test_the_two_level_interval_covers_as_often_as_it_says() -> None:
    # New seeds and new images each time; the truth is zero.
    rng, covered = np.random.default_rng(9), 0
    for _ in range(40):
        lean = rng.normal(0, 0.02, (8, 1))
        difficulty = rng.beta(1, 4, 300)
        one, other = (rng.random((8, 300)) < np.clip(difficulty + sign * lean, 0, 1) for sign in (1, -1))
        e = image_evidence(one, other, rng)
        covered += e.low <= 0 <= e.high  # type: ignore[operator]
    assert 33 <= covered <= 40
