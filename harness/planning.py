"""How many seeds a study needs, from what its finished runs show of their noise; and what a number of seeds finds."""

from dataclasses import replace
from statistics import median

from harness.report.format import paragraphs
from harness.report.variants import VariantRow
from harness.settings.study import Study
from harness.statistics.models import LEAST_COMPARISONS, LEAST_SEEDS
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
    pilot = {row.variant: _design(study, row) for row in rows if row.difference.n >= PILOT}
    needed = []
    for variant, (design, df) in ((variant, found) for variant, found in pilot.items() if found):
        upper = replace(design, sd=sd_bound(design.sd, df))
        few, many = (seeds_needed(effect, one, study.alpha, power) for one in (design, upper))
        needed.append((variant, design, upper, few, many))
    said = {"study": study, "rows": rows, "effect": effect, "power": power, "pilot": PILOT, "needed": needed}
    head, *rest = paragraphs("planning", part="seeds", **said)
    return [head, *(f"  {line}" for line in rest)]


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
    seeds = int(3600 * hours / sum(times)) if found and len(times) == len(rows) else None
    sizes = [detectable_at(design, seeds, study.alpha) for design in found] if seeds and seeds >= PILOT else []
    said = {"middle": median(sizes) if sizes else None, "sizes": sizes, "seeds": seeds, "hours": hours, "pilot": PILOT}
    return paragraphs("planning", part="budget", rows=rows, **said)
