"""Whether this process computes the portable bits: a step of each kind of layer, hashed, against the hashes on record.

The records of harness/bits.json are of PyTorch's own packages on PyPI, by their version; they are the same on the
processors of AMD and of Intel (docs: Bits). `HARNESS_GOLDEN=write pytest tests/test_bits.py` makes them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.files import read_json

if TYPE_CHECKING:
    from torch import Tensor

FILE = Path(__file__).with_suffix(".json")

LENGTH = 8
"""Characters of a hash."""

VECTOR_MATH = ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "sin", "cos", "erf", "floor", "ceil", "abs", "trunc")
"""Functions of a float32 tensor that torch leaves to MKL."""


def warm_up() -> None:
    """Call MKL's vector functions once in one thread.

    It chooses each function's kernel at the first call, and several threads that make it at once may get one of lower
    accuracy (pytorch#188792).
    """
    import torch

    for dtype in (torch.float32, torch.float64):
        one = torch.ones(1, dtype=dtype)
        for name in VECTOR_MATH:
            getattr(torch, name)(one)


@cache
def probe() -> dict[str, str]:
    """Kind of layer -> hash of a training step's numbers on a CPU, in one thread: outputs and gradients."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: _hash(*make()) for name, make in KINDS.items()}
    finally:
        torch.set_num_threads(threads)


def text(hashes: dict[str, str]) -> str:
    """Hashes as a record holds them."""
    return " ".join(f"{name}:{digest}" for name, digest in hashes.items())


def differing(recorded: str, hashes: dict[str, str]) -> list[str]:
    """Kinds of layers whose hashes differ from recorded ones; what only one of the two has is not compared."""
    before = dict(pair.split(":") for pair in recorded.split())
    return [name for name, digest in hashes.items() if before.get(name, digest) != digest]


def known(torch: str) -> dict[str, str] | None:
    """The hashes on record for a version of torch, less what it was built for; None where there are none."""
    hashes: dict[str, str] | None = read_json(FILE).get(torch.partition("+")[0])
    return hashes


def _hash(*arrays: Tensor | np.ndarray) -> str:
    total = hashlib.sha256()
    for array in arrays:
        values = array if isinstance(array, np.ndarray) else array.detach().contiguous().numpy()
        total.update(values.tobytes())
    return total.hexdigest()[:LENGTH]


def _values(*shape: int) -> Tensor:
    """Numbers in -1..1 that depend on the shape alone, made without any library's random numbers or functions."""
    import torch

    count = int(np.prod(shape))
    digits = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # wraps, as it should
    return torch.from_numpy(((digits >> np.uint64(40)).astype(np.float32) / 2**23 - 1).reshape(shape))


def _step(layer: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    """A layer's output, and the gradients of its inputs."""
    leaves = [one.clone().requires_grad_() for one in inputs]
    output = layer(*leaves)
    output.backward(_values(*output.shape))  # type: ignore[no-untyped-call]
    return output, *(leaf.grad for leaf in leaves if leaf.grad is not None)


def _convolution() -> tuple[Tensor, ...]:
    from torch.nn.functional import conv2d

    first = _step(lambda x, w, b: conv2d(x, w, b, stride=4), _values(2, 3, 67, 67), _values(24, 3, 11, 11), _values(24))
    plain = _step(lambda x, w, b: conv2d(x, w, b, padding=2), _values(16, 8, 12, 12), _values(32, 8, 5, 5), _values(32))
    columns = _values(16, 32, 6, 6), _values(48, 16, 3, 3), _values(48)
    return *first, *plain, *_step(lambda x, w, b: conv2d(x, w, b, padding=1, groups=2), *columns)


def _linear() -> tuple[Tensor, ...]:
    from torch.nn.functional import linear

    wide, narrow = (_values(64, 300), _values(128, 300), _values(128)), (_values(7, 128), _values(10, 128), _values(10))
    return *_step(linear, *wide), *_step(linear, *narrow)


def _norm() -> tuple[Tensor, ...]:
    squares = _values(4, 16, 12, 12) ** 2 * 90 + 2
    return *_step(lambda s: s.rsqrt().rsqrt() * s.rsqrt() ** 2, squares), *_step(lambda s: s.pow(-0.6), squares)


def _pool() -> tuple[Tensor, ...]:
    from torch.nn.functional import avg_pool2d, max_pool2d

    images = _values(4, 16, 13, 13)
    return *_step(lambda x: max_pool2d(x, 3, 2), images), *_step(lambda x: avg_pool2d(x, 3, 2), images)


def _units() -> tuple[Tensor, ...]:
    import torch

    sums = _values(64, 99) * 4
    return *_step(torch.relu, sums), *_step(torch.tanh, sums), *_step(torch.sigmoid, sums)


def _loss() -> tuple[Tensor, ...]:
    import torch
    from torch.nn.functional import cross_entropy

    wide = _step(lambda x: cross_entropy(x * 9, torch.arange(64), reduction="none"), _values(64, 1000))
    narrow = _step(lambda x: cross_entropy(x * 9, torch.arange(64) % 10, reduction="none"), _values(64, 10))
    scores = _values(64, 10) * 9
    return *wide, *narrow, scores.softmax(1), scores.double().mean(0), scores.exp().clamp(min=1e-38).log()


def _update() -> tuple[Tensor, ...]:
    weights, velocity = _values(300, 70), _values(300, 70) * 0.1
    velocity.mul_(0.9).sub_(weights, alpha=0.0005 * 0.01).sub_(_values(300, 70).flip(0), alpha=0.01)
    return weights + velocity, weights.norm(), weights.sum(0)


def _draws() -> tuple[Tensor, ...]:
    import torch

    stream = torch.Generator().manual_seed(7)
    normal, uniform = torch.randn(999, generator=stream), torch.rand(999, generator=stream)
    return normal, uniform, torch.randperm(99, generator=stream), torch.randint(9, (99,), generator=stream)


def _colours() -> tuple[Tensor | np.ndarray, ...]:
    import torch

    pixels = _values(400, 3) * torch.tensor([3.0, 2.0, 1.0])
    cover = pixels.T @ pixels / 400
    exact = cover.double().numpy()
    return *torch.linalg.eigh(cover), np.linalg.eigvalsh(exact), np.exp(exact), np.log(np.abs(exact) + 1), exact @ exact


KINDS: dict[str, Callable[[], tuple[Tensor | np.ndarray, ...]]] = {
    "convolution": _convolution,
    "linear": _linear,
    "normalisation": _norm,
    "pooling": _pool,
    "units": _units,
    "loss": _loss,
    "update": _update,
    "draws": _draws,
    "colours": _colours,
}
"""What is computed of each kind: numbers of every operation that a run is made of."""
