"""How many seeds a study needs, from what its finished runs show of their noise; and what a number of seeds finds."""

from dataclasses import replace
from statistics import median

from harness.report.format import paragraphs
from harness.report.variants import VariantRow
from harness.settings.study import Study
from harness.statistics.power import Design, detectable_at, sd_bound, seeds_needed

PILOT = 3
"""Finished pairs that a pilot needs at the least: with two, the sd is a single difference."""


def recorded_lines(rows: list[VariantRow]) -> list[str]:
    """What the runs that are there took; nothing before there are any."""
    return paragraphs("planning", part="recorded", rows=rows, timed=[row for row in rows if row.seconds])


def seeds_lines(study: Study, rows: list[VariantRow], effect: float, power: float) -> list[str]:
    """Lines: the seeds with which a difference of `effect` points is found with probability `power`, a variant each.

    The sd is that of the study's test on the pilot, and its upper bound (chi-square, 80 %), since a pilot of few seeds
    may have shown too small a one. Says so where there is no pilot.
    """
    needed = []
    for row in rows:
        pilot = _design(row)
        if pilot:
            design, upper = pilot[0], replace(pilot[0], sd=sd_bound(pilot[0].sd, pilot[1]))
            few, many = (seeds_needed(effect, one, study.alpha, power) for one in (design, upper))
            needed.append((row.variant, design, upper, few, many))
    values = {"study": study, "rows": rows, "effect": effect, "power": power, "pilot": PILOT, "needed": needed}
    head, *rest = paragraphs("planning", part="seeds", **values)
    return [head, *(f"  {line}" for line in rest)]


def _design(row: VariantRow) -> tuple[Design, int] | None:
    """How a row is compared in a study of more seeds, and the degrees of freedom of its sd; None: no pilot, no sd."""
    c, n, sd = row.comparison, row.difference.n, row.difference.sd
    if c is None or c.design is None or not sd or n < PILOT:
        return None
    return c.design, c.df if c.pooled and c.df else n - 1


def detectable_lines(study: Study, rows: list[VariantRow], hours: float) -> list[str]:
    """Lines: the seeds that `hours` of training pay for, and the difference that they find with a power of 80 %."""
    times = [row.seconds for row in rows if row.seconds]
    designs = [row.comparison.design for row in rows if row.comparison and row.comparison.design]
    seeds = int(3600 * hours / sum(times)) if designs and len(times) == len(rows) else None
    sizes = [detectable_at(design, seeds, study.alpha) for design in designs] if seeds and seeds >= PILOT else []
    middle = median(sizes) if sizes else None
    return paragraphs(
        "planning", part="budget", rows=rows, middle=middle, sizes=sizes, seeds=seeds, hours=hours, pilot=PILOT
    )
