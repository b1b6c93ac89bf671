"""Who is at work on a study: one `harness run` at a time, and none beside a DVC that was started by itself.

DVC would wait for minutes, and then advise to remove its lock by hand, under the other's hands.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from harness.errors import UserError
from harness.settings.study import Study

HELD = Path(".dvc/tmp/held")
"""A lock for each study, and beside it the process that holds it."""

RWLOCK = Path(".dvc/tmp/rwlock")
"""What DVC's processes read and write: {"read" or "write": {path: process or processes}}."""


@contextmanager
def alone(study: Study, command: str) -> Iterator[None]:
    """Hold a study for this process, whose `command` is named where that fails.

    Raises `UserError` with the process that has it. The lock is the operating system's: the dead hold none.
    """
    HELD.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(HELD / f"{study.name}.lock", fallback_to_soft=False), HELD / f"{study.name}.pid"
    busy = f"{command}: {study.name} is at work in another process"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        process = holder.read_text() if holder.exists() else "unknown"
        raise UserError(f"{busy} ({process}: harness); wait until it is done, or end it with Ctrl-C") from error
    with lock:
        holder.write_text(str(os.getpid()))
        if others := _dvc_at(study):
            # Started by itself, or by a `harness run` that was killed.
            raise UserError(f"{busy} ({others[0]}: dvc); wait until it is done, or end it")
        yield


def _dvc_at(study: Study) -> list[int]:
    """The living processes of DVC that read or write results of the study, or what its stages depend on."""
    entries: dict[str, dict[str, Any]] = {}
    with suppress(OSError, ValueError):  # none is there, or it is just being written
        entries = json.loads(RWLOCK.read_text(encoding="utf-8"))
    places = study.folder.resolve(), study.report.resolve(), study.checked.resolve()
    owners = [
        owner["pid"]
        for kind in entries.values()
        for path, held in kind.items()
        if any(Path(path).is_relative_to(place) for place in places)
        for owner in (held if isinstance(held, list) else [held])
    ]
    return [pid for pid in dict.fromkeys(owners) if _is_dvc(pid)]


def _is_dvc(pid: int) -> bool:
    with suppress(psutil.Error):  # it is gone
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    return False
