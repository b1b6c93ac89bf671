"""What a study shows beside the error that it compares: ranks, gaps, times, and designs of several switches.

Each is there where the study's own design gives it. Nothing here is a verdict.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

from harness.errors import UserError
from harness.record import Run
from harness.report.cells import Results
from harness.report.designs import Component, FactorialDesign, components, factorials
from harness.report.tables import compared_errors, paired_runs
from harness.settings.study import Study
from harness.statistics.effects import (
    LevelRatio,
    Ratio,
    Reached,
    TwoWays,
    add_one_in,
    factorial,
    gap,
    level_ratio,
    log_ratio,
    time_to_level,
)
from harness.statistics.models import Difference, Summary, compare, summarise

LEVEL_CURVES = ("validation_top1", "clean_top1")
"""Curves whose level is timed, where runs have them: both are taken in test mode, so dropout does not move them."""

Runs = Mapping[int, Run]
Values = Mapping[int, float]


@dataclass(frozen=True)
class Level:
    """A curve, and the level to reach: the largest error that a finished run of the baseline ends with.

    All of those get there, then. At the mean of their ends half of the runs of either arm would fall short.
    """

    curve: str
    error: float


@dataclass(frozen=True)
class TimeToLevel:
    """Epochs of a variant's runs to a level, infinite for one that never gets there; `ratio`: None for the baseline."""

    epochs: tuple[float, ...]
    ratio: LevelRatio | None

    @property
    def never(self) -> int:
        return sum(map(math.isinf, self.epochs))

    @property
    def median(self) -> float | None:
        """Over the runs; None where there are none, or too many never get there."""
        middle = median(self.epochs) if self.epochs else math.inf
        return None if math.isinf(middle) else middle


@dataclass(frozen=True)
class VariantEffects:
    """One variant. Against the baseline, and None for it: `gap_difference`, `time_ratio`.

    `gap`: test minus training error in points. `levels`: by curve.
    """

    variant: str
    gap: Summary
    gap_difference: Difference | None
    time_ratio: Ratio | None
    levels: dict[str, TimeToLevel]


@dataclass(frozen=True)
class FactorialEffects:
    """A factorial and its contrasts; none where the design has a clash, or no seed finished in all of its cells."""

    design: FactorialDesign
    effects: dict[tuple[str, ...], Difference]


@dataclass(frozen=True)
class Effects:
    """All of them. `compared`: whether any variant has a run beside one of the baseline."""

    compared: bool
    levels: list[Level]
    variants: list[VariantEffects]
    factorials: list[FactorialEffects]
    components: list[tuple[Component, TwoWays]]


def effects_of(study: Study, results: Results) -> Effects:
    """Every effect that the study's runs show. Raises `UserError` for a run whose record makes no sense."""
    runs = paired_runs(study, results)
    finished = {variant: {s: run for s, run in own.items() if run.metrics} for variant, own in runs.items()}
    levels = _levels(finished[study.baseline])
    errors = {variant: _values(own, study.file.metric) for variant, own in finished.items()}
    confidence = study.file.confidence

    def told(variant: str) -> VariantEffects:
        own, base = finished[variant], finished[study.baseline]
        gaps, base_gaps = _gaps(own), _gaps(base)
        is_baseline = variant == study.baseline
        times = {}
        for level in levels:
            reached, others = (_reached(level, runs[name]) for name in (variant, study.baseline))
            ratio = None if is_baseline else level_ratio(reached, others, confidence)
            times[level.curve] = TimeToLevel(tuple(one.epochs for one in reached.values()), ratio)
        return VariantEffects(
            variant,
            summarise(gaps.values()),
            None if is_baseline else compare(gaps, base_gaps, confidence),
            None if is_baseline else _time_ratio(own, base),
            times,
        )

    return Effects(
        sum(bool(own) for own in compared_errors(study, results).values()) > 1,
        levels,
        [told(variant) for variant in study.variants],
        [_factorial(design, errors, confidence) for design in factorials(study)],
        [(one, _two_ways(one, errors, confidence)) for one in components(study)],
    )


def _values(runs: Runs, metric: str) -> dict[int, float]:
    return {seed: run.metrics[metric] for seed, run in runs.items() if metric in run.metrics}


def _gaps(runs: Runs) -> dict[int, float]:
    return gap(_values(runs, "test_top1"), _values(runs, "train_top1"))


def _time_ratio(runs: Runs, baseline: Runs) -> Ratio:
    """Training times over the pairs that ran on the same device and processor with as many threads.

    Without an interval: what else ran there is nothing that a seed draws anew, and it changes from arm to arm.
    """
    seeds = [seed for seed in runs if seed in baseline and _machine(runs[seed]) == _machine(baseline[seed])]
    found = log_ratio(
        {seed: _seconds(runs[seed]) for seed in seeds}, {seed: _seconds(baseline[seed]) for seed in seeds}
    )
    return replace(found, low=None, high=None)


def _machine(run: Run) -> tuple[object, ...]:
    machine = run.provenance.machine
    return (
        str(machine.get("device")).partition(":")[0],
        *(machine.get(key) for key in ("device_name", "threads", "cpu")),
    )


def _seconds(run: Run) -> float:
    seconds = run.provenance.wall_seconds
    if seconds <= 0:
        raise UserError(f"{run.folder.provenance}: wall_seconds: got {seconds:g}; a number above 0 is allowed")
    return seconds


# ---- time to a level


def _levels(baseline: Runs) -> list[Level]:
    """The levels that the baseline sets, of the curves that all of its finished runs have."""
    found = []
    for curve in LEVEL_CURVES:
        last = [run.history[-1][curve] for run in baseline.values() if _recorded(run, curve)]
        if last and len(last) == len(baseline):
            found.append(Level(curve, max(last)))
    return found


def _recorded(run: Run, curve: str) -> bool:
    return bool(run.history) and all(math.isfinite(row.get(curve, math.nan)) for row in run.history)


def _reached(level: Level, runs: Runs) -> dict[int, Reached]:
    """By seed. A diverged run never gets there, whatever its curve did before; one without the curve says nothing."""
    found = {}
    for seed, run in sorted(runs.items()):
        if not run.metrics:
            found[seed] = Reached(math.inf, float(run.settings["epochs"]))
        elif _recorded(run, level.curve):
            epochs = time_to_level(run.history, level.curve, level.error)
            found[seed] = Reached(epochs, run.history[-1]["epoch"])
    return found


# ---- designs


def _factorial(design: FactorialDesign, errors: Mapping[str, Values], confidence: float) -> FactorialEffects:
    cells = {levels: errors[variant] for levels, variant in design.cells.items()}
    if design.clash or not set.intersection(*(set(own) for own in cells.values())):
        return FactorialEffects(design, {})
    return FactorialEffects(design, factorial(cells, design.factors, confidence))


def _two_ways(component: Component, errors: Mapping[str, Values], confidence: float) -> TwoWays:
    bare, bare_with, full, full_without = (errors[variant] for variant in component.variants)
    return add_one_in(bare, bare_with, full, full_without, confidence)
