"""What a user should know of the images that were packed: each kind counted, its first few named."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.grammar import counted

FIRST = 3
"""Names that are kept of each kind."""

WORDS = {
    "folders": ("folder", "beside the parts, not read"),
    "files": ("file", "not read as an image"),
    "links": ("linked folder", "not followed"),
    "part_names": ("folder", "named like a part, read as a class as there is no train/ beside it"),
    "turned": ("image", "turned upright by its EXIF tag"),
    "enlarged": ("image", "smaller than the stored size, scaled up"),
    "validation_in_train": ("validation image", "with the pixels of a training image"),
    "test_in_train": ("test image", "with the pixels of a training image"),
    "test_in_validation": ("test image", "with the pixels of a validation image"),
    "two_classes": ("image", "with the pixels of an image of another class"),
}
"""Kind of note -> the noun that is counted, and what is said of it."""

REPEATED = ("validation_in_train", "test_in_train", "test_in_validation", "two_classes")
"""Kinds that make an error rate doubtful."""


@dataclass
class Note:
    """How many there are of a kind, and the names of the first of them; of `files`, of the first with each suffix."""

    count: int = 0
    first: list[str] = field(default_factory=list)


Notes = dict[str, Note]


def add(notes: Notes, kind: str, name: str) -> None:
    """Count one more of a kind."""
    note = notes.setdefault(kind, Note())
    note.count += 1
    alike = kind == "files" and Path(name).suffix in {Path(other).suffix for other in note.first}
    if len(note.first) < FIRST and not alike:
        note.first.append(name)


def claim(kind: str, note: Note) -> str:
    """`3 test images with the pixels of a training image`."""
    noun, rest = WORDS[kind]
    return f"{counted(note.count, noun)} {rest}"


def lines(notes: Notes, kinds: Iterable[str] = WORDS) -> list[str]:
    """A line for each kind that there is, with the first names."""
    found = [(kind, notes[kind]) for kind in kinds if kind in notes]
    return [
        f"{claim(kind, note)}: {', '.join(' '.join(name.split()) for name in note.first)}"
        + (", ..." if note.count > len(note.first) else "")
        for kind, note in found
    ]
