"""Files: read as DVC reads them, written whole or not at all."""

from __future__ import annotations

import csv
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from harness.errors import UserError

if TYPE_CHECKING:
    import numpy as np

os.umask(UMASK := os.umask(0))
"""What the user's new files deny to others: a group may share a repository."""


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its name on success, after its bytes are on the disk.

    Raises `UserError` when the disk is full or the folder cannot be written: the old file is then untouched.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _temporary(path, folder=False)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o666 & ~UMASK)  # mkstemp makes files private; these are results to share
            yield file
            file.flush()
            os.fsync(handle)
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


@contextmanager
def atomic_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name on success: it is there whole, or not at all.

    It takes the place of what was there; without `replace`, of an empty folder alone. Raises `UserError` when the disk
    is full, the folder cannot be written or the place is taken, also where a file in it was not written by `atomic`.
    """
    temporary, handle = "", -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _temporary(path, folder=True)
        yield Path(temporary)
        # mkdtemp makes folders private; these are results to share. What a folder hands down (2000) is kept.
        Path(temporary).chmod(os.stat(temporary).st_mode & 0o2000 | 0o777 & ~UMASK)
        if replace:
            shutil.rmtree(path, ignore_errors=True)
        os.rename(temporary, path)
    except OSError as error:
        source = str(error.filename or "")
        where = "" if not source or source.startswith(temporary) or error.errno == errno.ENOSPC else f" ({source})"
        raise UserError(f"{path}: cannot be written: {error.strerror or error}{where}") from error
    finally:
        if handle >= 0:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(handle)


def _temporary(path: Path, folder: bool) -> tuple[int, str]:
    """Handle and name of a new temporary file or folder beside `path`, locked while its process lives.

    What writers of `path` that were killed have left there is removed: it would fill the disk, and a folder of results
    be read as one more. The lock is the operating system's, so that the dead hold none.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        # mkstemp's eight characters: not the temporary files of a neighbour with a longer name.
        if re.fullmatch(r"[a-z0-9_]{8}", left.name[len(path.name) + 2 : -4]):
            with suppress(OSError):  # locked, so in use; or removed by another process
                handle = os.open(left, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                finally:
                    os.close(handle)
    place: dict[str, Any] = {"prefix": f".{path.name}.", "suffix": ".tmp", "dir": path.parent}
    while True:
        if folder:
            name = tempfile.mkdtemp(**place)
            handle = os.open(name, os.O_RDONLY)
        else:
            handle, name = tempfile.mkstemp(**place)
        with suppress(OSError):  # a file system without locks; nothing is then removed either
            fcntl.flock(handle, fcntl.LOCK_SH)
        if os.path.exists(name):
            return handle, name
        os.close(handle)  # another process took it for abandoned before it was locked


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic(path) as file:
        file.write(content)


def write_array(path: Path, values: np.ndarray) -> None:
    """Write an array as .npy under a temporary name and rename it. Raises `UserError` when the disk is full."""
    import numpy as np

    with atomic(path) as file:
        np.save(file, values, allow_pickle=False)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON in the order of its keys; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write `rows` as CSV with the given `columns`, in the order given; a missing value stays empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _read(path: Path, parse: Callable[[str], Any], form: str) -> Any:
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        return parse(text)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # json and ruamel raise several kinds, all of them: not this format
        hint = "has an unresolved merge conflict, " if re.search("^<{7} ", text, re.MULTILINE) else ""
        raise UserError(f"{path}: {hint}not valid {form}: {error}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file; raises `UserError` when it is missing or broken."""
    return _read(path, json.loads, "JSON")


def read_yaml(path: Path) -> Any:
    """Read a YAML file as YAML 1.2, as DVC does: `off` is a string there, and 1e-2 a number.

    Raises `UserError` when the file is missing or broken, and for a duplicate key.
    """
    from ruamel.yaml import YAML

    return _read(path, YAML(typ="safe").load, "YAML")


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: keys sorted, no white space."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
