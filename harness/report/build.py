"""From a study to its report: the files that are written, and the pages that the templates make of the findings."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from harness.data.notes import lines
from harness.errors import UserError
from harness.files import read_json, write_bytes, write_csv, write_json, write_text
from harness.identity.code import digest
from harness.identity.known import identity, read_known
from harness.record import Images
from harness.report import circumstances, claims, effects, evidence, figures, isolation, runs, variants
from harness.report.evidence import METRIC
from harness.report.findings import Findings
from harness.report.format import METRICS, code, joined, paragraph, paragraphs, plain, rendered
from harness.report.html import html_page
from harness.report.runs import MADE_BY, Results, carried, check_early, read_results
from harness.settings import declared
from harness.settings.load import declared_names, load_study
from harness.settings.parse import parse
from harness.settings.schema import Settings
from harness.settings.study import Study

SCOPE = "train"
SHORT = 12
"""Characters of a hash that are shown."""


def identity_text(results: Results) -> str:
    """One sentence, beside the table of conditions. Raises `UserError` when known.json cannot be read."""
    present = digest(SCOPE)
    earlier = results.code[0] != identity(SCOPE)
    return paragraph(
        "identity",
        present=present,
        known=read_known().proof(SCOPE, present),
        runs=bool(results.ended),
        made=results.code[0] if earlier else None,
        short=SHORT,
    )


# ---- the pictures of one run


class _Picture(BaseModel):
    name: str
    file: str = Field(pattern=r"^[a-z0-9-]+\.(png|svg)$")
    title: str
    caption: str


class _Gallery(BaseModel):
    """What is read of a gallery's index; other keys may stand beside it."""

    run: dict[str, str | int]
    note: str
    pictures: list[_Picture]
    left_out: list[dict[str, str]]


def gallery(study: Study, results: Results, root: Path) -> dict[str, Any]:
    """What the section on pictures says: its lines, as Markdown, and its pictures. Empty where no gallery was made.

    Raises `UserError` when the gallery is broken, or a picture is missing.
    """
    folder = root / study.folder / "gallery"
    path = folder / "gallery.json"
    if not path.exists():
        return {}
    index = parse(_Gallery, read_json(path), str(path))
    for picture in index.pictures:
        if not (folder / picture.file).exists():
            raise UserError(f"{folder / picture.file}: missing, though gallery.json names it; run: harness gallery")
    shown = [cell.run.fingerprint for cell in results.cells if cell.run and cell.key == index.run["key"]]
    outdated = bool(shown) and shown != [index.run["fingerprint"]]
    return {"lines": paragraphs("gallery", index=index, outdated=outdated), "pictures": index.pictures}


# ---- values of the templates that are no findings

ERROR_NAMES = {
    "train_top1": "training", "validation_top1": "validation", "test_top1": "test",
    "test_top1_10crop": "test, ten crops", "gap": "gap", "train_top5": "training top-5",
    "test_top5": "test top-5", "test_top5_10crop": "test top-5, ten crops",
}  # fmt: skip
"""Columns of the table of levels, where there is such a number."""

PAGES = {"method": "how it works", "calibration": "how often it errs"}
"""Pages on the tests beside the reports, where they are there."""

INDEX_PAGES = {
    "method": "How verdicts come about", "calibration": "How often they err",
    "reliability": "What was tried to break the harness",
}  # fmt: skip
"""The same, and another, as the index of all reports has them."""

MOST = 10
"""Rows of the first page's table; the details have all."""


def _values(findings: Findings) -> dict[str, Any]:
    """What every page is given."""
    study, root = findings.study, findings.root
    path = study.path if study.path.is_absolute() else root / study.path
    inside = path.resolve().is_relative_to(root.resolve())
    name = path.resolve().relative_to(root.resolve()) if inside else Path(path.name)
    measured = {error for row in [*findings.rows, findings.candidate] if row for error in row.errors}
    return {
        "findings": findings,
        "study": study,
        "base": findings.base,
        "metric": study.file.metric,
        "folder": study.name,
        "source": lambda *files: f"Numbers: {joined([f'[{file}]({file})' for file in files])}.",
        "method_pages": _present(PAGES, root),
        "most": MOST,
        "error_names": {error: words for error, words in ERROR_NAMES.items() if error in measured},
        "evidence_metric": METRIC,
        "curve_names": effects.LEVEL_CURVES,
        "varied": circumstances.varied(study),
        "held": circumstances.held_fixed(study),
        "study_link": f"[{plain(name.as_posix())}](<{os.path.relpath(name, study.folder)}>)" if inside else code(name),
        "unreadable": _unreadable(findings),
        "notes": lines(findings.manifest.notes) if findings.manifest else [],
        "identity": identity_text(findings.results),
        "conditions": [shared for shared in findings.conditions if shared.groups.keys() - {circumstances.NONE}],
        "gallery": gallery(study, findings.results, root),
    }


def _present(pages: dict[str, str], root: Path) -> dict[str, str]:
    return {page: words for page, words in pages.items() if (root / f"reports/{page}.md").exists()}


def _unreadable(findings: Findings) -> list[tuple[Images, list[tuple[str, str]]]]:
    """Each set of images that lacks some, with these files and why, where the study's manifest is of this set."""
    manifest = findings.manifest
    incomplete = [images for images in findings.images if images.left_out]
    files = {manifest.hash: [(file["path"], file["why"]) for file in manifest.left_out]} if manifest else {}
    return [(images, files.get(images.hash, [])) for images in incomplete]


# ---- what is written


def faults(findings: Findings) -> list[str]:
    """A line for each thing that should be one for all runs and is not, and for each row that is not what it says.

    Runs that are not there, unless the report is early on purpose (one that diverged is a result); a declaration that
    was not written down; images, code and environment as far as numbers depend on them; a variant of which more than
    its switch changed; runs made with uncommitted code; errors of other weights than the recorded ones. Raises
    `UserError`.
    """
    study, results, seen = findings.study, findings.results, findings.declarations
    lost = [] if results.early else [cell for cell in results.cells if cell.status in ("missing", "stale")]
    outdated = bool(seen) and seen[-1].declaration != study.declaration
    return paragraphs(
        "strict",
        findings=findings,
        lost=lost,
        counts=Counter(cell.status for cell in lost),
        of=len(results.cells),
        stale=list(dict.fromkeys(cell.note for cell in lost if cell.status == "stale")),
        file=declared.path_of(study),
        seen=seen,
        outdated=outdated,
        changed=list(declared.differing(seen[-1].statement, study.statement)) if outdated else [],
    )


def render(study: Study, candidate: tuple[Settings, int] | None, root: Path, early: bool = False) -> Path:
    """Write the report of `study` below `root`, with its figures and tables, and return its path.

    It reads the results of the declared cells, and of the candidate where there is one, and renews the index of all
    studies. `early`: the report is interim.

    Raises `UserError` for a result that is broken, and for an early report on a study that is done.
    """
    results = read_results(study, candidate, root, early)
    if early:
        check_early(study, results)
    findings = Findings(study, results, candidate, root)
    folder, curves = root / study.folder, runs.curves_csv(results)
    rows = carried(study, results, variants.variants_csv(findings.rows, findings.candidate, findings.standing))
    images = carried(study, results, evidence.evidence_csv(findings.evidence, study.file.confidence))
    write_csv(folder / "variants.csv", rows, [*variants.VARIANT_COLUMNS, *MADE_BY, *study.file.metrics])
    write_csv(folder / "images.csv", images, [*evidence.IMAGE_COLUMNS, *MADE_BY])
    write_csv(folder / "cells.csv", runs.cells_csv(study, results), [*runs.CELL_COLUMNS, *study.file.metrics])
    write_csv(folder / "curves.csv", curves, runs.CURVE_COLUMNS)
    write_csv(folder / "effects.csv", effects.effects_csv(findings.effects, study), effects.EFFECT_COLUMNS)
    write_csv(folder / "proof.csv", isolation.proof_csv(findings.proofs, study, results), isolation.PROOF_COLUMNS)
    write_csv(folder / "ledger.csv", claims.ledger_csv(findings.claims), claims.LEDGER_COLUMNS)
    metric, names = METRICS[study.file.metric], list(study.variants)
    write_bytes(folder / "forest.svg", figures.forest(findings.components, study.file.margin, metric))
    write_bytes(folder / "seeds.svg", figures.seeds(findings.rows, metric))
    write_bytes(folder / "power.svg", figures.power(findings.rows))
    for file, column, label in (
        ("curves-error", "validation_top1", "validation error in %"),
        ("curves-loss", "train_loss", "training loss"),
    ):
        write_bytes(folder / f"{file}.svg", figures.curves(curves, names, study.baseline, column, label))
    values = _values(findings)
    write_text(folder / "details.md", rendered("details.md.j2", **values))
    write_text(folder / "claims.md", rendered("claims.md.j2", **values, words=claims))
    write_text(root / study.report, rendered("page.md.j2", **values))
    write_text(root / study.html, html_page(findings, values, curves))
    ended = sum(cell.ended is not None for cell in results.cells)
    summary = {"title": study.file.title, "answer": findings.answer, "finished": ended, "declared": len(results.cells)}
    write_json(root / study.summary, summary)
    studies = [
        (other, read_json(root / other.summary) if (root / other.summary).exists() else None)
        for other in map(load_study, declared_names(root))
    ]
    studies.sort(key=lambda row: (row[1] is None, not row[0].is_default, row[0].name))
    write_text(root / study.index, rendered("index.md.j2", rows=studies, pages=_present(INDEX_PAGES, root)))
    return root / study.report
