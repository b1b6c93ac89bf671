"""Files that the packing probes read: pictures of many kinds in small trees, and data sets in their published form.

Written once for both sides of a proof; the same bytes for the same version of Pillow.
"""

import hashlib
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
"""Exif's tag that says how a camera was held."""

OWN = """import numpy as np
from PIL import Image


def images():
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 256, (20 + i % 7, 24, 3), dtype=np.uint8)
        picture = [pixels, pixels[:, :, 0], Image.fromarray(pixels)][i % 3]
        yield ("test" if i % 4 == 3 else "train"), ["ants", "bees"][i % 5 // 3], picture
"""
"""A function that gives images in every form."""


def write_pictures(root: Path) -> None:
    """Write every tree below `root`, an empty folder."""
    _odd(root / "odd")
    for name, parts in (("tree", ("train", "val")), ("three", ("train", "val", "test")), ("tested", ("train", "test"))):
        for p, part in enumerate(parts):
            for c, kind in enumerate(("ants", "bees", "wasps")):
                for i in range(4 + c):
                    path = root / name / part / kind / f"image {i}{['.png', '.jpg'][i % 2]}"
                    _save(_picture(100 * p + 10 * c + i, (30 + 3 * i, 26 + c)), path)
    _photos(root / "photos")
    _fashion(root / "fashion")
    _cifar(root / "cifar")
    (root / "own.py").write_text(OWN)


def _picture(seed: int, size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def _save(image: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def _odd(root: Path) -> None:
    """Classes whose images are of every kind that a user's folder has, unreadable ones too."""
    cats, dogs = root / "cats", root / "dogs"
    _save(_picture(1, (41, 29)), cats / "wide.png")
    _save(_picture(2, (29, 41)), cats / "tall.jpg", quality=90)
    _save(_picture(3, (25, 47)).convert("L"), cats / "grey.png")
    _save(_picture(4, (33, 33)).convert("P", palette=Image.Palette.ADAPTIVE, colors=16), cats / "palette.gif")
    _save(_picture(5, (10, 15)), cats / "small.bmp")
    _save(_picture(6, (24, 24)), cats / "exact.png")
    _save(_picture(7, (25, 24)), cats / "one more.png")
    alpha = _picture(8, (30, 36)).convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize((30, 36)))
    _save(alpha, dogs / "alpha.png")
    for turn in (3, 6, 8):
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        _save(_picture(10 + turn, (37, 28)), dogs / f"turned {turn}.jpg", exif=exif)
    _save(_picture(20, (36, 30)).convert("CMYK"), dogs / "printed.jpg")
    _save(_picture(21, (28, 31)).convert("1"), dogs / "bits.png")
    _save(_picture(22, (60, 24)), dogs / "below" / "deeper.png")
    _save(_picture(23, (47, 95)), dogs / "large.png")
    _save(Image.fromarray((np.arange(900, dtype=np.uint16) * 70).reshape(30, 30)), dogs / "sixteen bits.png")
    (dogs / "broken.jpg").write_bytes((dogs / "turned 3.jpg").read_bytes()[:200])
    for place in (cats, dogs):
        (place / "a text.png").write_text("no picture\n")
    (dogs / "notes.txt").write_text("no picture either\n")
    (dogs / ".hidden.png").write_text("hidden\n")


def _photos(root: Path) -> None:
    """Enough readable images of three classes that parts can be cut by rule."""
    for c, kind in enumerate(("ants", "bees", "wasps")):
        for i in range(9 + 4 * c):
            _save(_picture(300 + 30 * c + i, (26 + i, 24 + 2 * c)), root / kind / f"{i}.png")


def _fashion(root: Path) -> None:
    """Fashion-MNIST's files."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for seed, (name, count) in enumerate((("train", 40), ("t10k", 20))):
        images = np.random.default_rng(seed).integers(0, 256, (count, 28, 28))
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(count) * 7 % 10)):
            head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
            (raw / f"{name}-{kind}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())


def _cifar(root: Path) -> None:
    """Two batches and their names in CIFAR's form, and kind.json with their hashes."""
    root.mkdir()
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
    for seed, (name, group) in enumerate((("one", "train_list"), ("two", "train_list"), ("three", "test_list"))):
        data: Any = np.random.default_rng(seed).integers(0, 256, (3, 3072), dtype=np.uint8)
        if seed:
            data = data.tolist()
        labels = {"labels" if seed != 2 else "fine_labels": [seed, 2, 1]}
        lists[group].append([name, _pickled(root / name, {"data": data, **labels})])
    md5 = _pickled(root / "names", {"names": ["a", "b", "c"]})
    kind = {"base_folder": ".", "meta": {"filename": "names", "key": "names", "md5": md5}, **lists}
    (root / "kind.json").write_text(json.dumps(kind))


def _pickled(path: Path, value: Any) -> str:
    # As the numpy of the time named itself.
    content = pickle.dumps(value, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(content)
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
