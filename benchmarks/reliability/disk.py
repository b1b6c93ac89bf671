"""A disk that is full, by a fault at the write call: nothing is lost, one line says what is wrong."""

import errno
import mmap
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.reliability import forks
from benchmarks.reliability.forks import Board, evaluation, failure, fork, training, wait
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import differing, results_proof, run_proof, training_part, write_settings
from harness.settings.schema import Settings

KIND = "full disk"
PLENTY = 10**12


class Space:
    """Bytes that a child may still write, in memory shared with it; then every write says that the disk is full."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return int(struct.unpack_from("q", self._memory)[0])

    @left.setter
    def left(self, value: int) -> None:
        struct.pack_into("q", self._memory, 0, value)

    @property
    def place(self) -> int:
        """Where the child was when the disk was first full; -1: it never was."""
        return int(struct.unpack_from("q", self._memory, 8)[0])

    @place.setter
    def place(self, value: int) -> None:
        struct.pack_into("q", self._memory, 8, value)

    def fill(self, size: int) -> None:
        """Leave room for `size` bytes."""
        self.left, self.place = size, -1

    def take(self, size: int, board: Board) -> int:
        """How many of `size` bytes still have room."""
        taken = min(size, self.left)
        self.left -= taken
        if taken < size and self.place < 0:
            self.place = board.place
        return taken

    def limit(self, board: Board) -> Callable[[], None]:
        """What a child does to have this disk: files opened to be written, and copies, have the room that is left."""

        def arm() -> None:
            fdopen, path_open, copyfile = os.fdopen, Path.open, shutil.copyfile

            def copy(source: Any, copied: Any, **named: Any) -> Any:
                size = os.path.getsize(source)
                if self.take(size, board) < size:
                    raise _full(source)
                return copyfile(source, copied, **named)

            def opened(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
                file = path_open(path, mode, *arguments, **named)
                return _Limited(file, self, board) if "b" in mode and "r" not in mode else file

            os.fdopen = lambda *a, **n: _Limited(fdopen(*a, **n), self, board)  # type: ignore[assignment]
            Path.open = opened  # type: ignore[method-assign, assignment]
            shutil.copyfile = copy  # type: ignore[assignment]

        return arm


def _full(path: Any = None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


class _Limited:
    """A file on a disk that has not enough room: what has room is written, as a disk does it."""

    def __init__(self, file: Any, space: Space, board: Board) -> None:
        self._file, self._space, self._board = file, space, board

    def write(self, content: bytes) -> int:
        taken = self._space.take(len(content), self._board)
        self._file.write(content[:taken])
        if taken < len(content):
            raise _full()
        return taken

    def __enter__(self) -> "_Limited":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def full_disk(
    tally: Tally,
    variants: dict[str, Settings],
    first: dict[str, dict[str, str]],
    images: Path,
    folder: Path,
    rng: Random,
    times: int,
) -> None:
    """Fill the disk at `times` random moments of the training and of the evaluation of every variant."""
    board, space = Board(), Space()
    need: dict[tuple[str, str], int] = {}
    for name, settings in variants.items():
        file = write_settings(folder / "settings", name, settings)
        for attempt in range(1 + times):
            place = folder / f"{name.replace('/', '-')}-{attempt}"
            place.mkdir(parents=True)
            for stage, words in (("train", training(file, images)), ("eval", evaluation(images))):
                # The first time there is room: for how many bytes?
                space.fill(rng.randrange(need[name, stage]) if attempt else PLENTY)
                status = wait(fork(words, place, place / stage, board.watch, space.limit(board)))
                if not attempt:
                    need[name, stage] = PLENTY - space.left
                elif space.place >= 0:
                    why = failure(place / stage) if status == 2 else f"exit status {status}"
                    why = why or _after(place, stage, words, first[name])
                    tally.add(KIND, f"while {WRITTEN[space.place]} written", not why, f"{name}: {why}", note=INJECTED)


WRITTEN = {
    forks.CHECKPOINT: "a checkpoint is",
    forks.OUTPUT: "weights or records are",
    forks.EVALUATION: "results are",
}


def _after(place: Path, stage: str, words: list[str], first: dict[str, str]) -> str:
    """What is wrong after a full disk: nothing half written may be there, and with space again all is as it was."""
    made = place / ("results/x" if stage == "eval" else "made/x")
    if made.exists() or list(place.rglob("*.tmp")):
        return "something half written is there"
    status = wait(fork(words, place, place / f"{stage} again"))
    if status:
        return f"with space again: exit status {status}"
    run = run_proof(place / "made/x")
    if stage == "eval":
        return ", ".join(differing(first, run | results_proof(made)))
    return ", ".join(differing(training_part(first), run))


INJECTED = (
    "the write call says that there is no space, after a random number of bytes; one line, exit status 2, nothing half "
    "written; with space again the same command goes on to the same bits"
)
