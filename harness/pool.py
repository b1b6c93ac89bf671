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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from harness.errors import UserError
from harness.progress import progress, say
from harness.settings.study import Cell, Study

LOGS = Path(".dvc/tmp/cells")
STAGES = ("train", "eval", "train-candidate", "eval-candidate")
"""What runs in parallel: a cell's training, then its evaluation. The rest is for a plain `dvc repro`."""

CANDIDATE = "candidate"

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


def waiting(pipeline: Path = ROOT) -> set[str]:
    """Cells that are not up to date, in DVC's eyes. Raises `UserError` while another process is running them."""
    found = json.loads(dvc("status", "--json", *_targets(pipeline)))
    return {cell for stage in found if (cell := cell_of(stage)) is not None}


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


def run_cells(cells: Sequence[str], jobs: int, gpus: Sequence[str], pipeline: Path = ROOT) -> list[str]:
    """Run `cells` on `jobs` workers, each with one of `gpus` (CUDA_VISIBLE_DEVICES) where some are given.

    Returns the cells that failed: the others are finished all the same. Raises `KeyboardInterrupt` after SIGINT or
    SIGTERM, once every trainer has saved its state and left.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    free: list[str | None] = [None] * jobs
    if gpus:
        free = list[str | None](gpus)[:jobs]
    todo, running, failed = list(cells), list[_Running](), list[str]()
    told: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        told.append(number)
        for one in running:
            # The whole group: DVC ignores the signal while its command runs, the trainer saves and leaves.
            os.killpg(one.process.pid, signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with progress(len(cells), "cells", "cells") as advance:
            while running or (todo and not told):
                while todo and free and not told:
                    running.append(_start(todo.pop(0), free.pop(0), pipeline))
                time.sleep(0.1)
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    free.append(one.gpu)
                    how = _end(one)
                    if how == "FAILED":
                        failed.append(one.cell)
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


def _end(one: _Running) -> str:
    one.log.close()
    if one.process.returncode:
        say(f"FAILED {one.cell}: see {one.log.name}")
        return "FAILED"
    return "cached" if "is cached" in Path(one.log.name).read_text(encoding="utf-8") else "ran"
