"""What the report says of the declaration: whether it was written down before the runs, and what changed since."""

from collections import Counter
from pathlib import Path
from typing import Any

from harness.grammar import counted
from harness.report.cells import Results
from harness.report.looks import standing
from harness.report.markdown import code, joined
from harness.report.numbers import value
from harness.settings.declared import SHORT, Change, Entry, changes
from harness.settings.study import Study

UNWRITTEN = "It was not written down before the runs: `harness check` does so."

SHOWN = 6
"""Changed values that are named one by one."""


def text(study: Study, results: Results, seen: list[Entry]) -> str:
    """When the declaration was written down, and every change of it once runs were there."""
    there = _there(results)
    sentences = [_first(seen[0], there) if seen else UNWRITTEN]
    sentences += [_change(change, there) for change in changes(seen)]
    sentences += filter(None, [_taken_over(results)])
    now = standing(study, results)
    if now.judged and now.look is None and len(now.ended) < len(now.seeds):
        sentences.append(
            f"The verdicts were given with {len(now.ended)} of {len(now.seeds)} seeds complete and without a declared "
            "rule for looking early; `harness report --interim` withholds them until the study is done."
        )
    if seen and seen[-1].declaration != study.declaration:
        sentences.append("**The study's file has changed since it was last checked.**")
    return " ".join(sentences)


def warnings(results: Results, seen: list[Entry]) -> list[str]:
    """What came after runs, other than what a declared rule allows: changes, designs before this one, shared runs."""
    there = _there(results)
    after = [change for change in changes(seen) if change.runs and not change.by_rule]
    found = [_change(change, there) for change in after if there & set(change.runs)]
    if seen and (seen[0].shared or there & set(seen[0].runs)):
        found.insert(0, f"{_first(seen[0], there)} Alpha does not cover what was chosen after they were seen.")
    earlier = [change.runs for change in after if not there & set(change.runs)]
    changed = "; what changed stands under *What was held fixed*" if earlier else ""
    if seen and seen[0].runs and not there & set(seen[0].runs):
        earlier.insert(0, seen[0].runs)
    if earlier:
        counts = joined([str(len(runs)) for runs in earlier])
        found.append(
            f"This design was declared after {counts} {'run' if counts == '1' else 'runs'} of "
            f"{'another' if len(earlier) == 1 else f'{len(earlier)} others'} (none in this report{changed}): alpha "
            "covers this one alone, not the choice of it."
        )
    return found


def _there(results: Results) -> set[str]:
    return {cell.run.fingerprint[:SHORT] for cell in results.all if cell.run and cell.status != "stale"}


def _first(entry: Entry, there: set[str]) -> str:
    if not entry.runs and not entry.shared:
        return "It was first written down before any run."
    made = [_runs(entry.runs, there)] if entry.runs else []
    if entry.shared:
        made.append(f"{_runs(entry.shared, there)} of other studies whose settings and seeds are its own")
    return f"It was first written down when {' and '.join(made)} had been made."


def _taken_over(results: Results) -> str:
    """How many of the runs are those of other studies: equal ones are trained once."""
    own = [cell.run.provenance for cell in results.cells if cell.run and cell.status in ("finished", "diverged")]
    studies = Counter(Path(one.reused_from).parent.name for one in own if one.reused_from)
    if not studies:
        return ""
    parts = joined([f"{count} of `{name}`" for name, count in studies.items()])
    return f"Of its {counted(len(own), 'run')}, some are those of other studies with equal settings and seeds: {parts}."


def _runs(runs: list[str], there: set[str]) -> str:
    """`40 runs, none of which is in this report`."""
    still = len(there & set(runs))
    which = "all of them" if still == len(runs) else f"{still} of them" if still else "none of them"
    return f"{counted(len(runs), 'run')} ({which} in this report)"


def _change(change: Change, there: set[str]) -> str:
    if change.by_rule:
        seeds = joined([str(seed) for seed in change.added])
        return f"Seeds {seeds} were added after {_runs(change.runs, there)}, as the declared looks allow."
    named = [f"{code(name)} from {_shown(a)} to {_shown(b)}" for name, (a, b) in list(change.changed.items())[:SHOWN]]
    more = len(change.changed) - len(named)
    listed = joined([*named, f"{more} more"] if more else named)
    rule = (
        " Seeds were added without a declared rule (`looks`): the verdicts may err more often than alpha says."
        if change.added
        else ""
    )
    return f"The declaration **changed after {_runs(change.runs, there)}**: {listed}.{rule}"


def _shown(given: Any) -> str:
    if given is None:
        return "nothing"
    if isinstance(given, dict):
        return f"{len(given)} settings"
    return code(value(given))
