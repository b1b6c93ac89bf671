"""Bad input, by the strategies of tests/test_fuzz.py, and counted by it: what is tried here was run there."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import ROOT

KIND = "fuzzing"
VALID = "settings: valid"
"""The one sort of input that is not bad: it must be taken."""


def fuzzing(tally: Tally, folder: Path, scale: int, only: str = "") -> None:
    """Run the fuzzing tests with `scale` times their inputs, or those that pytest's `-k` finds."""
    folder.mkdir()
    out = folder / "fuzzing.csv"
    environment = {**os.environ, "HARNESS_FUZZ": str(scale), "HARNESS_FUZZ_OUT": str(out)}
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_fuzz.py", "--basetemp", str(folder / "pytest")]
    done = subprocess.run(
        [*command, *(["-k", only] if only else [])], cwd=ROOT, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if not out.exists():
        tally.add(KIND, "the tests", False, last)
        return
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        lost = int(row["lost"])
        if int(row["tried"]) > lost:
            tally.add(
                KIND, row["what"], True, times=int(row["tried"]) - lost, note=TAKEN if row["what"] == VALID else BAD
            )
        if lost:
            tally.add(KIND, row["what"], False, "more than one line, a hang or a file changed", times=lost)
    # A test may find more wrong than a reader's answer: a setting that is named wrongly, a file that was overwritten.
    if done.returncode and not any(int(row["lost"]) for row in rows):
        tally.add(KIND, "the tests", False, last)


BAD = "read, or refused in one line within 20 s; nothing overwritten"
TAKEN = "resolved, laid out, trained one step and read back from its file; a combination that is refused takes one line"
