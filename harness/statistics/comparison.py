"""A study's comparisons: every variant with the baseline, under the rules that were declared. Decisions, not words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from harness.statistics import models
from harness.statistics import multiplicity as family
from harness.statistics.judging import DEFAULT, VERDICTS, Test, Verdict, adjust, codes
from harness.statistics.models import Difference, Estimates, Floats, half_width
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


@dataclass(frozen=True)
class Comparison:
    """One variant against the baseline: interval, test, equivalence and verdict, all of one model.

    `difference`: over complete pairs of finite values; its interval is the model's, of confidence 1 - alpha, for this
    comparison alone. `adjusted`, `adjusted_equivalent`: over the family; None outside it. `pooled`: whether the
    standard error is shared. `standardised`: mean / sd of the paired differences. `correlation`: of the paired values,
    which pairing made use of; `unpaired`: runs an arm that an unpaired comparison needs for the same precision.
    `diverged`: pairs with an infinite value; they enter the sign-flip test with the worst rank and nothing else.
    `flip_adjusted`: its p after Holm.
    """

    difference: Difference
    test: Test
    alpha: float
    margin: float | None
    in_family: bool
    comparisons: int
    se: float | None
    sd: float | None
    df: int | None
    pooled: bool
    p: float | None
    adjusted: float | None
    adjusted_equivalent: float | None
    verdict: Verdict
    standardised: float | None
    correlation: float | None
    unpaired: int | None
    diverged: int
    flip: SignFlip
    flip_adjusted: float | None

    @property
    def design(self) -> Design | None:
        """The same comparison with other numbers of seeds; None without a standard error."""
        if not self.sd or self.difference.n < 2:
            return None
        # With few seeds nothing is shared yet; with as many as a plan may come to, it is.
        shared = self.pooled or (self.test == "block" and self.difference.n < models.LEAST_SEEDS)
        return Design(self.sd, self.comparisons, shared)

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
    finite = {arm: {s: value for s, value in runs.items() if math.isfinite(value)} for arm, runs in values.items()}
    alone = [models.compare(finite[arm], finite[baseline], 1 - rules.alpha) for arm in arms]
    fit, correlation = _estimates_of(finite, baseline, arms, [list(d.seeds) for d in alone], rules)
    p = family.two_sided(fit.mean, fit.se, fit.df)
    equal = family.equivalence(fit.mean, fit.se, fit.df, rules.margin)
    # With a diverged run: its error has no size, so that nothing is equivalent; it is in no mean, and a mean that the
    # sum of the signed ranks over all pairs contradicts, infinite ones too, has no direction.
    ranked = [_with_infinite(values[arm], values[baseline]) for arm in arms]
    diverged = [len(pairs) - d.n for pairs, d in zip(ranked, alone, strict=True)]
    leans = [int(np.sign(signed_ranks(pairs).sum())) for pairs in ranked]
    flips = [sign_flip(pairs) for pairs in ranked]
    mean = np.array([d.mean for d in alone], dtype=np.float64)
    lost = np.array(diverged, dtype=np.int64) > 0
    mean = np.where(lost & (np.sign(mean) != leans), 0.0, mean)
    equal = np.where(lost, np.nan, equal)
    inner = np.array([arms.index(name) for name in inside], dtype=np.int64)
    pool = Estimates(fit.mean[inner], fit.se[inner], fit.df[inner], fit.pooled[inner], fit.sd[inner])
    adjusted, equivalent = adjust(p[inner], pool, correlation), family.holm(equal[inner])
    verdicts = codes(mean[inner], adjusted, equivalent, rules.alpha)
    flip_adjusted = family.holm(np.array([flip.p for flip in flips], dtype=np.float64)[inner])
    comparisons = {}
    for n, (arm, d) in enumerate(zip(arms, alone, strict=True)):
        member = inside.index(arm) if arm in inside else None
        se, df = (float(fit.se[n]), int(fit.df[n])) if d.n and fit.se[n] > 0 else (None, None)
        low = high = None
        if d.mean is not None and se and df:
            half = float(half_width(se, df, d.confidence))
            low, high = d.mean - half, d.mean + half
        a, b = (np.array([finite[name][seed] for seed in d.seeds]) for name in (arm, baseline))
        sds = [float(x.std(ddof=1)) for x in (a, b)] if d.n > 1 else []
        comparisons[arm] = Comparison(
            difference=replace(d, low=low, high=high),
            test=rules.test,
            alpha=rules.alpha,
            margin=rules.margin,
            in_family=member is not None,
            comparisons=len(inside),
            se=se,
            sd=float(fit.sd[n]) if se else None,
            df=df,
            pooled=bool(fit.pooled[n]),
            p=_number(p[n]),
            adjusted=None if member is None else _number(adjusted[member]),
            adjusted_equivalent=None if member is None else _number(equivalent[member]),
            verdict="inconclusive" if member is None else VERDICTS[int(verdicts[member])],
            standardised=d.mean / d.sd if d.mean is not None and d.sd else None,
            correlation=float(np.corrcoef(a, b)[0, 1]) if d.n > 2 and d.sd and all(sds) else None,
            unpaired=unpaired_seeds(d.n, sds[0], sds[1], d.sd) if d.sd else None,
            diverged=diverged[n],
            flip=flips[n],
            flip_adjusted=None if member is None else _number(flip_adjusted[member]),
        )
    return comparisons


def _with_infinite(variant: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """Differences over the seeds that both have; infinite where one of the two runs diverged, 0 where both did."""
    pairs = [(variant[seed], baseline[seed]) for seed in sorted(variant.keys() & baseline.keys())]
    return [one - other if math.isfinite(one) or math.isfinite(other) else 0.0 for one, other in pairs]


def _estimates_of(
    finite: Mapping[str, Mapping[int, float]], baseline: str, arms: list[str], pairs: list[list[int]], rules: Rules
) -> tuple[Estimates, float]:
    """Estimates of every arm over its own pairs, and the least correlation of two pooled ones.

    The shared variance is that of the seeds that all pooled arms have; the pool is the set of arms and seeds with the
    most degrees of freedom. Means are over each comparison's own pairs.
    """

    def table(names: list[str], seeds: list[int]) -> Floats:
        return np.array([[finite[name][seed] for name in names] for seed in seeds])

    k = len(arms)
    fit = Estimates(np.full(k, np.nan), np.zeros(k), np.zeros(k, dtype=np.int64), np.zeros(k, dtype=bool), np.zeros(k))
    for number, (arm, seeds) in enumerate(zip(arms, pairs, strict=True)):
        if seeds:
            alone = models.paired(table([baseline, arm], seeds))
            for name in ("mean", "se", "df", "sd"):
                getattr(fit, name)[number] = getattr(alone, name)[0]
    chosen, seeds = _largest_pool(pairs) if rules.test == "block" else ([], [])
    if not chosen:
        return fit, 0.5
    joint = models.block(table([baseline, *(arms[c] for c in chosen)], seeds))
    for number, c in enumerate(chosen):
        if joint.pooled[number]:
            se = joint.se[number] * math.sqrt(len(seeds) / len(pairs[c]))
            fit.se[c], fit.df[c], fit.pooled[c] = max(se, fit.se[c]), joint.df[number], True
            fit.sd[c] = joint.sd[number]
    shared = [set(pairs[c]) for c in range(k) if fit.pooled[c]]
    overlaps = (len(one & other) / math.sqrt(len(one) * len(other)) for one, other in product(shared, shared))
    return fit, 0.5 * min(overlaps, default=1.0)


def _largest_pool(pairs: list[list[int]]) -> tuple[list[int], list[int]]:
    """The arms, and the seeds that all of them have, with the most degrees of freedom."""
    best: tuple[int, list[int], list[int]] = (0, [], [])
    for least in sorted({len(seeds) for seeds in pairs if len(seeds) > 1}, reverse=True):
        chosen = [number for number, seeds in enumerate(pairs) if len(seeds) >= least]
        common = sorted(set.intersection(*(set(pairs[number]) for number in chosen)))
        freedom = (len(common) - 1) * len(chosen)
        if freedom > best[0]:
            best = (freedom, chosen, common)
    return best[1], best[2]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
