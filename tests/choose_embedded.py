"""Choose the 8,000 embedded images from the original Fashion-MNIST: python tests/choose_embedded.py [FOLDER]

FOLDER holds the four original files (Debian: package dataset-fashion-mnist). The rule: for each part and class, the
original images of the class are permuted by numpy's PCG64 generator, seeded with SEED, the number of the original part
(0: train, 1: test) and the class; of the training images the first 350 are for training and the next 50 for validation,
of the test images the first 400 are the test. Within a part they stand in the order of the original file.
"""

import gzip
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from harness.data.embedded import CARD, CLASSES, FILE
from harness.files import hash_file, write_bytes

SEED = 20121203  # the first day of the conference at which the paper was given
ORIGINALS = Path("/usr/share/datasets/fashion-mnist")
TAKEN = {"train": (0, 0, 350), "validation": (0, 350, 400), "test": (1, 0, 400)}
"""Part -> number of the original part, first and last place in the permuted class."""


def read_idx(path: Path) -> np.ndarray:
    """An idx file of bytes (two zero bytes, type 8, number of dimensions, big-endian sizes) as an array."""
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def choose(labels: np.ndarray, original: int, first: int, last: int) -> np.ndarray:
    """Indices of the images that a part takes, ascending."""
    chosen = []
    for label in range(len(CLASSES)):
        order = np.random.default_rng([SEED, original, label]).permutation(np.flatnonzero(labels == label))
        chosen.append(order[first:last])
    return np.sort(np.concatenate(chosen))


def make(folder: Path) -> tuple[bytes, dict[str, list[int]]]:
    """The npz file's bytes, the same wherever they are made, and the original indices of each part."""
    originals = [
        (read_idx(folder / f"{name}-images-idx3-ubyte.gz"), read_idx(folder / f"{name}-labels-idx1-ubyte.gz"))
        for name in ("train", "t10k")
    ]
    arrays, indices = {}, {}
    for part, (original, first, last) in TAKEN.items():
        images, labels = originals[original]
        chosen = choose(labels, original, first, last)
        indices[part] = chosen.tolist()
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = images[chosen], labels[chosen]
    content = io.BytesIO()
    # LZMA: a fifth smaller than numpy's own compression. A fixed date, so that the bytes do not depend on the day.
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.lib.format.write_array(file, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), file.getvalue(), zipfile.ZIP_LZMA)
    return content.getvalue(), indices


if __name__ == "__main__":
    write_bytes(FILE, make(Path(sys.argv[1]) if len(sys.argv) > 1 else ORIGINALS)[0])
    print(f"{FILE}: SHA-256 {hash_file(FILE)}: it stands in {CARD}")
