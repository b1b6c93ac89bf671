"""What a study shows beside the error that it compares: gaps, times, and designs of several factors. No verdicts."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from harness.errors import UserError
from harness.record import Run
from harness.report.format import number, paragraph, paragraphs
from harness.report.runs import Results, rerun
from harness.report.variants import compared_errors, paired_runs
from harness.settings.plan import Plan
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


@dataclass(frozen=True)
class FactorialDesign:
    """A full factorial. `cells`: levels (0 or 1 a factor) -> variant; `clash`: why it has no main effects, or ``."""

    factors: tuple[str, ...]
    cells: dict[tuple[int, ...], str]
    clash: str


@dataclass(frozen=True)
class AddedAndRemoved:
    """What a factor takes out: four variants show it put into the bare net and taken out of the full one."""

    factor: str
    bare: str
    bare_with: str
    full: str
    full_without: str

    @property
    def variants(self) -> list[str]:
        return [self.bare, self.bare_with, self.full, self.full_without]


def factorials(study: Study) -> list[FactorialDesign]:
    """The factorials of two factors or more, in the order of the plan."""
    found = []
    for plan in _steps(study, "factorial"):
        names = _names(study, plan)
        if len(names) < 2:
            continue
        cells, clash = {}, ""
        for levels in itertools.product((0, 1), repeat=len(names)):
            switched = [name for name, level in zip(names, levels, strict=True) if level]
            cells[levels] = "_".join(switched) or study.baseline
            if not _adds_up(study, switched, cells[levels]):
                clash = "its cells do not differ from the baseline in what their factors alone change, added up"
        found.append(FactorialDesign(tuple(names), cells, clash))
    return found


def components(study: Study) -> list[AddedAndRemoved]:
    """The components that the plan both adds to the bare net and takes out of the full one, alone in both."""
    found = []
    for plan in _steps(study, "add_one_in"):
        for name in _names(study, plan):
            bare_with = f"all-but-{name}"
            both = {"all", bare_with, name} <= study.variants.keys()
            rest = study.differences(bare_with) if both else {}
            own = study.differences(name) if both else {}
            if both and not rest.keys() & own.keys() and rest | own == study.differences("all"):
                found.append(AddedAndRemoved(name, "all", bare_with, study.baseline, name))
    return found


def _steps(study: Study, kind: str) -> list[Plan]:
    return [step for step in study.file.plan if step.kind == kind]


def _names(study: Study, plan: Plan) -> list[str]:
    return list(study.file.factors) if plan.factors is None else plan.factors


def _adds_up(study: Study, factors: Sequence[str], variant: str) -> bool:
    """Whether a variant differs from the baseline in what each of some factors changes alone, and in nothing else."""
    together: dict[str, Any] = {}
    for name in factors:
        own = study.differences(name)
        if own.keys() & together.keys():
            return False
        together |= own
    return study.differences(variant) == together


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
    components: list[tuple[AddedAndRemoved, TwoWays]]


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


def _two_ways(component: AddedAndRemoved, errors: Mapping[str, Values], confidence: float) -> TwoWays:
    bare, bare_with, full, full_without = (errors[variant] for variant in component.variants)
    return add_one_in(bare, bare_with, full, full_without, confidence)


EFFECT_COLUMNS = [
    "effect", "of", "unit", "n", "value", "bound", "sd", "low", "high", "confidence", "p", "level", "variant_never",
    "baseline_never", "neither", "command",
]  # fmt: skip

CURVES = {"validation_top1": "validation error", "clean_top1": "training error (evaluation mode)"}
"""The curves whose level is timed, in words."""

MOST_TOGETHER = 2
"""Factors of an interaction that the table shows; those of more are in the CSV."""


def effects_section(found: Effects) -> dict[str, Any]:
    """The section's rows and sentences, ready for the template; empty without a run to compare."""
    if not found.compared:
        return {}

    return {
        "gaps": [paragraphs("effects", part="gap", one=one) for one in found.variants],
        "levels": [f"{number(level.error)} % {CURVES[level.curve]}" for level in found.levels],
        "times": [paragraphs("effects", part="times", one=one, levels=found.levels) for one in found.variants],
        "factorials": [
            paragraphs("effects", part="contrast", of=which, d=d)
            for one in found.factorials
            for which, d in one.effects.items()
            if len(which) <= MOST_TOGETHER
        ],
        "no_factorial": [
            paragraph("effects", part="no_factorial", design=one.design) for one in found.factorials if not one.effects
        ],
        "components": [paragraphs("effects", part="component", one=one, two=two) for one, two in found.components],
    }


def _kind(which: tuple[str, ...]) -> str:
    return "main effect" if len(which) == 1 else "interaction"


def _with_baseline(variant: str, study: Study) -> list[str]:
    return [variant] if variant == study.baseline else [variant, study.baseline]


# ---- as CSV: a row a number, with every digit


def effects_csv(found: Effects, study: Study) -> list[dict[str, Any]]:
    """A row a number: variants first, then designs. `of`: the variant, or the factors of a contrast."""
    if not found.compared:
        return []
    rows: list[dict[str, Any]] = []

    def add(variants: Sequence[str], made: Iterable[dict[str, Any]]) -> None:
        command = rerun(study, variants)
        rows.extend(row | {"command": command} for row in made)

    for one in found.variants:
        add(_with_baseline(one.variant, study), _variant_csv(one, found))
    for design in found.factorials:
        contrasts = design.effects.items()
        add([*design.design.cells.values()], [_difference(_kind(of), " x ".join(of), d) for of, d in contrasts])
    for component, two in found.components:
        ways = {"added": two.added, "removed": two.removed, "removed less added": two.interaction}
        add(component.variants, [_difference(name, component.factor, d) for name, d in ways.items()])
    return rows


def _variant_csv(one: VariantEffects, found: Effects) -> Iterator[dict[str, Any]]:
    of, d = one.variant, one.gap_difference
    yield _row("gap", of, "points", one.gap.n, one.gap.mean, sd=one.gap.sd)
    if d and one.time_ratio:
        yield _difference("gap, difference", of, d)
        yield _ratio("training time, ratio", of, one.time_ratio, d.confidence)
    for level in found.levels:
        time, name = one.levels[level.curve], f"epochs to {level.curve}"
        own = {"level": level.error, "variant_never": time.never}
        yield _row(name, of, "epochs", len(time.epochs), time.median, **own)
        if d and (r := time.ratio):
            counts = {key: getattr(r, key) for key in ("bound", "p", "variant_never", "baseline_never", "neither")}
            yield _ratio(f"{name}, ratio", of, r, d.confidence) | own | counts


def _difference(effect: str, of: str, d: Difference) -> dict[str, Any]:
    return _row(effect, of, "points", d.n, d.mean, sd=d.sd, low=d.low, high=d.high, confidence=d.confidence)


def _ratio(effect: str, of: str, r: Ratio | LevelRatio, confidence: float) -> dict[str, Any]:
    return _row(effect, of, "times", r.n, r.ratio, low=r.low, high=r.high, confidence=confidence)


def _row(effect: str, of: str, unit: str, n: int, value: float | None = None, **others: Any) -> dict[str, Any]:
    return {"effect": effect, "of": of, "unit": unit, "n": n, "value": value} | others
