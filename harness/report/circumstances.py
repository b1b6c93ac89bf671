"""What was declared and held fixed in a study, and where its runs differ in what should be the same."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.files import hash_json
from harness.record import Run
from harness.report.format import paragraph
from harness.report.runs import Result, Results, Standing
from harness.settings.declared import SHORT, Entry, changes
from harness.settings.schema import Settings
from harness.settings.study import Study

NONE = "none"
"""Of a condition that a run does not have, as a version of CUDA on a processor."""

PAPER_GROUPS = ("net", "initial weights", "images", "recipe")
"""Groups of settings whose default is what the paper says."""


Held = tuple[str, Any, Any]
"""A setting that all variants share: its name, its value, and the paper's where that is another one, else None."""


def held_fixed(study: Study) -> dict[tuple[str, str], list[Held]]:
    """The settings that all variants share, by group and section of the paper ('': none), in the schema's order."""
    values = [settings.model_dump() for settings in study.variants.values()]
    groups: dict[tuple[str, str], list[Held]] = {}
    for name, field in Settings.model_fields.items():
        value = values[0][name]
        if any(other[name] != value for other in values):
            continue
        extra = field.json_schema_extra
        assert isinstance(extra, dict)  # noqa: S101 - the schema declares every field so
        group, section = str(extra["group"]), str(extra["paper"])
        differs = group in PAPER_GROUPS and value != field.default
        groups.setdefault((group, section), []).append((name, value, field.default if differs else None))
    return groups


def varied(study: Study) -> list[str]:
    """The settings in which variants differ, in the schema's order."""
    changed = {name for variant in study.variants for name in study.differences(variant)}
    return [name for name in Settings.model_fields if name in changed]


@dataclass(frozen=True)
class Condition:
    """Something that the runs should share. `groups`: each value found -> the runs that have it.

    `matters`: numbers depend on it, so where there is more than one value, a difference between runs may come from it.
    """

    name: str
    matters: bool
    groups: dict[str, list[Result]]

    @property
    def mixed(self) -> bool:
        return len(self.groups) > 1


CIRCUMSTANCES = {
    "threads": "machine", "device": "machine", "device_name": "machine", "cpu": "machine", "instructions": "machine",
    "torch": "versions", "numpy": "versions", "cuda": "versions", "cudnn": "versions", "driver": "versions",
    "python": "versions", "os": "machine",
}  # fmt: skip
"""What a run was computed with: name -> the part of its record that has it. The likelier causes of other bits first."""


def circumstances(record: Any) -> dict[str, Any]:
    """What a run was computed with, by the names of `CIRCUMSTANCES`; None where the record does not say.

    `record`: of a run or of its verification, with `machine` and `versions`.
    """
    return {name: getattr(record, part).get(name) for name, part in CIRCUMSTANCES.items()}


def differing(one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """What two runs were not both computed with: name -> what each of the two had."""
    a, b = circumstances(one), circumstances(other)
    return {name: (a[name], b[name]) for name in a if a[name] != b[name]}


def arithmetic(record: Any) -> str:
    """What decides a run's bits beside threads: `cpu, AVX2, torch 2.9.0`, or with the name of a GPU."""
    values = circumstances(record)
    device = str(values["device"]).partition(":")[0]
    return f"{device}, {values['instructions' if device == 'cpu' else 'device_name']}, torch {values['torch']}"


def _of(name: str) -> Callable[[Run], str]:
    return lambda run: str(circumstances(run.provenance)[name] or NONE)


def _device(run: Run) -> str:
    if run.settings.get("bits") == "portable" and (held := run.provenance.machine.get("bits")):
        return f"cpu: portable bits {hash_json(held)[:8]}"  # whichever processor it was
    # cuda:0 and cuda:1 of one kind are the same device.
    return f"{_of('device')(run).partition(':')[0]}: {_of('device_name')(run)}"


def _commit(run: Run) -> str:
    record = run.provenance
    commit = record.commit[:12] if record.commit else "none (not in a git repository)"
    package = f", alexnet-harness {record.package['version']}" if record.package else ""
    return commit + package + (f" + changes {record.dirty[:8]}" if record.dirty else "")


CONDITIONS: list[tuple[str, bool, Callable[[Run], str]]] = [
    ("images", True, lambda run: f"{run.images.name} {run.images.hash[:12]}"),
    ("numerics identity", True, lambda run: run.hashes.code[:12]),
    ("commit", False, _commit),
    ("device", True, _device),
    ("threads", True, _of("threads")),
    ("instructions", True, _of("instructions")),
    ("system", False, _of("os")),
    ("Python", False, _of("python")),
    ("torch", True, _of("torch")),
    ("numpy", True, _of("numpy")),
    ("CUDA", True, _of("cuda")),
    ("cuDNN", True, _of("cudnn")),
    ("driver", False, _of("driver")),
    ("packages", False, lambda run: run.provenance.packages[:12]),
]
"""What is compared: its name, whether numbers depend on it, and how a run tells it."""


def conditions(results: Results) -> list[Condition]:
    """What the runs have in common, over the cells that finished or diverged, and the candidate where it did."""
    conditions = []
    for name, matters, tell in CONDITIONS:
        groups: dict[str, list[Result]] = {}
        for cell, run in results.ended:
            groups.setdefault(tell(run), []).append(cell)
        conditions.append(Condition(name, matters, groups))
    return conditions


# ---- the declaration

SHOWN = 6
"""Changed values that are named one by one."""


def declaration_text(study: Study, results: Results, seen: list[Entry], now: Standing) -> str:
    """When the declaration was written down, every change of it once runs were there, and runs of other studies."""
    records = [cell.ended.provenance for cell in results.cells if cell.ended]
    return paragraph(
        "declared",
        most=SHOWN,
        present=_present(results),
        seen=seen,
        changes=changes(seen),
        ended=len(records),
        taken=Counter(Path(record.reused_from).parent.name for record in records if record.reused_from),
        now=now,
        stale=bool(seen) and seen[-1].declaration != study.declaration,
    )


def late_declaration(results: Results, seen: list[Entry]) -> dict[str, int]:
    """How many runs of this report, and of earlier designs, had been made when the present declaration was written.

    Other than what a declared rule allows: seeds that are added at declared looks.
    """
    late = [change.runs for change in changes(seen) if not change.by_rule]
    first = [seen[0].runs, seen[0].shared] if seen else []
    runs = {run for group in [*first, *late] for run in group}
    return {"own": len(runs & _present(results)), "earlier": len(runs - _present(results))}


def _present(results: Results) -> set[str]:
    """Fingerprints, short, of the runs of this report."""
    return {cell.run.fingerprint[:SHORT] for cell in results.all if cell.run and cell.status != "stale"}
