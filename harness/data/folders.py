"""Trees of image files: PART/CLASS/FILE, or CLASS/FILE where the parts are cut by rule."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from harness.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".gif"}
VALIDATION_NAMES = ("val", "validation")

Tree = tuple[list[str], np.ndarray]
"""Files of a part, relative to the root, and their labels."""


def find(root: Path, needs_parts: bool) -> tuple[list[str], dict[str, Tree]]:
    """Class names, sorted, and the parts of a tree: `train` and `test`, or `train` alone for one tree of classes.

    Beside `train`, a folder `val` is the test part where it is alone or `needs_parts`, as the paper tests on ImageNet's
    validation images; beside a `test` of its own it is the validation part.
    Raises `UserError` for a folder that is missing or cannot be read, fewer than two classes, an empty class, or a
    class that `train` lacks.
    """
    if not root.is_dir():
        raise UserError(f"data.root: {root}: no such folder; allowed: train/CLASS/* with val/CLASS/*, or CLASS/*")
    try:
        return _find(root, needs_parts)
    except OSError as error:
        raise UserError(f"data.root: {error.filename or root}: cannot be read: {error.strerror or error}") from error


def _find(root: Path, needs_parts: bool) -> tuple[list[str], dict[str, Tree]]:
    train = root / "train"
    validation = next((name for name in VALIDATION_NAMES if (root / name).is_dir()), None)
    places = {"test": validation} if validation else {}
    if (root / "test").is_dir() and not (needs_parts and validation):
        places = {"validation": validation, "test": "test"} if validation else {"test": "test"}
    if not train.is_dir() and not needs_parts:
        names = _classes(root)
        return names, {"train": _tree(root, "", names)}
    if not train.is_dir() or not places:
        lacks = "val/CLASS/*" if train.is_dir() else "train/CLASS/* and val/CLASS/*"
        raise UserError(f"data.root: {root}: lacks {lacks}")
    names = _classes(train)
    for place in places.values():
        if extra := sorted(set(_classes(root / place)) - set(names)):
            raise UserError(f"{root / place / extra[0]}: a class that {train} lacks; both parts need the same classes")
    return names, {part: _tree(root, place, names) for part, place in {"train": "train", **places}.items()}


def _classes(folder: Path) -> list[str]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: no class: a class is a folder of images")
    if len(names) == 1:
        raise UserError(f"{folder}: one class alone: {names[0]}; two are needed at the least")
    for name in names:
        if shown(name) != name:
            raise UserError(f"{folder / shown(name)}: its name is not UTF-8; rename the folder")
    return names


def _tree(root: Path, place: str, names: list[str]) -> Tree:
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        images = list(_images(root, os.path.join(place, name)))
        if not images:
            raise UserError(f"{root / place / name}: no image; allowed: {', '.join(sorted(SUFFIXES))}")
        files += images
        labels += [label] * len(images)
    return files, np.array(labels, dtype=np.int64)


def _images(root: Path, folder: str) -> Iterator[str]:
    """Image files below a folder, in the order of their names; what begins with a dot is hidden, folders too."""
    # Plain texts, as they take a fifth of the memory of paths: ImageNet has 1.3 million.
    if not (root / folder).is_dir():
        return
    with os.scandir(root / folder) as entries:
        # A link to nothing counts: it stops with its name when it is decoded, where leaving it out would be silent.
        visible = sorted((e.name, e.is_dir(), e.is_symlink(), e.is_file()) for e in entries if e.name[0] != ".")
    for name, is_folder, is_link, is_file in visible:
        if is_folder and not is_link:
            yield from _images(root, os.path.join(folder, name))
        elif (is_file or (is_link and not is_folder)) and os.path.splitext(name)[1].lower() in SUFFIXES:
            yield os.path.join(folder, name)


def shown(name: str) -> str:
    """A file's name for messages and JSON: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def decoder(root: Path, files: list[str]) -> Callable[[int], np.ndarray]:
    """Decodes image i of `files` to RGB, upright, as (H, W, 3) uint8; raises what Pillow raises for a broken file.

    The first picture of an animation; transparency is dropped. More than 8 bits a channel in grey are refused, since
    Pillow would cut them off at white.
    """

    def decode(i: int) -> np.ndarray:
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(root / files[i]) as image:
                if image.mode[0] in "IF":
                    raise ValueError(f"more than 8 bits a pixel (mode {image.mode}); save it with 8")
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except UnidentifiedImageError as error:
            # Pillow's own words hold the whole path, which would make the manifest differ from machine to machine.
            raise ValueError("no format that Pillow knows") from error

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
