"""DVC killed alone, its trainer left behind: no second one trains the run, and the end is the same to the bit."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import ROOT, differing, run_proof

KIND = "DVC killed alone"
FILES = ("dvc.yaml", "experiments/claims.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore")
PATIENCE = 600.0

SETTINGS: dict[str, Any] = {
    "preset": ["paper", "small"], "width": 0.25, "fc_width": 16, "epochs": 12, "batch": 32, "schedule": "cosine",
}  # fmt: skip
STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "A run of some seconds.", "seeds": [0], "baseline": "base",
    "data": {"source": "synthetic", "train_limit": 300, "test_limit": 60}, "variants": {"base": SETTINGS},
}  # fmt: skip


def dvc_alone(tally: Tally, folder: Path, times: int) -> None:
    """Kill DVC `times` times while its trainer trains, and start it again beside the trainer that is left."""
    project = _project(folder / "project")
    done = _dvc(project, "repro", "train@base-0")
    run = project / "reports/tiny/runs/base-0/train"
    if done.returncode:
        tally.add(KIND, "the pipeline", False, done.stdout[-200:])
        return
    want = run_proof(run)
    for _ in range(times):
        shutil.rmtree(run)
        (project / "dvc.lock").unlink()
        for cache in (".dvc/cache", "runs"):
            shutil.rmtree(project / cache, ignore_errors=True)
        why = _kill_dvc(project, run, want)
        tally.add(KIND, "no second trainer, and the same end", not why, why, note=NOTE)


NOTE = (
    "`dvc repro` again says that another process is training, and there is one trainer; when that has finished, it "
    "ends in the same bits"
)


def _kill_dvc(project: Path, run: Path, want: dict[str, str]) -> str:
    process = subprocess.Popen(
        [*DVC, "repro", "train@base-0"], cwd=project, env=_environment(project), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _until(lambda: bool(list(project.glob(".checkpoints/base-0-*/*.json"))) or process.poll() is not None)
    process.kill()
    process.wait()
    left = trainers(project)
    if len(left) != 1:
        return f"{len(left)} trainers were left"
    # It rests while DVC is started again, so that it cannot have finished by then.
    os.kill(left[0], signal.SIGSTOP)
    again = _dvc(project, "repro", "train@base-0")
    found = trainers(project)
    os.kill(left[0], signal.SIGCONT)
    if again.returncode == 0 or "another process is training this run" not in again.stdout:
        return f"a second trainer was started: exit status {again.returncode}"
    if found != left:
        return f"trainers {found} beside {left}"
    _until(lambda: not trainers(project))
    if not run.exists():
        return "the trainer that was left did not finish"
    if apart := differing(want, run_proof(run)):
        return f"it finished with other {', '.join(apart)}"
    last = _dvc(project, "repro", "train@base-0")
    return f"then exit status {last.returncode}" if last.returncode else ", ".join(differing(want, run_proof(run)))


def trainers(project: Path) -> list[int]:
    """Process ids of the trainers in a project's folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if words[1:4] == [b"-m", b"harness", b"train"] and (place / "cwd").resolve() == project.resolve():
                found.append(int(place.name))
        except OSError:  # it has ended
            continue
    return sorted(found)


DVC = (sys.executable, "-m", "dvc")


def _project(folder: Path) -> Path:
    shutil.copytree(ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    # Every checkpoint at once: the trainer is found by its first one.
    text = (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(
        re.sub(r"(harness train .*)$", r"\1 --checkpoint-seconds 0", text, flags=re.MULTILINE)
    )
    for name, content in (("experiments/study.yaml", STUDY), ("params.yaml", SETTINGS | {"seed": 0})):
        with (folder / name).open("w") as stream:
            YAML(typ="safe").dump(content, stream)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, env=_environment(folder))
    return folder


def _environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_", "PYTHON"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "OMP_NUM_THREADS": "1", "HOME": str(folder)}


def _dvc(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DVC, *words], cwd=project, env=_environment(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


def _until(true: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
