"""`python -m benchmarks.calibration.power`: what the block design detects; writes harness/statistics/power.csv.

Normal noise, all arms alike; one variant differs.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from scipy import special

from benchmarks.calibration.simulate import ALPHA, METHODS
from harness.files import write_text
from harness.statistics.judging import adjust
from harness.statistics.multiplicity import two_sided
from harness.statistics.power import POWERS, Design, detectable_at, ideal

SEEDS = (5, 6, 7, 8, 10, 13, 20, 40)
COMPARISONS = (3, 4, 5, 7, 10, 14, 20, 30)
WANTED = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
STUDIES = 20_000
SHIFTS = np.arange(1.0, 14.0, 0.5)
"""Differences that are planted, in standard errors of a difference."""


def power(
    seeds: int, comparisons: int, effects: np.ndarray, studies: int, test: str = "block", draw: str = "power"
) -> Iterator[float]:
    """Shares of simulated studies that find each planted difference of one variant; `effects` in sd of a run."""
    rng = np.random.default_rng([zlib.crc32(draw.encode()), seeds, comparisons])
    made = METHODS[test](rng.normal(size=(studies, seeds, comparisons + 1)))
    for effect in effects.tolist():
        mean = made.mean.copy()
        mean[:, 0] += effect
        moved = replace(made, mean=mean)
        yield float((adjust(two_sided(mean, made.se, made.df), moved)[:, 0] <= ALPHA).mean())


def rows(place: tuple[int, int]) -> list[dict[str, float]]:
    """The table's rows of one number of seeds and of comparisons."""
    seeds, comparisons = place
    effects, powers = SHIFTS * math.sqrt(2 / seeds), []
    for share in power(seeds, comparisons, effects, STUDIES):
        powers.append(share)
        if share > 0.998:
            break
    scores = np.maximum.accumulate(special.ndtri(np.clip(powers, 1e-4, 1 - 1e-4)))
    made = []
    for wanted in WANTED:
        effect = float(np.interp(special.ndtri(wanted), scores, effects[: len(scores)]))
        cost = effect / ideal(math.sqrt(2 / seeds), seeds, comparisons, ALPHA, wanted)
        made.append({"seeds": seeds, "comparisons": comparisons, "power": wanted, "effect": effect, "cost": cost})
    return made


def check(studies: int, seeds: Sequence[int], comparisons: Sequence[int], tests: Sequence[str]) -> pd.DataFrame:
    """How often studies find what a report says that they detect with a power of .8, by draws of its own."""
    table = []
    for test, n, k in product(tests, seeds, comparisons):
        effect = detectable_at(Design(math.sqrt(2), k, test == "block"), n, ALPHA)
        share = next(power(n, k, np.array([effect]), studies, test, "check"))
        table.append({"test": test, "seeds": n, "comparisons": k, "effect": effect, "power": share})
    return pd.DataFrame(table)


def main() -> None:
    """Simulate the table, two rows at once, and write it."""
    with ProcessPoolExecutor(2) as pool:
        table = pd.DataFrame([row for made in pool.map(rows, product(SEEDS, COMPARISONS)) for row in made])
    write_text(POWERS, table.round(4).to_csv(index=False))
    print(POWERS)


if __name__ == "__main__":
    main()
