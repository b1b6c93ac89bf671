"""The data stage: decode every image once and pack it into raw arrays, in memory that does not grow with the data."""

import hashlib
import os
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.data.ahead import ahead
from harness.data.decode import to_size
from harness.data.notes import REPEATED, Notes, add, lines
from harness.data.packed import PARTS, Manifest
from harness.data.sources import ImageSource, Items, open_source
from harness.errors import UserError
from harness.files import atomic_folder, write_bytes, write_json
from harness.progress import progress, say
from harness.settings.schema import DataSettings

AHEAD = 64
"""Images that are decoded ahead of the one that is written."""

VALUE_DECIMALS = 8
VECTOR_DECIMALS = 10
"""Decimals of eigenvalues (in squared grey levels, at most 48,769) and of eigenvectors.

The last bits of both differ between processors (AVX2 and AVX-512): 1e-12 of a value, 1e-14 of a vector's part. These
decimals hide that, and keep more than the float32 that training makes of them.
"""


def pack(settings: DataSettings, out: Path) -> Manifest:
    """Pack the images that `settings` name into the folder `out`; an older one there is replaced when all is done.

    Raises `UserError` for a source that is not there, an image that cannot be read (unless `on_error: skip`), a full
    disk, or an `out` that holds other files; `out` is then as it was.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise UserError(f"{out}: holds other files than packed images; take another folder")
    source = open_source(settings)
    parts = _parts(source, settings)
    total = sum(len(items.labels) for items in parts.values())
    say(f"data: {total:,} images of {source.name} to {source.size} x {source.size} in {out}")
    try:
        with atomic_folder(out) as temporary:
            manifest = _write(source, parts, settings.on_error == "skip", temporary)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error
    return manifest


def _parts(source: ImageSource, settings: DataSettings) -> dict[str, Items]:
    """The three parts, disjoint, in the order of `PARTS`; nothing is decoded yet."""
    seed = settings.split_seed
    train, validation, test = (source.parts.get(part) for part in PARTS)
    assert train is not None  # noqa: S101 - every source has a train part
    if test is None:
        chosen, rest = cut(train.labels, settings.test, seed, "test")
        train, test = train.subset(rest), train.subset(chosen)
    if settings.train_limit is not None or validation is None:
        # A limit counts the validation part in; it is then cut anew, where the source has one of its own.
        train = train.subset(limited(train.labels, settings.train_limit, seed, "train_limit"))
        chosen, rest = cut(train.labels, settings.validation, seed, "validation")
        train, validation = train.subset(rest), train.subset(chosen)
    test = test.subset(limited(test.labels, settings.test_limit, seed, "test_limit"))
    return {"train": train, "validation": validation, "test": test}


def stratified(labels: np.ndarray, count: int, seed: int, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `count` images with each class's share of them, and the others; both ascending.

    The same for the same labels, count, seed and purpose. Shares are rounded by the largest remainder, so each class's
    number is within one of its exact share.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * count / max(len(labels), 1)
    quota = np.floor(exact).astype(int)
    short = count - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:short]] += 1
    taken = [
        np.random.default_rng([seed, label, *purpose.encode()]).permutation(np.flatnonzero(labels == label))[:number]
        for label, number in zip(classes.tolist(), quota, strict=True)
    ]
    chosen = np.sort(np.concatenate([np.empty(0, dtype=int), *taken]))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def limited(labels: np.ndarray, limit: int | None, seed: int, key: str) -> np.ndarray:
    """Indices of the images that a limit leaves. Raises `UserError` above all there are, or below one a class."""
    if limit is None:
        return np.arange(len(labels))
    classes = len(np.unique(labels))
    if not classes <= limit <= len(labels):
        raise UserError(f"data.{key}: got {limit}; allowed: {classes} (one a class) to {len(labels)} (all)")
    chosen, _ = stratified(labels, limit, seed, key)
    if len(np.unique(labels[chosen])) < classes:
        raise UserError(f"data.{key}: {limit} of {len(labels)} images leaves a class without an image; take more")
    return chosen


def cut(labels: np.ndarray, fraction: float, seed: int, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a part of about `fraction` and of the rest. Raises `UserError` when either would lack a class."""
    part, rest = stratified(labels, round(len(labels) * fraction), seed, key)
    classes = set(labels.tolist())
    if set(labels[part].tolist()) != classes or set(labels[rest].tolist()) != classes:
        raise UserError(
            f"data.{key}: {fraction:g} of {len(labels)} images leaves a class without an image; take another part"
        )
    return part, rest


class _Colours:
    """Mean image and covariance of the channels, added up image by image in whole numbers and float64.

    What is added is whole, and in one order: every processor comes to the same sums.
    """

    def __init__(self, size: int, channels: int) -> None:
        self.images = 0
        self.total = np.zeros((size, size, channels), np.int64)
        self.products = np.zeros((channels, channels))

    def add(self, image: np.ndarray) -> None:
        self.images += 1
        self.total += image
        pixels = image.reshape(-1, image.shape[-1]).astype(np.float64)
        self.products += pixels.T @ pixels

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.images

    @property
    def covariance(self) -> np.ndarray:
        centre = self.mean.mean((0, 1))
        return self.products / (self.images * self.total.shape[0] ** 2) - np.outer(centre, centre)


def principal_components(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (n,) from the largest and eigenvectors (n, n), one a row, rounded: the same on every processor.

    Signs are free: of the parts that are largest in size, the first is made positive. So are the vectors of equal
    eigenvalues, as grey images stored in colour have two of zero: they are taken from the unit vectors, in their order.
    """
    values, vectors = np.linalg.eigh(covariance)
    # Zero added: there is no -0 in the file.
    values = np.round(values[::-1], VALUE_DECIMALS) + 0.0
    vectors = vectors.T[::-1]
    rows: list[np.ndarray] = []
    for value in np.unique(values)[::-1]:
        same = vectors[values == value]
        rows.extend(same if len(same) == 1 else _basis(same.T @ same, len(same)))
    rounded = np.round(np.array(rows), VECTOR_DECIMALS)
    return values, np.array([row * np.sign(row[np.argmax(np.abs(row))]) for row in rounded]) + 0.0


def _basis(projection: np.ndarray, count: int) -> list[np.ndarray]:
    """Orthonormal vectors, `count` of (n,), that span what an orthogonal projection (n, n) leaves: Gram and Schmidt."""
    vectors: list[np.ndarray] = []
    for vector in projection:
        rest = vector - sum((vector @ one * one for one in vectors), np.zeros(len(vector)))
        # A unit vector has something left for each dimension that is still to be spanned; less is a rounding error.
        if len(vectors) < count and (size := np.linalg.norm(rest)) > 1e-3:
            vectors.append(rest / size)
    return vectors


def _write(source: ImageSource, parts: dict[str, Items], skip: bool, folder: Path) -> Manifest:
    digest = hashlib.sha256("\0".join(source.class_names).encode())
    colours = _Colours(source.size, source.channels)
    left_out: list[dict[str, str]] = []
    notes = source.notes
    kept: dict[str, list[int]] = {}
    marks: dict[str, array[int]] = {}
    with progress(sum(len(items.labels) for items in parts.values()), "data", "images") as advance:
        for part, items in parts.items():
            kept[part], marks[part] = [], array("I")
            with (folder / f"{part}.images.u8").open("wb") as file:
                for i, image, mark in _decoded(items, source, skip, left_out, notes):
                    content = image.tobytes()
                    file.write(content)
                    digest.update(content)
                    kept[part].append(i)
                    marks[part].append(mark)
                    if part == "train":
                        colours.add(image)
                    advance(1, "")
                if missing := len(items.labels) - len(kept[part]):
                    advance(missing, "")
                file.flush()
                os.fsync(file.fileno())
            labels = items.labels[kept[part]].astype("<i4")
            digest.update(labels.tobytes())
            write_bytes(folder / f"{part}.labels.i32", labels.tobytes())
    per_class = {
        part: np.bincount(parts[part].labels[kept[part]], minlength=len(source.class_names)).tolist() for part in PARTS
    }
    for part, numbers in per_class.items():
        if 0 in numbers:
            raise UserError(f"{source.class_names[numbers.index(0)]}: no readable image in the {part} part")
    _repeated(notes, {part: items.subset(np.array(kept[part])) for part, items in parts.items()}, marks, folder)
    if left_out:
        say(f"data: {len(left_out)} images left out, listed in the manifest; the first: {left_out[0]['path']}")
    for kind in notes:
        say(f"data: {'warning: ' if kind in REPEATED else ''}{''.join(lines(notes, [kind]))}")
    values, vectors = principal_components(colours.covariance)
    manifest = Manifest(
        name=source.name,
        hash=digest.hexdigest(),
        size=source.size,
        channels=source.channels,
        class_names=source.class_names,
        counts={part: len(indices) for part, indices in kept.items()},
        class_counts=per_class,
        channel_means=colours.mean.mean((0, 1)).tolist(),
        covariance=colours.covariance.tolist(),
        eigenvalues=values.tolist(),
        eigenvectors=vectors.tolist(),
        left_out=left_out,
        notes=notes,
    )
    write_bytes(folder / "mean.f32", colours.mean.astype("<f4").tobytes())
    write_json(folder / "manifest.json", manifest.as_json())
    return manifest


def _decoded(
    items: Items, source: ImageSource, skip: bool, left_out: list[dict[str, str]], notes: Notes
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Index, image (size, size, channels) and mark of every readable item, in order; decoded in threads, a few ahead.

    The mark is the CRC-32 of the packed pixels: equal images have the same, and few others.
    """

    def decode(i: int) -> tuple[np.ndarray, int, bool, bool]:
        pixels, turned = items.decode(i)
        image = np.ascontiguousarray(to_size(pixels, source.size))
        return image, zlib.crc32(image.data), turned, min(pixels.shape[:2]) < source.size

    for i, future in enumerate(ahead(decode, range(len(items.labels)), min(8, os.cpu_count() or 1), AHEAD)):
        try:
            image, mark, turned, enlarged = future.result()
        except Exception as error:  # Pillow raises many kinds for a broken file
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if not skip:
                raise UserError(
                    f"{items.names[i]}: cannot be read as an image: {why}; "
                    "mend or remove it, or set data.on_error: skip"
                ) from error
            left_out.append({"path": items.names[i], "why": why})
        else:
            for kind, holds in (("turned", turned), ("enlarged", enlarged)):
                if holds:
                    add(notes, kind, items.names[i])
            yield i, image, mark


def _repeated(notes: Notes, parts: dict[str, Items], marks: dict[str, "array[int]"], folder: Path) -> None:
    """Count images with the pixels of one of an earlier part, and those with the pixels of another class.

    `parts`: the items that were packed into `folder`. Images of one mark are compared by their bytes.
    """
    marked = {part: np.array(marks[part], np.uint32) for part in PARTS}
    values, counts = np.unique(np.concatenate(list(marked.values())), return_counts=True)
    first: dict[bytes, dict[tuple[str, int], str]] = {}  # hash of the bytes -> part and label -> name
    rows = []
    for part, items in parts.items():
        images = np.memmap(folder / f"{part}.images.u8", mode="r").reshape(len(items.labels), -1)
        for i in np.flatnonzero(np.isin(marked[part], values[counts > 1])):
            equals = first.setdefault(hashlib.sha256(images[i].data).digest(), {})
            label, name = int(items.labels[i]), items.names[i]
            equals.setdefault((part, label), name)
            rows.append((equals, part, label, name))
    for equals, part, label, name in rows:
        for earlier in PARTS[: PARTS.index(part)]:
            if other := next((other for (place, _), other in equals.items() if place == earlier), ""):
                add(notes, f"{part}_in_{earlier}", f"{name} = {other}")
                break
        if other := next((other for (_, known), other in equals.items() if known != label), ""):
            add(notes, "two_classes", f"{name} = {other}")
