"""Where images come from: each source lists its items, their labels, and how one of them is decoded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.data import embedded, folders, libraries
from harness.data.decode import Decoded, decoder
from harness.data.notes import Notes
from harness.errors import UserError
from harness.settings.schema import DataSettings

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
