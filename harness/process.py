"""A process of the harness whose libraries are held to the instructions that a run's record names."""

import os
import subprocess
import sys
from pathlib import Path

from harness.instructions import limits

HARNESS = ("-m", "harness")


def start(instructions: object, *words: object, code: Path, caches: Path, quiet: bool = False) -> subprocess.Popen[str]:
    """Start this environment's Python on the code in `code`, held to the recorded `instructions`.

    Variables that the user has set stay as they are. `caches`: where it keeps what can be made again. `quiet`: its
    errors are for the caller alone.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "GIT_")) and k != "PYTHONSAFEPATH"}
    return subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=code, text=True, stdin=subprocess.DEVNULL,
        env={**limits(instructions), **kept, "PYTHONPATH": str(code.resolve()), "DVC_ROOT": str(caches.resolve())},
        stdout=subprocess.DEVNULL if quiet else None, stderr=subprocess.PIPE if quiet else None,
    )  # fmt: skip
