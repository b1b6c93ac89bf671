"""Where and with which arithmetic a run is computed."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.bits import warm_up
from harness.errors import UserError
from harness.settings.schema import Settings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Numerics:
    """What the settings `device`, `threads`, `precision` and `compile` came to on this machine."""

    device: torch.device
    half: bool

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context of the forward pass: bfloat16 where the settings say so."""
        import torch

        return torch.autocast(self.device.type, torch.bfloat16) if self.half else contextlib.nullcontext()


def configure(settings: Settings) -> Numerics:
    """Set torch up for a reproducible run: deterministic operators, declared threads and precision.

    Raises `UserError` when the settings ask for a device that is not there; nothing falls back to another.
    """
    # cuBLAS reads this when it starts; without it, it may pick another workspace and sum in another order.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch

    torch.use_deterministic_algorithms(True)
    # The mode also fills every new tensor with NaN, a tenth of a step's time; no operator here reads what it did not
    # write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    tf32 = settings.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_num_threads(settings.threads)
    warm_up()
    _keep_memory()
    return Numerics(device(settings.device), settings.precision == "bfloat16")


def _keep_memory() -> None:
    """Have the C library keep freed memory: handing every large tensor back costs a fifth of a step in page faults."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc alone has it; the numbers do not depend on it
        library.mallopt(ctypes.c_int(-3), ctypes.c_int(2**30))  # M_MMAP_THRESHOLD
        library.mallopt(ctypes.c_int(-1), ctypes.c_int(2**31 - 1))  # M_TRIM_THRESHOLD


def device(name: str) -> torch.device:
    """The torch device that a `device` setting names. Raises `UserError` when it is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    chosen = torch.device("cuda:0" if name == "cuda" else name)
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= count:
            devices = f"{count} CUDA devices" if count else "no CUDA device"
            raise UserError(f"device: got {name!r}, but this machine has {devices}; allowed: auto, cpu")
    return chosen
