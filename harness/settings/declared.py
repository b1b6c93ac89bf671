"""What a study declared, and when: `harness check` writes each new declaration down, with the runs that there were.

The file stands beside the study's and is kept in git. A declaration that was written down before any run could not be
made to fit the results; one that came later says so, and what it changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from harness.files import read_json, write_json
from harness.settings.parse import parse
from harness.settings.schema import Declared
from harness.settings.study import Study, unequal

SHORT = 12
"""Letters of a fingerprint that the file keeps."""

CONFIG = "*/train/config.json"
"""A run's settings, below the folder of its study's runs."""


class Entry(Declared):
    """A declaration as it was first seen.

    `runs`: of the study's runs that there were then, the fingerprints, short. `shared`: of other studies' runs that
    have the settings, the seed and the source of images of one of its cells, and so are taken over when it runs.
    """

    declaration: str = Field(description="hash of the statement")
    runs: list[str] = Field(description="runs of the study that were there when it was first seen")
    shared: list[str] = Field([], description="runs of other studies that were there and are among its cells")
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
    runs = {config["fingerprint"][:SHORT] for config in _configs(root, f"{study.folder}/runs/{CONFIG}")}
    others = _configs(root, f"reports/*/runs/{CONFIG}")
    shared = {config["fingerprint"][:SHORT] for config in others if _is_cell(config, study)} - runs
    new = Entry(declaration=study.declaration, runs=sorted(runs), shared=sorted(shared), statement=study.statement)
    if seen and (seen[-1].runs, seen[-1].shared) == (new.runs, new.shared):
        seen.pop()
    write_json(
        root / path_of(study), {"declarations": [entry.model_dump(exclude_defaults=True) for entry in [*seen, new]]}
    )
    return True


def _configs(root: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """What was recorded of the settings of runs, evaluated or not."""
    for path in root.glob(pattern):
        values = read_json(path)
        if isinstance(values, dict) and isinstance(values.get("fingerprint"), str):
            yield values


def _is_cell(config: dict[str, Any], study: Study) -> bool:
    """Whether a run has the settings, the seed and the source of images of a cell of the study."""
    settings, data = config.get("settings"), config.get("data")
    if not isinstance(settings, dict) or not isinstance(data, dict):
        return False
    same = config.get("seed") in study.seeds and data.get("name") == study.data.source
    return same and any(not unequal(declared, settings) for declared in study.variants.values())


def changes(seen: list[Entry]) -> list[Change]:
    """What changed once runs were there, in the order in which it did."""
    made = []
    for before, after in pairwise(seen):
        changed = differing(before.statement, after.statement)
        if changed and after.runs:
            old, new = changed.get("seeds", ([], []))
            grown = list(new[: len(old)]) == list(old) and len(new) in before.statement.get("looks", [])  # type: ignore[operator]
            made.append(Change(after.runs, changed, by_rule=changed.keys() == {"seeds"} and grown))
    return made


def differing(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Values that are not the same in two statements, by dotted names; None: there is none."""
    values: dict[str, tuple[Any, Any]] = {}
    for key in [*before, *(key for key in after if key not in before)]:
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            values |= differing(one, other, f"{prefix}{key}.")
        elif one != other:
            values[f"{prefix}{key}"] = one, other
    return values
