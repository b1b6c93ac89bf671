"""Where images come from: each source lists its items, their labels, and how one of them is decoded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.data import embedded, folders, libraries
from harness.data.decode import Decoded, decoder
from harness.data.notes import Notes
from harness.data.packed import PARTS
from harness.errors import UserError
from harness.settings.schema import DataSettings
from harness.user_code import function_of, told

FOLDER_SIZE = 256
"""Side to which images of a folder are brought, as in the paper (section 2), unless the settings say otherwise."""


@dataclass(frozen=True)
class Items:
    """The images of one part, not decoded yet: a label and a name each. `decode(i)` gives image i."""

    labels: np.ndarray
    names: list[str]
    decode: Callable[[int], Decoded]

    def subset(self, indices: np.ndarray) -> "Items":
        """Items at `indices`, in their order."""
        return Items(self.labels[indices], [self.names[i] for i in indices], lambda i: self.decode(int(indices[i])))


@dataclass(frozen=True)
class ImageSource:
    """A data set: its class names, and items by part. Without `validation` it is cut from `train`, without `test` too.

    `size`: side of the packed images in pixels; an image of another size is scaled and cut to the centre when decoded.
    """

    name: str
    class_names: list[str]
    channels: int
    size: int
    parts: dict[str, Items]
    notes: Notes = field(default_factory=dict)


def open_source(settings: DataSettings) -> ImageSource:
    """The source that the settings name. Raises `UserError` with what to put where, when its images are not there."""
    name = settings.source
    if name == "synthetic":
        return _synthetic(settings)
    if name == "fashion-mnist-8k" or name in libraries.ARRAYS:
        is_embedded = name == "fashion-mnist-8k"
        names, sets = (embedded.CLASSES, embedded.load()) if is_embedded else libraries.load(name, settings.root)
        images = sets["train"][0]
        parts = {part: _arrays(x, y, part) for part, (x, y) in sets.items()}
        return ImageSource(name, names, images.shape[3], settings.size or images.shape[1], parts)
    if name == "python":
        return _python(settings)
    if name != "imagenette" and not settings.root:
        raise UserError(f"data.root: got nothing; source {name} needs the folder that holds its images")
    root = libraries.imagenette(settings.root) if name == "imagenette" else Path(settings.root).expanduser()
    found = folders.find(root, needs_parts=name != "folder")
    parts = {
        part: Items(labels, [folders.shown(file) for file in files], decoder(root, files))
        for part, (files, labels) in found.parts.items()
    }
    return ImageSource(name, found.class_names, 3, settings.size or FOLDER_SIZE, parts, found.notes)


def _arrays(images: np.ndarray, labels: np.ndarray, part: str) -> Items:
    return Items(labels, [f"{part}/{i}" for i in range(len(labels))], lambda i: (images[i], False))


def _python(settings: DataSettings) -> ImageSource:
    """What the function `images` of a Python file gives: (part, class name, image), one after the other."""
    from PIL import Image

    file = settings.root
    function = function_of(file, "images", Path(), "data.root")
    line, parts = function.__code__.co_firstlineno, dict[str, tuple[list[str], list[np.ndarray]]]()
    with told(file, line):
        for number, item in enumerate(function()):
            wrong = f"{file}:{line}: images gives, as item {number},"
            if not (isinstance(item, tuple) and len(item) == 3 and item[0] in PARTS and isinstance(item[1], str)):
                allowed = f"(part, class name, image), the part one of {', '.join(PARTS)}"
                raise UserError(f"{wrong} {str(item)[:60]!r}; allowed: {allowed}")
            part, name, image = item
            pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
            if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,)):
                raise UserError(
                    f"{wrong} an image of {pixels.dtype} {pixels.shape}; allowed: uint8 (H, W), (H, W, 3), or PIL's"
                )
            names, images = parts.setdefault(part, ([], []))
            names.append(name)
            images.append(pixels.reshape(*pixels.shape[:2], -1))
    classes = sorted({name for names, _ in parts.values() for name in names})
    if "train" not in parts or len(classes) < 2:
        raise UserError(f"{file}:{line}: images gives no image of two classes in the train part")
    channels = max(image.shape[2] for _, images in parts.values() for image in images)
    items = {}
    for part in filter(parts.get, PARTS):
        names, images = parts[part]
        labels = np.array([classes.index(name) for name in names])
        shown = [f"{part}/{name}/{i}" for i, name in enumerate(names)]
        same = [image if image.shape[2] == channels else image.repeat(channels, 2) for image in images]
        items[part] = Items(labels, shown, lambda i, same=same: (same[i], False))  # type: ignore[misc]
    return ImageSource("python", classes, channels, settings.size or FOLDER_SIZE, items)


def _synthetic(settings: DataSettings) -> ImageSource:
    """Striped textures, a direction and colour a class: for tests alone, learnable within some steps."""
    classes, side = 10, 32
    parts = {}
    for part, count in (("train", settings.train_limit or 512), ("test", settings.test_limit or 256)):
        rng = np.random.default_rng([settings.split_seed, part == "test"])
        labels = np.arange(count) % classes
        y, x = np.mgrid[:side, :side]
        angle = np.pi * labels / classes
        phase = rng.uniform(0, 2 * np.pi, count)
        wave = np.cos(
            0.9 * (np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y) + phase[:, None, None]
        )
        tint = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle)], 1)
        images = 128 + 50 * tint[:, None, None, :] + 30 * wave[..., None] + rng.normal(0, 10, (count, side, side, 3))
        parts[part] = _arrays(images.clip(0, 255).astype(np.uint8), labels, part)
    return ImageSource("synthetic", [f"stripes {i}" for i in range(classes)], 3, settings.size or side, parts)
