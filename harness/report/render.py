"""From a study to its report on the disk: the one place of the report that writes."""

from pathlib import Path

from harness.files import write_bytes, write_csv, write_json, write_text
from harness.report import csv_rows, effects_section, evidence, figures, html, ledger, proof, sections, summary
from harness.report.cells import read_results
from harness.report.findings import Findings
from harness.report.looks import check_early
from harness.report.rerun import MADE_BY, carried
from harness.report.template import rendered
from harness.report.words import METRICS, images_name
from harness.settings.schema import Settings
from harness.settings.study import Study


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
    write_csv(folder / "proof.csv", proof.proof_csv(found.proofs, study, results), proof.PROOF_COLUMNS)
    write_csv(folder / "ledger.csv", ledger.ledger_csv(found.claims), ledger.LEDGER_COLUMNS)
    names = list(study.variants)
    write_bytes(
        folder / "forest.svg",
        figures.forest(effects, study.file.margin, METRICS[study.file.metric]),
    )
    images = evidence.evidence_csv(found.evidence, study.file.confidence)
    write_csv(folder / "images.csv", carried(study, results, images), [*evidence.IMAGE_COLUMNS, *MADE_BY])
    others = effects_section.effects_csv(found.effects, study, root)
    write_csv(folder / "effects.csv", others, effects_section.EFFECT_COLUMNS)
    write_bytes(folder / "seeds.svg", figures.seeds(found.rows, METRICS[study.file.metric]))
    write_bytes(folder / "power.svg", figures.power(found.rows))
    for name, column, label in (
        ("curves-error", "validation_top1", "validation error in %"),
        ("curves-loss", "train_loss", "training loss"),
    ):
        write_bytes(folder / f"{name}.svg", figures.curves(curves, names, study.baseline, column, label))
    context = sections.context(found)
    answer = summary.sentence(found, effects, images_name(study))
    write_text(folder / "details.md", rendered("details.md.j2", **context))
    write_text(folder / "claims.md", rendered("claims.md.j2", **context))
    write_json(folder / summary.SUMMARY, summary.summary(found, answer))
    path = root / study.report
    warnings = summary.warnings(found, context, effects)
    write_text(path, summary.page(found, context, effects, answer, warnings))
    write_text(root / study.html, html.html_page(found, context, effects, answer, warnings, curves))
    write_text(path.with_name("README.md"), summary.index(root))
    return path
