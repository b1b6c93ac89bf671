"""The one rule that turns a comparison into a verdict on the component."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Verdict = Literal["helps", "hurts", "equivalent", "inconclusive"]
"""Of what the variant changes: helps when errors rise by the change (the component as the baseline has it helps)."""

VERDICTS: tuple[Verdict, ...] = ("inconclusive", "equivalent", "hurts", "helps")
"""In the order of the codes of `codes`."""


def codes(mean: ArrayLike, p: ArrayLike, p_equivalent: ArrayLike, alpha: float) -> NDArray[np.int64]:
    """Verdicts of many comparisons, as places in VERDICTS. `mean`: the variant's error less the baseline's.

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
