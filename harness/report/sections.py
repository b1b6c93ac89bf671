"""What stands in each section of the report: rows of text, ready for the template."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.progress import clock
from harness.report import candidate_section, conditions, declared, ledger, looks, proof, robust, words
from harness.report.answer import answer
from harness.report.cells import CANDIDATE, Result, Results
from harness.report.chance import Chance
from harness.report.effects_section import effects_section
from harness.report.evidence import evidence_section
from harness.report.findings import Findings
from harness.report.gallery import gallery
from harness.report.identity_text import identity_text
from harness.report.markdown import code, joined, plain, unbroken
from harness.report.numbers import NOTHING, adjusted_p, decimals, interval, mean_sd, number, places_of, value
from harness.report.rerun import inside, rerun
from harness.report.scale import scale
from harness.report.tables import VariantRow, errors_of, other_crop
from harness.report.unreadable import unreadable_text
from harness.settings.study import Study, top_of
from harness.statistics.paired import Summary

ERROR_NAMES = {
    "train_top1": "training", "validation_top1": "validation", "test_top1": "test",
    "test_top1_10crop": "test, ten crops", "gap": "gap", "train_top5": "training top-5",
    "test_top5": "test top-5", "test_top5_10crop": "test top-5, ten crops",
}  # fmt: skip
"""Columns of the table of levels, where there is such a number."""

MARK = "†"
"""Beside a row with runs of changes that no commit holds."""

OTHER = {
    "test_top1_10crop": "ten crops, %", "test_top1": "centre crop, %",
    "test_top5_10crop": "ten crops, %", "test_top5": "centre crop, %",
}  # fmt: skip
"""Head of the column of the test error that is not the study's metric."""


def context(found: Findings) -> dict[str, Any]:
    """Everything that the template names."""
    study, rows, candidate, results, root = found.study, found.rows, found.candidate, found.results, found.root
    now = found.standing
    marked = conditions.uncommitted(results)
    guessing = Chance.of(rows, results)
    run = candidate.result.run if candidate and candidate.result.status == "finished" else None
    single = errors_of([run]) if run else {}
    names = [name for name in ERROR_NAMES if name in single or any(name in row.errors for row in rows)]
    used = conditions.images(results)
    # A study without a candidate of its own has no empty row for it; the section on the candidate says so.
    shown = candidate is not None and candidate.result.status != "missing"
    which = words.which_images(used[0].images.name, used[0].images.counts) if used else plain(study.data.source)
    return {
        "study": study,
        "folder": study.name,
        "source": lambda *files: f"Numbers: {joined([f'[{file}]({study.name}/{file})' for file in files])}.",
        "interim": now.interim,
        "answer": " ".join(filter(None, (now.text(study), answer(study, rows, which) if now.judged else ""))),
        "scale": scale(study, which),
        "warnings": [
            *(guessing.warnings() if guessing else []),
            *_warnings(found.conditions),
            *proof.proof_warnings(found.proofs),
            *_uncommitted(marked),
            *_other_weights(conditions.other_weights(results)),
            *_together(rows),
            *declared.warnings(results, found.declarations),
        ],
        "declared": declared.text(study, results, found.declarations),
        "proofs": proof.proof_rows(found.proofs, study, results, root),
        "gallery": gallery(study, results, root),
        "confidence": words.confidence(study),
        "row_confidence": words.confidence(study, rows),
        "method": " ".join(filter(None, [*_method(study, rows, results, now.judged), *_explained(root)])),
        "metric": words.METRICS[study.file.metric],
        "top": top_of(study.file.metric),
        "other_metric": OTHER[other_crop(study.file.metric)],
        "variants": [_variant(row, row.variant in marked) for row in rows]
        + ([candidate_section.row(candidate, study)] if candidate and shown else []),
        "unfinished": [
            _unfinished(cell)
            for cell in [*results.cells, *([candidate.result] if candidate and shown else [])]
            if cell.status != "finished"
        ],
        "claims": ledger.section(found.claims),
        "evidence": evidence_section(found.evidence, study.file.metric),
        "effects": effects_section(found.effects, study, root),
        "levels": guessing.levels() if guessing else "No run is there yet.",
        "error_names": [ERROR_NAMES[name] for name in names],
        "errors": _errors(rows, single, names),
        "diverged": _diverged(results.all),
        "candidate": candidate_section.candidate_text(study, candidate),
        "varied": joined([code(name) for name in conditions.varied(study)]) or "nothing",
        "held": [_held(group) for group in conditions.held_fixed(study)],
        "study_link": _link(study, root),
        "images": [_images(run.images) for run in used],
        "unreadable": unreadable_text(study, [run.images for run in used], root),
        "identity": identity_text(results),
        "conditions": [_condition(one) for one in found.conditions if one.groups.keys() - {conditions.NONE}],
        "rerun": _rerun(found.conditions),
        "commands": [_commands(study, row.variant, results, root) for row in rows]
        + ([candidate_section.commands(candidate)] if candidate and shown else []),
    }


def _warnings(found: Iterable[conditions.Condition]) -> list[str]:
    mixed = [plain(condition.name) for condition in found if condition.matters and condition.mixed]
    if not mixed:
        return []
    return [
        f"The runs differ in {joined(mixed)}, which should be one for all: part of a difference between variants may "
        "come from there. Which runs have what stands under [what was held fixed](#what-was-held-fixed)."
    ]


def _uncommitted(marked: dict[str, list[Result]]) -> list[str]:
    if not marked:
        return []
    cells = [cell for found in marked.values() for cell in found]
    return [
        f"{MARK} Made with changes that their commit does not hold, so that nobody can make them again from it: "
        f"{words.cells_text(cells)}. The hash of the changes stands in cells.csv, in the column `dirty`."
    ]


def _other_weights(marked: list[Result]) -> list[str]:
    if not marked:
        return []
    return [
        "Evaluated with weights that are not bitwise identical to the recorded ones, since training the run again on "
        f"the machine of the evaluation gave others: {words.cells_text(marked)}."
    ]


def _together(rows: Iterable[VariantRow]) -> list[str]:
    several = [row for row in rows if len(row.changes) > 1]
    if not several:
        return []
    named = joined([f"{code(row.variant)} ({len(row.changes)})" for row in several])
    return [
        f"Changed in several settings at once: {named}. {'Its' if len(several) == 1 else 'Each'} difference is that of "
        "all of them together, and no verdict on one of them alone; the table names them."
    ]


def _variant(row: VariantRow, uncommitted: bool) -> list[str]:
    d = row.difference
    other = row.errors.get(other_crop(row.metric))
    bold = "**" if row.comparison and row.comparison.verdict in ("helps", "hurts") else ""
    compared = [
        f"{bold}{number(d.mean, places_of(d), sign=True)}{bold}",
        unbroken(interval(d)) if d.n else NOTHING,
        str(d.n),
        *_decision(row),
    ]
    return [
        code(row.variant) + (f" {MARK}" if uncommitted else ""),
        "(the baseline)" if row.is_baseline else words.changes_text(row.changes, "nothing"),
        unbroken(f"{row.finished} of {row.declared}"),
        unbroken(mean_sd(row.error, row.floor)),
        *([NOTHING] * 6 if row.is_baseline else compared),
        _paper(row),
        number(other.mean, decimals(other.sd or row.floor)) if other else NOTHING,
        f"{row.parameters:,}" if row.parameters else NOTHING,
        _time(row.times),
    ]


def _time(seconds: tuple[float, ...]) -> str:
    """`49 s (4 s to 88 s)`: what else the machine did is in it, so the range is shown."""
    if not seconds:
        return NOTHING
    least, mean, most = (clock(one) for one in (min(seconds), sum(seconds) / len(seconds), max(seconds)))
    return unbroken(mean if least == most else f"{mean} ({least} to {most})")


def _paper(row: VariantRow) -> str:
    if row.published is None or row.paper is None:
        return NOTHING
    return f"{number(row.paper, 1, sign=True)} ({plain(row.published.where)})"


def _method(study: Study, rows: list[VariantRow], results: Results, judged: bool) -> list[str]:
    return [words.method(study, rows), robust.text(study, results)] if judged else [looks.UNJUDGED]


def _explained(root: Path) -> list[str]:
    """Where the tests are explained, as far as these pages are there."""
    pages = {"method": "how it works", "calibration": "how often it errs"}
    found = [f"[{what}]({name}.md)" for name, what in pages.items() if (root / "reports" / f"{name}.md").exists()]
    return [f"More: {joined(found)}."] if found else []


def _decision(row: VariantRow) -> list[str]:
    """Adjusted p, verdict and smallest detectable difference."""
    c = row.comparison
    if c is None or not row.difference.n:
        return [NOTHING] * 3
    if not c.in_family:
        return [NOTHING, "not in the family" if c.comparisons else NOTHING, NOTHING]
    verdict = f"**{c.verdict}**" if c.verdict != "inconclusive" else c.verdict
    return [unbroken(adjusted_p(c)), verdict, number(c.detectable, decimals(c.detectable))]


def _unfinished(cell: Result) -> str:
    return f"{code(cell.key)}: **{cell.status}**: {plain(cell.note)}; not compared"


def _errors(rows: list[VariantRow], single: dict[str, Summary], names: list[str]) -> list[list[str]]:
    table = [
        [code(row.variant)]
        + [
            number(row.errors[name].mean, decimals(row.errors[name].sd or row.floor)) if name in row.errors else NOTHING
            for name in names
        ]
        for row in rows
    ]
    if single:
        own = [number(single[name].mean) if name in single else NOTHING for name in names]
        table.append([f"*{CANDIDATE}*", *own])
    return table


def _diverged(cells: list[Result]) -> str:
    lost = [
        f"{code(cell.key)} in epoch {cell.run.diverged_epoch}"
        for cell in cells
        if cell.run and cell.status == "diverged"
    ]
    return f"{joined(lost)}." if lost else "none."


def _held(group: conditions.HeldGroup) -> list[str]:
    settings = [
        code(f"{one.name}: {value(one.value)}")
        if one.paper is None
        else f"**{code(f'{one.name}: {value(one.value)}')}** ({code(value(one.paper))})"
        for one in group.settings
    ]
    return [group.group, plain(group.section) or NOTHING, ", ".join(settings)]


def _images(images: Any) -> list[str]:
    counts = [f"{images.counts[part]:,}" for part in ("train", "validation", "test")]
    return [plain(images.name), *counts, str(images.classes), f"{images.left_out:,}", code(images.hash[:12])]


def _condition(condition: conditions.Condition) -> list[str]:
    if not condition.mixed:
        return [plain(condition.name), plain(next(iter(condition.groups))), "all"]
    name = f"**{plain(condition.name)}**" if condition.matters else plain(condition.name)
    return [
        name,
        "<br>".join(plain(value) for value in condition.groups),
        "<br>".join(words.cells_text(cells) for cells in condition.groups.values()),
    ]


def _link(study: Study, root: Path) -> str:
    file = inside(study.path, root)
    if file is None:
        return code(study.path.name)
    return f"[{plain(file.as_posix())}](<{os.path.relpath(file, study.report.parent)}>)"


def _rerun(found: Iterable[conditions.Condition]) -> str:
    commits = next((condition.groups for condition in found if condition.name == "commit"), {})
    at = ""
    if len(commits) == 1:
        commit, _, changes = next(iter(commits)).partition(" + changes ")
        at = f"The runs were made at commit {code(commit)}" + (
            f", with changes in code or settings that are not in it (hash {code(changes)}). " if changes else ". "
        )
    return (
        f"{at}The first command re-runs all seeds of a row, though DVC holds them to be up to date (`-f`), and nothing "
        "else (`-s`); in bash or zsh. The second is how one of them was trained; it leaves a finished run of the same "
        "name as it is, so name another `--out`."
    )


def _commands(study: Study, variant: str, results: Results, root: Path) -> list[str]:
    run = next((cell.run for cell in results.of(variant) if cell.run), None)
    return [
        code(variant),
        code(rerun(study, [variant], root)),
        code(run.provenance.command) if run else NOTHING,
    ]
