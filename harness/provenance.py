"""Where a run comes from: commit, versions and machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.record import NUMERIC_CODE

if TYPE_CHECKING:
    import torch

CODE = tuple(f"harness/{path}" for path in NUMERIC_CODE)
"""What counts as changed: the settings are recorded in full beside it, and a new report does not make another run."""


def _git(*arguments: str) -> str | None:
    """Output of a git command, or None outside a repository (or without git)."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def source() -> dict[str, str | None]:
    """Commit of the working tree, and the hash of what differs from it in the code that can change numbers."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    changed = (_git("diff", "HEAD", "--", *CODE) or "") + _untracked()
    return {"commit": commit.strip(), "dirty": hashlib.sha256(changed.encode()).hexdigest() if changed else None}


def _untracked() -> str:
    names = (_git("ls-files", "--others", "--exclude-standard", "--", *CODE) or "").splitlines()
    return "".join(
        f"{name} {hashlib.sha256(Path(name).read_bytes()).hexdigest()}\n" for name in names if os.path.isfile(name)
    )


def versions() -> dict[str, str | None]:
    """Versions of what computes the numbers."""
    import numpy
    import torch

    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None  # type: ignore[no-untyped-call]
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "cudnn": str(cudnn) if cudnn else None,
        "driver": _driver() if torch.cuda.is_available() else None,
    }


def _driver() -> str | None:
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def packages() -> str:
    """SHA-256 of the list of installed packages with their versions."""
    names = sorted({f"{d.metadata['Name']}=={d.version}".lower() for d in importlib.metadata.distributions()})
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """Device, threads, processor and operating system."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu()
    return {
        "device": str(device),
        "device_name": name,
        "threads": threads,
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "os": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process in MB; on a CUDA device, that of its tensors there."""
    import resource
    import sys

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
