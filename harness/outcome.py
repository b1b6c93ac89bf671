"""What a study's run left that is not what the last commit holds, and why: other settings, code or machine, or nothing.

`harness run` says it at its end. A run on another processor changes nearly every file, and a reader of `git status`
cannot see whether that is one cause or forty.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.commits import changed, held
from harness.diff.changes import RowChange, compare
from harness.diff.sides import Snapshot, read_side
from harness.errors import UserError
from harness.grammar import counted
from harness.pipeline import places
from harness.record import Config, Metrics, Provenance, RunFolder, parse_metrics
from harness.report.circumstances import differing as other_circumstances
from harness.report.runs import CANDIDATE
from harness.settings.parse import parse
from harness.settings.study import Study
from harness.settings.study import changed as changed_settings
from harness.verify.match import show

CAUSES = {
    "device": "another device", "instructions": "other instructions", "device_name": "another processor",
    "threads": "another number of threads", "torch": "another version of torch", "numpy": "another version of numpy",
}  # fmt: skip
"""Of what runs are computed with, what is said to be the cause of other results, and how."""

IDENTICAL = "bitwise identical, and only the times in the records differ"


@dataclass(frozen=True)
class Records:
    """What is compared of a run. `measured`: None before its evaluation."""

    config: Config
    provenance: Provenance
    measured: Metrics | None


def differing(study: Study, root: Path) -> list[str]:
    """What differs from the last commit of what a run of the study writes: files, causes, verdicts, and what to do.

    No line where nothing differs, and outside a git repository.
    """
    own = places(study)
    files = changed(root, own)
    if not files:
        return []
    runs = {cell.key: cell.results for cell in study.cells}
    runs |= {CANDIDATE: study.candidate_results} if study.is_default else {}
    touched = {
        name: place for name, place in runs.items() if any(file.startswith(f"{place.as_posix()}/") for file in files)
    }
    old, new = _records(touched, Snapshot("HEAD", Path("."), "HEAD")), _records(touched, Snapshot("workspace", root))
    why = {name: cause(old[name], new[name]) for name in touched}
    weights = " weights" if study.file.weights == "dvc" else ""
    lock = " dvc.lock" if study.is_default else ""
    return [
        f"run: {counted(len(files), 'file')} {'differs' if len(files) == 1 else 'differ'} from the committed results: "
        + summary(why, len(runs)),
        _verdicts(study, root),
        f"keep them: git add reports experiments{lock}{weights} && git commit",
        *([f"drop them: harness discard {study.name}"] if held(root, own) else []),
    ]


def cause(old: Records | None, new: Records | None) -> str:
    """Why a run's records differ from the committed ones, as the end of a sentence about it.

    The first that explains the rest: other settings, then other images, code and machine together, then nothing.
    """
    if new is None:
        return "missing"
    if old is None:
        return "new"
    if settings := changed_settings(old.config.settings, new.config.settings):
        return f"of other settings ({', '.join(settings)})"
    if old.config.seed != new.config.seed:
        return f"of another seed ({old.config.seed} -> {new.config.seed})"
    if old.provenance.hashes == new.provenance.hashes and old.measured and new.measured:
        return _evaluation(old.measured, new.measured)
    found = _differences(old, new)
    return f"re-run with {' and '.join(found)}" if found else "re-run with other results, which no record explains"


def _evaluation(old: Metrics, new: Metrics) -> str:
    if old == new:
        return IDENTICAL
    if old.code != new.code:
        return f"evaluated by other code ({_short(old.code, new.code)})"
    if old.weights != new.weights:
        return f"evaluated with other weights ({_short(old.weights, new.weights)})"
    return "evaluated on another machine"


def _differences(old: Records, new: Records) -> list[str]:
    """What is not the same of images, code and machine, each with both values."""
    hashes = {
        "other images": (old.config.data.hash, new.config.data.hash),
        "another numerics identity": (old.provenance.hashes.code, new.provenance.hashes.code),
    }
    found = other_circumstances(old.provenance, new.provenance)
    if "instructions" in found:  # they say more of two processors than the names
        found.pop("device_name", None)
    return [
        *(f"{name} ({_short(*pair)})" for name, pair in hashes.items() if pair[0] != pair[1]),
        *(f"{said} ({show(found[name])})" for name, said in CAUSES.items() if name in found),
    ]


def _short(old: str | None, new: str | None) -> str:
    return show((old and old[:12], new and new[:12]))


def summary(why: Mapping[str, str], runs: int) -> str:
    """Runs counted by cause, most of them first; one by itself is named. `why`: run -> cause; `runs`: of the study."""
    if not why:
        return "no run differs, only what is made of them"
    parts = []
    for text, number in Counter(why.values()).most_common():
        happened = text.startswith(("re-run", "evaluated"))
        if number == 1:
            (name,) = (name for name, own in why.items() if own == text)
            subject, verb = "the candidate" if name == CANDIDATE else name, "was" if happened else "is"
        else:
            of = f"{number} of {counted(runs, 'run')}" if happened and number < runs else counted(number, "run")
            subject, verb = of, "were" if happened else "are"
        parts.append(f"{subject} {verb} {text}")
    return "; ".join(parts)


def verdict_line(changes: Sequence[RowChange]) -> str:
    both = [change for change in changes if change.old and change.new]
    if not any(change.old and change.old.verdict for change in both):
        return "verdicts: the committed report has none"
    moved = [
        f"{change.variant}: {change.old.verdict or 'none'} -> {change.new.verdict or 'none'}"
        for change in both
        if change.verdict_changed and change.old and change.new
    ]
    if moved:
        return f"verdicts changed: {', '.join(moved)}"
    return f"verdicts agree in all {counted(len(both), 'row')}" if len(both) > 1 else "verdicts agree in the only row"


# ---- reading


def _records(runs: Mapping[str, Path], source: Snapshot) -> dict[str, Records | None]:
    """The records of runs, by their names; None where they are not there, or are those of another version."""
    folders = {name: RunFolder.of(place) for name, place in runs.items()}
    wanted = {name: [f.config, f.provenance, f.metrics] for name, f in folders.items()}
    texts = source.read([path.as_posix() for paths in wanted.values() for path in paths])
    return {name: _parse([texts.get(path.as_posix(), "null") for path in paths]) for name, paths in wanted.items()}


def _parse(texts: Sequence[str]) -> Records | None:
    try:
        config, provenance, metrics = map(json.loads, texts)
        return Records(
            parse(Config, config, "config.json"),
            parse(Provenance, provenance, "provenance.json"),
            None if metrics is None else parse_metrics(metrics, "metrics.json"),
        )
    except (UserError, ValueError):
        return None


def _verdicts(study: Study, root: Path) -> str:
    try:
        committed = read_side(Snapshot("HEAD", study.folder, "HEAD"))
    except UserError:
        return "verdicts: the committed report has none"
    try:
        return verdict_line(compare(committed, read_side(Snapshot("workspace", root / study.folder))))
    except UserError:
        return "verdicts: the present report has none"
