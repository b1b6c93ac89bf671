"""Effects that are no plain difference of errors: ratios, time to a level, and designs of several switches."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.statistics.models import Difference, compare
from harness.statistics.sign_flip import sign_flip


@dataclass(frozen=True)
class Ratio:
    """Variant over baseline. `low`, `high`: None for fewer than two pairs, without spread, or where unbounded."""

    n: int
    ratio: float | None
    low: float | None
    high: float | None


def log_ratio(variant: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95) -> Ratio:
    """Ratio of positive values by seed: the geometric mean of the seeds' ratios, Student's t over their logarithms.

    For times and speeds, whose noise multiplies: on the log scale twice as fast and half as fast are as far apart.
    Raises `ValueError` for values that are not above zero.
    """
    for value in [*variant.values(), *baseline.values()]:
        if not 0 < value < math.inf:
            raise ValueError(f"got {value}; a finite number above 0 is allowed")
    logs = [{seed: math.log(value) for seed, value in arm.items()} for arm in (variant, baseline)]
    d = compare(logs[0], logs[1], confidence)
    return Ratio(d.n, *(None if end is None else math.exp(end) for end in (d.mean, d.low, d.high)))


def time_to_level(history: Iterable[Mapping[str, float]], column: str, level: float) -> float:
    """The first epoch whose value is at most `level`; infinite when none is: the slowest, never absent."""
    return next((float(row["epoch"]) for row in history if row[column] <= level), math.inf)


@dataclass(frozen=True)
class Reached:
    """When a run first got to a level, in epochs (infinite: never), and how many epochs it was given."""

    epochs: float
    length: float

    @property
    def never(self) -> bool:
        return math.isinf(self.epochs)


@dataclass(frozen=True)
class LevelRatio:
    """Epochs to a level, variant over baseline, by seed.

    `variant_never`, `baseline_never`, `neither`: pairs in which that arm alone, or both, never get there. `ratio`: the
    geometric mean over the pairs in which at least one does, the length of a run standing for what it would have needed
    beyond; `bound` says what it then is: `at least` (the variant fell short), `at most` (the baseline did), or nothing.
    None where each fell short in some pair, for that has no bound. `low`, `high`: None where any run fell short. `p`:
    of the sign-flip test over the logarithms, in which a run that never gets there has the worst rank.
    """

    n: int
    variant_never: int
    baseline_never: int
    neither: int
    ratio: float | None
    bound: str
    low: float | None
    high: float | None
    p: float | None


def level_ratio(
    variant: Mapping[int, Reached], baseline: Mapping[int, Reached], confidence: float = 0.95
) -> LevelRatio:
    """Compare the epochs to a level over the seeds that both have, on the log scale as other times.

    Student's t has no place for a run that never gets there: with its length put in, the interval may end on either
    side of where it should. So there is none then, and the test is by ranks.
    """
    pairs = {seed: (variant[seed], baseline[seed]) for seed in sorted(variant.keys() & baseline.keys())}
    telling = {seed: pair for seed, pair in pairs.items() if not (pair[0].never and pair[1].never)}
    short = [sum(pair[arm].never for pair in telling.values()) for arm in (0, 1)]
    arms = [{seed: min(pair[arm].epochs, pair[arm].length) for seed, pair in telling.items()} for arm in (0, 1)]
    ratio = log_ratio(arms[0], arms[1], confidence)
    whole = not any(short) and len(telling) == len(pairs)
    return LevelRatio(
        n=len(pairs),
        variant_never=short[0],
        baseline_never=short[1],
        neither=len(pairs) - len(telling),
        ratio=None if all(short) else ratio.ratio,
        bound="at least" if short[0] else "at most" if short[1] else "",
        low=ratio.low if whole else None,
        high=ratio.high if whole else None,
        p=sign_flip([_log_epochs(*pair) for pair in pairs.values()]).p,
    )


def _log_epochs(one: Reached, other: Reached) -> float:
    """Logarithm of the ratio: infinite where one never got there, 0 where that says nothing of which is faster."""
    if one.never:
        return math.inf if not other.never and one.length >= other.epochs else 0.0
    if other.never:
        return -_log_epochs(other, one)
    return math.log(one.epochs / other.epochs)


def gap(test: Mapping[int, float], training: Mapping[int, float]) -> dict[int, float]:
    """Test less training error, by seed."""
    return {seed: test[seed] - training[seed] for seed in sorted(test.keys() & training.keys())}


def factorial(
    cells: Mapping[tuple[int, ...], Mapping[int, float]], names: Sequence[str], confidence: float = 0.95
) -> dict[tuple[str, ...], Difference]:
    """Main effects and interactions of a 2^f design: levels (0 or 1 a factor) -> seed -> value.

    A main effect is the mean at level 1 less that at level 0; an interaction of two is half of how much one effect
    changes with the other factor. Each contrast is taken within each seed, so seeds are blocks, and its interval is
    Student's t over the seeds that every cell has. Contrasts are orthogonal.
    """
    seeds = sorted(set.intersection(*map(set, cells.values())))

    def mean(which: tuple[int, ...], sign: int) -> dict[int, float]:
        """By seed, over the cells whose contrast (the product of the factors' signs) is `sign`."""
        signs = {level: math.prod(2 * level[place] - 1 for place in which) for level in cells}
        chosen = [cells[level] for level in sorted(cells) if signs[level] == sign]
        return {seed: sum(cell[seed] for cell in chosen) / len(chosen) for seed in seeds}

    places = range(len(names))
    contrasts = [which for size in places for which in itertools.combinations(places, size + 1)]
    return {
        tuple(names[place] for place in which): compare(mean(which, 1), mean(which, -1), confidence)
        for which in contrasts
    }


@dataclass(frozen=True)
class TwoWays:
    """A component put into the bare net and taken out of the full one; effects of having it, in the values' unit.

    `added`: bare with it less bare. `removed`: full less full without it. `interaction`: removed less added, seed by
    seed: not zero where the component works through the others, or does what they do already.
    """

    added: Difference
    removed: Difference
    interaction: Difference


def add_one_in(
    bare: Mapping[int, float],
    bare_with: Mapping[int, float],
    full: Mapping[int, float],
    full_without: Mapping[int, float],
    confidence: float = 0.95,
) -> TwoWays:
    seeds = bare.keys() & bare_with.keys() & full.keys() & full_without.keys()
    added = {seed: bare_with[seed] - bare[seed] for seed in seeds}
    removed = {seed: full[seed] - full_without[seed] for seed in seeds}
    return TwoWays(
        compare({seed: bare_with[seed] for seed in seeds}, bare, confidence),
        compare({seed: full[seed] for seed in seeds}, full_without, confidence),
        compare(removed, added, confidence),
    )
