"""Packed images of studies: a small manifest in git, the arrays in a cache that is made again when it is missing."""

import contextlib
import os
import tempfile
from pathlib import Path

from filelock import FileLock

from harness.data import watch
from harness.data.pack import pack
from harness.data.packed import Manifest, Packed, read_manifest
from harness.errors import UserError
from harness.files import hash_json, write_json
from harness.identity.known import identity
from harness.progress import say
from harness.record import caches
from harness.settings.schema import DataSettings
from harness.settings.study import Study

CHECKED = 64 * 2**20
"""Bytes of packed images up to which all of them are hashed before each use: a twentieth of a second."""


def pack_study(study: Study, root: Path) -> Manifest:
    """Pack a study's images and write their manifest.

    Its `id` is what trainings depend on: the images, and the numerics identity of the code that packed them.
    Raises `UserError`.
    """
    manifest, code = _pack(study.data), identity("data")
    short = hash_json([manifest.hash, code])[:12]
    write_json(root / study.manifest, {"id": short, "code": code, **manifest.as_json()})
    return manifest


def images_of(study: Study, root: Path) -> Packed:
    """A study's packed images, packed again where they are not here.

    Raises `UserError` where there is no manifest yet, and for images that are not those of the manifest.
    """
    path = root / study.manifest
    if not path.exists():
        raise UserError(f"{path}: no such file; run: harness data {study.name}")
    return packed_as(read_manifest(path), study.data, str(path))


def packed_as(manifest: Manifest, settings: DataSettings, where: str) -> Packed:
    """Images that `settings` name, whose hash is that of `manifest`; `where` names its file. Raises `UserError`."""
    folder = watch.packed_at(manifest.name, manifest.hash)
    if not (folder / "manifest.json").exists():
        say(f"data: {folder} is not here: packing it again")
        made = _pack(settings)
        if made.hash != manifest.hash:
            raise UserError(
                f"{where}: hash: {manifest.hash[:12]}, but the images that are here have {made.hash[:12]}: they are "
                "others, or are decoded by another library; bring back the images, or make the manifest again with: "
                "harness data"
            )
    packed = Packed.open(folder)
    size = sum(path.stat().st_size for path in folder.glob("*.u8"))
    if packed.manifest.hash != manifest.hash or (size <= CHECKED and packed.content_hash() != manifest.hash):
        raise UserError(f"{folder}: damaged: its images are not those of {where}; remove this folder and run again")
    return packed


def _pack(settings: DataSettings) -> Manifest:
    """Pack images into the folder that their hash names. Several processes may ask for the same at once."""
    place = caches() / "data"
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / ".packing.lock", fallback_to_soft=False)
    with lock, tempfile.TemporaryDirectory(prefix=".packing-", dir=place) as temporary:
        seen = watch.mark(settings)  # before they are read: what changes meanwhile is seen the next time
        manifest = pack(settings, Path(temporary) / "images")
        folder = watch.packed_at(manifest.name, manifest.hash)
        watch.remember(folder, settings, seen)
        with contextlib.suppress(UserError):
            if Packed.open(folder).content_hash() == manifest.hash:
                return manifest
        if folder.exists():
            os.rename(folder, Path(temporary) / "damaged")
        os.rename(Path(temporary) / "images", folder)
    return manifest
