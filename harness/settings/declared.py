"""What a study declared, and when: `harness check` writes each new declaration down, with the runs that there were.

The file stands beside the study's and is kept in git. A declaration that was written down before any run could not be
made to fit the results; one that came later says so, and what it changed.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from harness.files import read_json, write_json
from harness.settings.parse import parse
from harness.settings.schema import Declared
from harness.settings.study import Study

SHORT = 12
"""Letters of a fingerprint that the file keeps."""


class Entry(Declared):
    """A declaration as it was first seen. `runs`: of the study's runs that there were then, the fingerprints, short."""

    declaration: str = Field(description="hash of the statement")
    runs: list[str] = Field(description="runs of the study that were there when it was first seen")
    statement: dict[str, JsonValue] = Field(description="seeds, rules of the verdicts, images, settings")


class _Log(Declared):
    declarations: list[Entry] = Field(description="in the order in which they were seen")


@dataclass(frozen=True)
class Change:
    """What a declaration changed of the one before it, once runs were there.

    `runs`: fingerprints, short, of those runs. `changed`: name -> (before, after), a variant's settings one by one.
    `by_rule`: seeds were added and nothing else, and the looks that were declared before allow so many.
    """

    runs: list[str]
    changed: dict[str, tuple[Any, Any]]
    by_rule: bool

    @property
    def added(self) -> list[int]:
        """Seeds that were not declared before."""
        before, after = self.changed.get("seeds", ([], []))
        return [seed for seed in after if seed not in before]


def path_of(study: Study) -> Path:
    """Where the study's declarations stand: beside its file."""
    return study.path.with_suffix(".declared.json")


def read(study: Study, root: Path) -> list[Entry]:
    """The declarations that were seen, first to last; none before any was. Raises `UserError` for a broken file."""
    path = root / path_of(study)
    return parse(_Log, read_json(path), str(path)).declarations if path.exists() else []


def record(study: Study, root: Path) -> bool:
    """Write down the study's declaration where it is not the last one that was seen; whether it was new.

    It takes the place of the last where no run has been made since: that was a draft of it.
    """
    seen = read(study, root)
    if seen and seen[-1].declaration == study.declaration:
        return False
    new = Entry(declaration=study.declaration, runs=_runs(study, root), statement=study.statement)
    if seen and seen[-1].runs == new.runs:
        seen.pop()
    write_json(root / path_of(study), {"declarations": [entry.model_dump() for entry in [*seen, new]]})
    return True


def _runs(study: Study, root: Path) -> list[str]:
    """Fingerprints of the study's runs, evaluated or not."""
    found = set()
    for folder in (root / "runs" / study.name, root / study.folder / "cells"):
        for path in folder.glob("*/config.json"):
            values = read_json(path)
            if isinstance(values, dict) and isinstance(values.get("fingerprint"), str):
                found.add(values["fingerprint"][:SHORT])
    return sorted(found)


def changes(seen: list[Entry]) -> list[Change]:
    """What changed once runs were there, in the order in which it did."""
    found = []
    for before, after in pairwise(seen):
        changed = differing(before.statement, after.statement)
        if changed and after.runs:
            found.append(Change(after.runs, changed, _by_rule(before.statement, changed)))
    return found


def differing(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Values that are not the same in two statements, by dotted names; None: there is none."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*before, *(key for key in after if key not in before)]:
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found |= differing(one, other, f"{prefix}{key}.")
        elif one != other:
            found[f"{prefix}{key}"] = one, other
    return found


def _by_rule(before: dict[str, Any], changed: dict[str, tuple[Any, Any]]) -> bool:
    if changed.keys() != {"seeds"}:
        return False
    one, other = changed["seeds"]
    return list(other[: len(one)]) == list(one) and len(other) in before.get("looks", [])
