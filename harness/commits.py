"""What git holds: commits, files of a revision, working trees, and what differs from the last commit."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UserError
from harness.record import Run, RunFolder, read_run

NO_HOOKS = ("-c", "core.hooksPath=/dev/null")
"""A hook of the user's is not to run for what the harness does with git."""

CODEC = ("utf-8", "surrogateescape")


def git(root: Path, *words: str, stdin: str = "") -> str | None:
    """Output of a git command in `root`, or None when it fails, outside a repository too, or without git.

    Bytes that are no UTF-8 are kept as surrogates, in `stdin` too.
    """
    variables = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", *words]
    try:
        done = subprocess.run(
            command, cwd=root, env=variables, input=stdin.encode(*CODEC), capture_output=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.decode(*CODEC) if done.returncode == 0 else None


def commit_of(revision: str, root: Path) -> str | None:
    """The full hash of a revision's commit, or None where there is none."""
    commit = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return commit.strip() if commit else None


def add_worktree(root: Path, path: Path, commit: str) -> Path | None:
    """Check a commit out at `path`; returns the folder there that `root` is in its own tree, or None."""
    inside = git(root, "rev-parse", "--show-prefix")
    made = git(root, *NO_HOOKS, "worktree", "add", "-q", "--detach", str(path), commit)
    return None if inside is None or made is None else path / inside.strip()


def untracked(root: Path, paths: Sequence[str]) -> list[str]:
    """New files at or below `paths`, relative to `root`, except those that git ignores."""
    names = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *paths) or ""
    return [name for name in names.split("\0") if name]


def changed(root: Path, paths: Sequence[str]) -> list[str]:
    """Files at or below `paths` that are not what the last commit holds, relative to `root`, sorted; none outside git.

    New files count, except those that git ignores.
    """
    words = ("diff", "-z", "--name-only", "--no-ext-diff", "--no-renames", "--relative", "HEAD", "--", *paths)
    tracked = git(root, *words) if paths else None
    return [] if tracked is None else sorted({*filter(None, tracked.split("\0")), *untracked(root, paths)})


def held(root: Path, paths: Sequence[str]) -> list[str]:
    """Those of `paths` that the last commit has, as a file or a folder."""
    return [path for path in paths if git(root, "cat-file", "-e", f"HEAD:./{path}") is not None]


def restore(root: Path, paths: Sequence[str]) -> list[str]:
    """Bring back `paths`, all of which the last commit has, as it has them; returns the files that differed.

    What is new below them is removed, empty folders too. Raises `UserError` when git cannot.
    """
    differing = changed(root, paths)
    if differing:
        restored = git(root, *NO_HOOKS, "restore", "--source=HEAD", "--staged", "--worktree", "--", *paths)
        if restored is None or git(root, "clean", "-fdq", "--", *paths) is None:
            raise UserError(f"{', '.join(paths)}: git cannot bring them back; is another git command at work?")
    return differing


def files_of(revision: str, paths: Sequence[str], root: Path) -> dict[str, bytes]:
    """The content of those `paths`, relative to `root`, that a revision has as files. Raises `UserError`."""
    text = git(root, "cat-file", "--batch", stdin="".join(f"{revision}:./{path}\n" for path in paths))
    if text is None:
        raise UserError(f"{revision}: git cannot read it")
    output, files, at = text.encode(*CODEC), {}, 0
    for path in paths:
        end = output.index(b"\n", at)
        head, at = output[at:end].split(), end + 1
        if len(head) < 3 or not head[-1].isdigit():  # `OBJECT missing`
            continue
        size = int(head[-1])
        if head[-2] == b"blob":
            files[path] = output[at : at + size]
        at += size + 1
    return files


@contextmanager
def run_of(revision: str, folder: Path, root: Path) -> Iterator[Run | None]:
    """The run whose records a revision has at `folder`, relative to `root`; None where it has none.

    Its files lie in a temporary folder while the context lasts. Raises `UserError` for records of another version.
    """
    place = RunFolder.of(folder)
    files = [place.config, place.history, place.losses, place.provenance, place.metrics, place.predictions]
    with tempfile.TemporaryDirectory(prefix="harness-revision-") as temporary:
        for name, content in files_of(revision, [file.as_posix() for file in files], root).items():
            path = Path(temporary) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        run = RunFolder.of(Path(temporary) / folder)
        yield read_run(run) if run.config.exists() else None
