"""What a study's run left that is not what the last commit holds, and why: other settings, code or machine, or nothing.

`harness run` says it at its end. A run on another processor changes nearly every file, and a reader of `git status`
cannot see whether that is one cause or forty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from harness.commits import changed, held, run_of
from harness.diff.changes import RowChange, compare
from harness.diff.sides import Snapshot, read_side
from harness.diff.table import verdicts
from harness.errors import UserError
from harness.grammar import counted, verb
from harness.pipeline.dvc_files import CANDIDATE, folders_of, places, sources
from harness.record import Run, RunFolder, read_run
from harness.report.circumstances import differing as other_circumstances
from harness.settings.study import Study
from harness.settings.study import changed as changed_settings
from harness.verify.match import show

CAUSES = {
    "device": "another device", "instructions": "other instructions", "device_name": "another processor",
    "threads": "another number of threads", "torch": "another version of torch", "numpy": "another version of numpy",
}  # fmt: skip
"""Of what runs are computed with, what is said to be the cause of other results, and how."""

IDENTICAL = "bitwise identical, and only the times in the records differ"


def differing(study: Study, root: Path) -> list[str]:
    """What differs from the last commit of what a run of the study writes: files, causes, verdicts, and what to do.

    What is to be committed is named whole, with what the results are made of; not the copy of the stages, which git is
    not to hold. No line where nothing differs, and outside a git repository.
    """
    written, declared = places(study), sources(study)
    files = changed(root, written)
    others = set(changed(root, declared))
    commit = [path for path in declared if path in others]
    commit += [path for path in written if any(file == path or file.startswith(f"{path}/") for file in files)]
    keep = [f"keep them: git add {' '.join(commit)} && git commit"] if commit else []
    if not files:
        return keep
    runs = folders_of(study)
    why = {
        name: cause(_run(place, root, committed=True), _run(place, root, committed=False))
        for name, place in runs.items()
        if any(file.startswith(f"{place.as_posix()}/") for file in files)
    }
    return [
        f"run: {counted(len(files), 'file')} {verb(len(files), 'differ')} from the committed results: "
        f"{summary(why, len(runs))}",
        _verdicts(study, root),
        *keep,
        *([f"drop them: harness discard {study.name}"] if held(root, written) else []),
    ]


def _run(place: Path, root: Path, committed: bool) -> Run | None:
    """A run's records, or those that the last commit has; None where there are none, or those of another version."""
    with suppress(UserError), run_of("HEAD", place, root) if committed else nullcontext(None) as run:
        return run if committed else read_run(RunFolder.of(root / place))
    return None


def cause(old: Run | None, new: Run | None) -> str:
    """Why a run's records differ from the committed ones, as the end of a sentence about it.

    The first that explains the rest: other settings, then other images, code and machine together, then nothing.
    """
    if new is None:
        return "missing"
    if old is None:
        return "new"
    if settings := changed_settings(old.settings, new.settings):
        return f"of other settings ({', '.join(settings)})"
    if old.seed != new.seed:
        return f"of another seed ({old.seed} -> {new.seed})"
    one, other = old.measured, new.measured
    if old.hashes == new.hashes and one and other:
        if one == other:
            return IDENTICAL
        if one.code != other.code:
            return f"evaluated by other code ({show((one.code, other.code))})"
        if one.weights != other.weights:
            return f"evaluated with other weights ({show((one.weights, other.weights))})"
        return "evaluated on another machine"
    hashes = {
        "other images": (old.images_hash, new.images_hash),
        "another numerics identity": (old.hashes.code, new.hashes.code),
    }
    circumstances = other_circumstances(old.provenance, new.provenance)
    if "instructions" in circumstances:  # they say more of two processors than the names
        circumstances.pop("device_name", None)
    differences = [
        *(f"{name} ({show(pair)})" for name, pair in hashes.items() if pair[0] != pair[1]),
        *(f"{words} ({show(circumstances[name])})" for name, words in CAUSES.items() if name in circumstances),
    ]
    return f"re-run with {' and '.join(differences) or 'other results, which no record explains'}"


def summary(why: Mapping[str, str], runs: int) -> str:
    """Runs counted by cause, most of them first; one by itself is named. `why`: run -> cause; `runs`: of the study."""
    if not why:
        return "no run differs, only what is made of them"
    parts = []
    for text, number in Counter(why.values()).most_common():
        first = next(name for name, other in why.items() if other == text)
        one = "the candidate" if first == CANDIDATE else first
        parts.append(f"{one if number == 1 else str(number) + ' of ' + counted(runs, 'run')}: {text}")
    return "; ".join(parts)


def verdict_line(changes: Sequence[RowChange]) -> str:
    both = [change for change in changes if change.old and change.new]
    if not any(change.old and change.old.verdict for change in both):
        return "verdicts: the committed report has none"
    moved = [f"{change.variant}: {verdicts(change)}" for change in both if change.verdict_changed]
    if moved:
        return f"verdicts changed: {', '.join(moved)}"
    return f"verdicts agree in {counted(len(both), 'row')}"


def _verdicts(study: Study, root: Path) -> str:
    try:
        committed = read_side(Snapshot("HEAD", study.folder, "HEAD"))
    except UserError:
        return "verdicts: the committed report has none"
    try:
        return verdict_line(compare(committed, read_side(Snapshot("workspace", root / study.folder))))
    except UserError:
        return "verdicts: the present report has none"
