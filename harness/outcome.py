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
from typing import Any

from harness.commits import changed, files_of, held
from harness.diff.compare import Change, compare
from harness.diff.sides import read_side
from harness.diff.source import Folder, Revision
from harness.errors import UserError
from harness.grammar import counted
from harness.pipeline import places
from harness.record import Config, Metrics, Provenance, RunFolder, parse_metrics
from harness.report.cells import CANDIDATE
from harness.settings.parse import parse
from harness.settings.study import Study
from harness.settings.study import changed as changed_settings

SHORT = 12
"""Characters of a hash that are shown."""

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
    committed = bool(held(root, own))
    runs = _runs(study)
    touched = {
        name: place for name, place in runs.items() if any(file.startswith(f"{place.as_posix()}/") for file in files)
    }
    old, new = _committed(touched, root), _present(touched, root)
    why = {name: cause(old[name], new[name]) for name in touched}
    lines = [
        f"run: {counted(len(files), 'file')} {'differs' if len(files) == 1 else 'differ'} from the committed results: "
        + summary(why, len(runs)),
        _verdicts(study, root),
    ]
    weights = " weights" if study.file.weights == "dvc" else ""
    lock = " dvc.lock" if study.is_default else ""
    lines.append(f"keep them: git add reports experiments{lock}{weights} && git commit")
    return [*lines, *([f"drop them: harness discard {study.name}"] if committed else [])]


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
    """Why the results of bitwise identical trainings differ, if they do."""
    if old == new:
        return IDENTICAL
    if old.code != new.code:
        return f"evaluated by other code ({_short(old.code)} -> {_short(new.code)})"
    if old.weights != new.weights:
        return f"evaluated with other weights ({_short(old.weights)} -> {_short(new.weights)})"
    return "evaluated on another machine"


def _differences(old: Records, new: Records) -> list[str]:
    """What is not the same of images, code and machine, each with both values."""
    pairs: list[tuple[str, object, object]] = [
        ("other images", _short(old.config.data.hash), _short(new.config.data.hash)),
        ("another numerics identity", _short(old.provenance.hashes.code), _short(new.provenance.hashes.code)),
    ]
    one, other = old.provenance.machine, new.provenance.machine
    pairs.append(("another device", one.get("device"), other.get("device")))
    pairs.append(("other instructions", one.get("instructions"), other.get("instructions")))
    if one.get("instructions") == other.get("instructions"):
        # Of two processors with other instructions these say more than the names.
        pairs.append(("another processor", one.get("device_name"), other.get("device_name")))
    pairs.append(("another number of threads", one.get("threads"), other.get("threads")))
    a, b = old.provenance.versions, new.provenance.versions
    pairs += [(f"another version of {name}", a.get(name), b.get(name)) for name in ("torch", "numpy")]
    return [f"{name} ({_shown(was)} -> {_shown(now)})" for name, was, now in pairs if was != now]


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


def verdict_line(changes: Sequence[Change]) -> str:
    """Whether the verdicts of the rows that both reports have are the same, and which are not."""
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


def _runs(study: Study) -> dict[str, Path]:
    """Folders of the study's runs, and of the candidate beside the default study, by their names."""
    runs = {cell.key: cell.results for cell in study.cells}
    return runs | ({CANDIDATE: study.candidate_results} if study.is_default else {})


def _committed(runs: Mapping[str, Path], root: Path) -> dict[str, Records | None]:
    wanted = {name: _files(place) for name, place in runs.items()}
    content = files_of("HEAD", [path for paths in wanted.values() for path in paths], root)
    return {name: _parse([content.get(path) for path in paths]) for name, paths in wanted.items()}


def _present(runs: Mapping[str, Path], root: Path) -> dict[str, Records | None]:
    return {
        name: _parse([(root / path).read_bytes() if (root / path).exists() else None for path in _files(place)])
        for name, place in runs.items()
    }


def _files(place: Path) -> list[str]:
    folder = RunFolder.of(place)
    return [path.as_posix() for path in (folder.config, folder.provenance, folder.metrics)]


def _parse(content: Sequence[bytes | None]) -> Records | None:
    """A run's records; None where they are not there, or are those of another version."""
    config, provenance, metrics = (_json(one) for one in content)
    try:
        return Records(
            parse(Config, config, "config.json"),
            parse(Provenance, provenance, "provenance.json"),
            None if metrics is None else parse_metrics(metrics, "metrics.json"),
        )
    except UserError:
        return None


def _json(content: bytes | None) -> Any:
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None


def _verdicts(study: Study, root: Path) -> str:
    try:
        committed = read_side(Revision("HEAD", "HEAD", study.folder))
    except UserError:
        return "verdicts: the committed report has none"
    try:
        return verdict_line(compare(committed, read_side(Folder("workspace", root / study.folder))))
    except UserError:
        return "verdicts: the present report has none"


def _short(value: str | None) -> str:
    return "none" if value is None else value[:SHORT]


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
