"""Whether the images in a folder are still those that were packed: by the files' names, sizes and times.

They are noted beside the packed images, in the cache: a clone that has none knows nothing, and does not ask.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from harness.data.notes import REPEATED, Notes, lines
from harness.errors import UserError
from harness.files import hash_file, read_json, write_json
from harness.record import caches
from harness.settings.parse import parse
from harness.settings.schema import DataSettings
from harness.settings.study import Study

SOURCES = ("folder", "imagenet", "python")
"""Sources whose files a user may change."""


def mark(settings: DataSettings) -> str | None:
    """Hash of what is read from the folder that the settings name: each file's name, size and time; None without one.

    Of a Python file it is the hash of its bytes: what it reads is not known.

    Raises `UserError` for a folder that is no data set.
    """
    root = Path(settings.root).expanduser()
    if settings.source == "python" and root.is_file():
        return hash_file(root)
    if settings.source not in SOURCES or not settings.root or not root.is_dir():
        return None
    from harness.data.folders import find

    digest = hashlib.sha256()
    for files, _ in find(root, settings.source != "folder").parts.values():
        for file in files:
            with suppress(FileNotFoundError):  # a link to nothing
                status = os.stat(os.path.join(root, file))
                digest.update(b"%s\0%d %d\n" % (os.fsencode(file), status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def remember(packed: Path, settings: DataSettings, seen: str | None) -> None:
    """Note beside a packed folder the mark of the images that gave it."""
    if seen:
        write_json(_path(packed), _known(packed) | {_key(settings): seen})


def packed_at(name: str, content: str) -> Path:
    """The folder of packed images: of a source's name and the hash of its images."""
    return caches() / "data" / f"{name}-{content[:12]}"


def changed(study: Study, root: Path) -> bool:
    """Whether a folder's images changed since those of the study's manifest were packed; False where nothing is known.

    Raises `UserError` for a manifest that is none, and a folder that is no data set any more.
    """
    if study.data.source not in SOURCES or not (root / study.manifest).exists():
        return False
    manifest = _read(study, root)
    seen = _known(packed_at(manifest.name, manifest.hash)).get(_key(study.data))
    return seen is not None and mark(study.data) not in (seen, None)


def doubts(study: Study, root: Path) -> list[str]:
    """What is doubtful of a study's packed images, a line each; nothing before they are packed."""
    path = root / study.manifest
    try:
        found = [f"{path}: {line}" for line in lines(_read(study, root).notes, REPEATED)]
    except UserError:  # missing or broken: packing makes it
        return []
    try:
        if changed(study, root):
            found.append(f"{study.data.root}: its images changed since they were packed: harness run packs them again")
    except UserError as error:
        found.append(str(error))
    return found


class _Manifest(BaseModel):
    """What is read of a manifest here, where nothing is imported that is slow to start."""

    name: str
    hash: str
    notes: Notes = {}


def _read(study: Study, root: Path) -> _Manifest:
    return parse(_Manifest, read_json(root / study.manifest), str(root / study.manifest))


def _key(settings: DataSettings) -> str:
    return f"{settings.source} {Path(settings.root).expanduser().absolute()}"


def _path(packed: Path) -> Path:
    return packed.with_name(f"{packed.name}.seen.json")


def _known(packed: Path) -> dict[str, str]:
    with suppress(UserError):  # broken or missing: not known
        known = read_json(_path(packed))
        return known if isinstance(known, dict) else {}
    return {}
