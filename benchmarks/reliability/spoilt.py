"""Checkpoints that a disk has spoilt are found by their checksums, and the one before is used."""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.reliability import forks
from benchmarks.reliability.forks import Board, fork, strike, training, wait
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import differing, run_proof, training_part, write_settings
from harness.settings.schema import Settings

DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "truncated": lambda content, rng: content[: rng.randrange(len(content))],
    "a bit flipped": lambda content, rng: _flip(content, rng),
    "emptied": lambda content, rng: b"",
}


def _flip(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def spoilt_checkpoints(
    tally: Tally,
    variants: dict[str, Settings],
    first: dict[str, dict[str, str]],
    images: Path,
    folder: Path,
    rng: Random,
) -> None:
    """Kill every variant's training, damage its newest checkpoint (or both that are kept), and start it again."""
    for name, settings in variants.items():
        place = folder / name.replace("/", "-")
        place.mkdir(parents=True)
        words = training(write_settings(folder / "settings", name, settings), images)
        _interrupt(words, place, rng)
        shutil.copytree(place / ".checkpoints", place / "kept")
        for how, damage in DAMAGES.items():
            for which, ending, count in KEPT:
                _clear(place)
                shutil.copytree(place / "kept", place / ".checkpoints")
                for path in _files(place, ending)[-count:]:
                    path.write_bytes(damage(path.read_bytes(), rng))
                log = place / f"{how} {which}"
                status = wait(fork(words, place, log))
                apart = [f"exit status {status}"]
                if not status:
                    apart = differing(training_part(first[name]), run_proof(place / "made/x"))
                told = log.read_text().count("damaged checkpoint passed over")
                # A bit of white space in the JSON may change and nothing with it.
                if told != count and not (ending == "json" and how == "a bit flipped"):
                    apart.append(f"{told} said to be damaged, not {count}")
                why = f"{name}: {', '.join(apart)}"
                tally.add("damaged checkpoint", f"{which} {how}", not apart, why, note=PASSED)


KEPT = (
    ("weights of the newest", "safetensors", 1),
    ("state of the newest", "json", 1),
    ("weights of both", "safetensors", 2),
)


def _interrupt(words: list[str], place: Path, rng: Random) -> None:
    """Kill a training in a step after its second checkpoint, so that two are there."""
    board = Board()
    while True:
        board.clear()
        pid = fork(words, place, place / "log", board.watch)
        status = forks.arrive(pid, board, forks.CHECKPOINT, 3)
        if status is None and strike(pid, board, forks.STEP, rng) is None and _both(place):
            return
        _clear(place)


def _both(place: Path) -> bool:
    """Two whole checkpoints and nothing else: a kill in the midst of a third leaves weights that have no state yet."""
    states, weights = ([path.stem for path in _files(place, ending)] for ending in ("json", "safetensors"))
    return len(states) == 2 and states == weights


def _clear(place: Path) -> None:
    for name in ("made", "runs", ".checkpoints"):
        shutil.rmtree(place / name, ignore_errors=True)


PASSED = "found by its checksum; the one before is used (none: from the start); the end is the same to the bit"


def _files(place: Path, ending: str) -> list[Path]:
    return sorted((place / ".checkpoints").glob(f"*/*.{ending}"))
