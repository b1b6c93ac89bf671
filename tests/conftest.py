"""What the tests share: tiny settings, and packed images that are made once."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A worker a core, and a thread a worker: torch reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.pop("DVC_ROOT", None)
os.environ.pop("DVC_STAGE", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)

import pytest
from ruamel.yaml import YAML

from harness import bits, process
from harness.data.pack import pack
from harness.data.packed import Packed
from harness.evaluate import evaluate
from harness.record import Run, RunFolder, caches, read_run
from harness.settings.load import resolve
from harness.settings.schema import DataSettings, Settings
from harness.train.run import train
from harness.weights import FILE, name_of
from tests.probes.factors import TINY

# MKL and oneDNN read the environment at their first use, which is to be as the user's shell has it.
bits.probe()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run the real DVC, MLflow or whole studies come first: the last file runs alone while cores idle.

    Of those that share one built project (tests/clones.py) one comes first and the others last: no worker waits for it.
    """

    def rank(item: pytest.Item) -> tuple[bool, bool]:
        waits = "built" in getattr(item, "fixturenames", ()) and item.path.stem != "test_clone"
        return item.get_closest_marker("slow") is None, waits

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def _not_held() -> Iterator[None]:
    """A command that runs in this process holds it to the portable bits: the next test starts as the user's shell."""
    yield
    for name, value in process._ambient.items():
        os.environ.pop(name, None)
        os.environ.update({name: value} if value is not None else {})
    process._ambient.clear()


def tiny(**settings: object) -> Settings:
    """The tiny settings with some of them changed."""
    return resolve(TINY | settings, "tiny")


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packed synthetic images: 3 channels, 32 x 32, 10 classes."""
    folder = tmp_path_factory.mktemp("packed") / "synthetic"
    pack(DataSettings(source="synthetic", train_limit=300, test_limit=100), folder)
    return folder


def study_file(folder: Path, **keys: Any) -> Path:
    """Write a tiny study in a folder, with some of its keys changed; its file."""
    study = {"name": "tiny", "title": "T", "purpose": "P.", "data": {"source": "synthetic"}, "seeds": [0]}
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in (study | {"variants": {"base": TINY}} | keys).items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text("".join(lines))
    return folder / "study.yaml"


def trained(settings: Settings, packed: Path, out: Path, seed: int = 0, **more: Any) -> Run:
    """Train on the packed images in the folder `packed`, leave the records at `out`, and read them.

    `more`: `start` and `reuse`, as `harness.train.run.train` takes them. Its evaluation belongs at `out` plus `-eval`.
    """
    train(settings, seed, Packed.open(packed), out, 1e9, "test", **more)
    return recorded(out)


def recorded(out: Path) -> Run:
    """The run whose training left its records at `out`."""
    return read_run(RunFolder(out, out.with_name(f"{out.name}-eval")))


def evaluated(run: Run, packed: Path, out: Path | None = None) -> dict[str, Any]:
    """Evaluate a run, by default beside its training, and return the content of metrics.json."""
    return evaluate(run, "test", Packed.open(packed), out or run.folder.evaluation).as_json()


def write_yaml(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        YAML(typ="safe").dump(content, file)


def git(*words: str, root: Path | None = None) -> str:
    """Output of a git command, in the working folder or another."""
    options = ("user.name=Tests", "user.email=tests@example.org", "commit.gpgsign=false", "core.hooksPath=/dev/null")
    command = ["git", *(word for option in options for word in ("-c", option)), *words]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def commit(root: Path | None = None) -> None:
    git("add", "-A", root=root)
    git("commit", "-qm", "state", root=root)


def flip(path: Path) -> None:
    """Damage a file: a bit of its last byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def weights_file(run: Run) -> Path:
    """The file of a run's weights, in the cache of this folder."""
    return caches() / "runs" / name_of(run.fingerprint, run.hashes.weights) / FILE
