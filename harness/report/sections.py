"""What the report's templates are given: the findings, and what only this place works out from them."""

import os
from pathlib import Path
from typing import Any

from harness.data.packed import read_manifest
from harness.net.layout import layout
from harness.record import Images
from harness.report import conditions, declared, ledger, proof, robust, words
from harness.report.answer import answer
from harness.report.cells import Results
from harness.report.effects_section import effects_section
from harness.report.evidence import OWN
from harness.report.findings import Findings
from harness.report.gallery import gallery
from harness.report.identity_text import identity_text
from harness.report.looks import Standing
from harness.report.markdown import code, joined, plain
from harness.report.numbers import places_of
from harness.report.rerun import inside, rerun
from harness.report.tables import VariantRow, errors_of, rules
from harness.report.template import paragraph, paragraphs
from harness.settings.schema import Settings
from harness.settings.study import Study, top_of

ERROR_NAMES = {
    "train_top1": "training", "validation_top1": "validation", "test_top1": "test",
    "test_top1_10crop": "test, ten crops", "gap": "gap", "train_top5": "training top-5",
    "test_top5": "test top-5", "test_top5_10crop": "test top-5, ten crops",
}  # fmt: skip
"""Columns of the table of levels, where there is such a number."""

PAGES = {"method": "how it works", "calibration": "how often it errs"}
"""Pages on the tests beside the reports, where they are there."""


def context(found: Findings) -> dict[str, Any]:
    study, rows, candidate, results, root = found.study, found.rows, found.candidate, found.results, found.root
    now = found.standing
    # A study without a candidate of its own has no empty row for it; the section on the candidate says so.
    shown = candidate if candidate and candidate.result.status != "missing" else None
    single = errors_of([candidate.run]) if candidate and candidate.run else {}
    chance = chance_of(rows, results)
    used = conditions.images(results)
    name = words.images_name(study)
    which = words.which_images(name, used[0].counts) if used else plain(name)
    base = next(row for row in rows if row.is_baseline)
    marked = conditions.uncommitted(results)
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
        "base_error": words.error_text(base),
        "error_places": max((places_of(row.difference) for row in rows if row.difference.n), default=1) + 1,
        "declared_late": paragraph("declared_late", **declared.late(results, found.declarations)),
        "interim": now.interim,
        "standing": paragraph("standing", now=now, study=study),
        "answer": answer(study, rows, which) if now.judged else "",
        "scale": _scale(study, which),
        "warnings": paragraphs(
            "warnings",
            chance=chance,
            mixed=[condition.name for condition in found.conditions if condition.matters and condition.mixed],
            proofs=proof.proof_warnings(found.proofs),
            uncommitted=[cell for cells in marked.values() for cell in cells],
            other_weights=conditions.other_weights(results),
            several=[row for row in rows if len(row.changes) > 1],
        )
        + declared.warnings(results, found.declarations),
        "confidence": words.confidence(study),
        "row_confidence": words.confidence(study, rows),
        "rows": rows,
        "marked": marked,
        "shown": shown,
        "method": _method(study, rows, results, now, root),
        "unfinished": [
            cell for cell in [*results.cells, *([shown.result] if shown else [])] if cell.status != "finished"
        ],
        "claims": ledger.section(found.claims),
        "evidence": found.evidence if there else {},
        "own": OWN,
        "test_images": there[0].images if there else 0,
        "image_floor": max((e.floor for e in there), default=0),
        "effects": effects_section(found.effects, study, root),
        "chance": chance,
        "error_names": {
            name: words
            for name, words in ERROR_NAMES.items()
            if name in single or any(name in row.errors for row in rows)
        },
        "single": single,
        "diverged": [cell for cell in results.all if cell.run and cell.status == "diverged"],
        "candidate": paragraph("candidate", study=study, own=candidate) if candidate else "",
        "declared": declared.text(study, results, found.declarations),
        "varied": conditions.varied(study),
        "held": conditions.held_fixed(study),
        "study_link": link or code(study.path.name),
        "images": used,
        "unreadable": _unreadable(study, used, root),
        "identity": identity_text(results),
        "conditions": [one for one in found.conditions if one.groups.keys() - {conditions.NONE}],
        "proofs": proof.proof_rows(found.proofs, study, results, root),
        "gallery": gallery(study, results, root),
        "commits": [commit for one in found.conditions if one.name == "commit" for commit in one.groups],
        "again": rerun(study, list(dict.fromkeys([list(study.variants)[-1], study.baseline]))),
        "method_pages": [f"[{name}]({name}.md)" for name in PAGES if (root / "reports" / f"{name}.md").exists()],
    }


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


def _method(study: Study, rows: list[VariantRow], results: Results, now: Standing, root: Path) -> str:
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
        robust=robust.text(study, results) if now.judged else "",
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
