"""Where a run comes from: commit, versions and machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.commits import changed, commit_of, git, held, untracked
from harness.errors import UserError
from harness.files import hash_file, hash_json
from harness.identity.code import PACKAGE, PROVEN, ROOT, SCOPES, closure, digest
from harness.identity.known import unknown

if TYPE_CHECKING:
    import torch

HERE = Path(".")

ALLOW_DIRTY = "HARNESS_ALLOW_DIRTY"
"""Set in the environment it says --allow-dirty to the trainers that a pipeline starts: DVC's commands are declared."""

ALLOWED = f"--allow-dirty, or {ALLOW_DIRTY}=1 in the environment under dvc"
"""How a user says so, of a refusal."""


def source() -> dict[str, str | None]:
    """Commit of the working tree, and the hash of what differs from it in the code that can change numbers."""
    commit = commit_of("HEAD", HERE)
    if package():
        new = {scope: digest(scope) for scope in unknown()}
        return {"commit": commit, "dirty": hash_json(new) if new else None}
    if commit is None:
        return {"commit": None, "dirty": None}
    code = _code()
    # As it is for everybody, whatever a user's git is told to show.
    words = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    differences = (git(HERE, *words, "--", *code) or "") + "".join(
        f"{name} {hash_file(Path(name))}\n" for name in untracked(HERE, code)
    )
    dirty = hashlib.sha256(differences.encode("utf-8", "surrogateescape")).hexdigest() if differences else None
    return {"commit": commit, "dirty": dirty}


def package() -> dict[str, str] | None:
    """Version of the package, and digest of its training code, where it is no part of this repository.

    None in the harness's own, where git holds the code. Elsewhere git knows nothing of it, and code of no known
    identity counts as uncommitted changes.
    """
    if ROOT.resolve() == HERE.resolve():
        return None
    return {"version": __version__, "digest": digest("train")}


def reinstall(version: str) -> str:
    """The command that brings a version of the package back."""
    return f"pip install --force-reinstall --no-deps alexnet-harness=={version}"


def _code() -> list[str]:
    """The files that packing, training and evaluation can reach, as git names them from here."""
    return sorted({os.path.relpath(path) for scope in PROVEN for path in closure(SCOPES[scope]).values()})


def check_clean(wanted: bool | None, declared: Collection[Path]) -> None:
    """Refuse to make numbers with uncommitted code: nobody could make them again.

    `wanted`: whether to refuse; None: where the files `declared` of a study are committed as they are, unless the
    environment says otherwise. Raises `UserError` that names the changed files.
    """
    if wanted is None:
        wanted = not os.environ.get(ALLOW_DIRTY) and bool(declared) and committed(declared)
    if not wanted:
        return
    consequence = "the runs then record the hash of the changes, and their rows are marked"
    if package():
        if new := unknown():
            raise UserError(
                f"--require-clean: {ROOT / PACKAGE}: its code of {', '.join(new)} was changed, or is in development; "
                f"run: {reinstall(__version__)}, or take {ALLOWED}: {consequence}"
            )
        return
    if commit_of("HEAD", HERE) is None:
        raise UserError(f"--require-clean: there is no git commit to hold the code; commit it, or take {ALLOWED}")
    if names := changed(HERE, _code()):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise UserError(
            f"--require-clean: uncommitted changes in {', '.join(names[:3])}{more}; commit them, or take {ALLOWED}: "
            f"{consequence}"
        )


def committed(files: Collection[Path]) -> bool:
    """Whether the last commit holds all of these files as they are."""
    names = [os.path.relpath(file) for file in files]
    return held(HERE, names) == names and not changed(HERE, names)


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
    """Device, threads, processor and operating system; on a CPU also which bits it computes: see `harness.bits`."""
    import torch

    from harness import bits

    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else _cpu()
    return {
        "device": str(device),
        "device_name": name,
        "threads": threads,
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "os": f"{platform.system()} {platform.machine()}",
        **({} if on_gpu else {"bits": bits.text(bits.probe())}),
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
