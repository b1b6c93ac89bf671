"""How many seeds a study needs, from what its finished runs show of their noise; and what a number of seeds finds."""

from statistics import median

from harness.grammar import counted, verb
from harness.progress import clock
from harness.report.tables import VariantRow
from harness.settings.study import Study
from harness.statistics.power import detectable_at, sd_bound, seeds_needed

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

    The sd of the paired differences is the pilot's, and its upper bound (chi-square, 80 %), since a pilot of few seeds
    may have shown too small a one. Says so where there is no pilot.
    """
    pilot = [row for row in rows if row.comparison and row.difference.n >= PILOT and row.difference.sd]
    if not pilot:
        return [f"seeds: no variant has {PILOT} finished pairs that differ; run the study with a few seeds first"]
    alpha = round(1 - study.file.confidence, 12)
    shared = study.file.test in ("block", "moderated")
    lines = [f"seeds for a difference of {effect:g} points with power {power:g}, {counted(len(pilot), 'comparison')}:"]
    needed = []
    for row in pilot:
        assert row.difference.sd is not None  # noqa: S101 - chosen so
        sds = row.difference.sd, sd_bound(row.difference.sd, row.difference.n - 1)
        few, many = (seeds_needed(effect, sd, alpha, power, len(pilot), shared) for sd in sds)
        needed.append(many or few)
        lines.append(f"  {row.variant}: {_seeds(few)}, at most {_seeds(many)} (sd {sds[0]:.2f}, at most {sds[1]:.2f})")
    most = max((n for n in needed if n), default=None)
    if most:
        seconds = sum(row.seconds for row in rows if row.seconds) * most
        lines.append(
            f"  all of them: {counted(most, 'seed')}, {counted(most * len(study.variants), 'run')}, "
            f"{clock(seconds)} of training in all"
        )
    return lines


def detectable_lines(study: Study, rows: list[VariantRow], hours: float) -> list[str]:
    """Lines: the seeds that `hours` of training pay for, and the difference that they find with a power of 80 %."""
    times = [row.seconds for row in rows if row.seconds]
    found = [row.comparison for row in rows if row.comparison and row.comparison.se and row.comparison.df]
    if len(times) < len(rows) or not found:
        return ["budget: not every variant has a finished run to take its time and noise from; run a few seeds first"]
    seeds = int(3600 * hours / sum(times))
    enough = f"budget: {hours:g} h are enough for {counted(seeds, 'seed')} of {counted(len(rows), 'variant')}"
    if seeds < PILOT:
        return [f"{enough}; {PILOT} are the least"]
    alpha = round(1 - study.file.confidence, 12)
    sizes = [
        detectable_at(seeds, c.difference.n, c.se, c.df, alpha, c.comparisons, c.pooled)
        for c in found
        if c.se is not None and c.df is not None
    ]
    return [
        f"{enough}, which find a difference of "
        f"{median(sizes):.2f} points (from {min(sizes):.2f} to {max(sizes):.2f}) with a power of 80 %"
    ]


def _seeds(count: int | None) -> str:
    return counted(count, "seed") if count else "more than can be afforded"
