"""What the report says of the declaration: whether it was written down before the runs, and what changed since."""

from collections import Counter
from pathlib import Path

from harness.report.format import paragraph, paragraphs
from harness.report.runs import Results
from harness.report.variants import standing
from harness.settings.declared import SHORT, Entry, changes
from harness.settings.study import Study

SHOWN = 6
"""Changed values that are named one by one."""


def declaration_text(study: Study, results: Results, seen: list[Entry]) -> str:
    """When the declaration was written down, every change of it once runs were there, and runs of other studies."""
    own = [cell.ended.provenance for cell in results.cells if cell.ended]
    return paragraph(
        "declared",
        part="text",
        most=SHOWN,
        there=_there(results),
        seen=seen,
        changes=changes(seen),
        own=len(own),
        taken=Counter(Path(one.reused_from).parent.name for one in own if one.reused_from),
        now=standing(study, results),
        stale=bool(seen) and seen[-1].declaration != study.declaration,
    )


def late_declaration(results: Results, seen: list[Entry]) -> dict[str, int]:
    """How many runs of this report, and of earlier designs, had been made when the present declaration was written."""
    there = _there(results)
    after = [change.runs for change in changes(seen) if change.runs and not change.by_rule]
    first = [seen[0].runs, seen[0].shared] if seen else []
    runs = {run for group in [*first, *after] for run in group}
    return {"own": len(runs & there), "earlier": len(runs - there)}


def declaration_warnings(results: Results, seen: list[Entry]) -> list[str]:
    """What came after runs, other than what a declared rule allows: changes, designs before this one, shared runs."""
    there = _there(results)
    after = [change for change in changes(seen) if change.runs and not change.by_rule]
    earlier = [change.runs for change in after if not there & set(change.runs)]
    changed_since = bool(earlier)
    if seen and seen[0].runs and not there & set(seen[0].runs):
        earlier.insert(0, seen[0].runs)
    return paragraphs(
        "declared",
        part="warnings",
        most=SHOWN,
        there=there,
        seen=seen,
        preceded=bool(seen and (seen[0].shared or there & set(seen[0].runs))),
        after=[change for change in after if there & set(change.runs)],
        earlier=earlier,
        changed_since=changed_since,
    )


def _there(results: Results) -> set[str]:
    return {cell.run.fingerprint[:SHORT] for cell in results.all if cell.run and cell.status != "stale"}
