"""What `harness report --strict` fails on: rows that are not there, were not made alike, or cannot be made again."""

from collections import Counter

from harness.report.cells import Result, Results
from harness.report.conditions import Condition, other_weights, uncommitted
from harness.report.findings import Findings
from harness.settings import declared

SHOWN = 3
"""Runs, values or reasons that a line names at most."""


def faults(found: Findings) -> list[str]:
    """A line for each thing that should be one for all runs and is not, and for each row that is not what it says.

    Runs that are not there, unless the report is early on purpose (one that diverged is a result); a declaration that
    was not written down; images, code and environment as far as numbers depend on them; a variant of which more than
    its switch changed; runs of changes that no commit holds; errors of other weights than the recorded ones. Raises
    `UserError`.
    """
    mixed = [_mixed(condition) for condition in found.conditions if condition.matters and condition.mixed]
    unproven = []
    for proof in found.proofs:
        failing = [pair for pair in proof.pairs if pair.failures]
        if failing:
            why = dict.fromkeys(failure for pair in failing for failure in pair.failures)
            unproven.append(f"{proof.variant}: more than its switch changed: {_some(list(why))}")
    changed = [
        f"{variant}: made with changes that its commit does not hold: {_keys(cells)}"
        for variant, cells in uncommitted(found.results).items()
    ]
    return [*_unfinished(found.results), *_undeclared(found), *mixed, *unproven, *changed, *_reweighted(found.results)]


def _unfinished(results: Results) -> list[str]:
    """The declared runs that no row holds, and why those are stale; none where the report is early on purpose."""
    lost = [cell for cell in results.cells if cell.status in ("missing", "stale")]
    if results.early or not lost:
        return []
    counts = Counter(cell.status for cell in lost)
    told = " and ".join(f"{count} {status}" for status, count in counts.items())
    why = _some(list(dict.fromkeys(cell.note for cell in lost if cell.status == "stale")))
    return [f"runs: {told}, of {len(results.cells)} declared: {_keys(lost)}" + (f"; stale: {why}" if why else "")]


def _reweighted(results: Results) -> list[str]:
    cells = other_weights(results)
    return [f"weights: evaluated with others than the recorded ones: {_keys(cells)}"] if cells else []


def _undeclared(found: Findings) -> list[str]:
    """Whether the study declares what was last written down of it."""
    study, seen = found.study, found.declarations
    file = declared.path_of(study)
    if not seen:
        return [f"declaration: {file} holds none; `harness check` writes it down"]
    if seen[-1].declaration == study.declaration:
        return []
    changed = _some(list(declared.differing(seen[-1].statement, study.statement)), ", ")
    return [f"declaration: changed since {file} was written, in {changed}; `harness check` writes it down"]


def _mixed(condition: Condition) -> str:
    values = [f"{value} ({_keys(cells)})" for value, cells in condition.groups.items()]
    return f"{condition.name}: {len(values)} values among the runs: {_some(values)}"


def _keys(cells: list[Result]) -> str:
    return _some([cell.key for cell in cells], ", ")


def _some(parts: list[str], between: str = "; ") -> str:
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return between.join(parts[:SHOWN]) + more
