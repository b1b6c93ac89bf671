"""What was held fixed in a study, and where its runs differ in what should be the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from harness.record import Images, Run
from harness.report.runs import Result, Results
from harness.settings.schema import Settings
from harness.settings.study import Study

NONE = "none"
"""Of a condition that a run does not have, as a version of CUDA on a processor."""

PAPER_GROUPS = ("net", "initial weights", "images", "recipe")
"""Groups of settings whose default is what the paper says."""


@dataclass(frozen=True)
class Held:
    """A setting that all variants share. `paper` is the paper's value where it is another one, else None."""

    name: str
    value: Any
    paper: Any


def held_fixed(study: Study) -> dict[tuple[str, str], list[Held]]:
    """The settings that all variants share, by group and section of the paper ('': none), in the schema's order."""
    values = [settings.model_dump() for settings in study.variants.values()]
    defaults = Settings().model_dump()
    groups: dict[tuple[str, str], list[Held]] = {}
    for name, field in Settings.model_fields.items():
        if any(v[name] != values[0][name] for v in values):
            continue
        extra = field.json_schema_extra
        assert isinstance(extra, dict)  # noqa: S101 - the schema declares every field so
        group, section = str(extra["group"]), str(extra["paper"])
        own = values[0][name]
        other = defaults[name] if group in PAPER_GROUPS and own != defaults[name] else None
        groups.setdefault((group, section), []).append(Held(name, own, other))
    return groups


def varied(study: Study) -> list[str]:
    held = {setting.name for group in held_fixed(study).values() for setting in group}
    return [name for name in Settings.model_fields if name not in held]


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


class Computed(Protocol):
    """A record of a run, as far as it says what the run was computed with."""

    @property
    def machine(self) -> Mapping[str, Any]: ...
    @property
    def versions(self) -> Mapping[str, Any]: ...


def circumstances(record: Computed) -> dict[str, Any]:
    """What a run was computed with, by the names of `CIRCUMSTANCES`; None where the record does not say."""
    return {name: getattr(record, part).get(name) for name, part in CIRCUMSTANCES.items()}


def differing(one: Computed, other: Computed) -> dict[str, tuple[Any, Any]]:
    """What two runs were not both computed with: name -> what each of the two had."""
    a, b = circumstances(one), circumstances(other)
    return {name: (a[name], b[name]) for name in a if a[name] != b[name]}


def arithmetic(record: Computed) -> str:
    """What decides a run's bits beside threads: `cpu, AVX2, torch 2.9.0`, or with the name of a GPU."""
    own = circumstances(record)
    device = str(own["device"]).partition(":")[0]
    return f"{device}, {own['instructions' if device == 'cpu' else 'device_name']}, torch {own['torch']}"


def _of(name: str) -> Callable[[Run], str]:
    return lambda run: str(circumstances(run.provenance)[name] or NONE)


def _device(run: Run) -> str:
    # cuda:0 and cuda:1 of one kind are the same device.
    return f"{_of('device')(run).partition(':')[0]}: {_of('device_name')(run)}"


def _commit(run: Run) -> str:
    if run.provenance.commit is None:
        return "none (not in a git repository)"
    return run.provenance.commit[:12] + (f" + changes {run.provenance.dirty[:8]}" if run.provenance.dirty else "")


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


SURROUNDINGS = ("device", "threads", "instructions", "system", "Python", "torch", "numpy", "CUDA", "cuDNN", "driver")
"""Of these, what a run was computed with: its machine and the versions there."""


def apart(one: Run, other: Run) -> dict[str, tuple[str, str]]:
    """What of their surroundings two runs do not share: its name -> what each of the two had."""
    told = {name: (tell(one), tell(other)) for name, _, tell in CONDITIONS if name in SURROUNDINGS}
    return {name: pair for name, pair in told.items() if pair[0] != pair[1]}


def conditions(results: Results) -> list[Condition]:
    """What the runs have in common, over the cells that finished or diverged, and the candidate where it did."""
    ended = [(cell, cell.ended) for cell in results.all if cell.ended]
    found = []
    for name, matters, tell in CONDITIONS:
        groups: dict[str, list[Result]] = {}
        for cell, run in ended:
            groups.setdefault(tell(run), []).append(cell)
        found.append(Condition(name, matters, groups))
    return found


def uncommitted(results: Results) -> dict[str, list[Result]]:
    """Variant -> its runs that were made with changes which their commit does not hold, by those that count."""
    found: dict[str, list[Result]] = {}
    for cell in results.all:
        if cell.ended and cell.ended.provenance.dirty:
            found.setdefault(cell.variant, []).append(cell)
    return found


def other_weights(results: Results) -> list[Result]:
    """The runs whose errors are those of other weights than they recorded: see `record.Metrics`."""
    return [cell for cell in results.all if cell.ended and cell.ended.measured and cell.ended.measured.weights]


def images(results: Results) -> list[Images]:
    used = [cell.ended.images for cell in results.cells if cell.ended]
    return list({images.hash: images for images in reversed(used)}.values())[::-1]
