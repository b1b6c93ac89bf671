"""The probes notice planted mistakes in the code that packs, trains and evaluates, each by the probe that is named."""

import json
import os
import shutil
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

Outcomes = dict[str, dict[str, Any]]


def applies(file: str, old: str) -> bool:
    return (PACKAGE / file).is_file() and (PACKAGE / file).read_text().count(old) == 1


def mutate(tree: Path, file: str, old: str, new: str) -> None:
    """The package in `tree`, with a mistake in one file; all else is a link to what is here."""
    shutil.copytree(PACKAGE, tree / "harness", copy_function=os.symlink)
    (tree / "harness" / file).unlink()
    (tree / "harness" / file).write_text((PACKAGE / file).read_text().replace(old, new))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcomes, list[Outcomes]]:
    """What the needed probes come to on the code as it is, and on every mutant."""
    folder = tmp_path_factory.mktemp("mutants")
    needed = sorted({f"{scope}-{probe}" for scope, *_, probe in CASES})
    chosen = [probe for probe in probes() if probe.name in needed]
    assert sorted(probe.name for probe in chosen) == needed
    table = str(write_table(folder, chosen))
    trees = [folder / "as-it-is", *(folder / f"mutant-{number}" for number in range(len(CASES)))]
    for tree in trees:
        tree.mkdir()
    (trees[0] / "harness").symlink_to(PACKAGE)
    for tree, (_, file, old, new, _) in zip(trees[1:], CASES, strict=True):
        if applies(file, old):
            mutate(tree, file, old, new)
    names = [needed, *([f"{scope}-{probe}"] for scope, *_, probe in CASES)]
    jobs = [
        {"tree": str(tree), "table": table, "probes": group, "out": f"{tree}.json"}
        for tree, group in zip(trees, names, strict=True)
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("mutants.py")), str(folder / "jobs.json")],
        check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    first, *others = [json.loads(Path(f"{tree}.json").read_text()) for tree in trees]
    return first, others


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_a_planted_mistake_is_noticed(number: int, outcomes: tuple[Outcomes, list[Outcomes]]) -> None:
    original, mutants = outcomes
    _, file, old, *_ = CASES[number]
    assert applies(file, old), f"{file}: {old!r} must be there once"
    mutant = mutants[number]
    assert "failed" not in mutant, mutant["failed"]
    for name in mutant:
        assert difference(name, original[name], mutant[name], frozenset()), f"{name} does not notice {CASES[number]}"


def test_each_scope_has_mistakes_in_plenty() -> None:
    assert all(len(mutations) >= 12 for mutations in MUTATIONS.values())
