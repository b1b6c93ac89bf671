"""How often the comparisons err: studies without any effect, and with a planted one, judged as the report judges.

Some are looked at once, by each of the tests, others more than once, at each look as the report judges it.

A simulated study is a table seeds x arms of noise. What a seed does to all arms alike is left out, since it cancels in
every model. The unit is the noise's standard deviation in an arm (of the arms that are not made larger).
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.statistics.judging import DEFAULT, PROMISED, VERDICTS, adjust, codes
from harness.statistics.models import Estimates, Floats, block, half_width, paired
from harness.statistics.multiplicity import equivalence, holm, two_sided
from harness.statistics.sequential import nominal

NOISES = {
    "normal": "normal",
    "skewed": "exponential: a long tail of bad runs",
    "heavy": "Student's t with 3 degrees of freedom: rare runs that are far off",
    "discrete": "binomial: wrong images among 4,000, at an error of 20 %",
    "variant-4x": "normal, one variant with four times the sd",
    "baseline-4x": "normal, the baseline with four times the sd",
    "variant-2x": "normal, one variant with twice the sd",
    "baseline-2x": "normal, the baseline with twice the sd",
    "skewed-4x": "exponential, one variant with four times the sd: skewness no longer cancels in a difference",
    "runs": "residuals of the committed runs; a study's arms differ in scale as those of one of the committed studies",
    "runs-apart": "the same, as in the committed study whose arms' scales differ most",
}
"""Ways in which runs scatter."""

REAL = ("runs", "runs-apart")
"""Noise that is made from real runs: not simulated where there are none."""

BEYOND = ("skewed-4x", "runs-apart")
"""Noise that is beyond what any of the tests promises; simulated to show where they end."""


def plain_block(values: Floats) -> Estimates:
    """One residual variance whatever the arms' scales: the textbook's block design."""
    n, k = values.shape[-2], values.shape[-1] - 1
    z = values - values.mean(-2, keepdims=True)
    z = z - z.mean(-1, keepdims=True)
    df = (n - 1) * k
    mean = (values[..., 1:] - values[..., :1]).mean(-2)
    sd = np.broadcast_to(np.sqrt(2 * (z**2).sum((-2, -1)) / df)[..., None], mean.shape)
    return Estimates(mean, sd / math.sqrt(n), np.full(mean.shape, df), np.ones(mean.shape, dtype=bool), sd)


METHODS = {"paired_t": paired, "block": block, "plain_block": plain_block}
"""The tests that a study can declare, and the block design without any rule for arms of another scale."""

SEEDS = (3, 4, 5, 6, 8, 12, 20)
COMPARISONS = (1, 3, 7, 12)
EFFECTS: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 4.0)
"""Planted differences of the first variant, in sd."""

LOOKS = ((3, 5, 8), (5, 10), (5, 8, 12, 20))
"""Plans of looks: numbers of seeds."""

LOOK_EFFECTS = (0.0, 2.0, 4.0)
"""Planted differences in studies with looks; the second is the margin of equivalence."""

MARGIN = 2.0
"""Margin of equivalence, in sd."""

ALPHA = 0.05
ALLOWED = 0.015
"""What error rates may exceed alpha by, and coverage fall below 1 - alpha by."""

MAIN = 10_000
"""Studies a cell that a judgement on a test needs."""


@dataclass(frozen=True)
class SimulatedCell:
    """One kind of study and what came out. Shares of studies, 0 to 1.

    `family_error`: at least one comparison without a difference has a verdict of helps or hurts. `coverage`: of the
    intervals of the comparison that is covered least. `power`: the first variant is found to differ; `helps`, `hurts`,
    `equivalent`, `inconclusive`: its verdicts, with a margin of MARGIN sd. `effect` in sd.
    """

    noise: str
    seeds: int
    comparisons: int
    test: str
    effect: float
    studies: int
    family_error: float
    coverage: float
    power: float
    helps: float
    hurts: float
    equivalent: float
    inconclusive: float


@dataclass(frozen=True)
class LookCell:
    """One kind of study with looks and what came out, at any of its looks. Shares of studies, 0 to 1.

    `family_error`: some comparison without a difference has a verdict of helps or hurts at some look. `unruled`: the
    same when each look is judged as if it were the only one. `coverage`: every look's interval holds the truth, of the
    comparison for which this is rarest. `power`: the first variant is found to differ at some look; `once`: with all
    seeds and no look before. `equivalent`: it is called equivalent at some look. `seeds_used`: mean number of seeds, if
    the study stops as soon as the first variant is found to differ.
    """

    noise: str
    looks: str
    comparisons: int
    test: str
    effect: float
    studies: int
    family_error: float
    unruled: float
    coverage: float
    power: float
    once: float
    equivalent: float
    seeds_used: float


def simulate(
    studies: int,
    residuals: Sequence[Floats] = (),
    noises: Sequence[str] = tuple(NOISES),
    seeds: Sequence[int] = SEEDS,
    comparisons: Sequence[int] = COMPARISONS,
    methods: Sequence[str] = tuple(METHODS),
) -> Iterator[SimulatedCell]:
    """Every cell of the grid, always with the same draws. `residuals`: of real studies (seeds, arms), for `runs`."""
    for noise, n, k in product(_possible(noises, residuals), seeds, comparisons):
        rng = np.random.default_rng([zlib.crc32(noise.encode()), n, k])
        values = draw(rng, noise, studies, n, k + 1, residuals)
        for method in methods:
            yield from _cells(values, noise, method)


def simulate_looks(
    studies: int,
    residuals: Sequence[Floats] = (),
    noises: Sequence[str] = tuple(NOISES),
    plans: Sequence[tuple[int, ...]] = LOOKS,
    comparisons: Sequence[int] = COMPARISONS,
) -> Iterator[LookCell]:
    """The same of studies with looks, judged by the default test."""
    for noise, looks, k in product(_possible(noises, residuals), plans, comparisons):
        rng = np.random.default_rng([zlib.crc32(f"looks {noise}".encode()), *looks, k])
        values = draw(rng, noise, studies, looks[-1], k + 1, residuals)
        yield from _look_cells(values, noise, looks)


def _possible(noises: Sequence[str], residuals: Sequence[Floats]) -> list[str]:
    return [noise for noise in noises if residuals or noise not in REAL]


def draw(
    rng: np.random.Generator, noise: str, studies: int, n: int, arms: int, residuals: Sequence[Floats] = ()
) -> Floats:
    """Values (studies, seeds, arms) of studies in which no variant differs; arm 0 is the baseline."""
    shape = (studies, n, arms)
    if noise in ("skewed", "skewed-4x"):
        values = rng.exponential(size=shape) - 1
    elif noise == "heavy":
        values = rng.standard_t(3, shape) / np.sqrt(3)
    elif noise == "discrete":
        values = (rng.binomial(4000, 0.2, shape) - 800) / np.sqrt(4000 * 0.2 * 0.8)
    elif noise in REAL:
        return _from_runs(rng, shape, residuals if noise == "runs" else [min(residuals, key=lambda t: scales(t)[0])])
    else:
        values = rng.normal(size=shape)
    kind, _, factor = noise.partition("-")
    if factor:
        values[..., 0 if kind == "baseline" else -1] *= float(factor.rstrip("x"))
    return np.asarray(values)


def _from_runs(rng: np.random.Generator, shape: tuple[int, int, int], residuals: Sequence[Floats]) -> Floats:
    """Each study as one of the real ones: its scatter of scales, and values in the shape of all.

    The scales are drawn from what the true ones are estimated to be. Those seen scatter more, as an sd of few seeds
    does, and the values that are drawn scatter anew.
    """
    values = [scales(table) for table in residuals]
    forms = []
    for table, (df, prior) in zip(residuals, values, strict=True):
        d = len(table) - 1
        weight = d / (d + df)  # none of an arm's own variance, where all are alike
        forms.append(table / np.sqrt(prior + weight * (table.var(0, ddof=1) - prior)))
    form = np.concatenate([one.ravel() for one in forms])
    dfs = np.array([df for df, _ in values])[rng.integers(len(residuals), size=shape[0])][:, None]
    few = np.isfinite(dfs)
    drawn = rng.chisquare(np.where(few, dfs, 1.0), (shape[0], shape[2]))
    scale = np.where(few, np.sqrt(np.where(few, dfs, 1.0) / drawn), 1.0)
    return np.asarray(rng.choice(form / form.std(), shape) * scale[:, None, :])


def scales(table: Floats) -> tuple[float, float]:
    """How alike the arms of residuals (seeds, arms) scatter: `shared_variance` of their variances (ddof 1)."""
    variance = table.var(0, ddof=1)
    df, prior = shared_variance(variance, len(table) - 1, variance > 0)
    return float(df[0]), float(prior[0])


def shared_variance(variance: Floats, d: int, there: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """What variances (..., k) of `d` degrees of freedom scatter around, (..., 1) each (Smyth 2004, section 6.2).

    First the degrees of freedom that the common variance is worth: infinite where they scatter as chance alone has it,
    few where the true ones differ; then that variance. Only those that are `there` count.
    """
    count = there.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(there, np.log(np.where(there, variance, 1.0)) - special.digamma(d / 2) + np.log(d / 2), 0.0)
        centre = logs.sum(-1, keepdims=True) / count
        scatter = (np.where(there, logs - centre, 0.0) ** 2).sum(-1, keepdims=True) / (count - 1)
        excess = scatter - special.polygamma(1, d / 2)
        prior_df = np.where(excess > 0, 2 * _inverse_trigamma(np.where(excess > 0, excess, 1.0)), np.inf)
        prior = np.where(
            np.isinf(prior_df),
            (variance * there).sum(-1, keepdims=True) / count,
            np.exp(centre + special.digamma(np.minimum(prior_df, 1e10) / 2) - np.log(np.minimum(prior_df, 1e10) / 2)),
        )
    return prior_df, prior


def _inverse_trigamma(x: Floats) -> Floats:
    """y with trigamma(y) = x, by Newton's method (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(20):
        tri = special.polygamma(1, y)
        y = y + tri * (1 - tri / x) / special.polygamma(2, y)
    return np.asarray(np.clip(y, 1e-8, 1e8))


def _cells(values: Floats, noise: str, method: str) -> Iterator[SimulatedCell]:
    n, arms = values.shape[-2:]
    found = METHODS[method](values)
    covered = _holds_zero(found, ALPHA)
    for effect in EFFECTS:
        judged = judge(replace(found, mean=_with_effect(found.mean, effect)), ALPHA, MARGIN)
        differ = judged.adjusted <= ALPHA
        family_error = float(differ[:, 0 if effect == 0 else 1 :].any(-1).mean())
        coverage, power = float(covered.mean(0).min()), float(differ[:, 0].mean())
        counts = np.bincount(judged.codes[:, 0], minlength=len(VERDICTS)).tolist()
        verdicts = {name: count / len(values) for name, count in zip(VERDICTS, counts, strict=True)}
        yield SimulatedCell(noise, n, arms - 1, method, effect, len(values), family_error, coverage, power, **verdicts)


def _look_cells(values: Floats, noise: str, looks: tuple[int, ...]) -> Iterator[LookCell]:
    k = values.shape[-1] - 1
    alphas = nominal(looks, ALPHA, k)
    found = [METHODS[DEFAULT](values[:, :n]) for n in looks]
    held = np.stack([_holds_zero(one, alpha) for one, alpha in zip(found, alphas, strict=True)])
    coverage = float(held.all(0).mean(0).min())
    for effect in LOOK_EFFECTS:
        moved = [replace(one, mean=_with_effect(one.mean, effect)) for one in found]
        at_looks = [judge(one, alpha, MARGIN) for one, alpha in zip(moved, alphas, strict=True)]
        differ = np.stack([one.adjusted <= alpha for one, alpha in zip(at_looks, alphas, strict=True)])
        alone = np.stack([one.adjusted <= ALPHA for one in at_looks])  # adjusted p knows nothing of looks
        untouched = slice(0 if effect == 0 else 1, None)
        family_error, unruled = (float(called[..., untouched].any((0, -1)).mean()) for called in (differ, alone))
        first = differ[:, :, 0]
        power, once = float(first.any(0).mean()), float(alone[-1, :, 0].mean())
        equivalent = float(np.stack([one.codes[:, 0] == 1 for one in at_looks]).any(0).mean())
        stops = np.where(first.any(0), first.argmax(0), len(looks) - 1)
        seeds_used = float(np.array(looks)[stops].mean())
        kind = noise, "-".join(map(str, looks)), k, DEFAULT, effect, len(values)
        yield LookCell(*kind, family_error, unruled, coverage, power, once, equivalent, seeds_used)


class Judged(NamedTuple):
    """Tests of many comparisons along the last axis; verdicts as places in VERDICTS."""

    p: Floats
    adjusted: Floats
    codes: NDArray[np.int64]


def judge(fit: Estimates, alpha: float, margin: float | None) -> Judged:
    """Tests and verdicts of families from their estimates; every comparison given is a member."""
    p = two_sided(fit.mean, fit.se, fit.df)
    adjusted, equal = adjust(p, fit), holm(equivalence(fit.mean, fit.se, fit.df, margin))
    return Judged(p, adjusted, codes(fit.mean, adjusted, equal, alpha))


def _with_effect(differences: Floats, effect: float) -> Floats:
    """Differences (studies, comparisons, ...) with an effect added to those of the first variant."""
    moved = differences.copy()
    moved[:, 0] += effect
    return moved


def _holds_zero(found: Estimates, alpha: float) -> NDArray[np.bool_]:
    """Which intervals hold their truth, zero (an effect moves interval and truth alike); one that is not there does."""
    half = half_width(found.se, np.maximum(found.df, 1), 1 - alpha)
    return np.asarray((found.se <= 0) | (np.abs(found.mean) <= half))


# ---- what follows from it


def most_errors(studies: int) -> float:
    """Share of studies that may err: alpha and what is allowed.

    A cell of fewer than MAIN studies is given twice what its share is less certain by.
    """
    return ALPHA + ALLOWED + 2 * math.sqrt(ALPHA * (1 - ALPHA)) * max(0.0, 1 / math.sqrt(studies) - 1 / math.sqrt(MAIN))


def _errs(cell: SimulatedCell | LookCell) -> bool:
    """Whether a cell in which nothing differs errs more than it may, within what is promised."""
    most = most_errors(cell.studies)
    return cell.effect == 0 and cell.noise not in BEYOND and (cell.family_error > most or cell.coverage < 1 - most)


def misses(cells: Sequence[SimulatedCell], method: str) -> list[SimulatedCell]:
    """Cells in which a test errs more than it may, from PROMISED seeds on."""
    return [cell for cell in cells if cell.test == method and cell.seeds >= PROMISED and _errs(cell)]


def misses_of_looks(cells: Sequence[LookCell]) -> list[LookCell]:
    """Cells that err more than they may; equivalence is judged at the margin."""

    def equivalent(cell: LookCell) -> bool:
        return cell.effect == MARGIN and cell.noise not in BEYOND and cell.equivalent > most_errors(cell.studies)

    return [cell for cell in cells if _errs(cell) or equivalent(cell)]


def mean_power(cells: Sequence[SimulatedCell], method: str) -> float:
    """Mean power of finding 2 sd over the cells of normal noise from PROMISED seeds on."""
    kind = (method, 2.0, "normal")
    own = [cell.power for cell in cells if (cell.test, cell.effect, cell.noise) == kind and cell.seeds >= PROMISED]
    return float(np.mean(own)) if own else 0.0


def choose(cells: Sequence[SimulatedCell]) -> str | None:
    """The test with the most power among those that miss nowhere; None when all do."""
    sound = [method for method in METHODS if any(c.test == method for c in cells) and not misses(cells, method)]
    return max(sound, key=lambda method: mean_power(cells, method), default=None)
