"""The other effects as text: the tables of their section, and a CSV of all."""

import math
from pathlib import Path
from statistics import median
from typing import Any

from harness.grammar import counted
from harness.report.effects import Effects, FactorialEffects, TimeToLevel, VariantEffects
from harness.report.markdown import code, joined, unbroken
from harness.report.numbers import NOTHING, estimate, mean_sd, number, p_value, ratio
from harness.report.rerun import rerun
from harness.settings.study import Study
from harness.statistics.effects import LevelRatio, Ratio
from harness.statistics.paired import Difference

EFFECT_COLUMNS = [
    "effect", "of", "unit", "n", "value", "bound", "sd", "low", "high", "confidence", "p", "level", "variant_never",
    "baseline_never", "neither", "command",
]  # fmt: skip

CURVES = {"validation_top1": "validation error", "clean_top1": "training error (evaluation mode)"}
"""The curves whose level is timed, in words."""

MOST_TOGETHER = 2
"""Factors of an interaction that the table shows; those of more are in the CSV."""


def effects_section(found: Effects, study: Study, root: Path) -> dict[str, Any]:
    """The section's rows and sentences, ready for the template; empty without a run to compare."""
    if not found.compared:
        return {}
    return {
        "ranks": _ranks(found),
        "gaps": [_gap_row(one, study, root) for one in found.variants],
        "levels": [f"{number(level.error)} % {CURVES[level.curve]}" for level in found.levels],
        "times": [_time_row(one, found, study, root) for one in found.variants],
        "factorials": [row for one in found.factorials for row in _contrasts(one, study, root)],
        "no_factorial": _no_factorial(found),
        "components": [
            [
                code(one.factor),
                *(unbroken(estimate(d)) for d in (two.added, two.removed, two.interaction)),
                str(two.interaction.n),
                code(rerun(study, one.variants, root)),
            ]
            for one, two in found.components
        ],
    }


def _ranks(found: Effects) -> str:
    seeds, arms = len(found.ranking.seeds), len(found.ranking.ranks)
    if not seeds:
        return "No seed has a run of every variant, hence no ranks."
    over = f"over {counted(seeds, 'seed')} that all {arms} variants have"
    if found.ranking.p is None:
        return f"Ranks are {over}; Friedman's test needs three variants, two seeds and some difference."
    return f"Ranks are {over}; Friedman's test that the variants rank alike: p {p_value(found.ranking.p)}."


def _gap_row(one: VariantEffects, study: Study, root: Path) -> list[str]:
    d, r = one.gap_difference, one.gap_ratio
    return [
        code(one.variant),
        number(one.rank, 1),
        unbroken(mean_sd(one.gap)),
        unbroken(estimate(d)) if d else NOTHING,
        unbroken(_fieller(r)) if r else NOTHING,
        str(d.n) if d else NOTHING,
        code(rerun(study, _with_baseline(one.variant, study), root)),
    ]


def _fieller(found: Ratio) -> str:
    return (
        f"{ratio(found)} (no bounds)" if found.n > 1 and found.ratio is not None and found.low is None else ratio(found)
    )


def _time_row(one: VariantEffects, found: Effects, study: Study, root: Path) -> list[str]:
    cells = [code(one.variant), unbroken(ratio(one.time_ratio)) if one.time_ratio else NOTHING]
    for level in found.levels:
        time = one.levels[level.curve]
        cells += [unbroken(_epochs(time))]
        cells += [unbroken(_level_ratio(time.ratio)), unbroken(p_value(time.ratio.p))] if time.ratio else [NOTHING] * 2
    n = max(
        (time.ratio.n for time in one.levels.values() if time.ratio), default=one.time_ratio.n if one.time_ratio else 0
    )
    return [
        *cells,
        str(n) if one.time_ratio else NOTHING,
        code(rerun(study, _with_baseline(one.variant, study), root)),
    ]


def _epochs(time: TimeToLevel) -> str:
    """`11`, the median over the runs, and how many never get there."""
    if not time.epochs:
        return NOTHING
    never = sum(map(math.isinf, time.epochs))
    middle = median(time.epochs)
    if math.isinf(middle):
        return f"never in {never} of {len(time.epochs)}"
    text = number(middle, 0 if middle == int(middle) else 1)
    return f"{text} (never in {never} of {len(time.epochs)})" if never else text


def _level_ratio(found: LevelRatio) -> str:
    text = ratio(Ratio(found.n, found.ratio, found.low, found.high))
    return f"{found.bound} {text}" if found.bound and found.ratio is not None else text


def _contrasts(one: FactorialEffects, study: Study, root: Path) -> list[list[str]]:
    command = rerun(study, list(one.design.cells.values()), root)
    return [
        [" × ".join(map(code, which)), _kind(which), unbroken(estimate(d)), str(d.n), code(command)]
        for which, d in one.effects.items()
        if len(which) <= MOST_TOGETHER
    ]


def _kind(which: tuple[str, ...]) -> str:
    return "main effect" if len(which) == 1 else "interaction"


def _no_factorial(found: Effects) -> list[str]:
    return [
        f"The factorial of {joined(list(map(code, one.design.factors)))} has no effects here: "
        f"{one.design.clash or 'no seed has finished in all of its cells'}."
        for one in found.factorials
        if not one.effects
    ]


def _with_baseline(variant: str, study: Study) -> list[str]:
    return [variant] if variant == study.baseline else [variant, study.baseline]


# ---- as CSV: a row a number, with every digit


def effects_csv(found: Effects, study: Study, root: Path) -> list[dict[str, Any]]:
    """A row a number: variants first, then designs. `of`: the variant, or the factors of a contrast."""
    if not found.compared:
        return []
    rows = [_row("ranks alike (Friedman)", "", "", len(found.ranking.seeds), p=found.ranking.p)]
    for one in found.variants:
        command = rerun(study, _with_baseline(one.variant, study), root)
        rows += [row | {"command": command} for row in _variant_csv(one, found)]
    for design in found.factorials:
        command = rerun(study, list(design.design.cells.values()), root)
        rows += [
            _difference(_kind(which), " x ".join(which), d) | {"command": command}
            for which, d in design.effects.items()
        ]
    for component, two in found.components:
        command = rerun(study, component.variants, root)
        for name, d in (("added", two.added), ("removed", two.removed), ("removed less added", two.interaction)):
            rows.append(_difference(name, component.factor, d) | {"command": command})
    return rows


def _variant_csv(one: VariantEffects, found: Effects) -> list[dict[str, Any]]:
    rows = [
        _row("mean rank", one.variant, "rank", len(found.ranking.seeds), one.rank),
        _row("gap", one.variant, "points", one.gap.n, one.gap.mean, sd=one.gap.sd),
    ]
    if one.gap_difference and one.gap_ratio and one.time_ratio:
        confidence = one.gap_difference.confidence
        rows += [
            _difference("gap, difference", one.variant, one.gap_difference),
            _ratio("gap, ratio of means", one.variant, one.gap_ratio, confidence),
            _ratio("training time, ratio", one.variant, one.time_ratio, confidence),
        ]
    for level in found.levels:
        time = one.levels[level.curve]
        middle = median(time.epochs) if time.epochs else None
        reached = None if middle is None or math.isinf(middle) else middle
        never = sum(map(math.isinf, time.epochs))
        rows.append(
            _row(f"epochs to {level.curve}", one.variant, "epochs", len(time.epochs), reached, level=level.error,
                 variant_never=never)
        )  # fmt: skip
        r = time.ratio
        if r and one.gap_difference:
            rows.append(
                _ratio(f"epochs to {level.curve}, ratio", one.variant, Ratio(r.n, r.ratio, r.low, r.high),
                       one.gap_difference.confidence)
                | {"bound": r.bound, "p": r.p, "level": level.error, "variant_never": r.variant_never,
                   "baseline_never": r.baseline_never, "neither": r.neither}
            )  # fmt: skip
    return rows


def _difference(effect: str, of: str, d: Difference) -> dict[str, Any]:
    return _row(effect, of, "points", d.n, d.mean, sd=d.sd, low=d.low, high=d.high, confidence=d.confidence)


def _ratio(effect: str, of: str, r: Ratio, confidence: float) -> dict[str, Any]:
    return _row(effect, of, "times", r.n, r.ratio, low=r.low, high=r.high, confidence=confidence)


def _row(effect: str, of: str, unit: str, n: int, value: float | None = None, **others: Any) -> dict[str, Any]:
    return {"effect": effect, "of": of, "unit": unit, "n": n, "value": value} | others
