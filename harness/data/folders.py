"""Trees of image files: PART/CLASS/FILE, or CLASS/FILE where the parts are cut by rule."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".gif"}
TEST_NAMES = ("val", "test", "validation")
"""Names of the tree beside `train` that is the test part: ImageNet's validation images are what the paper tests on."""

Tree = tuple[list[Path], np.ndarray]
"""Paths and labels of a part."""


def find(root: Path, needs_parts: bool) -> tuple[list[str], dict[str, Tree]]:
    """Class names, sorted, and the parts of a tree: `train` and `test`, or `train` alone for one tree of classes.

    Raises `UserError` for a missing folder, no class, an empty class, or a class that `train` lacks.
    """
    if not root.is_dir():
        raise UserError(f"data.root: {root}: no such folder; allowed: train/CLASS/* with val/CLASS/*, or CLASS/*")
    train = root / "train"
    test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
    if train.is_dir() and test is not None:
        names = _classes(train)
        extra = sorted(set(_classes(test)) - set(names))
        if extra:
            raise UserError(f"{test / extra[0]}: a class that {train} lacks; both parts need the same classes")
        return names, {"train": _tree(train, names), "test": _tree(test, names)}
    if needs_parts or train.is_dir():
        lacks = "val/CLASS/*" if train.is_dir() else "train/CLASS/* and val/CLASS/*"
        raise UserError(f"data.root: {root}: lacks {lacks}")
    names = _classes(root)
    return names, {"train": _tree(root, names)}


def _classes(folder: Path) -> list[str]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: no class: a class is a folder of images")
    return names


def _tree(folder: Path, names: list[str]) -> Tree:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        files = sorted((folder / name).rglob("*")) if (folder / name).is_dir() else []
        images = [p for p in files if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith(".")]
        if not images:
            raise UserError(f"{folder / name}: no image; allowed: {', '.join(sorted(SUFFIXES))}")
        paths += images
        labels += [label] * len(images)
    return paths, np.array(labels, dtype=np.int64)


def decoder(paths: list[Path]) -> Callable[[int], np.ndarray]:
    """Decodes image i of `paths` to RGB, upright, as (H, W, 3) uint8; raises what Pillow raises for a broken file."""

    def decode(i: int) -> np.ndarray:
        from PIL import Image, ImageOps

        with Image.open(paths[i]) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    return decode


def to_size(image: np.ndarray, size: int) -> np.ndarray:
    """Bring the shorter side to `size` pixels and cut the central square, as the paper does (section 2).

    Smaller images are scaled up. Bilinear, with antialiasing. (H, W, C) uint8 in, (size, size, C) uint8 out.
    """
    height, width = image.shape[:2]
    if (height, width) != (size, size):
        from PIL import Image

        scale = size / min(height, width)
        shape = (max(size, round(width * scale)), max(size, round(height * scale)))
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        image = np.asarray(picture.resize(shape, Image.Resampling.BILINEAR))
        image = image.reshape(shape[1], shape[0], -1)
        top, left = (shape[1] - size) // 2, (shape[0] - size) // 2
        image = image[top : top + size, left : left + size]
    return image
