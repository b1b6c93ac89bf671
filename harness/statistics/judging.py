"""The tests of many comparisons at once: p adjusted over a family, and verdicts.

The report judges one study by these functions, the calibration thousands."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.statistics import multiplicity as family
from harness.statistics.models import Estimates, Floats

Test = Literal["paired_t", "block"]
DEFAULT: Test = "block"
"""The test that the calibration picks: the most powerful of those that keep their error rates."""

PROMISED = 5
"""Seeds from which on the tests keep their error rates, by simulation (calibration)."""


def adjust(p: Floats, fit: Estimates, correlation: float = 0.5) -> Floats:
    """Step-down p-values: Dunnett's distribution for what shares a residual, plus one p for each that does not.

    Where nothing is shared that is Holm's procedure; where all is, the step-down form of Dunnett's.
    """
    shared = fit.pooled
    df = np.where(shared, fit.df, 0).max(-1, initial=0)
    if not shared.any() or (shared.any(-1) & (np.ptp(np.where(shared, fit.df, df[..., None]), axis=-1) > 0)).any():
        return family.holm(p)

    def bound(least: Floats, remaining: NDArray[np.bool_]) -> Floats:
        inside = (remaining & shared).sum(-1)
        total = np.asarray((remaining & ~shared).sum(-1) * least)
        for m, d in {(int(m), int(d)) for m, d in zip(inside.flat, df.flat, strict=True) if m and d}:
            alike = (inside == m) & (df == d)
            total[alike] += family.many_to_one(least[alike], m, d, correlation)
        return total

    return family.step_down(p, bound)


Verdict = Literal["helps", "hurts", "equivalent", "inconclusive"]
"""Of what the variant changes: helps when errors rise by the change (the component as the baseline has it helps)."""

VERDICTS: tuple[Verdict, ...] = ("inconclusive", "equivalent", "hurts", "helps")
"""In the order of the codes of `codes`."""


def codes(mean: ArrayLike, p: ArrayLike, p_equivalent: ArrayLike, alpha: float) -> NDArray[np.int64]:
    """Verdicts of many comparisons, as places in VERDICTS. `mean`: the variant's error minus the baseline's.

    `p` and `p_equivalent` are adjusted over the family; nan: there is no such test.
    - equivalent: p_equivalent <= alpha, so the interval of confidence 1 - 2 alpha lies inside the margin. It goes
      first: a difference that is surely there and surely smaller than what was declared to matter does not matter.
    - helps, hurts: p <= alpha, so the interval excludes zero; by the sign of the difference.
    - inconclusive: all else.
    """
    m, different, equal = (np.asarray(x, dtype=np.float64) for x in (mean, p, p_equivalent))
    m, different, equal = np.broadcast_arrays(m, different, equal)
    with np.errstate(invalid="ignore"):
        direction = np.where(m > 0, 3, np.where(m < 0, 2, 0))
        return np.where(equal <= alpha, 1, np.where(different <= alpha, direction, 0)).astype(np.int64)
