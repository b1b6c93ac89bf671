"""A process of the harness whose libraries are held to the instructions that a run's record names.

A processor with wider instructions adds up in another order, so that one with AVX-512 gives other bits than one
without; held to AVX2 it gives the same. Each library documents its own variable.
"""

import os
import subprocess
import sys
from pathlib import Path

from harness.errors import UserError

HARNESS = ("-m", "harness")

LIMITS = {
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "DEFAULT": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
"""By the instructions that a run's record names: environment variables for torch, oneDNN, MKL and numpy."""


def start(instructions: object, *words: object, code: Path, caches: Path, quiet: bool = False) -> subprocess.Popen[str]:
    """Start this environment's Python on the code in `code`, held to the recorded `instructions`.

    Variables that the user has set stay as they are. `caches`: where it keeps what can be made again. `quiet`: its
    errors are for the caller alone.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "GIT_")) and k != "PYTHONSAFEPATH"}
    paths = {"PYTHONPATH": str(code.resolve()), "DVC_ROOT": str(caches.resolve())}
    return subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=code, text=True, stdin=subprocess.DEVNULL,
        env=LIMITS.get(str(instructions), {}) | kept | paths,
        stdout=subprocess.DEVNULL if quiet else None, stderr=subprocess.PIPE if quiet else None,
    )  # fmt: skip


def call(instructions: object, *words: object, code: Path, caches: Path, failure: str) -> None:
    """Run a command of the harness to its end. Raises `UserError` with `failure`, and `KeyboardInterrupt`."""
    with start(instructions, *HARNESS, *words, code=code, caches=caches) as process:
        status = process.wait()
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise UserError(f"{failure}: see above")
