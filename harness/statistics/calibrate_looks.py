"""How often a study errs that is looked at more than once: simulated studies, judged at each look as the report judges.

The noise, its unit, the margin and what is allowed are those of `calibrate`.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.statistics.calibrate import (
    ALPHA,
    BEYOND,
    COMPARISONS,
    MARGIN,
    NOISES,
    REAL,
    Floats,
    draw,
    holds_zero,
    most_errors,
    with_effect,
)
from harness.statistics.judging import DEFAULT, Test, estimates, judge
from harness.statistics.sequential import nominal

LOOKS = ((3, 5, 8), (5, 10), (5, 8, 12, 20))
"""Plans of looks: numbers of seeds."""

EFFECTS = (0.0, 2.0, 4.0)
"""Planted differences of the first variant, in sd; the second is the margin of equivalence."""


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


def simulate_looks(
    studies: int,
    residuals: Sequence[Floats] = (),
    noises: Sequence[str] = tuple(NOISES),
    plans: Sequence[tuple[int, ...]] = LOOKS,
    comparisons: Sequence[int] = COMPARISONS,
    test: Test = DEFAULT,
) -> Iterator[LookCell]:
    """Every cell of the grid, always with the same draws. `residuals`: of real studies, for the noise `runs`."""
    for noise in noises:
        if noise in REAL and not residuals:
            continue
        for looks in plans:
            for k in comparisons:
                rng = np.random.default_rng([zlib.crc32(f"looks {noise}".encode()), *looks, k])
                values = draw(rng, noise, studies, looks[-1], k + 1, residuals)
                yield from _cells(values, noise, looks, test)


def _cells(values: Floats, noise: str, looks: tuple[int, ...], test: Test) -> Iterator[LookCell]:
    k = values.shape[-1] - 1
    alphas = nominal(looks, ALPHA, k)
    found = [estimates(values[:, :n], test) for n in looks]
    held = np.stack([holds_zero(one, alpha) for one, alpha in zip(found, alphas, strict=True)])
    coverage = float(held.all(0).mean(0).min())
    for effect in EFFECTS:
        moved = [replace(one, mean=with_effect(one.mean, effect)) for one in found]
        at_looks = [judge(one, alpha, MARGIN) for one, alpha in zip(moved, alphas, strict=True)]
        differ = np.stack([one.adjusted <= alpha for one, alpha in zip(at_looks, alphas, strict=True)])
        alone = np.stack([one.adjusted <= ALPHA for one in at_looks])  # adjusted p knows nothing of looks
        untouched = slice(0 if effect == 0 else 1, None)
        first = differ[:, :, 0]
        stops = np.where(first.any(0), first.argmax(0), len(looks) - 1)
        yield LookCell(
            noise,
            "-".join(map(str, looks)),
            k,
            test,
            effect,
            len(values),
            float(differ[..., untouched].any((0, -1)).mean()),
            float(alone[..., untouched].any((0, -1)).mean()),
            coverage,
            float(first.any(0).mean()),
            float(alone[-1, :, 0].mean()),
            float(np.stack([one.codes[:, 0] == 1 for one in at_looks]).any(0).mean()),
            float(np.array(looks)[stops].mean()),
        )


def misses_of_looks(cells: Sequence[LookCell]) -> list[LookCell]:
    """Cells that err more than they may, within what is promised; equivalence is judged at the margin."""

    def errs(cell: LookCell) -> bool:
        most = most_errors(cell.studies)
        if cell.effect == MARGIN:
            return cell.equivalent > most
        return cell.effect == 0 and (cell.family_error > most or cell.coverage < 1 - most)

    return [cell for cell in cells if cell.noise not in BEYOND and errs(cell)]
