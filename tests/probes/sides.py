"""The code of a commit in a working tree of its own, and both sides of a proof run at once on this machine."""

import contextlib
import io
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from harness.commits import add_worktree, git
from harness.errors import UserError
from harness.files import read_json
from harness.identity.code import PACKAGE, PROVEN, digest
from harness.process import ambient

ADAPTERS = ("tests/probes", "harness/probes")
"""Where a tree may have its adapter: the second is the place of older commits."""

POLL = 0.5
"""Seconds between two looks at how far the sides are."""


@dataclass(frozen=True)
class Commit:
    """A commit, and the digests of its code by scope."""

    name: str
    digests: dict[str, str]


def commits(root: Path, folder: Path) -> Iterator[Commit]:
    """HEAD and the commits before it that changed the package, newest first; those without the adapter are left out.

    Their code is unpacked below `folder`, a temporary one. Raises `UserError` outside a git repository.
    """
    log = git(root, "log", "--format=%H", "--", PACKAGE)
    head = git(root, "rev-parse", "HEAD")
    if log is None or head is None:
        raise UserError(f"{root.resolve()}: is no git repository with a commit; the code of the last proof is not here")
    for name in dict.fromkeys([*head.split(), *log.split()]):
        if commit := read_commit(root, name, folder):
            yield commit


def read_commit(root: Path, name: str, folder: Path) -> Commit | None:
    """A commit with its digests, or None where it has no adapter or its code is not valid. Raises `UserError`."""
    found = git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if found is None:
        raise UserError(f"--against: got {name!r}; a commit of this repository is allowed")
    full = found.strip()
    if all(git(root, "cat-file", "-e", f"{full}:./{place}/__main__.py") is None for place in ADAPTERS):
        return None
    place = folder / f"read-{full[:12]}"
    content = git(root, "archive", "--format=tar", full, "--", PACKAGE)
    if content is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(content.encode("utf-8", "surrogateescape"))) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python has it from 3.11.4 on
        tar.extractall(place)  # noqa: S202 - git's own archive of this repository
    try:
        return Commit(full, {scope: digest(scope, place) for scope in PROVEN})
    except UserError:
        return None


@contextlib.contextmanager
def worktree(root: Path, commit: str, folder: Path) -> Iterator[Path]:
    """The project as of a commit, in a working tree below `folder` that is removed afterwards.

    Raises `UserError` when git cannot make it.
    """
    path = folder / f"code-{commit[:12]}"
    tree = add_worktree(root, path, commit)
    if tree is None:
        raise UserError(f"{root.resolve()}: git cannot make a working tree of commit {commit[:12]}")
    try:
        yield tree
    finally:
        git(root, "worktree", "remove", "--force", str(path))


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """While it lasts, SIGTERM ends the command as Ctrl-C does, so that what it has made is removed."""

    def told(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class Side:
    """One side: the code in `root`, whose digests must be `digests`, and the folder that its outcomes go to."""

    title: str
    root: Path
    digests: dict[str, str]
    out: Path

    def done(self) -> int:
        """Probes that it has run."""
        return sum(1 for path in self.out.glob("*.json") if path.name[0] not in "._")


def run_sides(sides: list[Side], table: Path, at_once: bool, advance: Callable[[int, str], None]) -> None:
    """Run the table on every side, one after the other or all at once; `advance` is told of probes that are done.

    Raises `UserError` when a side does not run, or ran other code than it should.
    """
    groups = [sides] if at_once else [[side] for side in sides]
    for group in groups:
        running: list[subprocess.Popen[str]] = []
        try:
            running += [_start(side, table) for side in group]
            seen = 0
            while any(process.poll() is None for process in running):
                time.sleep(POLL)
                seen = _advance(group, seen, advance)
                if any(process.poll() for process in running):
                    break
            for side, process in zip(group, running, strict=True):
                if process.poll():
                    raise UserError(f"{side.title}: its probes do not run: {_last_line(side)}")
            _advance(group, seen, advance)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
    for side in sides:
        code = read_json(side.out / "_code.json")
        if code["digests"] != side.digests:
            raise UserError(f"{side.title}: the code in {code['root']} ran, which is not what was to be run")


def _advance(group: list[Side], seen: int, advance: Callable[[int, str], None]) -> int:
    done = sum(side.done() for side in group)
    if done > seen:
        advance(done - seen, "")
    return done


def _start(side: Side, table: Path) -> "subprocess.Popen[str]":
    side.out.mkdir(parents=True)
    kept = {k: v for k, v in ambient().items() if not k.startswith(("DVC_", "GIT_")) and k != "PYTHONSAFEPATH"}
    env = kept | {"PYTHONPATH": str(side.root.resolve()), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    adapter = next((place for place in ADAPTERS if (side.root / place / "__main__.py").is_file()), ADAPTERS[0])
    with (side.out / ".errors").open("w") as errors:
        # Not in the tree's own folder: outside a repository no commit is recorded, and nothing is left there.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", adapter.replace("/", "."), str(table), str(side.out)], cwd=side.out, env=env,
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip


def _last_line(side: Side) -> str:
    lines = (side.out / ".errors").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "without a word"
