"""The process that makes one run: it runs the commands of the run's stages, its words in a log.

The server that these processes are copies of imports this module first, once for a study.
"""

import os
import runpy
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from filelock import FileLock

from harness.process import hold
from harness.record import RunFolder

BITS = "HARNESS_BITS"
"""Variable that tells a new process which bits its libraries are to compute, before it loads them."""

if BITS in os.environ:
    hold(os.environ.pop(BITS))
    import harness.evaluate
    import harness.pipeline.named_run
    import harness.train.run  # noqa: F401 - loaded once for all copies


@dataclass(frozen=True)
class Task:
    """A run to be made: its name and how the stages' commands call it, its stages (kind -> DVC's name), its folder,
    and its GPU where some are shared out.

    `root`: the repository, whole; `place` and `log` are relative to it.
    """

    root: Path
    cell: str
    spec: str
    stages: Mapping[str, str]
    place: Path
    log: Path
    gpu: str | None


def work(task: Task) -> None:
    """Run the stages of a run; exit with the first status that is not 0."""
    os.chdir(task.root)  # a new process begins where its parent was started
    os.setsid()  # Ctrl-C is for the parent, which then tells each of its processes to stop
    leave_with_parent()
    output = os.open(task.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if task.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = task.gpu
    files = RunFolder.of(task.place)
    # Of a parent that was killed a process may still be saving the state of this run.
    with FileLock(f"{task.log}.lock"):
        for kind, stage in task.stages.items():
            print(f"{stage}: python -m harness {kind} {task.spec}", flush=True)
            os.environ["DVC_STAGE"] = stage
            # As DVC does before it runs a stage.
            shutil.rmtree(files.training if kind == "train" else files.evaluation, ignore_errors=True)
            try:
                sys.argv[1:] = [kind, task.spec]
                runpy.run_module("harness", run_name="__main__")
            except SystemExit as end:
                if end.code:
                    raise


def leave_with_parent() -> None:
    """Have this process told to save and leave when the one that started it is gone, as after a kill."""
    parent = parent_process()

    def watch() -> None:
        if parent:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
