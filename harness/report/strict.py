"""What `harness report --strict` fails on: rows that were not made alike, or that nobody could make again."""

from harness.report.cells import Result, Results
from harness.report.conditions import Condition, conditions, uncommitted
from harness.report.proof import proofs
from harness.settings.study import Study

SHOWN = 3
"""Runs, values or reasons that a line names at most."""


def faults(study: Study, results: Results) -> list[str]:
    """A line for each thing that should be one for all runs and is not, and for each row that is not what it says.

    Images, code and environment as far as numbers depend on them; a variant of which more than its switch changed; runs
    of changes that no commit holds.
    """
    mixed = [_mixed(condition) for condition in conditions(results) if condition.matters and condition.mixed]
    unproven = []
    for proof in proofs(study, results):
        failing = [pair for pair in proof.pairs if pair.failures]
        if failing:
            why = dict.fromkeys(failure for pair in failing for failure in pair.failures)
            unproven.append(f"{proof.variant}: more than its switch changed: {_some(list(why))}")
    changed = [
        f"{variant}: made with changes that its commit does not hold: {_keys(cells)}"
        for variant, cells in uncommitted(results).items()
    ]
    return [*mixed, *unproven, *changed]


def _mixed(condition: Condition) -> str:
    values = [f"{value} ({_keys(cells)})" for value, cells in condition.groups.items()]
    return f"{condition.name}: {len(values)} values among the runs: {_some(values)}"


def _keys(cells: list[Result]) -> str:
    return _some([cell.key for cell in cells], ", ")


def _some(parts: list[str], between: str = "; ") -> str:
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return between.join(parts[:SHOWN]) + more
