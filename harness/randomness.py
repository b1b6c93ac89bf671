"""Random numbers common to all variants: one stream for each source of randomness.

A stream is named by the run's seed, its source and where it stands (layer, epoch, step), and by nothing else. So
turning one source off cannot move another: without dropout the batches keep their order, and a layer left out leaves
the initial weights of the others as they were. A run that goes on after an interruption needs no saved generator
either.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

INITIAL_WEIGHTS = "initial weights"  # of a layer
BATCH_ORDER = "batch order"  # of an epoch
CROPS = "crops"  # of an epoch and step
FLIPS = "flips"  # of an epoch and step
COLOUR = "colour"  # of an epoch and step
DROPOUT = "dropout"  # of a layer, epoch and step


VARIED = {
    "initial_weights": (INITIAL_WEIGHTS,),
    "batch_order": (BATCH_ORDER,),
    "augmentation": (CROPS, FLIPS, COLOUR),
    "dropout": (DROPOUT,),
}
"""Sources that follow the run's seed under the setting `vary`; `all` of them do by default."""

HELD = 0


def seed_of(vary: str, seed: int, source: str) -> int:
    """The seed that a source draws with: the run's, or the held one where another source alone is varied."""
    return seed if vary == "all" or source in VARIED[vary] else HELD


def stream_seed(seed: int, source: str, *place: str | int) -> int:
    """The 63-bit seed of the stream of `source` at `place` in the run with `seed`."""
    name = "\0".join([str(seed), source, *map(str, place)])
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def stream(seed: int, source: str, *place: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A new generator at the start of the stream of `source` at `place`.

    Draws on the CPU are the same on every machine; a generator of a CUDA device gives other numbers, and is used where
    the draws are large (dropout).
    """
    import torch

    return torch.Generator(device).manual_seed(stream_seed(seed, source, *place))
