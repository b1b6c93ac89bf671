"""What stands for a process that makes a run in the tests of the pool: cheap to import, as each is a new process."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from harness.pipeline import worker
from harness.pipeline.worker import Task
from harness.record import RunFolder


def saves(task: Task) -> None:
    """A trainer: it says that it has begun, and when it is told to stop saves and leaves."""

    os.chdir(task.root)

    def save(*_: object) -> None:
        Path(f"saved-{task.cell}").touch()
        sys.exit(130)

    signal.signal(signal.SIGTERM, save)
    worker.leave_with_parent()
    Path(f"begun-{task.cell}").touch()
    time.sleep(60)


def fails(task: Task) -> None:
    """A trainer that ends with a mistake; of its run an older evaluation is there."""
    os.chdir(task.root)
    shutil.rmtree(RunFolder.of(task.place).training)
    task.log.write_text("harness: batch: got 5000; allowed: at most 86\nERROR: failed\n")
    sys.exit(2)


def tells_environment(task: Task) -> None:
    """A trainer that says which environment it has."""
    task.log.write_text(repr(dict(os.environ)))


def changes_inputs(task: Task) -> None:
    """A run that is finished; during the first one somebody changes what all depend on."""
    os.chdir(task.root)
    files = RunFolder.of(task.place)
    for file in (files.provenance, files.metrics):
        file.unlink()
        file.write_text("made now")
    if task.cell == "base-0":
        Path("experiments/checked.json").write_text("{}")
