"""What git holds: files of a revision, what differs from the last commit, and bringing that back."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UserError
from harness.record import Run, RunFolder, read_run

TRAINING = ("config.json", "history.csv", "losses.npy", "provenance.json")
EVALUATION = ("metrics.json",)
"""Files of a run that are read of a revision; its predictions are not."""


def git(root: Path, *words: str, given: bytes | None = None) -> bytes | None:
    """Output of a git command in `root`, or None when it fails; `given` is its standard input."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *words], cwd=root, env=kept, input=given, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def has_commit(root: Path) -> bool:
    """Whether `root` lies in a git repository that has a commit."""
    return git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") is not None


def changed(root: Path, paths: Sequence[str]) -> list[str]:
    """Files at or below `paths` that are not what the last commit holds, relative to `root`, sorted; none outside git.

    New files count, except those that git ignores.
    """
    if not has_commit(root) or not paths:
        return []
    tracked = (
        git(root, "diff", "-z", "--name-only", "--no-ext-diff", "--no-renames", "--relative", "HEAD", "--", *paths)
        or b""
    )
    return sorted({*_names(tracked), *_untracked(root, paths)})


def held(root: Path, paths: Sequence[str]) -> list[str]:
    """Those of `paths` that the last commit has, as a file or a folder."""
    return [path for path in paths if git(root, "cat-file", "-e", f"HEAD:./{path}") is not None]


def restore(root: Path, paths: Sequence[str]) -> list[str]:
    """Bring back `paths`, all of which the last commit has, as it has them; returns the files that differed.

    What is new below them is removed, empty folders too. Raises `UserError` when git cannot.
    """
    differing = changed(root, paths)
    if not differing:
        return []
    # A hook of the user's is not to run for a few files of results.
    words = ("-c", "core.hooksPath=/dev/null", "restore", "--source=HEAD", "--staged", "--worktree")
    if git(root, *words, "--", *paths) is None:
        raise UserError(f"{', '.join(paths)}: git cannot bring them back; is another git command at work?")
    for name in _untracked(root, paths):
        (root / name).unlink(missing_ok=True)
    for path in paths:
        _remove_empty(root / path)
    return differing


def _remove_empty(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(path):
            os.rmdir(path)


def _untracked(root: Path, paths: Sequence[str]) -> list[str]:
    return _names(git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *paths) or b"")


def _names(output: bytes) -> list[str]:
    return [name for name in output.decode("utf-8", "surrogateescape").split("\0") if name]


def files_of(revision: str, paths: Sequence[str], root: Path) -> dict[str, bytes]:
    """The content of those `paths`, relative to `root`, that a revision has as files. Raises `UserError`."""
    asked = "".join(f"{revision}:./{path}\n" for path in paths)
    output = git(root, "cat-file", "--batch", given=asked.encode())
    if output is None:
        raise UserError(f"{revision}: git cannot read it")
    found, at = {}, 0
    for path in paths:
        end = output.index(b"\n", at)
        head, at = output[at:end].split(), end + 1
        if len(head) < 3 or not head[-1].isdigit():  # `OBJECT missing`
            continue
        size = int(head[-1])
        if head[-2] == b"blob":
            found[path] = output[at : at + size]
        at += size + 1
    return found


@contextmanager
def run_of(revision: str, folder: Path, root: Path) -> Iterator[Run | None]:
    """The run whose records a revision has at `folder`, relative to `root`; None where it has none.

    Its files, except the predictions, lie in a temporary folder. Raises `UserError` for records of another version.
    """
    place = RunFolder.of(folder)
    files = [(place.training / name).as_posix() for name in TRAINING]
    files += [(place.evaluation / name).as_posix() for name in EVALUATION]
    content = files_of(revision, files, root)
    with tempfile.TemporaryDirectory(prefix="harness-revision-") as temporary:
        for name, held_content in content.items():
            path = Path(temporary) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(held_content)
        there = RunFolder.of(Path(temporary) / folder)
        yield read_run(there) if there.config.exists() else None
