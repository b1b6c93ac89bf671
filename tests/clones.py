"""The tiny study in a repository of its own, run once by the real pipeline: what tests copy or clone, and change."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from conftest import write_yaml as write
from filelock import FileLock

ROOT = Path(__file__).parent.parent
FILES = (
    "dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", ".dvc/plots/study.json",
    ".dvc/plots/page.html",
    "experiments/pipeline.yaml", "experiments/claims.yaml",
)  # fmt: skip
VARIANTS = ("base", "no-lrn")
SEEDS = (0,)
CELLS = {f"{stage}@{variant}-{seed}" for stage in ("train", "eval") for variant in VARIANTS for seed in SEEDS}
AFTER = {"report", "publish"}
CANDIDATE = {"train-candidate", "eval-candidate"}

STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "Tests.",
    "data": {"source": "synthetic", "train_limit": 120, "test_limit": 60},
    "seeds": list(SEEDS), "baseline": "base",
    "variants": {"base": TINY | {"epochs": 1}, "no-lrn": TINY | {"epochs": 1, "lrn": False}},
}  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_", "PYTHON"))}
    who = {f"GIT_{role}_{what}": "tests@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | who | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", "HOME": str(folder)}


def call(folder: Path, *words: str, status: int | None = 0) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    assert status is None or done.returncode == status, done.stdout
    return done.stdout


def record(run: Path) -> Any:
    """The provenance in a run's folder."""
    return json.loads((run / "train/provenance.json").read_text())


def ran(output: str) -> set[str]:
    """Stages whose command was run."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def commit(folder: Path) -> None:
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "state")


def build(folder: Path) -> None:
    """Run the tiny study in a new repository and commit it."""
    shutil.copytree(ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    write(folder / "experiments/study.yaml", STUDY)
    write(folder / "params.yaml", TINY | {"epochs": 1, "seed": 0, "lrn": True, "dropout": 0.5})
    call(folder, "git", "init", "-q", "-b", "main")
    commit(folder)
    assert ran(call(folder, "dvc", "repro")) == {"check", "data", "gallery", "ensemble"} | CELLS | CANDIDATE | AFTER
    commit(folder)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, built once for all workers of pytest-xdist, whose folders lie in one; to be read alone."""
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "built"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            begun = tmp_path_factory.mktemp("building") / "project"
            build(begun)
            begun.rename(folder)
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of the built clone, to change."""
    folder = tmp_path / "project"
    shutil.copytree(built, folder, symlinks=True)
    return folder


def edit(folder: Path, **changes: Any) -> None:
    write(folder / "experiments/study.yaml", STUDY | changes)


def trained(output: str) -> set[str]:
    """Stages that really trained, and took no records of an equal run."""
    parts = re.split(r"^Running stage '([^']+)':$", output, flags=re.MULTILINE)
    return {
        name for name, text in zip(parts[1::2], parts[2::2], strict=True) if re.search(r"^train: \d+ of", text, re.M)
    }


def status(folder: Path) -> set[str]:
    """Stages that are not up to date."""
    return set(json.loads(call(folder, "dvc", "status", "--json")))


@pytest.fixture
def clone(built: Path, tmp_path: Path) -> Path:
    """A fresh clone: no packed images, no weights, no cache of DVC."""
    call(tmp_path, "git", "clone", "-q", str(built), "clone")
    return tmp_path / "clone"
