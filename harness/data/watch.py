"""Whether the images in a folder are still those that were packed: by the files' names, sizes and times.

They are noted beside the packed images, in the cache: a clone that has none knows nothing, and does not ask.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from harness.errors import UserError
from harness.files import read_json, write_json
from harness.settings.schema import DataSettings

SOURCES = ("folder", "imagenet")
"""Sources whose files a user may change."""


def mark(settings: DataSettings) -> str | None:
    """Hash of what is read from the folder that the settings name: each file's name, size and time; None without one.

    Raises `UserError` for a folder that is no data set.
    """
    root = Path(settings.root).expanduser()
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
        known = _known(packed)
        write_json(_path(packed), known | {_key(settings): seen})


def changed(packed: Path, settings: DataSettings) -> bool:
    """Whether the images differ from those that gave a packed folder; False where that is not known."""
    seen = _known(packed).get(_key(settings))
    return seen is not None and mark(settings) not in (seen, None)


def _key(settings: DataSettings) -> str:
    return f"{settings.source} {Path(settings.root).expanduser().absolute()}"


def _path(packed: Path) -> Path:
    return packed.with_name(f"{packed.name}.seen.json")


def _known(packed: Path) -> dict[str, str]:
    with suppress(UserError):  # broken or missing: not known
        known = read_json(_path(packed))
        return known if isinstance(known, dict) else {}
    return {}
