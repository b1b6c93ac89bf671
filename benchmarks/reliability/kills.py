"""kill -9 at every place of a run, then the same command again: it ends as if nothing had been."""

import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.reliability import forks
from benchmarks.reliability.forks import Board, evaluation, fork, strike, suicide, training, wait
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import differing, results_proof, run_proof, write_settings
from harness.settings.schema import Settings

KIND = "kill -9"


def _die_in(module: Any, name: str, when: Callable[..., object], after: bool = False) -> Callable[[], None]:
    """What a child does so that it dies just before (or after) a call of `module.name` with arguments that fit."""

    def arm() -> None:
        whole = getattr(module, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            fits = when(*arguments)
            if fits and not after:
                suicide()
            found = whole(*arguments, **named)
            if fits:
                suicide()
            return found

        setattr(module, name, wrapped)

    return arm


def _half_written() -> None:
    """Die when half of a checkpoint's weights are on the disk."""
    import harness.train.checkpoint as checkpoint
    from harness.files import atomic

    def write_half(path: Path, content: bytes) -> None:
        with atomic(path) as file:
            file.write(content[: len(content) // 2])
            file.flush()
            os.fsync(file.fileno())
            suicide()

    vars(checkpoint)["write_bytes"] = write_half


SEAMS: dict[str, Callable[[], None]] = {
    "checkpoint half written": _half_written,
    "between a checkpoint's weights and its state": _die_in(
        os, "replace", lambda source, path: re.search(r"\d{8}\.safetensors$", str(path)), after=True
    ),
    "just before the last rename": _die_in(os, "rename", lambda source, path: str(path).endswith("made/x")),
    "just after the last rename": _die_in(os, "rename", lambda source, path: str(path).endswith("made/x"), after=True),
}
"""Moments too short to be met by chance: the child kills itself there, by the same signal."""

AIMED = (forks.STEP, forks.STEP, forks.CHECKPOINT, forks.CHECKPOINT, forks.VALIDATION, forks.START)
"""Places at which every variant's training is killed from outside, at a random moment of them."""

DEATHS = (
    "at the start or between steps",
    "in the middle of a step",
    "in the middle of a checkpoint",
    "in the middle of a validation",
    "while the weights and records are written",
    "in the middle of an evaluation",
)
"""Where a child was when it died, as it had said itself, by the places of `forks`."""


@dataclass
class _Run:
    """A run in a folder of its own, killed and started until it is done."""

    folder: Path
    name: str
    settings: Path
    images: Path
    board: Board
    rng: Random
    deaths: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def run(self) -> Path:
        return self.folder / "made/x"

    @property
    def results(self) -> Path:
        return self.folder / "results/x"

    def words(self, stage: str) -> list[str]:
        """The command of a stage."""
        return evaluation(self.images) if stage == "eval" else training(self.settings, self.images)

    def finish(self, stage: str, aims: "deque[int | str]") -> int:
        """Start a stage and kill it, aim by aim, until it is done; aims that it outlives stay. Its exit status."""
        while True:
            self.board.clear()
            aim = aims[0] if aims else None
            arm = (SEAMS[aim],) if isinstance(aim, str) else ()
            pid = fork(self.words(stage), self.folder, self.log, self.board.watch, *arm)
            if isinstance(aim, int):
                status = self._aimed(pid, aim)
            else:
                status = wait(pid)
                if status == -9 and isinstance(aim, str):
                    self.deaths.append(aim)
            if status is not None and status != -9:
                return status
            aims.popleft()

    def _aimed(self, pid: int, place: int) -> int | None:
        status = strike(pid, self.board, place, self.rng) if place != forks.START else self._anywhere(pid)
        if status is None:
            self.deaths.append(DEATHS[self.board.place])
        return status

    def _anywhere(self, pid: int) -> int | None:
        """Killed at any moment of the first tenths of a second, mostly before the first step."""
        time.sleep(self.rng.random() * 0.3)
        os.kill(pid, signal.SIGKILL)
        _, raw = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(raw)
        return None if code == -signal.SIGKILL else code


def kills(
    tally: Tally,
    variants: dict[str, Settings],
    first: dict[str, dict[str, str]],
    images: Path,
    folder: Path,
    rng: Random,
) -> None:
    """Kill the training and the evaluation of every variant at each of the places, and compare what they end in.

    `first`: the proofs of the uninterrupted runs, by variant.
    """
    board = Board()
    folder.mkdir()
    for name, settings in variants.items():
        file = write_settings(folder / "settings", name, settings)
        training: deque[int | str] = deque([*AIMED, *SEAMS])
        rng.shuffle(training)
        training.append(forks.OUTPUT)
        outputs: deque[int | str] = deque([forks.EVALUATION, forks.EVALUATION])
        for attempt in range(len(training)):
            if not training and not outputs:
                break
            place = folder / f"{name.replace('/', '-')}-{attempt}"
            place.mkdir()
            run = _Run(place, name, file, images, board, rng)
            status = run.finish("train", training) or run.finish("eval", outputs)
            if status:
                apart = [f"exit status {status}"]
            else:
                apart = differing(first[name], run_proof(run.run) | results_proof(run.results))
            left = [path.name for path in place.rglob("*.tmp")]
            for death in run.deaths:
                tally.add(KIND, death, not apart, f"{name}: {', '.join(apart)}", note=NOTE)
            tally.add("after kills", "run finished and equal to the uninterrupted one", not apart, f"{name}: {apart}")
            tally.add("after kills", "nothing half-written is left", not left, f"{name}: {left[:3]}")
        for aim in (*training, *outputs):
            where = aim if isinstance(aim, str) else DEATHS[aim]
            tally.add(KIND, f"never came: {where}", False, name)


NOTE = "then started again until done; every hash and file equals the uninterrupted run's"
