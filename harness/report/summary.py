"""The report's first page: what each component does to the compared error, in one sentence and one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.files import read_json
from harness.report import circumstances
from harness.report.findings import Findings
from harness.report.format import paragraph, paragraphs, plain, rendered
from harness.report.variants import VariantRow, rules
from harness.settings.load import declared_names, load_study
from harness.settings.study import Component, Study
from harness.statistics.judging import PROMISED


def answer(study: Study, rows: list[VariantRow], images: str) -> str:
    """The answer of the study: one paragraph of Markdown. `images` names its data, as in `which_images`."""
    base = next(row for row in rows if row.is_baseline)
    judged = [(row, row.comparison) for row in rows if row.comparison and row.comparison.in_family]
    sides = {
        side: [row for row, c in judged if c.verdict == side]
        for side in ("helps", "hurts", "equivalent", "inconclusive")
    }
    decided = [row for row, c in judged if c.verdict in ("helps", "hurts")]
    undecided = [row for row in sides["inconclusive"] if row.difference.sign is not None]
    silent = [row for row in sides["inconclusive"] if row.difference.sign is None] if base.finished else []
    outside = [row for row in rows if row.comparison and not row.comparison.in_family] if base.finished else []
    spoken = [row for row, c in judged if row.difference.sign is not None or c.verdict != "inconclusive"]
    return paragraph(
        "answer",
        study=study,
        rules=rules(study),
        images=images,
        base=base,
        finished=sum(row.finished for row in rows),
        declared=sum(row.declared for row in rows),
        compared=len(judged),
        decided=sorted(decided, key=lambda row: -abs(row.difference.mean or 0)),
        equivalent=sides["equivalent"],
        undecided=undecided,
        few=[row for row in silent if row.difference.n < 2],
        constant=[row for row in silent if row.difference.n >= 2],
        outside=outside,
        spoken=spoken,
        seeds=min((row.comparison.difference.n for row in spoken if row.comparison), default=0),
        promised=PROMISED,
    )


MOST = 10
"""Rows of the table; the details have all."""

WORDS = {"helps": "helps", "hurts": "hurts", "equivalent": "no difference", "inconclusive": "undecided"}
TURNED = {"helps": "hurts", "hurts": "helps"}


@dataclass(frozen=True)
class Effect:
    """What having a component does to the compared error, in points: positive where it lowers the error.

    `low`, `high`: interval of the declared test, cut at what an error between 0 and 100 % can do; None without one.
    `verdict`: in words; '' where the study gives none. `paper`: the paper's effect. `values`: one a
    seed. `settings`: how many differ. `labelled`: whether the study names the component.
    """

    variant: str
    component: Component
    mean: float | None
    low: float | None
    high: float | None
    verdict: str
    paper: float | None
    seeds: int
    values: tuple[float, ...]
    settings: int
    labelled: bool


def effect_of(row: VariantRow, component: Component | None, base: float | None) -> Effect:
    """A variant's difference as its component's effect. `base`: the baseline's error in percent.

    A variant without a label takes out what follows `no-` in its name, or else adds what its name says.
    """
    if component is None and row.variant.startswith("no-"):
        component = Component(row.variant.removeprefix("no-"), False)
    labelled, component = component is not None, component or Component(row.variant, True)
    sign = -1.0 if component.added else 1.0
    d = row.difference
    mean, low, high = d.mean, d.low, d.high
    if low is not None and high is not None and base is not None:
        low, high = max(low, -base), min(high, 100 - base)
    verdict = row.verdict or ""
    ends = sorted(sign * end for end in (low, high) if end is not None)
    return Effect(
        row.variant,
        component,
        None if mean is None else sign * mean,
        ends[0] if ends else None,
        ends[-1] if ends else None,
        WORDS.get(TURNED.get(verdict, verdict) if component.added else verdict, ""),
        None if row.paper is None else sign * row.paper,
        d.n,
        tuple(sign * value for value in d.values),
        len(row.changes),
        labelled,
    )


def effects_of(study: Study, rows: Sequence[VariantRow]) -> list[Effect]:
    """The effects of the variants, largest first."""
    base = next(row.error.mean for row in rows if row.is_baseline)
    found = [effect_of(row, study.components.get(row.variant), base) for row in rows if not row.is_baseline]
    return sorted(found, key=lambda effect: (effect.mean is None, -(effect.mean or 0.0)))


def sentence(found: Findings, effects: Sequence[Effect], images: str) -> str:
    """The study's answer: one sentence of Markdown."""
    one = [effect for effect in effects if effect.settings == 1] or list(effects)
    return paragraph(
        "sentence",
        study=found.study,
        now=found.standing,
        base=next(row for row in found.rows if row.is_baseline),
        finished=sum(row.finished for row in found.rows),
        effects=effects,
        groups={word: [effect for effect in one if effect.verdict == word] for word in WORDS.values()},
        images=plain(images),
    )


def warnings(found: Findings, context: dict[str, Any], effects: Sequence[Effect]) -> list[str]:
    """What to keep in mind of the study, gravest first: sentences of Markdown. `context`: that of the details."""
    started = any(row.finished for row in found.rows)
    return paragraphs(
        "page_warnings",
        chance=context["chance"],
        declared_late=context["declared_late"],
        pooled_alone=[effect for effect in effects if effect.variant in context["pooled_alone"]],
        unfinished=[cell for row in found.rows if started for cell in row.unfinished],
        uncommitted=[cell for cells in context["marked"].values() for cell in cells],
        other_weights=circumstances.other_weights(found.results),
        mixed=[condition.name for condition in found.conditions if condition.matters and condition.mixed],
        failing=[proof.variant for proof in found.proofs if proof.verdict == "fails"],
        several=[effect for effect in effects if effect.settings > 1],
        seeds=min((effect.seeds for effect in effects if effect.verdict), default=PROMISED),
        promised=PROMISED,
        small=bool(context["scale"]),
    )


def page(
    found: Findings, context: dict[str, Any], effects: Sequence[Effect], answer: str, warnings: Sequence[str]
) -> str:
    """The first page as Markdown. `context`: that of the report's details."""
    counts = context["claims"]["counts"] if context["claims"] else []
    kept = {effect.variant for effect in sorted(effects, key=_rank)[:MOST]}
    shown = [effect for effect in effects if effect.variant in kept]
    values = context | {"effects": effects, "shown_effects": shown, "answer_line": answer}
    return rendered("page.md.j2", **values, claim_counts=counts, page_warnings=warnings)


def _rank(effect: Effect) -> tuple[bool, bool, float]:
    """Which effects the table shows first: those with a verdict, those that the paper names, the largest."""
    return effect.verdict in ("undecided", ""), effect.paper is None, -abs(effect.mean or 0.0)


def summary(found: Findings, answer: str) -> dict[str, Any]:
    """What the index of all reports says of the study."""
    cells = found.results.cells
    return {
        "title": found.study.file.title,
        "answer": answer,
        "finished": sum(cell.ended is not None for cell in cells),
        "declared": len(cells),
    }


def index(root: Path) -> str:
    """The index of all declared studies below `root`, those with a report first, as Markdown."""
    rows = []
    for file in declared_names(root):
        study = load_study(file)
        path = root / study.summary
        rows.append((study, read_json(path) if path.exists() else None))
    rows.sort(key=lambda row: (row[1] is None, not row[0].is_default, row[0].name))
    return rendered("index.md.j2", rows=rows)
