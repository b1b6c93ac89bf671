"""What a study shows beside the error that it compares: gaps, times, and designs of several factors. No verdicts."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from harness.errors import UserError
from harness.record import Run
from harness.report.runs import Results, Standing, rerun
from harness.report.variants import paired_runs
from harness.settings.study import Study
from harness.statistics import effects as measured
from harness.statistics.effects import LevelRatio, Ratio, Reached, TwoWays
from harness.statistics.models import Difference, Summary, compare, summarise

# ---- designs


@dataclass(frozen=True)
class Factorial:
    """A full factorial. `cells`: levels (0 or 1 a factor) -> variant; `clash`: why it has no main effects, or ``.

    `contrasts`: factors -> effect; none where the design has a clash, or no seed finished in all of its cells.
    """

    factors: tuple[str, ...]
    cells: dict[tuple[int, ...], str]
    clash: str
    contrasts: dict[tuple[str, ...], Difference] = field(default_factory=dict)


def factorials(study: Study) -> list[Factorial]:
    """The factorials of two factors or more, in the order of the plan, without their contrasts."""
    designs = []
    for names in _planned(study, "factorial"):
        if len(names) < 2:
            continue
        cells, clash = {}, ""
        for levels in itertools.product((0, 1), repeat=len(names)):
            switched = [name for name, level in zip(names, levels, strict=True) if level]
            cells[levels] = "_".join(switched) or study.baseline
            alone = [study.differences(name) for name in switched]
            together = dict(itertools.chain(*(changes.items() for changes in alone)))
            if sum(map(len, alone)) != len(together) or study.differences(cells[levels]) != together:
                clash = "its cells do not differ from the baseline in what their factors alone change, added up"
        designs.append(Factorial(tuple(names), cells, clash))
    return designs


def components(study: Study) -> dict[str, tuple[str, str, str, str]]:
    """The factors that take out a component which the plan also adds to the bare net, alone in both.

    Factor -> variants: bare net, bare net with the component, full net, full net without it.
    """
    pairs = {}
    for name in itertools.chain(*_planned(study, "add_one_in")):
        bare_with = f"all-but-{name}"
        if {"all", bare_with, name} <= study.variants.keys():
            rest, alone = study.differences(bare_with), study.differences(name)
            if not rest.keys() & alone.keys() and rest | alone == study.differences("all"):
                pairs[name] = ("all", bare_with, study.baseline, name)
    return pairs


def _planned(study: Study, kind: str) -> list[list[str]]:
    """The factors of the plan's steps of a kind."""
    return [list(step.factors or study.file.factors) for step in study.file.plan if step.kind == kind]


# ---- what the runs show

LEVEL_CURVES = {"validation_top1": "validation error", "clean_top1": "training error (evaluation mode)"}
"""Curves whose level is timed, where runs have them, in words: both are taken in test mode, so dropout does not move
them."""

Runs = Mapping[int, Run]


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

    `gap`: test minus training error in points. `times`: by curve.
    """

    variant: str
    gap: Summary
    gap_difference: Difference | None
    time_ratio: Ratio | None
    times: dict[str, TimeToLevel]

    @property
    def pairs(self) -> int:
        """Pairs behind the ratios of times: those to a level, where one is timed."""
        ratios = [time.ratio for time in self.times.values() if time.ratio]
        return max((ratio.n for ratio in ratios), default=self.time_ratio.n if self.time_ratio else 0)


@dataclass(frozen=True)
class Effects:
    """All of them. `compared`: whether any variant has a run beside one of the baseline.

    `levels`: curve -> the error to reach, the largest that a finished run of the baseline ends with. All of those get
    there, then. At the mean of their ends half of the runs of either arm would fall short. `components`: by factor.
    """

    compared: bool
    levels: dict[str, float]
    variants: list[VariantEffects]
    factorials: list[Factorial]
    components: dict[str, TwoWays]


def effects_of(study: Study, results: Results, now: Standing) -> Effects:
    """Every effect that the study's runs show. Raises `UserError` for a run whose record makes no sense."""
    runs, confidence = paired_runs(study, results, now), study.file.confidence
    finished = {variant: {s: run for s, run in arm.items() if run.metrics} for variant, arm in runs.items()}
    errors = {variant: _values(arm, study.file.metric) for variant, arm in finished.items()}
    gaps = {variant: measured.gap(_values(a, "test_top1"), _values(a, "train_top1")) for variant, a in finished.items()}
    levels = _levels(finished[study.baseline])

    def of(variant: str) -> VariantEffects:
        base = study.baseline if variant != study.baseline else None
        times = {}
        for curve, level in levels.items():
            epochs = _reached(curve, level, runs[variant])
            ratio = measured.level_ratio(epochs, _reached(curve, level, runs[base]), confidence) if base else None
            times[curve] = TimeToLevel(tuple(reached.epochs for reached in epochs.values()), ratio)
        return VariantEffects(
            variant,
            summarise(gaps[variant].values()),
            compare(gaps[variant], gaps[base], confidence) if base else None,
            _time_ratio(finished[variant], finished[base]) if base else None,
            times,
        )

    def with_contrasts(design: Factorial) -> Factorial:
        cells = {levels: errors[variant] for levels, variant in design.cells.items()}
        if design.clash or not set.intersection(*map(set, cells.values())):
            return design
        return replace(design, contrasts=measured.factorial(cells, design.factors, confidence))

    return Effects(
        sum(map(bool, runs.values())) > 1,
        levels,
        [of(variant) for variant in study.variants],
        [with_contrasts(design) for design in factorials(study)],
        {
            factor: measured.add_one_in(errors[a], errors[b], errors[c], errors[d], confidence)
            for factor, (a, b, c, d) in components(study).items()
        },
    )


def _values(runs: Runs, metric: str) -> dict[int, float]:
    return {seed: run.metrics[metric] for seed, run in runs.items() if metric in run.metrics}


def _time_ratio(runs: Runs, baseline: Runs) -> Ratio:
    """Training times over the pairs that ran on the same device and processor with as many threads.

    Without an interval: what else ran there is nothing that a seed draws anew, and it changes from arm to arm.
    """
    seeds = [seed for seed in runs if seed in baseline and _machine(runs[seed]) == _machine(baseline[seed])]
    variant, base = ({seed: _seconds(arm[seed]) for seed in seeds} for arm in (runs, baseline))
    return replace(measured.log_ratio(variant, base), low=None, high=None)


def _machine(run: Run) -> list[object]:
    machine = run.provenance.machine
    return [str(machine.get("device")).partition(":")[0], *map(machine.get, ("device_name", "threads", "cpu"))]


def _seconds(run: Run) -> float:
    seconds = run.provenance.wall_seconds
    if seconds <= 0:
        raise UserError(f"{run.folder.provenance}: wall_seconds: got {seconds:g}; a number above 0 is allowed")
    return seconds


def _levels(baseline: Runs) -> dict[str, float]:
    """The levels that the baseline sets, of the curves that all of its finished runs have."""
    return {
        curve: max(run.history[-1][curve] for run in baseline.values())
        for curve in LEVEL_CURVES
        if baseline and all(_recorded(run, curve) for run in baseline.values())
    }


def _recorded(run: Run, curve: str) -> bool:
    return bool(run.history) and all(math.isfinite(row.get(curve, math.nan)) for row in run.history)


def _reached(curve: str, error: float, runs: Runs) -> dict[int, Reached]:
    """By seed. A diverged run never gets there, whatever its curve did before; one without the curve says nothing."""
    reached = {}
    for seed, run in sorted(runs.items()):
        if not run.metrics:
            reached[seed] = Reached(math.inf, float(run.settings["epochs"]))
        elif _recorded(run, curve):
            reached[seed] = Reached(measured.time_to_level(run.history, curve, error), run.history[-1]["epoch"])
    return reached


# ---- as CSV: a row a number, with every digit

EFFECT_COLUMNS = [
    "effect", "of", "unit", "n", "value", "bound", "sd", "low", "high", "confidence", "p", "level", "variant_never",
    "baseline_never", "neither", "command",
]  # fmt: skip


def effects_csv(effects: Effects, study: Study) -> list[dict[str, Any]]:
    """A row a number: variants first, then designs. `of`: the variant, or the factors of a contrast."""
    rows: list[dict[str, Any]] = []
    if not effects.compared:
        return rows

    def add(
        names: Iterable[str], effect: str, of: str, unit: str, numbers: Summary | Difference | Ratio | LevelRatio
    ) -> dict[str, Any]:
        row = {column: getattr(numbers, column, None) for column in EFFECT_COLUMNS}
        row |= {"effect": effect, "of": of, "unit": unit, "command": rerun(study, list(dict.fromkeys(names)))}
        if isinstance(numbers, Ratio | LevelRatio):
            rows.append(row | {"value": numbers.ratio, "confidence": study.file.confidence})
        else:
            rows.append(row | {"value": numbers.mean})
        return rows[-1]

    for arm in effects.variants:
        pair = (arm.variant, study.baseline)
        add(pair, "gap", arm.variant, "points", arm.gap)
        if arm.gap_difference and arm.time_ratio:
            add(pair, "gap, difference", arm.variant, "points", arm.gap_difference)
            add(pair, "training time, ratio", arm.variant, "times", arm.time_ratio)
        for curve, time in arm.times.items():
            epochs, level = Summary(len(time.epochs), time.median, None), effects.levels[curve]
            row = add(pair, f"epochs to {curve}", arm.variant, "epochs", epochs)
            row.update(level=level, variant_never=time.never)
            if time.ratio:
                add(pair, f"epochs to {curve}, ratio", arm.variant, "times", time.ratio)["level"] = level
    for design in effects.factorials:
        for of, d in design.contrasts.items():
            kind = "main effect" if len(of) == 1 else "interaction"
            add(design.cells.values(), kind, " x ".join(of), "points", d)
    for factor, two in effects.components.items():
        for way, d in (("added", two.added), ("removed", two.removed), ("removed less added", two.interaction)):
            add(components(study)[factor], way, factor, "points", d)
    return rows
