"""8,000 images of Fashion-MNIST that come with the repository, so that the default study needs no network.

Their source, licence and hash stand in fashion-mnist-8k.json beside this file; `tests/choose_embedded.py` is the rule
that chose them.
"""

import io
from pathlib import Path

import numpy as np

from harness.errors import UserError
from harness.files import hash_file, read_json

FILE = Path(__file__).parent / "fashion-mnist-8k.npz"
CARD = FILE.with_suffix(".json")

CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip


def load() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Part -> images (N, 28, 28, 1) uint8 and labels (N,) int64. Raises `UserError` when the file is damaged."""
    expected = read_json(CARD)["sha256"]
    actual = hash_file(FILE) if FILE.exists() else "no file"
    if actual != expected:
        raise UserError(f"{FILE}: damaged: its SHA-256 is {actual}, it should be {expected}; git checkout restores it")
    with np.load(io.BytesIO(FILE.read_bytes()), allow_pickle=False) as arrays:
        return {
            part: (arrays[f"{part}_images"][..., None], arrays[f"{part}_labels"].astype(np.int64))
            for part in ("train", "validation", "test")
        }
