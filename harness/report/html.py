"""The report as one HTML file that asks no host for anything: a table to sort, effects and curves with their values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.report import charts
from harness.report.findings import Findings
from harness.report.format import effect_interval, images_name, number, rendered_html
from harness.report.runs import Result, rerun
from harness.report.summary import Effect
from harness.report.variants import VariantRow

SYMBOLS = {"helps": "▲", "no difference": "=", "undecided": "○", "hurts": "▼"}
"""What stands beside a verdict's word; in the order in which the table sorts them."""

COLUMNS = (("validation_top1", "Validation error", "%"), ("train_loss", "Training loss", ""))
"""Columns of curves.csv that are drawn: name, title and unit; the first is unfolded."""


@dataclass(frozen=True)
class Pair:
    """A seed's run of a variant and its error, the baseline's with that seed, and the difference, variant − baseline.

    None where there is no such number, or the runs are not compared.
    """

    result: Result
    error: float | None
    base: float | None
    difference: float | None


@dataclass(frozen=True)
class TableRow:
    """A row of the table with its fold-out. `verdict`: in words; `summary`: all that the row's plot shows."""

    effect: Effect
    row: VariantRow
    label: str
    verdict: str
    pairs: list[Pair]
    command: str

    @property
    def summary(self) -> str:
        e = self.effect
        if e.mean is None:
            return f"{self.label}: no complete pair of runs"
        lines = [f"{self.label}: {number(e.mean, sign=True)} points"]
        if e.low is not None:
            lines[0] += f" ({number(e.low, sign=True)} to {number(e.high, sign=True)})"
        lines += [self.verdict] if self.verdict else []
        lines += [f"the paper: {number(e.paper, sign=True)}"] if e.paper is not None else []
        seeds = zip(self.row.difference.seeds, e.values, strict=True)
        shown = [f"{seed}: {number(value, sign=True)}" for seed, value in seeds]
        return "\n".join([*lines, "seeds " + ", ".join(shown[:10]) + (" …" if len(shown) > 10 else "")])

    @property
    def keys(self) -> dict[str, str | float]:
        """What the table sorts by: column -> text or number; '' stands last."""
        e, words = self.effect, list(SYMBOLS)
        return {
            "component": self.label.casefold(),
            "effect": "" if e.mean is None else round(e.mean, 6),
            "verdict": words.index(e.verdict) if e.verdict else "",
            "paper": "" if e.paper is None else e.paper,
            "seeds": e.seeds,
        }


def html_page(
    found: Findings,
    context: dict[str, Any],
    effects: Sequence[Effect],
    answer: str,
    warnings: Sequence[str],
    curves: list[dict[str, Any]],
) -> str:
    """The study's HTML file. `context`: that of the report's details; `curves`: the rows of curves.csv."""
    study, base = found.study, next(row for row in found.rows if row.is_baseline)
    rows = {row.variant: row for row in found.rows}
    entries = [_entry(found, effect, rows[effect.variant]) for effect in effects]
    ends = [end for e in effects for end in (e.mean, e.low, e.high, e.paper, *e.values) if end is not None]
    scale = charts.linear(ends)
    return rendered_html(
        "report.html.j2",
        study=study,
        interim=context["interim"],
        metric=study.file.metric,
        images=images_name(study),
        counts=context["images"][0].counts if context["images"] else {},
        answer=answer,
        warnings=warnings,
        standing=found.standing,
        entries=entries,
        base=base,
        base_error=context["base_error"],
        base_pairs=_pairs(found, base),
        comparison=next((row.comparison for row in found.rows if row.comparison), None),
        judged=[entry for entry in entries if entry.verdict],
        paper=[entry for entry in entries if entry.effect.paper is not None],
        confidence=context["row_confidence"],
        scale=scale,
        places=max(0, -math.floor(math.log10(scale.ticks[1] - scale.ticks[0]) + 1e-9)),
        margin=study.file.margin,
        charts=[
            (charts.curves(curves, [effect.variant for effect in effects], study.baseline, column), title, unit)
            for column, title, unit in COLUMNS
        ],
        unfinished=[cell for cell in found.results.cells if cell.status != "finished"],
        finished=sum(cell.status == "finished" for cell in found.results.cells),
        claims=context["claims"]["counts"] if context["claims"] else [],
        candidate=context["shown"] if context["shown"] and context["shown"].changes else None,
        method_pages=context["method_pages"],
        again=context["again"],
        effect_interval=effect_interval,
        symbols=SYMBOLS | {"hurts here": SYMBOLS["hurts"]},
    )


def _entry(found: Findings, effect: Effect, row: VariantRow) -> TableRow:
    label = effect.component.label + (" (added)" if effect.labelled and effect.component.added else "")
    verdict = "hurts here" if effect.verdict == "hurts" else effect.verdict
    command = rerun(found.study, [row.variant, found.study.baseline])
    return TableRow(effect, row, label, verdict, _pairs(found, row), command)


def _pairs(found: Findings, row: VariantRow) -> list[Pair]:
    base, metric = found.results.finished(found.study.baseline), found.study.file.metric
    differences = dict(zip(row.difference.seeds, row.difference.values, strict=True))
    pairs = []
    for cell in found.results.of(row.variant):
        own = cell.run.metrics[metric] if cell.run and cell.status == "finished" else None
        other = base[cell.seed].metrics[metric] if cell.seed in base else None
        pairs.append(Pair(cell, own, other, None if row.is_baseline else differences.get(cell.seed)))
    return pairs
