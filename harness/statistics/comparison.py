"""A study's comparisons: every variant with the baseline, under the rules that were declared. Decisions, not words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from harness.statistics import models
from harness.statistics import multiplicity as family
from harness.statistics.judging import (
    DEFAULT,
    MODELS,
    TESTS,
    VERDICTS,
    Floats,
    Test,
    Verdict,
    adjust,
    bounds,
    estimates,
    judged,
)
from harness.statistics.models import Difference, Estimates, spread
from harness.statistics.power import Design, detectable_at, unpaired_seeds
from harness.statistics.sign_flip import SignFlip, sign_flip, signed_ranks

POWER = 0.8
"""Of the smallest detectable effect."""


@dataclass(frozen=True)
class Rules:
    """What is declared before the runs. `margin`: in the unit of the values; None: no equivalence is tested."""

    alpha: float = 0.05
    margin: float | None = None
    test: Test = DEFAULT

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha: got {self.alpha}; allowed: above 0 and below 0.5")
        if self.margin is not None and not 0 < self.margin < math.inf:
            raise ValueError(f"margin: got {self.margin}; allowed: a number above 0, in the unit of the values")
        if self.test not in TESTS:
            raise ValueError(f"test: got {self.test!r}; allowed: {', '.join(TESTS)}")


@dataclass(frozen=True)
class Comparison:
    """One variant against the baseline: interval, test, equivalence and verdict, all of one model.

    `difference`: over complete pairs of finite values; its interval is the model's, of confidence 1 - alpha, for this
    comparison alone. `adjusted`, `adjusted_equivalent`: over the family; None outside it. `pooled`: whether the
    standard error is shared. `standardised`: mean / sd of the paired differences. `correlation`: of the paired values,
    which pairing made use of; `unpaired`: runs an arm that an unpaired comparison needs for the same precision.
    `diverged`: pairs with an infinite value; they enter the sign-flip test with the worst rank and nothing else.
    `flip_adjusted`: its p after Holm. `lean`: sign of the sum of signed ranks over all pairs, infinite ones too: where
    runs diverged, a verdict needs the mean on the same side, and nothing is equivalent.
    """

    difference: Difference
    test: Test
    alpha: float
    margin: float | None
    in_family: bool
    comparisons: int
    se: float | None
    df: int | None
    pooled: bool
    p: float | None
    adjusted: float | None
    p_equivalent: float | None
    adjusted_equivalent: float | None
    verdict: Verdict
    standardised: float | None
    correlation: float | None
    unpaired: int | None
    diverged: int
    lean: int
    flip: SignFlip
    flip_adjusted: float | None

    @property
    def design(self) -> Design | None:
        """The same comparison with other numbers of seeds; None without a standard error."""
        n = self.difference.n
        if not self.se or not self.df or n < 2:
            return None
        return Design(self.se * math.sqrt(n), self.comparisons, self.df / (n - 1), self.pooled)

    @property
    def detectable(self) -> float | None:
        """The smallest difference that this design finds with a power of .8, after adjustment."""
        return detectable_at(self.design, self.difference.n, self.alpha, POWER) if self.design else None


def compare_all(
    values: Mapping[str, Mapping[int, float]], baseline: str, rules: Rules, members: Sequence[str] | None = None
) -> dict[str, Comparison]:
    """Every arm of `values` (arm -> seed -> value; infinite for a run that diverged) against `baseline`.

    `members`: the declared family, by default every other arm; a member without data counts as one all the same. Raises
    `ValueError` for a value that is not a number, and for a member that is no arm.
    """
    arms = [arm for arm in values if arm != baseline]
    inside = list(arms if members is None else members)
    for name in inside:
        if name not in arms:
            raise ValueError(f"family: got {name!r}; allowed: {', '.join(arms)}")
    if any(math.isnan(value) for arm in values.values() for value in arm.values()):
        raise ValueError("got a value that is not a number")
    finite = {name: {s for s, value in values[name].items() if math.isfinite(value)} for name in [*arms, baseline]}
    pairs = [sorted(finite[arm] & finite[baseline]) for arm in arms]
    found, correlation = _estimates_of(values, baseline, arms, pairs, rules)
    rows = [
        _alone(values[arm], values[baseline], seeds, rules, found, place, len(inside))
        for place, (arm, seeds) in enumerate(zip(arms, pairs, strict=True))
    ]
    own = np.array([arms.index(name) for name in inside], dtype=np.int64)
    return dict(zip(arms, _with_family(rows, own, found, correlation, rules), strict=True))


def _estimates_of(
    values: Mapping[str, Mapping[int, float]], baseline: str, arms: list[str], pairs: list[list[int]], rules: Rules
) -> tuple[Estimates, float]:
    """Estimates of every arm over its own pairs, and the least correlation of two pooled ones.

    The shared variance is that of the seeds that all pooled arms have; the pool is the set of arms and seeds with the
    most degrees of freedom. Means are over each comparison's own pairs.
    """
    k = len(arms)
    mean, se = np.full(k, np.nan), np.zeros(k)
    df, pooled = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=bool)
    for number, (arm, seeds) in enumerate(zip(arms, pairs, strict=True)):
        if seeds:
            own = models.paired(_table(values, [baseline, arm], seeds))
            mean[number], se[number], df[number] = own.mean[0], own.se[0], own.df[0]
    chosen, seeds = _largest_pool(pairs) if rules.test in MODELS else ([], [])
    if not chosen:
        return Estimates(mean, se, df, pooled), 0.5
    joint = estimates(_table(values, [baseline, *(arms[c] for c in chosen)], seeds), rules.test)
    for number, c in enumerate(chosen):
        size = math.sqrt(len(seeds) / len(pairs[c]))
        if joint.pooled[number]:
            se[c], df[c], pooled[c] = max(joint.se[number] * size, se[c]), joint.df[number], True
    shared = [set(pairs[c]) for c in range(k) if pooled[c]]
    overlaps = (len(one & other) / math.sqrt(len(one) * len(other)) for one, other in product(shared, shared))
    overlap = min(overlaps, default=1.0)
    return Estimates(mean, se, df, pooled), 0.5 * overlap


def _table(values: Mapping[str, Mapping[int, float]], arms: list[str], seeds: list[int]) -> Floats:
    return np.array([[values[arm][seed] for arm in arms] for seed in seeds])


def _largest_pool(pairs: list[list[int]]) -> tuple[list[int], list[int]]:
    best: tuple[int, list[int], list[int]] = (0, [], [])
    for least in sorted({len(seeds) for seeds in pairs if len(seeds) > 1}, reverse=True):
        chosen = [number for number, seeds in enumerate(pairs) if len(seeds) >= least]
        common = sorted(set.intersection(*(set(pairs[number]) for number in chosen)))
        freedom = (len(common) - 1) * len(chosen)
        if freedom > best[0]:
            best = (freedom, chosen, common)
    return best[1], best[2]


def _alone(
    one: Mapping[int, float],
    other: Mapping[int, float],
    seeds: list[int],
    rules: Rules,
    found: Estimates,
    place: int,
    comparisons: int,
) -> Comparison:
    """A comparison over the pairs of `seeds`, before the family is looked at."""
    both = sorted(one.keys() & other.keys())
    a, b = np.array([one[s] for s in seeds]), np.array([other[s] for s in seeds])
    d = a - b
    n = len(seeds)
    confidence = 1 - rules.alpha
    sd = spread(d, np.maximum(abs(a), abs(b))) if n > 1 else None
    se, df = (float(found.se[place]), int(found.df[place])) if n and found.se[place] > 0 else (None, None)
    with_infinite = [one[s] - other[s] if math.isfinite(one[s]) or math.isfinite(other[s]) else 0.0 for s in both]
    flip = sign_flip(with_infinite)
    low = high = None
    mean = float(d.mean()) if n else None
    if mean is not None and se and df:
        low, high = (float(end) for end in bounds(np.array(mean), np.array(se), np.array(df), confidence))
    sds = [float(x.std(ddof=1)) for x in (a, b)] if n > 1 else []
    varies = bool(sd) and all(sds)
    return Comparison(
        Difference(tuple(seeds), tuple(d.tolist()), mean, sd, low, high, confidence),
        rules.test, rules.alpha, rules.margin, False, comparisons, se, df, bool(found.pooled[place]),
        None, None, None, None, "inconclusive",
        mean / sd if mean is not None and sd else None,
        float(np.corrcoef(a, b)[0, 1]) if n > 2 and varies else None,
        unpaired_seeds(n, sds[0], sds[1], sd) if sd else None,
        len(both) - n, int(np.sign(signed_ranks(with_infinite).sum())), flip, None,
    )  # fmt: skip


def _with_family(
    rows: list[Comparison], own: NDArray[np.int64], found: Estimates, correlation: float, rules: Rules
) -> list[Comparison]:
    """The comparisons with their p-values, and, of the members at the places `own`, those of the family, and verdicts.

    A diverged run leaves no equivalence: its error has no size. It is in no mean, and a mean that it contradicts has no
    direction.
    """
    flips = np.array([row.flip.p for row in rows], dtype=np.float64)
    p = family.two_sided(found.mean, found.se, found.df)
    inside = Estimates(found.mean[own], found.se[own], found.df[own], found.pooled[own])
    adjusted = adjust(p[own], inside, correlation)
    equal = family.equivalence(found.mean, found.se, found.df, rules.margin)
    mean = np.array([row.difference.mean for row in rows], dtype=np.float64)
    lost = np.array([row.diverged > 0 for row in rows], dtype=bool)
    mean = np.where(lost & (np.sign(mean) != [row.lean for row in rows]), 0.0, mean)
    equal = np.where(lost, np.nan, equal)
    tests = judged(mean[own], p[own], adjusted, equal[own], rules.alpha)
    flip_adjusted = family.holm(flips[own])
    out = [replace(row, p=_number(p[n]), p_equivalent=_number(equal[n])) for n, row in enumerate(rows)]
    for member, place in enumerate(own.tolist()):
        out[place] = replace(
            out[place],
            in_family=True,
            adjusted=_number(tests.adjusted[member]),
            adjusted_equivalent=_number(tests.adjusted_equivalent[member]),
            verdict=VERDICTS[int(tests.codes[member])],
            flip_adjusted=_number(flip_adjusted[member]),
        )
    return out


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
