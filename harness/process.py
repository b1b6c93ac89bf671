"""What the libraries of a process compute with: the portable bits, or the instructions that a run's record names.

A processor with wider instructions adds up in another order, so that one with AVX-512 gives other bits than one
without; and MKL takes other ways on Intel's and AMD's. Each library documents its own variable, and reads it once.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError

HARNESS = ("-m", "harness")

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
}
"""Environment of the portable bits, for torch, oneDNN, MKL and numpy: equal on every x86-64 processor with AVX2.

MKL's way that all processors have, and no instructions wider than AVX2: one without the other is not enough. numpy's
features have other names from one version to the next, and it passes over those that it does not know.
"""

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


_ambient: dict[str, str | None] = {}
"""What the user's environment had, of the variables that `hold` has set."""


def hold(bits: str) -> None:
    """Have this process compute the portable bits, before it imports torch or numpy; `native`: leave it as it is."""
    if bits == "portable" and not _ambient:
        _ambient.update({name: os.environ.get(name) for name in PORTABLE})
        os.environ.update(PORTABLE)


def ambient() -> dict[str, str]:
    """The environment as the user gave it, for programs that hold themselves."""
    values = os.environ | _ambient
    return {name: value for name, value in values.items() if value is not None}


def native_instructions() -> str:
    """The instructions of a run that is not held to the portable bits, as torch names them: AVX512, AVX2, DEFAULT."""
    import torch

    asked = ambient().get("ATEN_CPU_CAPABILITY", "").upper()
    if asked in ("AVX512", "AVX2", "DEFAULT"):
        return asked
    if not _ambient:
        return torch.backends.cpu.get_cpu_capability()
    # This process is held to AVX2: what the processor has is asked of it.
    if torch.cpu._is_avx512_supported():
        return "AVX512"
    return "AVX2" if torch.cpu._is_avx2_supported() else "DEFAULT"


def start(
    machine: Mapping[str, Any], *words: object, code: Path, caches: Path, quiet: bool = False
) -> subprocess.Popen[str]:
    """Start this environment's Python on the code in `code`, held to the instructions of a recorded `machine`.

    Variables that the user has set stay as they are; a run with portable bits sets them by itself. `caches`: where it
    keeps what can be made again. `quiet`: its errors are for the caller alone.
    """
    kept = {k: v for k, v in ambient().items() if not k.startswith(("DVC_", "GIT_")) and k != "PYTHONSAFEPATH"}
    paths = {"DVC_ROOT": str(caches.resolve())}
    if (code / "harness").is_dir():  # else it is installed, and found as it was by this process
        paths["PYTHONPATH"] = str(code.resolve())
    return subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=code, text=True, stdin=subprocess.DEVNULL,
        env=LIMITS.get(str(machine.get("instructions")), {}) | kept | paths,
        stdout=subprocess.DEVNULL if quiet else None, stderr=subprocess.PIPE if quiet else None,
    )  # fmt: skip


def call(machine: Mapping[str, Any], *words: object, code: Path, caches: Path, failure: str) -> None:
    """Run a command of the harness to its end. Raises `UserError` with `failure`, and `KeyboardInterrupt`."""
    with start(machine, *HARNESS, *words, code=code, caches=caches) as process:
        status = process.wait()
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise UserError(f"{failure}: see above")
