"""Cells in parallel. DVC stays the source of truth: each cell is run and recorded by its own `dvc repro -s CELL`.

This module decides only what runs when, and on which GPU; a plain `dvc repro` afterwards finds the cells up to date.
DVC itself has no parallel `repro`; `--wait-for-lock` and `-s` are what keeps several of them from failing on its locks.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

from harness.errors import UserError
from harness.files import read_yaml, write_bytes
from harness.progress import progress, say
from harness.settings.study import Cell, Study

LOGS = Path(".dvc/tmp/cells")
STAGES = ("train", "eval", "train-candidate", "eval-candidate")
"""What runs in parallel: a cell's training, then its evaluation. The rest is for a plain `dvc repro`."""

CANDIDATE = "candidate"

MISTAKE = "harness: "
"""How the line begins in which a command says what its user's mistake is."""

ROOT = Path("dvc.yaml")


def address(stage: str, pipeline: Path = ROOT) -> str:
    """A stage as DVC's commands name it: by itself in the root's pipeline, else with its file."""
    return stage if pipeline == ROOT else f"{pipeline.as_posix()}:{stage}"


def _environment(gpu: str | None = None) -> dict[str, str]:
    # The stages call `python`: this interpreter's environment comes first, whether it is activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})}


def dvc(*arguments: str, show: bool = False) -> str:
    """Run a DVC command, waiting for its lock. Raises `UserError` when it fails; DVC's own words come before."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, text=True, stdout=None if show else subprocess.PIPE, env=_environment(), check=False)
    if done.returncode:
        raise UserError(f"dvc {' '.join(arguments)}: failed with status {done.returncode}; what it said stands above")
    return done.stdout or ""


def cell_of(stage: str) -> str | None:
    """The cell that a stage belongs to: `train@no-lrn-0` to `no-lrn-0`; None for a stage that the cells share."""
    name, _, key = stage.rpartition(":")[2].partition("@")
    if name not in STAGES:
        return None
    return key or CANDIDATE


def stages_of(cell: str, pipeline: Path = ROOT) -> list[str]:
    """The stages of a cell, in order."""
    stages = ["train-candidate", "eval-candidate"] if cell == CANDIDATE else [f"train@{cell}", f"eval@{cell}"]
    return [address(stage, pipeline) for stage in stages]


def _targets(pipeline: Path) -> list[str]:
    return [address(stage, pipeline) for stage in (STAGES if pipeline == ROOT else STAGES[:2])]


def upstream(pipeline: Path = ROOT) -> list[str]:
    """The stages that the cells share: run once, before them."""
    stages: set[str] = set()
    for target in _targets(pipeline)[::2]:
        stages |= set(re.findall(r'^\s*"([^"]+)";', dvc("dag", "--dot", target), re.MULTILINE))
    return sorted(stage for stage in stages if cell_of(stage) is None)


def waiting(pipeline: Path = ROOT, allow_missing: bool = False) -> set[str]:
    """Cells that are not up to date, in DVC's eyes. Raises `UserError` while another process is running them.

    `allow_missing`: what is recorded and merely not here, as the runs in a clone, counts as up to date.
    """
    found = json.loads(dvc("status", "--json", *_targets(pipeline)))
    return {
        cell
        for stage, changes in found.items()
        if (cell := cell_of(stage)) is not None and not (allow_missing and _only_missing(changes))
    }


MISSING = ("deleted", "not in cache")
"""DVC's words for a file that its record has and the disk has not."""


def _only_missing(changes: Sequence[Any]) -> bool:
    """Whether nothing of a stage has changed but that recorded files are not here, as `dvc status` tells it."""
    states = [
        state
        for change in changes
        for files in (change.values() if isinstance(change, dict) else [change])
        for state in (files.values() if isinstance(files, dict) else [files])
    ]
    return all(state in MISSING for state in states)


def keep_lock(pipeline: Path = ROOT) -> None:
    """Guard what DVC has recorded of a pipeline: a sound dvc.lock is copied, a damaged one replaced by its copy.

    DVC writes the file in place, so whatever kills it can leave a part, and every DVC command then fails.
    Raises `UserError` for a damaged one without a copy.
    """
    lock = pipeline.with_suffix(".lock")
    copy = LOGS / ("dvc.lock" if pipeline == ROOT else f"{pipeline.parent.name}-dvc.lock")
    if not lock.exists():
        return
    content = lock.read_bytes()
    if _sound(lock, content):
        write_bytes(copy, content)
    elif copy.exists():
        write_bytes(lock, copy.read_bytes())
        say(f"{lock}: damaged, as by a kill while DVC wrote it; its last sound copy took its place")
    else:
        raise UserError(f"{lock}: damaged, as by a kill while DVC wrote it; run: git checkout -- {lock}")


def _sound(lock: Path, content: bytes) -> bool:
    try:
        found = read_yaml(lock)
    except UserError:
        return False
    return content.endswith(b"\n") and isinstance(found, dict) and "stages" in found


def seed_by_seed(cells: Iterable[str], study: Study) -> list[str]:
    """Cells in the order in which they are to run: all variants of the study's first seed, then of the next.

    A machine that becomes slower then slows the variants alike, and whole seeds are complete for a look. The candidate
    comes last.
    """
    order = [Cell(study.name, variant, seed).key for seed in study.seeds for variant in study.variants]
    return sorted(cells, key=[*order, CANDIDATE].index)


def workers(jobs: int | None, gpus: str) -> tuple[int, list[str]]:
    """Cells at once, and the GPUs that are shared out among them, from `-j` and `--gpus`: a GPU each by default.

    Raises `UserError` for more cells than GPUs.
    """
    named = [gpu.strip() for gpu in gpus.split(",")] if gpus else []
    if not all(named):
        raise UserError(f"run: --gpus: got {gpus!r}; allowed: GPUs with commas between them, as 0,1")
    count = jobs or len(named) or 1
    if named and count > len(named):
        raise UserError(f"run: -j: got {count}, but --gpus names {len(named)}; allowed: at most one cell a GPU")
    return count, named


@dataclass
class _Running:
    cell: str
    gpu: str | None
    process: subprocess.Popen[Any]
    log: IO[str]
    begin: float
    stopped: set[int] = field(default_factory=set)

    def stop_trainer(self) -> None:
        """Tell the harness below DVC to save and leave, once each process; DVC itself goes on and keeps its record."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                if child.pid not in self.stopped and "harness" in child.cmdline():
                    self.stopped.add(child.pid)
                    child.send_signal(signal.SIGTERM)


def run_cells(cells: Sequence[str], jobs: int, gpus: Sequence[str], pipeline: Path = ROOT) -> list[str]:
    """Run `cells` on `jobs` workers, each with one of `gpus` (CUDA_VISIBLE_DEVICES) where some are given.

    Returns the cells that failed: the others are finished all the same. Raises `KeyboardInterrupt` after SIGINT or
    SIGTERM, once every trainer has saved its state and left, and DVC has written its record.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    free: list[str | None] = [None] * jobs
    if gpus:
        free = list[str | None](gpus)[:jobs]
    todo, running, failed = list(cells), list[_Running](), list[str]()
    told: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with progress(len(cells), "cells", "cells") as advance:
            while running or (todo and not told):
                while todo and free and not told:
                    running.append(_start(todo.pop(0), free.pop(0), pipeline))
                time.sleep(0.1)
                if told:
                    for one in running:
                        one.stop_trainer()
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    free.append(one.gpu)
                    how = _end(one, bool(told))
                    if how == "FAILED":
                        failed.append(one.cell)
                    if how != "stopped":
                        advance(1, f"{how} {one.cell} in {time.monotonic() - one.begin:.0f} s")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise KeyboardInterrupt
    return failed


def log_of(cell: str, pipeline: Path = ROOT) -> Path:
    """Where a cell's output is kept."""
    return LOGS / (f"{cell}.log" if pipeline == ROOT else f"{pipeline.parent.name}-{cell}.log")


def _start(cell: str, gpu: str | None, pipeline: Path) -> _Running:
    log = log_of(cell, pipeline).open("w", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", *stages_of(cell, pipeline)],
        env=_environment(gpu),
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    return _Running(cell, gpu, process, log, time.monotonic())


def _end(one: _Running, told: bool) -> str:
    one.log.close()
    text = Path(one.log.name).read_text(encoding="utf-8", errors="replace")
    if one.process.returncode:
        if told:
            say(f"stopped {one.cell}")
            return "stopped"
        # The harness says in one line what is wrong; without one, the log has to tell.
        mistakes = [line for line in text.splitlines() if line.startswith(MISTAKE)]
        why = f"{mistakes[-1].removeprefix(MISTAKE)}; " if mistakes else ""
        say(f"FAILED {one.cell}: {why}see {one.log.name}")
        return "FAILED"
    return "cached" if "is cached" in text else "ran"
