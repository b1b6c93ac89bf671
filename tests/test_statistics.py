"""The paired comparison gives the numbers that it should, whatever the data are."""

import math

import pytest

from harness.statistics.models import compare, summarise

SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
"""Student's sleep data (Biometrika 6, 1908): extra hours of sleep with two drugs, ten patients."""


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_students_own_example() -> None:
    d = compare(by_seed(SLEEP[0]), by_seed(SLEEP[1]), 0.95)
    # As R's t.test(..., paired = TRUE) prints them.
    assert d.n == 10
    assert d.mean == pytest.approx(-1.58)
    assert (d.low, d.high) == (pytest.approx(-2.4598858), pytest.approx(-0.7001142))
    assert d.sign == -1


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
