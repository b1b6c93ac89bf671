"""A run made again: from the commit that its record names, in a working tree of its own, or by the present code."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from harness.commits import git
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.instructions import limits
from harness.record import Run, RunFolder, read_run
from harness.verify.compare import Made, measured, named_hashes, texts

FIRST_EPOCHS = Path(__file__).with_name("first_epochs.py")


@dataclass
class Rerunner:
    """Makes runs again below `folder`, a temporary one; `root` is the repository. Several threads may use it."""

    root: Path
    folder: Path
    here: bool
    _trees: dict[str, Path] = field(default_factory=dict)
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def make(self, key: str, record: Run, data: Path, threads: int | None, steps: int | None) -> Made:
        """Make a run again with its recorded settings; `threads`: with so many, `steps`: its first steps alone.

        Raises `UserError` when its code cannot be had, or does not run.
        """
        place = self.folder / key
        place.mkdir()
        settings = place / "settings.yaml"
        values = record.settings | ({} if threads is None else {"threads": threads})
        write_json(settings, {"seed": record.seed, **values})  # JSON is YAML
        code = self._code(key, record)
        if steps is not None:
            unit = "epoch" if record.losses is None else "step"
            words = (settings, data, str(steps), unit, str(len(record.history)))
            return self._first(key, record, code, words, place / "found.json")
        run, results = place / "run", place / "results"
        harness = ("-m", "harness")
        named = (os.path.relpath(settings, code), "--seed", str(record.seed))
        self._call(key, record, code, *harness, "train", *named, "--out", run, "--data", data)
        if record.measured:
            self._call(key, record, code, *harness, "eval", run, results, "--data", data)
        found = read_run(RunFolder(run, results))
        return Made(
            True,
            named_hashes(found.hashes.model_dump()),
            texts(found.history),
            dict(found.provenance.machine),
            dict(found.provenance.versions),
            found.provenance.commit,
            found.provenance.dirty,
            measured(found),
            found.folder.predictions if found.measured else None,
            found.losses,
        )

    def _first(self, key: str, record: Run, code: Path, words: tuple[str | Path, ...], out: Path) -> Made:
        # -P: the folder of the program holds modules of the present code, which must not be found first.
        self._call(key, record, code, "-P", FIRST_EPOCHS, *words, out)
        found: dict[str, Any] = read_json(out)
        losses = found["losses"]
        return Made(
            False,
            named_hashes(found["hashes"]),
            found["history"],
            found["machine"],
            found["versions"],
            found["commit"],
            found["dirty"],
            losses=None if losses is None else np.frombuffer(bytes.fromhex(losses), "<f4"),
        )

    def _code(self, key: str, record: Run) -> Path:
        if self.here:
            return self.root.resolve()
        commit = record.provenance.commit
        if commit is None:
            raise UserError(f"{key}: its record names no commit; --here runs the present code instead")
        with self._lock:
            if commit not in self._trees:
                self._trees[commit] = self._tree(key, commit)
            return self._trees[commit]

    def _tree(self, key: str, commit: str) -> Path:
        inside = git(self.root, "rev-parse", "--show-prefix")
        if inside is None:
            raise UserError(f"{key}: {self.root.resolve()} is no git repository; --here runs the present code instead")
        path = self.folder / f"code-{commit[:12]}"
        # A hook of the user's would run in the middle of a verification, and a plain file could be named like a commit.
        made = git(self.root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "-q", "--detach", str(path), commit)
        if made is None:
            raise UserError(
                f"{key}: commit {commit[:12]} is not in this repository (fetch it, or take --here for the present code)"
            )
        return path / inside.decode().strip()

    def _call(self, key: str, record: Run, code: Path, *words: str | Path) -> None:
        """Run this environment's Python on the code in `code`, with the instructions that the record names.

        Variables that the user has set stay as they are. Raises `UserError` with its last line when it fails.
        """
        narrow = limits(record.provenance.machine.get("instructions"))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "GIT_")) and k != "PYTHONSAFEPATH"}
        # What an interrupted run saves goes there too, and so not into the repository.
        env = {**narrow, **kept, "PYTHONPATH": str(code), "DVC_ROOT": str(self.folder)}
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [sys.executable, *map(str, words)], cwd=code, env=env, text=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            self._running.append(process)
        _, said = process.communicate()
        with self._lock:
            self._running.remove(process)
            if self._stopped:
                raise KeyboardInterrupt
        if process.returncode:
            last = (said.strip().splitlines() or [f"status {process.returncode}"])[-1]
            hint = "" if self.here else "; --here runs the present code instead"
            raise UserError(f"{key}: cannot be made again: {last.removeprefix('harness: ')}{hint}")

    def stop(self) -> None:
        """End what is running; nothing more is started."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def clear(self) -> None:
        """Remove the working trees from the repository's list; their files go with the temporary folder."""
        for commit in self._trees:
            git(self.root, "worktree", "remove", "--force", str(self.folder / f"code-{commit[:12]}"))


@contextlib.contextmanager
def stopping(rerunner: Rerunner) -> Iterator[None]:
    """While it lasts, SIGTERM and Ctrl-C end what runs and take the working trees away."""

    def told(number: int, frame: FrameType | None) -> None:
        rerunner.stop()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        rerunner.stop()
        rerunner.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
