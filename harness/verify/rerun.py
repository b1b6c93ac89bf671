"""A re-run: from the commit that its record names, in a working tree of its own, or by the present code."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from harness.commits import add_worktree
from harness.commits import git as git
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.process import HARNESS, start
from harness.record import Run, RunFolder, read_run
from harness.verify.match import Made, measured, named_hashes, texts

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
        settings, out, run, results = (place / name for name in ("settings.yaml", "found.json", "run", "results"))
        values = record.settings | ({} if threads is None else {"threads": threads})
        write_json(settings, {"seed": record.seed, **values})  # JSON is YAML
        code = self._code(key, record)
        if steps is not None:
            unit = "epoch" if record.losses is None else "step"
            # -P: the folder of the program holds modules of the present code, which must not be found first.
            words = ("-P", FIRST_EPOCHS, settings, data, steps, unit, len(record.history), out)
            self._call(key, record, code, *words)
            made: dict[str, Any] = read_json(out)
            hashes, losses = named_hashes(made.pop("hashes")), made.pop("losses")
            kept = None if losses is None else np.frombuffer(bytes.fromhex(losses), "<f4")
            return Made(False, hashes, losses=kept, **made)
        spec = os.path.relpath(settings, code)
        self._call(key, record, code, *HARNESS, "train", spec, "--seed", record.seed, "--out", run, "--data", data)
        if record.measured:
            self._call(key, record, code, *HARNESS, "eval", run, results, "--data", data)
        found = read_run(RunFolder(run, results))
        return Made(
            True,
            named_hashes(found.hashes.model_dump()),
            texts(found.history),
            **{name: getattr(found.provenance, name) for name in ("machine", "versions", "commit", "dirty")},
            metrics=measured(found),
            predictions=found.folder.predictions if found.measured else None,
            losses=found.losses,
        )

    def _code(self, key: str, record: Run) -> Path:
        if self.here:
            return self.root.resolve()
        commit = record.provenance.commit
        if commit is None:
            raise UserError(f"{key}: its record names no commit; --here runs the present code instead")
        with self._lock:
            if commit not in self._trees:
                tree = add_worktree(self.root, self._tree(commit), commit)
                if tree is None:
                    raise UserError(
                        f"{key}: commit {commit[:12]} is not in this repository (fetch it, or take --here for the "
                        "present code)"
                    )
                self._trees[commit] = tree
            return self._trees[commit]

    def _tree(self, commit: str) -> Path:
        return self.folder / f"code-{commit[:12]}"

    def _call(self, key: str, record: Run, code: Path, *words: object) -> None:
        """Run Python on the code in `code` to its end. Raises `UserError` with its last line when it fails."""
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            # What an interrupted run saves goes into the temporary folder too, and so not into the repository.
            instructions = record.provenance.machine.get("instructions")
            process = start(instructions, *words, code=code, caches=self.folder, quiet=True)
            self._running.append(process)
        _, said = process.communicate()
        with self._lock:
            self._running.remove(process)
            if self._stopped:
                raise KeyboardInterrupt
        if process.returncode:
            last = (said.strip().splitlines() or [f"status {process.returncode}"])[-1]
            hint = "" if self.here else "; --here runs the present code instead"
            raise UserError(f"{key}: cannot be re-run: {last.removeprefix('harness: ')}{hint}")

    @contextlib.contextmanager
    def stopping(self) -> Iterator[None]:
        """While it lasts, SIGTERM and Ctrl-C end what runs; at its end the working trees are taken away."""

        def told(number: int, frame: FrameType | None) -> None:
            self._stop()
            raise KeyboardInterrupt

        before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            self._stop()
            for commit in self._trees:  # their files go with the temporary folder
                git(self.root, "worktree", "remove", "--force", str(self._tree(commit)))
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()
