"""Trees of image files: PART/CLASS/FILE, or CLASS/FILE where the parts are cut by rule."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.data.decode import is_image, suffixes
from harness.data.notes import Notes, add
from harness.errors import UserError

ROLES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Part -> the names of its folder, in any case."""

Tree = tuple[list[str], np.ndarray]
"""Files of a part, relative to the root, and their labels."""


@dataclass(frozen=True)
class Found:
    """What a folder holds: class names, sorted, and its parts; `train` alone for one tree of classes."""

    class_names: list[str]
    parts: dict[str, Tree]
    notes: Notes


def find(root: Path, needs_parts: bool) -> Found:
    """The images of a folder.

    Beside a training part, a validation part is the test part where it is alone or `needs_parts`, as the paper tests on
    ImageNet's validation images.
    Raises `UserError` for a folder that is missing or cannot be read, two folders for one part, a part without classes
    or with one that `train` lacks, fewer than two classes, an empty class, classes that are a level too high, and a
    link that leads out of `root`, which itself may be one.
    """
    if not root.is_dir():
        raise UserError(f"data.root: {root}: no such folder; allowed: train/CLASS/* with val/CLASS/*, or CLASS/*")
    try:
        return _Reader(root, needs_parts).find()
    except OSError as error:
        raise UserError(f"data.root: {error.filename or root}: cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise UserError(f"data.root: {root}: cannot be read: its folders are nested too deep") from error


class _Entry(NamedTuple):
    name: str
    path: str
    """Relative to the root."""
    is_folder: bool
    is_link: bool
    is_file: bool


class _Reader:
    """Reads the folders below a root; what begins with a dot is hidden, all else is taken or counted in `notes`."""

    def __init__(self, root: Path, needs_parts: bool) -> None:
        self.root, self.needs_parts = root, needs_parts
        self.inside = os.path.join(os.path.realpath(root), "")
        self.notes: Notes = {}

    def find(self) -> Found:
        self.places = self._places()
        train = self.places["train"]
        names = self._classes(train)
        for place in self.places.values():
            if extra := sorted(set(self._classes(place) if place != train else names) - set(names)):
                raise UserError(
                    f"{self.root / place / extra[0]}: a class that {self.root / train} lacks; both parts need the same "
                    "classes"
                )
        self._refuse_level(train, names)
        return Found(names, {part: self._tree(place, names) for part, place in self.places.items()}, self.notes)

    def _places(self) -> dict[str, str]:
        """Part -> its folder in the root; `train` is the root itself where that is one tree of classes."""
        entries = self._entries("")
        folders = [entry.name for entry in entries if entry.is_folder]
        named = {part: [name for name in folders if name.lower() in names] for part, names in ROLES.items()}
        parts = [name for names in named.values() for name in names]
        if not (self.needs_parts or named["train"] or (parts and len(parts) == len(folders))):
            for name in parts:
                add(self.notes, "part_names", f"{name}/")
            return {"train": ""}
        for part, names in named.items():
            if len(names) > 1:
                both = " and ".join(f"{name}/" for name in names)
                raise UserError(f"data.root: {self.root}: {both} are both the {part} part; keep one of them")
        train, validation, test = (names[0] if names else "" for names in named.values())
        if not (train and (validation or test)):
            lacks = "val/CLASS/*" if train else "train/CLASS/*" if parts else "train/CLASS/* and val/CLASS/*"
            raise UserError(f"data.root: {self.root}: lacks {lacks}{self._without(train)}")
        places = {"train": train, "test": validation or test}
        if validation and test and not self.needs_parts:
            places = {"train": train, "validation": validation, "test": test}
        for entry in entries:
            if entry.is_folder and entry.name not in places.values():
                add(self.notes, "folders", f"{shown(entry.name)}/")
        self._count([entry for entry in entries if self._is_image(entry)])
        return places

    def _without(self, train: str) -> str:
        """How to go on with a training part alone."""
        known = train and not self.needs_parts
        return f"; or set data.root to {self.root / train}, of which all parts are cut" if known else ""

    def _entries(self, folder: str) -> list[_Entry]:
        """What lies in a folder, by name. Raises `UserError` for a link that leads out of the root."""
        with os.scandir(os.path.join(self.root, folder)) as found:
            visible = sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
        entries = []
        for entry in visible:
            is_link = entry.is_symlink()
            if is_link and not os.path.join(os.path.realpath(entry.path), "").startswith(self.inside):
                raise UserError(
                    f"{shown(entry.path)}: a link that leads out of data.root; allowed: links to what lies in "
                    f"{self.root}, which may be a link itself"
                )
            # A link to nothing counts: it stops with its name when it is decoded, where leaving it out is silent.
            is_file = entry.is_file() or (is_link and not os.path.exists(entry.path))
            entries.append(_Entry(entry.name, os.path.join(folder, entry.name), entry.is_dir(), is_link, is_file))
        return entries

    def _is_image(self, entry: _Entry) -> bool:
        return entry.is_file and is_image(os.path.join(self.root, entry.path))

    def _count(self, entries: list[_Entry]) -> None:
        for entry in entries:
            add(self.notes, "files", shown(entry.path))

    def _classes(self, place: str) -> list[str]:
        """The classes of a part: its folders. Images beside them have no label, and are counted."""
        folder, entries = self.root / place, self._entries(place)
        names = [entry.name for entry in entries if entry.is_folder]
        stray = [entry for entry in entries if self._is_image(entry)]
        if not names and stray:
            raise UserError(
                f"{folder}: images without folders of classes, so without labels; put those of each class into a folder"
                f"{self._going_on(place)}"
            )
        if not names:
            raise UserError(f"{folder}: no class: a class is a folder of images")
        if len(names) == 1:
            raise UserError(f"{folder}: one class alone: {names[0]}; two are needed at the least")
        for name in names:
            if shown(name) != name:
                raise UserError(f"{folder / shown(name)}: its name is not UTF-8; rename the folder")
        self._count(stray)
        return names

    def _going_on(self, place: str) -> str:
        """How to go on without a part that has no labels."""
        train, rest = self.places["train"], [name for name in self.places.values() if name != place]
        if place == train or len(rest) == 1:
            return "" if place == train else self._without(train)
        then = (
            f"{rest[1]}/ is then the test"
            if place == self.places["test"]
            else f"{train}/ is then cut for the validation"
        )
        return f"; or move it out of {self.root}: {then} part"

    def _refuse_level(self, place: str, names: list[str]) -> None:
        """Refuse classes that hold no images, but all the same folders: these look like the classes, or parts."""
        inner = self._inner(os.path.join(place, names[0]))
        if len(inner) > 1 and all(self._inner(os.path.join(place, name)) == inner for name in names[1:]):
            raise UserError(
                f"{self.root / place}: its folders ({_few(names)}) hold no images, but each the same folders "
                f"({_few(inner)}); set data.root to one of them, or put the images of each class into one folder"
            )

    def _inner(self, folder: str) -> list[str]:
        """The folders in a folder, or in the only one that it holds; none where images lie beside them."""
        entries = [entry for entry in self._entries(folder) if not entry.is_link]
        inner = [entry.name for entry in entries if entry.is_folder]
        if not inner or any(self._is_image(entry) for entry in entries):
            return []
        return inner if len(inner) > 1 else self._inner(os.path.join(folder, inner[0]))

    def _tree(self, place: str, names: list[str]) -> Tree:
        files: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            folder = os.path.join(place, name)
            images = list(self._images(folder)) if os.path.isdir(os.path.join(self.root, folder)) else []
            if not images:
                raise UserError(f"{self.root / folder}: no image; allowed: {', '.join(sorted(suffixes()))}")
            files += images
            labels += [label] * len(images)
        return files, np.array(labels, dtype=np.int64)

    def _images(self, folder: str) -> Iterator[str]:
        """Image files below a folder, in the order of their names, folders of it too."""
        # Plain texts, as they take a fifth of the memory of paths: ImageNet has 1.3 million.
        for entry in self._entries(folder):
            if entry.is_folder and entry.is_link:
                add(self.notes, "links", f"{shown(entry.path)}/")
            elif entry.is_folder:
                yield from self._images(entry.path)
            elif self._is_image(entry):
                yield entry.path
            else:
                self._count([entry])


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def shown(name: str) -> str:
    """A file's name for messages and JSON: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
