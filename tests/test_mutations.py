"""The probes notice planted mistakes in the code that packs, trains and evaluates, each by the probe that is named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mutations import MUTATIONS

from tests.probes.compare import difference
from tests.probes.table import probes, write_table

PACKAGE = Path(__file__).parent.parent / "harness"
CASES = [(scope, *mutation) for scope, mutations in MUTATIONS.items() for mutation in mutations]
IDS = [f"{scope}-{file}-{number}" for number, (scope, file, *_) in enumerate(CASES)]

Found = dict[str, dict[str, Any]]


def applies(file: str, old: str) -> bool:
    return (PACKAGE / file).is_file() and (PACKAGE / file).read_text().count(old) == 1


def mutate(tree: Path, file: str, old: str, new: str) -> None:
    """The package in `tree`, with a mistake in one file; all else is a link to what is here."""
    changed = PACKAGE / file
    for folder in [PACKAGE, *([changed.parent] if changed.parent != PACKAGE else [])]:
        place = tree / "harness" / folder.relative_to(PACKAGE)
        place.mkdir(parents=True)
        for path in folder.iterdir():
            if path not in (changed, changed.parent) and path.name != "__pycache__":
                (place / path.name).symlink_to(path)
        (place / "__pycache__").mkdir()
        for path in (folder / "__pycache__").glob("*.pyc"):
            if path.name.partition(".")[0] != changed.stem:
                (place / "__pycache__" / path.name).symlink_to(path)
    (tree / "harness" / file).write_text(changed.read_text().replace(old, new))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, list[Found]]:
    """What the needed probes come to on the code as it is, and on every mutant."""
    folder = tmp_path_factory.mktemp("mutants")
    names = [[f"{scope}-{probe}" for probe in named.split()] for scope, *_, named in CASES]
    needed = sorted({name for group in names for name in group})
    chosen = [probe for probe in probes() if probe.name in needed]
    assert sorted(probe.name for probe in chosen) == needed
    table = write_table(folder, chosen)
    jobs = []
    (folder / "as-it-is").mkdir()
    (folder / "as-it-is" / "harness").symlink_to(PACKAGE)
    jobs.append({"tree": str(folder / "as-it-is"), "probes": needed})
    for number, ((_, file, old, new, _), group) in enumerate(zip(CASES, names, strict=True)):
        tree = folder / f"mutant-{number}"
        tree.mkdir()
        if applies(file, old):
            mutate(tree, file, old, new)
        jobs.append({"tree": str(tree), "probes": group})
    for job in jobs:
        job |= {"table": str(table), "out": f"{job['tree']}.json"}
    (folder / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("mutants.py")), str(folder / "jobs.json")],
        check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    first, *others = [json.loads(Path(str(job["out"])).read_text()) for job in jobs]
    return first, others


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_a_planted_mistake_is_noticed(number: int, outcomes: tuple[Found, list[Found]]) -> None:
    found, mutants = outcomes
    _, file, old, *_ = CASES[number]
    assert applies(file, old), f"{file}: {old!r} must be there once"
    mutant = mutants[number]
    assert "failed" not in mutant, mutant["failed"]
    for name in mutant:
        assert difference(name, found[name], mutant[name], frozenset()), f"{name} does not notice {CASES[number]}"


def test_each_scope_has_mistakes_in_plenty() -> None:
    assert all(len(mutations) >= 12 for mutations in MUTATIONS.values())
