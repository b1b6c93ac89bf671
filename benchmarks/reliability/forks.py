"""Commands of the harness in processes that can be killed at a chosen place.

Each is a fork of this process, which has imported torch and not used it: starting one costs milliseconds, not seconds.
A child says in shared memory what it is doing, so that it can be killed from outside in the middle of it.
"""

import mmap
import os
import signal
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

PLACES = ("start or between steps", "step", "checkpoint", "validation", "output", "evaluation")
START, STEP, CHECKPOINT, VALIDATION, OUTPUT, EVALUATION = range(len(PLACES))

POLL = 0.0002
"""Seconds between two looks at a child; a step takes some hundredths."""

PATIENCE = 300.0
"""Seconds after which a child hangs."""


def preload() -> None:
    """Import what the commands import, so that no child has to."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch
    import torch._inductor  # noqa: F401 - what deterministic algorithms import, for seconds

    import harness.cli
    import harness.data.pack
    import harness.evaluate
    import harness.train.run  # noqa: F401


class Board:
    """Where a child says what it is doing: its place, and for each place how often it came there and how long it took.

    Memory that this process shares with its forks.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (1 + 2 * len(PLACES)))

    def _get(self, kind: str, index: int) -> Any:
        return struct.unpack_from(kind, self._memory, 8 * index)[0]

    def _set(self, kind: str, index: int, value: float) -> None:
        struct.pack_into(kind, self._memory, 8 * index, value)

    @property
    def place(self) -> int:
        """Where the child is, or was when it died."""
        return int(self._get("q", 0))

    def clear(self) -> None:
        """Back to the start; what was learned of durations stays."""
        for index in range(1 + len(PLACES)):
            self._set("q", index, 0)

    def entries(self, place: int) -> int:
        """How often the child came to a place."""
        return int(self._get("q", 1 + place))

    def seconds(self, place: int) -> float:
        """How long the last whole visit to a place took, of any child."""
        return float(self._get("d", 1 + len(PLACES) + place))

    def inside(self, place: int, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which says where it is."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            before, begin = self.place, time.perf_counter()
            self._set("q", 1 + place, self.entries(place) + 1)
            self._set("q", 0, place)
            try:
                return function(*arguments, **named)
            finally:
                self._set("q", 0, before)
                self._set("d", 1 + len(PLACES) + place, time.perf_counter() - begin)

        return wrapped

    def watch(self) -> None:
        """In a child: have training and evaluation say where they are."""
        import harness.evaluate
        import harness.weights
        from harness.train.checkpoint import Checkpoints
        from harness.train.loop import Trainer

        for owner, name, place in (
            (Trainer, "_step", STEP),
            (Trainer, "_validate", VALIDATION),
            (Checkpoints, "save", CHECKPOINT),
            (harness.weights, "save", OUTPUT),
            (harness.weights, "copy_records", OUTPUT),
            (harness.evaluate, "evaluate", EVALUATION),
        ):
            setattr(owner, name, self.inside(place, getattr(owner, name)))


def training(settings: Path, images: Path, run: str = "made/x", seconds: float = 0) -> list[str]:
    """Words of the command that trains a run, in its working folder; `seconds` between two checkpoints.

    Its records are left in the folder `run`, its weights in the cache runs/.
    """
    place = ["--seed", "0", "--out", run, "--data", str(images)]
    return ["train", str(settings), *place, "--checkpoint-seconds", str(seconds)]


def evaluation(images: Path, run: str = "made/x", results: str = "results/x") -> list[str]:
    """Words of the command that evaluates it."""
    return ["eval", run, results, "--data", str(images)]


def fork(words: list[str], folder: Path, log: Path, *before: Callable[[], None]) -> int:
    """Run `harness WORDS` in `folder` and return its process id. `before`: what the child does first."""
    return fork_call(lambda: _command(words), folder, log, *before)


def fork_call(go: Callable[[], int], folder: Path, log: Path, *before: Callable[[], None]) -> int:
    """Run a function in a child process, its output in `log`; what it returns is the exit status."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(folder)
        for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_TRACKING"))]:
            del os.environ[name]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for action in before:
            action()
        status = go()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _command(words: list[str]) -> int:
    from harness.cli import main

    sys.argv = ["harness", *words]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def wait(pid: int) -> int:
    """Exit status of a child, negative for a signal. Raises `TimeoutError` when it hangs; it is then killed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = ended(pid)
        if status is not None:
            return status
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError(f"the process hangs: not done after {PATIENCE:.0f} s")


def abreast(starts: Iterable[Callable[[], int]], jobs: int) -> list[int]:
    """Start children (each call returns a process id), `jobs` at once; their exit statuses, in their order."""
    running: deque[int] = deque()
    statuses = []
    for start in starts:
        if len(running) == jobs:
            statuses.append(wait(running.popleft()))
        running.append(start())
    return [*statuses, *map(wait, running)]


def ended(pid: int) -> int | None:
    """Exit status of a child that has ended."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def arrive(pid: int, board: Board, place: int, visit: int, deadline: float = PATIENCE) -> int | None:
    """Wait until a child comes to a place for the `visit`th time; its exit status where it ended before."""
    end = time.monotonic() + deadline
    while board.entries(place) < visit and time.monotonic() < end:
        status = ended(pid)
        if status is not None:
            return status
        time.sleep(POLL)
    return None


def strike(pid: int, board: Board, place: int, rng: Random, visits: int = 2) -> int | None:
    """kill -9 a child at a random moment of its visit to a place.

    One of its first `visits`. Returns None when it was killed (the board says where), else the exit status of a child
    that ended before.
    """
    status = arrive(pid, board, place, rng.randint(1, visits))
    if status is not None:
        return status
    time.sleep(rng.random() * board.seconds(place))
    os.kill(pid, signal.SIGKILL)
    _, raw = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(raw)
    return None if code == -signal.SIGKILL else code


def suicide() -> None:
    """kill -9 this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def failure(log: Path) -> str:
    """What is wrong with what a refused command said: it must end with one line and no traceback."""
    text = log.read_text(errors="replace")
    if "Traceback" in text:
        return "a traceback: " + text.strip().splitlines()[-1]
    lines = [line for line in text.splitlines() if line.startswith("harness: ")]
    return "" if len(lines) == 1 and text.splitlines()[-1] == lines[0] else f"{len(lines)} lines of error"
