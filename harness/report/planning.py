"""How many seeds a study needs, from what its finished runs show of their noise; and what a number of seeds finds."""

from dataclasses import replace
from statistics import median

from harness.grammar import counted, verb
from harness.progress import clock
from harness.report.tables import VariantRow
from harness.settings.study import Study
from harness.statistics.block import LEAST_COMPARISONS, LEAST_SEEDS
from harness.statistics.power import Design, detectable_at, sd_bound, seeds_needed

PILOT = 3
"""Finished pairs that a pilot needs at the least: with two, the sd is a single difference."""


def recorded_lines(rows: list[VariantRow]) -> list[str]:
    """What the runs that are there took; nothing before there are any."""
    finished = sum(row.finished for row in rows)
    if not finished:
        return []
    seconds = sum(row.seconds * row.declared for row in rows if row.seconds)
    timed = sum(row.declared for row in rows if row.seconds)
    return [
        f"recorded: {finished} of {sum(row.declared for row in rows)} runs have finished; by their mean times "
        f"{counted(timed, 'run')} {verb(timed, 'take')} {clock(seconds)} of training, one after another"
    ]


def seeds_lines(study: Study, rows: list[VariantRow], effect: float, power: float) -> list[str]:
    """Lines: the seeds with which a difference of `effect` points is found with probability `power`, a variant each.

    The sd is that of the study's test on the pilot, and its upper bound (chi-square, 80 %), since a pilot of few seeds
    may have shown too small a one. Says so where there is no pilot.
    """
    pilot = {row.variant: _design(study, row) for row in rows if row.difference.n >= PILOT}
    designs = {variant: design for variant, design in pilot.items() if design}
    if not designs:
        return [f"seeds: no variant has {PILOT} finished pairs that differ; run the study with a few seeds first"]
    family = max(design.comparisons for design, _ in designs.values())
    lines = [f"seeds for a difference of {effect:g} points with power {power:g}, {counted(family, 'comparison')}:"]
    needed = []
    for variant, (design, df) in designs.items():
        upper = replace(design, sd=sd_bound(design.sd, df))
        few, many = (seeds_needed(effect, one, study.alpha, power) for one in (design, upper))
        needed.append(many)
        lines.append(f"  {variant}: {_seeds(few)}, at most {_seeds(many)} (sd {design.sd:.2f}, at most {upper.sd:.2f})")
    most = [n for n in needed if n]
    if len(most) < len(needed):
        return [*lines, f"  all of them: {_seeds(None)}"]
    seconds = sum(row.seconds for row in rows if row.seconds) * max(most)
    lines.append(
        f"  all of them: {counted(max(most), 'seed')}, {counted(max(most) * len(study.variants), 'run')}, "
        f"{clock(seconds)} of training in all"
    )
    return lines


def _design(study: Study, row: VariantRow) -> tuple[Design, int] | None:
    """How a row is compared in a study of more seeds, and the degrees of freedom of its sd; None: it does not vary."""
    c = row.comparison
    if c is None or c.design is None or not row.difference.sd:
        return None
    own = row.difference.sd
    n, df = row.difference.n, round(c.design.freedom * (row.difference.n - 1))
    if study.file.test == "block" and n < LEAST_SEEDS and c.comparisons >= LEAST_COMPARISONS:
        # With so few seeds nothing is shared yet; with as many as a plan comes to, it is.
        return replace(c.design, shared=True, freedom=float(c.comparisons)), n - 1
    # A pooled comparison that scatters more than the pool keeps its own sd, which n differences have shown.
    return c.design, df if c.design.sd > own * (1 + 1e-9) else n - 1


def detectable_lines(study: Study, rows: list[VariantRow], hours: float) -> list[str]:
    """Lines: the seeds that `hours` of training pay for, and the difference that they find with a power of 80 %."""
    times = [row.seconds for row in rows if row.seconds]
    found = [row.comparison.design for row in rows if row.comparison and row.comparison.design]
    if len(times) < len(rows) or not found:
        return ["budget: not every variant has a finished run to take its time and noise from; run a few seeds first"]
    seeds = int(3600 * hours / sum(times))
    enough = f"budget: {hours:g} h are enough for {counted(seeds, 'seed')} of {counted(len(rows), 'variant')}"
    if seeds < PILOT:
        return [f"{enough}; {PILOT} are the least"]
    sizes = [detectable_at(design, seeds, study.alpha) for design in found]
    return [
        f"{enough}, which find a difference of "
        f"{median(sizes):.2f} points (from {min(sizes):.2f} to {max(sizes):.2f}) with a power of 80 %"
    ]


def _seeds(count: int | None) -> str:
    return counted(count, "seed") if count else "more than can be afforded"
