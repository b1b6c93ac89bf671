"""A packed data set: raw arrays that are mapped into memory, and a manifest that says what they are."""

import hashlib
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from harness.data.notes import Notes
from harness.errors import UserError
from harness.files import read_json

PARTS = ("train", "validation", "test")

AGAIN = "remove the folder and run again: it is made anew"
"""What to do about a damaged packed folder."""


@dataclass(frozen=True)
class Manifest:
    """What a packed folder holds.

    `size`: side of the images in pixels. `hash`: SHA-256 over images, labels and class names, wherever the folder lies.
    Colour statistics are over all pixels of the train part, in grey levels of 0..255: `channel_means`, `covariance` of
    the channels, its `eigenvalues` from the largest, and `eigenvectors`, one a row. `left_out`: unreadable images, each
    with `path` and `why`. `notes`: what else is to be known of the images; see `harness.data.notes`.
    """

    name: str
    hash: str
    size: int
    channels: int
    class_names: list[str]
    counts: dict[str, int]
    class_counts: dict[str, list[int]]
    channel_means: list[float]
    covariance: list[list[float]]
    eigenvalues: list[float]
    eigenvectors: list[list[float]]
    left_out: list[dict[str, str]]
    notes: Notes = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The content of its file: notes stand there only where there are some."""
        return {key: value for key, value in asdict(self).items() if value or key != "notes"}


@dataclass(frozen=True)
class Part:
    """One part: images (N, size, size, channels) uint8, mapped read-only, and labels (N,) int64."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Packed:
    """A packed folder. Only the parts that are asked for are opened: training works where the test part is missing."""

    folder: Path
    manifest: Manifest
    mean: np.ndarray
    """Mean image of the train part: (size, size, channels) float32."""

    @staticmethod
    def open(folder: Path) -> "Packed":
        """Open a packed folder. Raises `UserError` when it is missing or damaged."""
        if not (folder / "manifest.json").exists():
            raise UserError(f"{folder}: no packed images; run: harness data")
        manifest = read_manifest(folder / "manifest.json")
        shape = (manifest.size, manifest.size, manifest.channels)
        return Packed(folder, manifest, _map(folder / "mean.f32", np.dtype("<f4"), shape).copy())

    def part(self, name: str) -> Part:
        """The part `train`, `validation` or `test`. Raises `UserError` when its files are missing or damaged."""
        m = self.manifest
        shape = (m.counts[name], m.size, m.size, m.channels)
        images = _map(self.folder / f"{name}.images.u8", np.dtype("u1"), shape)
        labels = _map(self.folder / f"{name}.labels.i32", np.dtype("<i4"), shape[:1])
        return Part(images, labels.astype(np.int64))

    def content_hash(self) -> str:
        """The hash of the folder's bytes, as packing makes it: class names, then images and labels of each part."""
        digest = hashlib.sha256("\0".join(self.manifest.class_names).encode())
        for part in map(self.part, PARTS):
            digest.update(part.images.data)
            digest.update(part.labels.astype("<i4").data)
        return digest.hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, of a packed folder or of a study. Raises `UserError` when it is not one."""
    values = read_json(path)
    try:
        manifest = TypeAdapter(Manifest).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: not a manifest of images: {where}: {first['msg']}; {AGAIN}") from error
    if min(manifest.size, manifest.channels, *(manifest.counts.get(part, 0) for part in PARTS)) < 1:
        raise UserError(f"{path}: a size or count is not above 0; {AGAIN}")
    return manifest


def _map(path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    need = math.prod(shape) * kind.itemsize
    size = path.stat().st_size if path.is_file() else 0
    if size != need:
        raise UserError(f"{path}: damaged: {size} bytes, {need} are needed; {AGAIN}")
    return np.memmap(path, kind, "r", shape=shape)
