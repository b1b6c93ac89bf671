"""The paired comparison gives the numbers that it should, whatever the data are."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.models import Difference, compare, summarise

SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
"""Student's sleep data (Biometrika 6, 1908): extra hours of sleep with two drugs, ten patients."""

errors = st.integers(0, 4000).map(lambda wrong: wrong / 40)
pairs = st.lists(st.tuples(errors, errors), min_size=2, max_size=20)


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def both(table: list[tuple[float, float]], confidence: float = 0.95) -> Difference:
    one, other = zip(*table, strict=True)
    return compare(by_seed(list(one)), by_seed(list(other)), confidence)


def test_students_own_example() -> None:
    d = compare(by_seed(SLEEP[0]), by_seed(SLEEP[1]), 0.95)
    # As R's t.test(..., paired = TRUE) prints them.
    assert d.n == 10
    assert d.mean == pytest.approx(-1.58)
    assert (d.low, d.high) == (pytest.approx(-2.4598858), pytest.approx(-0.7001142))
    assert d.sign == -1


def test_only_complete_pairs_are_compared() -> None:
    d = compare({0: 21.0, 1: 23.0, 2: 22.5, 7: 99.0}, {7: 98.0, 2: 22.0, 1: 21.5, 4: 0.0}, 0.95)
    assert d.seeds == (1, 2, 7)
    assert d.values == (1.5, 0.5, 1.0)
    assert d == compare({1: 23.0, 2: 22.5, 7: 99.0}, {1: 21.5, 2: 22.0, 7: 98.0}, 0.95)


def test_no_pair_one_pair_and_two_pairs_have_defined_answers() -> None:
    none, one = compare({0: 1.0}, {1: 1.0}, 0.95), compare({3: 2.0}, {3: 1.5}, 0.95)
    assert (none.n, none.mean, none.sd, none.low, none.high, none.sign) == (0, None, None, None, None, None)
    assert (one.n, one.mean, one.sd, one.low, one.high, one.sign) == (1, 0.5, None, None, None, None)
    two = compare({0: 2.0, 1: 2.5}, {0: 1.0, 1: 1.0}, 0.95)
    assert (two.high, two.sign) == (pytest.approx(1.25 + 12.7062 * math.sqrt(0.125) / math.sqrt(2), rel=1e-5), 0)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_differences_that_do_not_vary_have_no_interval(shift: float) -> None:
    baseline = {0: 20.1, 1: 20.7, 2: 21.3}
    # Not exactly constant: 20.1 + .4 - 20.1 and its like differ in the last bit.
    d = compare({seed: value + shift for seed, value in baseline.items()}, baseline, 0.95)
    assert d.mean == pytest.approx(shift)
    assert (d.sd, d.low, d.high, d.sign) == (0.0, None, None, None)


def test_a_summary_has_ddof_1_and_says_when_there_is_no_spread() -> None:
    assert summarise([]) == type(summarise([]))(0, None, None)
    assert summarise([3.0]).sd is None
    assert summarise([3.0, 3.0, 3.0]).sd == 0.0
    assert summarise([1.0, 2.0, 4.0]).sd == pytest.approx(1.5275252)


@pytest.mark.parametrize(
    ("value", "confidence", "message"),
    [(math.nan, 0.95, "finite"), (math.inf, 0.95, "finite"), (1.0, 0.0, "confidence"), (1.0, 95.0, "confidence")],
)
def test_values_and_a_confidence_that_are_none_are_refused(value: float, confidence: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare({0: value, 1: 1.0}, {0: 1.0, 1: 1.0}, confidence)


@given(pairs, st.integers(-400, 400), st.sampled_from([0.01, 0.5, 3.0, 1000.0]), st.randoms(use_true_random=False))
def test_order_shift_unit_and_exchange_change_what_they_should(
    table: list[tuple[float, float]], steps: int, factor: float, random: Random
) -> None:
    d, shift, seeds = both(table), steps / 40, list(range(len(table)))
    random.shuffle(seeds)
    assert compare({s: table[s][0] for s in seeds}, {s: table[s][1] for s in reversed(seeds)}, 0.95) == d
    moved, same = both([(a + shift, b) for a, b in table]), both([(a + shift, b + shift) for a, b in table])
    scaled, turned = both([(a * factor, b * factor) for a, b in table]), both([(b, a) for a, b in table])
    wide = both(table, 0.99)
    assert d.mean is not None
    assert (moved.mean, same.mean) == (pytest.approx(d.mean + shift, abs=1e-9), pytest.approx(d.mean, abs=1e-9))
    assert (moved.sd, turned.mean) == (pytest.approx(d.sd, abs=1e-9), -d.mean)
    assert scaled.sd == pytest.approx(d.sd * factor, rel=1e-6, abs=1e-7 * factor)  # type: ignore[operator]
    assert {one.low is None for one in (moved, same, scaled, turned, wide)} == {d.low is None}
    if d.low is not None and d.high is not None:
        assert (moved.low, same.high) == (pytest.approx(d.low + shift, abs=1e-7), pytest.approx(d.high, abs=1e-7))
        assert scaled.low == pytest.approx(d.low * factor, rel=1e-6, abs=1e-7 * factor)
        assert (turned.low, turned.high, turned.sign) == (-d.high, -d.low, -d.sign)  # type: ignore[operator]
        assert wide.low < d.low < d.mean < d.high < wide.high  # type: ignore[operator]
