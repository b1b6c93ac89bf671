"""SIGTERM and Ctrl-C save and leave; a live trainer keeps its run for itself, a dead one does not."""

import os
import signal
import time
from pathlib import Path
from random import Random

from benchmarks.reliability import forks
from benchmarks.reliability.forks import Board, arrive, failure, fork, training, wait
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import differing, run_proof, training_part, write_settings
from harness.settings.schema import Settings

KIND = "signals and locks"
SELDOM = 1e9
"""Seconds between two checkpoints: none is due, so that what is saved was saved for the signal."""


def signals(
    tally: Tally,
    variants: dict[str, Settings],
    first: dict[str, dict[str, str]],
    images: Path,
    folder: Path,
    rng: Random,
) -> None:
    """Tell every variant's training to stop, kill it, and start it beside itself; each goes on to the same end."""
    for name, settings in variants.items():
        file = write_settings(folder / "settings", name, settings)
        want = training_part(first[name])
        for told in (signal.SIGTERM, signal.SIGINT):
            place = folder / f"{name.replace('/', '-')}-{told.name}"
            place.mkdir(parents=True)
            why = _told(training(file, images, seconds=SELDOM), place, told, rng, want)
            tally.add(KIND, f"{told.name} saves and leaves", not why, f"{name}: {why}", note=TOLD)
        place = folder / f"{name.replace('/', '-')}-lock"
        place.mkdir()
        words = training(file, images)
        why = _beside(words, place)
        tally.add(KIND, "a second trainer of a live run refuses", not why, f"{name}: {why}", note=REFUSED)
        locks = list(place.glob(".checkpoints/*.lock"))
        status = wait(fork(words, place, place / "after"))
        apart = [f"exit status {status}"] if status else differing(want, run_proof(place / "made/x"))
        why = "" if locks else "no lock was left"
        tally.add(
            KIND, "a dead trainer's lock is taken over", not (apart or why), f"{name}: {why}, {apart}", note=TAKEN
        )


TOLD = "exit status 130 and one line, nothing but the signal having saved; run again, it ends in the same bits"
REFUSED = "exit status 2 and one line, while the first one rests in the middle of a step (SIGSTOP)"
TAKEN = "the first one was killed; its file was there; the end is the same to the bit"


def _told(words: list[str], place: Path, told: signal.Signals, rng: Random, want: dict[str, str]) -> str:
    """What is wrong with a training that was sent a signal at a random moment of a step."""
    board, log = Board(), place / "log"
    pid = fork(words, place, log, board.watch)
    arrive(pid, board, forks.STEP, rng.randint(1, 4))
    time.sleep(rng.random() * 0.05)
    os.kill(pid, told)
    status = wait(pid)
    if status != 130:
        return f"exit status {status}"
    said = log.read_text()
    if "Traceback" in said or "its state is saved" not in said.splitlines()[-1]:
        return f"said: {said.splitlines()[-1]}"
    if len(list(place.glob(".checkpoints/*/*.json"))) != 1:
        return "no checkpoint was left"
    status = wait(fork(words, place, place / "again"))
    if status or "resuming in epoch" not in (place / "again").read_text():
        return f"then exit status {status}"
    return ", ".join(differing(want, run_proof(place / "made/x")))


def _beside(words: list[str], place: Path) -> str:
    """What is wrong with a second trainer of a run whose first one rests; the first one is then killed."""
    board = Board()
    pid = fork(words, place, place / "one", board.watch)
    arrive(pid, board, forks.STEP, 2)
    os.kill(pid, signal.SIGSTOP)
    status = wait(fork(words, place, place / "two"))
    os.kill(pid, signal.SIGKILL)
    died = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 2 or "another process is training this run" not in (place / "two").read_text():
        return f"exit status {status}"
    return failure(place / "two") or ("" if died == -signal.SIGKILL else "the first one had ended")
