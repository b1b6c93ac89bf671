"""From a study to its report: what the templates are given, and the files that are written."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from harness.data.packed import read_manifest
from harness.files import write_bytes, write_csv, write_json, write_text
from harness.identity.code import digest
from harness.identity.known import read_known
from harness.net.layout import layout
from harness.record import Images
from harness.report import circumstances, claims, csv_rows, evidence, figures, html, isolation, other_effects, summary
from harness.report.claims import section as claims_section
from harness.report.csv_rows import MADE_BY, carried
from harness.report.declarations import declaration_text, declaration_warnings, late_declaration
from harness.report.evidence import OWN
from harness.report.findings import Findings
from harness.report.format import (
    METRICS,
    code,
    confidence,
    error_text,
    images_name,
    joined,
    paragraph,
    paragraphs,
    places_of,
    plain,
    rendered,
    which_images,
)
from harness.report.isolation import proof_rows, proof_warnings
from harness.report.other_effects import effects_section
from harness.report.pictures import gallery
from harness.report.runs import Results, read_results, rerun
from harness.report.summary import answer
from harness.report.variants import Standing, VariantRow, check_early, compared_errors, comparisons, errors_of, rules
from harness.settings import declared
from harness.settings.schema import Settings
from harness.settings.study import Study, top_of
from harness.statistics.comparison import Comparison
from harness.statistics.models import residuals_of

SCOPE = "train"
SHORT = 12
"""Characters of a hash that are shown."""


def identity_text(results: Results) -> str:
    """One sentence, beside the table of conditions. Raises `UserError` when known.json cannot be read."""
    present = digest(SCOPE)
    runs = any(cell.ended for cell in results.all)
    return paragraph("identity", present=present, known=read_known().proof(SCOPE, present), runs=runs, short=SHORT)


SCALES_DIFFER = 0.01
"""p of Bartlett's test at which arms are said to scatter differently: a hint, so that it is to be seldom false."""

LEAST_ARMS = 5
"""Seeds and arms from which on it is asked whether the arms' scales differ: fewer cannot say."""


def pooled_alone(study: Study, results: Results) -> list[tuple[str, Comparison]]:
    """Variants whose verdict rests on the pooled variance, each with its own paired t comparison, which has another."""
    if rules(study).test != "block":
        return []
    own = comparisons(study, results)
    alone = comparisons(replace(study, file=study.file.model_copy(update={"test": "paired_t"})), results)
    return [(name, alone[name]) for name, c in own.items() if c.in_family and c.verdict != alone[name].verdict]


def robustness(study: Study, results: Results, others: list[tuple[str, Comparison]]) -> str:
    """What a reader is to know of a pooled variance; empty where nothing hangs on it."""
    apart = _apart(study, results) if rules(study).test == "block" else {}
    return paragraph("robust", others=others, apart=apart)


def _apart(study: Study, results: Results) -> dict[str, float]:
    """The sds of the arms' residuals, and p, where they differ by Bartlett's test; else nothing."""
    errors = compared_errors(study, results)
    seeds = sorted(set.intersection(*(set(arm) for arm in errors.values()))) if errors else []
    table = np.array([[arm[seed] for arm in errors.values()] for seed in seeds])
    if len(errors) < LEAST_ARMS or len(seeds) < LEAST_ARMS or not np.isfinite(table).all():
        return {}
    residuals = residuals_of(table)
    p = float(stats.bartlett(*residuals.T).pvalue) if (residuals.std(0) > 0).all() else 0.0
    sds = residuals.std(0, ddof=1)
    return {} if p > SCALES_DIFFER else {"p": p, "least": float(sds.min()), "most": float(sds.max())}


ERROR_NAMES = {
    "train_top1": "training", "validation_top1": "validation", "test_top1": "test",
    "test_top1_10crop": "test, ten crops", "gap": "gap", "train_top5": "training top-5",
    "test_top5": "test top-5", "test_top5_10crop": "test top-5, ten crops",
}  # fmt: skip
"""Columns of the table of levels, where there is such a number."""

PAGES = {"method": "how it works", "calibration": "how often it errs"}
"""Pages on the tests beside the reports, where they are there."""


def template_values(found: Findings, effects: Sequence[summary.Effect]) -> dict[str, Any]:
    study, rows, candidate, results, root = found.study, found.rows, found.candidate, found.results, found.root
    now = found.standing
    pooled = pooled_alone(study, results) if now.judged else []
    # A study without a candidate of its own has no empty row for it; the section on the candidate says so.
    shown = candidate if candidate and candidate.result.status != "missing" else None
    single = errors_of([candidate.run]) if candidate and candidate.run else {}
    chance = chance_of(rows, results)
    used = circumstances.images(results)
    name = images_name(study)
    which = which_images(name, used[0].counts) if used else plain(name)
    base = next(row for row in rows if row.is_baseline)
    marked = circumstances.uncommitted(results)
    file = inside(study.path, root)
    link = f"[{plain(file.as_posix())}](<{os.path.relpath(file, study.folder)}>)" if file else ""
    there = [own for own in found.evidence.values() if own]
    return {
        "study": study,
        "folder": study.name,
        "metric": study.file.metric,
        "top": top_of(study.file.metric),
        "source": lambda *files: f"Numbers: {joined([f'[{file}]({file})' for file in files])}.",
        "base": base,
        "which_images": which,
        "pooled_alone": [name for name, _ in pooled],
        "verdicts": {effect.variant: effect.verdict for effect in effects},
        "base_error": error_text(base),
        "error_places": max((places_of(row.difference) for row in rows if row.difference.n), default=1) + 1,
        "declared_late": paragraph("declared_late", **late_declaration(results, found.declarations)),
        "interim": now.interim,
        "standing": paragraph("standing", now=now, study=study),
        "answer": answer(study, rows, which) if now.judged else "",
        "scale": _scale(study, which),
        "warnings": paragraphs(
            "warnings",
            chance=chance,
            mixed=[condition.name for condition in found.conditions if condition.matters and condition.mixed],
            proofs=proof_warnings(found.proofs),
            uncommitted=[cell for cells in marked.values() for cell in cells],
            other_weights=circumstances.other_weights(results),
            several=[row for row in rows if len(row.changes) > 1],
        )
        + declaration_warnings(results, found.declarations),
        "confidence": confidence(study),
        "row_confidence": confidence(study, rows),
        "rows": rows,
        "marked": marked,
        "shown": shown,
        "method": _method(study, rows, results, now, pooled, root),
        "unfinished": [
            cell for cell in [*results.cells, *([shown.result] if shown else [])] if cell.status != "finished"
        ],
        "claims": claims_section(found.claims),
        "evidence": found.evidence if there else {},
        "own": OWN,
        "test_images": there[0].images if there else 0,
        "image_floor": max((e.floor for e in there), default=0),
        "effects": effects_section(found.effects),
        "chance": chance,
        "error_names": {
            name: words
            for name, words in ERROR_NAMES.items()
            if name in single or any(name in row.errors for row in rows)
        },
        "single": single,
        "diverged": [cell for cell in results.all if cell.run and cell.status == "diverged"],
        "candidate": paragraph("candidate", study=study, own=candidate) if candidate else "",
        "declared": declaration_text(study, results, found.declarations),
        "varied": circumstances.varied(study),
        "held": circumstances.held_fixed(study),
        "study_link": link or code(study.path.name),
        "images": used,
        "unreadable": _unreadable(study, used, root),
        "identity": identity_text(results),
        "conditions": [one for one in found.conditions if one.groups.keys() - {circumstances.NONE}],
        "proofs": proof_rows(found.proofs, study, results, root),
        "gallery": gallery(study, results, root),
        "commits": [commit for one in found.conditions if one.name == "commit" for commit in one.groups],
        "again": rerun(study, list(dict.fromkeys([*_single(rows), study.baseline]))),
        "method_pages": [f"[{name}]({name}.md)" for name in PAGES if (root / "reports" / f"{name}.md").exists()],
    }


def inside(path: Path, root: Path) -> Path | None:
    """A path relative to the repository, or None when it lies elsewhere."""
    absolute = path.resolve() if path.is_absolute() else (root / path).resolve()
    return absolute.relative_to(root.resolve()) if absolute.is_relative_to(root.resolve()) else None


def _single(rows: list[VariantRow]) -> list[str]:
    """The first variant of one setting, for the command that runs a component again."""
    return [row.variant for row in rows if not row.is_baseline and len(row.changes) == 1][:1]


def chance_of(rows: list[VariantRow], results: Results) -> dict[str, Any]:
    """What guessing at random comes to; nothing before any run is there.

    `error`: of guessing `top` of `classes`, in percent; `base`: the baseline; `lost`: the rows that are no better.
    """
    classes = min((c.run.images.classes for c in results.cells if c.run and c.status != "stale"), default=None)
    if classes is None:
        return {}
    base = next(row for row in rows if row.is_baseline)
    top = top_of(base.metric)
    error = 100 * (1 - top / classes)
    lost = [row for row in rows if row.error.mean is not None and row.error.mean > error - 3 * (row.floor or 0)]
    return {"top": top, "classes": classes, "error": error, "base": base, "lost": lost}


def _method(
    study: Study,
    rows: list[VariantRow],
    results: Results,
    now: Standing,
    pooled: list[tuple[str, Comparison]],
    root: Path,
) -> str:
    """How the tests were made, and where they are explained, as far as these pages are there."""
    family = [row.comparison for row in rows if row.comparison and row.comparison.in_family]
    decided = [c for c in family if c.verdict in ("helps", "hurts")]
    mute = [c for c in family if c.flip.p is not None and not c.flip.can_reject(c.alpha, c.comparisons)]
    return paragraph(
        "method",
        judged=now.judged,
        rules=rules(study),
        rows=rows,
        mute=[c.flip.least or 1 for c in mute],
        agreeing=sum(c.flip_adjusted is not None and c.flip_adjusted <= c.alpha for c in decided),
        robust=robustness(study, results, pooled) if now.judged else "",
        pages=[f"[{what}](../{name}.md)" for name, what in PAGES.items() if (root / "reports" / f"{name}.md").exists()],
    )


def _scale(study: Study, images: str) -> str:
    """The baseline's net, images and epochs beside the paper's; empty where they are the paper's."""
    base, paper = study.variants[study.baseline], Settings()
    imagenet = study.data.source == "imagenet" or study.data.release
    if imagenet and _net(base) == _net(paper) and base.epochs >= paper.epochs:
        return ""
    return paragraph("scale", base=base, paper=paper, net=_net, images=images)


def _net(settings: Settings) -> str:
    """`crops of 224 pixels, 96-256-384-384-256 kernels and 4096-4096 units`."""
    rows = layout(settings)
    kernels = "-".join(str(row.outputs) for row in rows if row.kind != "fc")
    hidden = "-".join(str(row.outputs) for row in rows[:-1] if row.kind == "fc")
    units = f" and {hidden} fully connected units" if hidden else ""
    return f"crops of {settings.crop} pixels, {kernels} kernels{units}"


def _unreadable(study: Study, used: list[Images], root: Path) -> list[tuple[Images, list[tuple[str, str]]]]:
    """Each set of images that lacks some, with these files and why, where the study's manifest is of this set."""
    path = root / study.manifest
    manifest = read_manifest(path) if path.exists() and any(images.left_out for images in used) else None
    files = [(one["path"], one["why"]) for one in manifest.left_out] if manifest else []
    own = manifest.hash if manifest else ""
    return [(images, files if images.hash == own else []) for images in used if images.left_out]


def faults(found: Findings) -> list[str]:
    """A line for each thing that should be one for all runs and is not, and for each row that is not what it says.

    Runs that are not there, unless the report is early on purpose (one that diverged is a result); a declaration that
    was not written down; images, code and environment as far as numbers depend on them; a variant of which more than
    its switch changed; runs made with uncommitted code; errors of other weights than the recorded ones. Raises
    `UserError`.
    """
    study, results, seen = found.study, found.results, found.declarations
    lost = [] if results.early else [cell for cell in results.cells if cell.status in ("missing", "stale")]
    outdated = bool(seen) and seen[-1].declaration != study.declaration
    return paragraphs(
        "strict",
        lost=lost,
        counts=Counter(cell.status for cell in lost),
        of=len(results.cells),
        stale=list(dict.fromkeys(cell.note for cell in lost if cell.status == "stale")),
        file=declared.path_of(study),
        seen=seen,
        outdated=outdated,
        changed=list(declared.differing(seen[-1].statement, study.statement)) if outdated else [],
        mixed=[condition for condition in found.conditions if condition.matters and condition.mixed],
        failing=[
            (proof.variant, list(dict.fromkeys(failure for pair in proof.pairs for failure in pair.failures)))
            for proof in found.proofs
            if proof.verdict == "fails"
        ],
        uncommitted=circumstances.uncommitted(results),
        reweighted=circumstances.other_weights(results),
    )


def render(study: Study, candidate: tuple[Settings, int] | None, root: Path, early: bool = False) -> Path:
    """Write the report of `study` below `root`, with its figures and tables, and return its path.

    It reads the results of the declared cells, and of the candidate where there is one. `early`: the report is interim.
    Raises `UserError` for a result that is broken, and for an early report on a study that is done.
    """
    results = read_results(study, candidate, root, early)
    if early:
        check_early(study, results)
    found = Findings(study, results, candidate, root)
    own = found.candidate
    curves = csv_rows.curves_csv(results)
    folder = root / study.folder
    effects = summary.effects_of(study, found.rows)
    made = carried(study, results, csv_rows.variants_csv(found.rows, own, found.standing))
    write_csv(folder / "variants.csv", made, [*csv_rows.VARIANT_COLUMNS, *MADE_BY])
    write_csv(folder / "cells.csv", csv_rows.cells_csv(results), csv_rows.CELL_COLUMNS)
    write_csv(folder / "curves.csv", curves, csv_rows.CURVE_COLUMNS)
    write_csv(folder / "proof.csv", isolation.proof_csv(found.proofs, study, results), isolation.PROOF_COLUMNS)
    write_csv(folder / "ledger.csv", claims.ledger_csv(found.claims), claims.LEDGER_COLUMNS)
    names = list(study.variants)
    write_bytes(
        folder / "forest.svg",
        figures.forest(effects, study.file.margin, METRICS[study.file.metric]),
    )
    images = evidence.evidence_csv(found.evidence, study.file.confidence)
    write_csv(folder / "images.csv", carried(study, results, images), [*evidence.IMAGE_COLUMNS, *MADE_BY])
    others = other_effects.effects_csv(found.effects, study)
    write_csv(folder / "effects.csv", others, other_effects.EFFECT_COLUMNS)
    write_bytes(folder / "seeds.svg", figures.seeds(found.rows, METRICS[study.file.metric]))
    write_bytes(folder / "power.svg", figures.power(found.rows))
    for name, column, label in (
        ("curves-error", "validation_top1", "validation error in %"),
        ("curves-loss", "train_loss", "training loss"),
    ):
        write_bytes(folder / f"{name}.svg", figures.curves(curves, names, study.baseline, column, label))
    context = template_values(found, effects)
    answer = summary.sentence(found, effects, images_name(study))
    write_text(folder / "details.md", rendered("details.md.j2", **context))
    write_text(folder / "claims.md", rendered("claims.md.j2", **context))
    write_json(root / study.summary, summary.summary(found, answer))
    path = root / study.report
    warnings = summary.warnings(found, context, effects)
    write_text(path, summary.page(found, context, effects, answer, warnings))
    write_text(root / study.html, html.html_page(found, context, effects, answer, warnings, curves))
    write_text(root / study.index, summary.index(root))
    return path
