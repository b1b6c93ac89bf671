"""The other effects as text: the tables of their section, and a CSV of all."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.report.effects import Effects, VariantEffects
from harness.report.numbers import number
from harness.report.rerun import rerun
from harness.report.template import paragraph, paragraphs
from harness.settings.study import Study
from harness.statistics.effects import LevelRatio, Ratio
from harness.statistics.models import Difference

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


def effects_csv(found: Effects, study: Study, root: Path) -> list[dict[str, Any]]:
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
