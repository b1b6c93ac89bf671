"""Where a report's files are read from: a folder, or a git revision, of which nothing is checked out."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.commits import files_of
from harness.errors import UserError


class Source(Protocol):
    """A report's folder. `name`: how it is called in what is printed."""

    name: str

    def read(self, files: Sequence[str]) -> dict[str, str]:
        """The text of those files that are there, by their path within the report's folder. Raises `UserError`."""


@dataclass
class Folder:
    """A report's folder on the disk."""

    name: str
    path: Path

    def read(self, files: Sequence[str]) -> dict[str, str]:
        found = {}
        for file in files:
            try:
                found[file] = (self.path / file).read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"{self.path / file}: cannot be read: {error}") from error
        return found


@dataclass
class Revision:
    """A report's folder as it was committed. `folder`: relative to the working directory."""

    name: str
    commit: str
    folder: Path

    def read(self, files: Sequence[str]) -> dict[str, str]:
        found = {}
        paths = {(self.folder / file).as_posix(): file for file in files}
        for path, content in files_of(self.commit, list(paths), Path(".")).items():
            try:
                found[paths[path]] = content.decode()
            except UnicodeDecodeError as error:
                raise UserError(f"{self.name}:{path}: cannot be read: {error}") from error
        return found


def open_source(given: str, folder: Path) -> Source:
    """A report's folder, its Markdown file, or a git revision, of which `folder` is read. Raises `UserError`."""
    path = Path(given)
    if given.endswith(".md") and path.is_file():
        path = path.with_suffix("")
    if given and path.is_dir():
        return Folder(given, path)
    commit = _commit(given)
    if commit is None:
        raise UserError(f"diff: got {given!r}; allowed: a report's folder that is there, or a git revision")
    return Revision(given, commit, folder)


def _commit(given: str) -> str | None:
    if not given or given.startswith("-") or "\n" in given:
        return None
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{given}^{{commit}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except (FileNotFoundError, ValueError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
