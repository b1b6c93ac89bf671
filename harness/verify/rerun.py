"""A re-run: from the commit that its record names, in a working tree of its own, or by the present code."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from harness import __version__, bits, provenance
from harness.commits import add_worktree, commit_of, git
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.identity.code import ROOT
from harness.identity.known import identity
from harness.process import HARNESS, LIMITS, native_instructions, start
from harness.record import Run, RunFolder, read_run
from harness.settings.schema import LATER
from harness.verify.match import Made

SCHEMA = Path("harness/settings/schema.py")
"""Where the code of any commit declares its settings."""

FIRST_EPOCHS = Path(__file__).with_name("first_epochs.py")


def machine_bits() -> str:
    """A line: whether this machine's processor gives the portable bits, and if not, of which kinds of layers."""
    version = torch.__version__
    if (expected := bits.known(version)) is None:
        return f"bits: none on record for torch {version}; those of this machine: {bits.text(bits.probe())}"
    if kinds := bits.differing(bits.text(expected), bits.probe()):
        return f"bits: portable: no, this machine's differ in {', '.join(kinds)} (torch {version})"
    return f"bits: portable: yes (torch {version})"


def other_bits(records: Sequence[Run]) -> list[str]:
    """Lines where runs were recorded with other bits than this machine gives them: by another device or processor."""
    on_cpu = [run for run in records if run.provenance.machine.get("device") == "cpu"]
    held, free = list[dict[str, Any]](), list[dict[str, Any]]()
    for run in on_cpu:
        (held if run.settings.get("bits") == "portable" else free).append(run.provenance.machine)
    lines = []
    if len(on_cpu) < len(records) and not torch.cuda.is_available():
        lines.append(f"bits: no CUDA device here, and {len(records) - len(on_cpu)} of the records are of one")
    for recorded in sorted({str(machine.get("bits", "")) for machine in held}):
        if kinds := bits.differing(recorded, bits.probe()):
            lines.append(f"bits: those of the records are not those of this machine ({', '.join(kinds)})")
    mine = native_instructions()
    for name in sorted({str(machine.get("instructions")) for machine in free} - {mine}):
        variables = " ".join(f"{key}={value}" for key, value in LIMITS.get(name, {}).items())
        hint = f"; as they did: {variables}" if variables else ""
        lines.append(f"instructions: {mine} here, {name} in records: other bits in new runs{hint}")
    return lines


def _same_package(key: str, record: Run) -> bool:
    """Whether an installed package made a record; the one that is installed now, else it raises `UserError`."""
    if (made := record.provenance.package) is None:
        return False
    evaluated = record.measured.code if record.measured else None
    for scope, recorded in (("train", record.hashes.code), ("eval", evaluated)):
        if recorded not in (None, identity(scope)):
            raise UserError(
                f"{key}: made by alexnet-harness {made['version']}, {scope} of numerics identity {recorded[:12]}; here "
                f"is {__version__}, {identity(scope)[:12]}; run: {provenance.reinstall(made['version'])}, or --here "
                "for the present code"
            )
    return True


@dataclass
class Rerunner:
    """Makes runs again below `folder`, a temporary one; `root` is the repository. Several threads may use it."""

    root: Path
    folder: Path
    here: bool
    _trees: dict[str, Path | None] = field(default_factory=dict)
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def make(self, key: str, record: Run, data: Path, threads: int | None, steps: int | None) -> Made:
        """Make a run again with its recorded settings; `threads`: with so many, `steps`: its first steps alone.

        Raises `UserError` when its code cannot be had, or does not run.
        """
        place = self.folder / key
        place.mkdir()
        settings, out, run, results = (place / name for name in ("settings.yaml", "made.json", "run", "results"))
        code = self._code(key, record)
        # Code of before a setting does not know it.
        schema = (code if (code / SCHEMA).is_file() else ROOT).joinpath(SCHEMA).read_text(encoding="utf-8")
        later = {name: value for name, value in LATER.items() if f"    {name}:" in schema}
        values = later | record.settings | ({} if threads is None else {"threads": threads})
        write_json(settings, {"seed": record.seed, **values})  # JSON is YAML
        if steps is not None:
            # -P: the folder of the program holds modules of the present code, which must not be found first.
            self._call(key, record, code, "-P", FIRST_EPOCHS, settings, data, steps, len(record.history), out)
            made: dict[str, Any] = read_json(out)
            losses = np.frombuffer(bytes.fromhex(made.pop("losses")), "<f4")
            return Made(False, losses=losses, **made)
        spec = os.path.relpath(settings, code)
        self._call(key, record, code, *HARNESS, "train", spec, "--seed", record.seed, "--out", run, "--data", data)
        if record.measured:
            self._call(key, record, code, *HARNESS, "eval", run, results, "--data", data)
        return Made.of(read_run(RunFolder(run, results)))

    def _code(self, key: str, record: Run) -> Path:
        if self.here or _same_package(key, record):
            return self.root.resolve()
        commit = record.provenance.commit
        if commit is None:
            raise UserError(f"{key}: its record names no commit; --here runs the present code instead")
        with self._lock:
            if commit not in self._trees:
                self._trees[commit] = add_worktree(self.root, self.folder / f"code-{commit[:12]}", commit)
        if (tree := self._trees[commit]) is None:
            here = commit_of(commit, self.root)
            why = f"cannot be checked out into {self.folder}" if here else "is not in this repository (fetch it)"
            raise UserError(f"{key}: commit {commit[:12]} {why}; --here runs the present code instead")
        return tree

    def _call(self, key: str, record: Run, code: Path, *words: object) -> None:
        """Run Python on the code in `code` to its end. Raises `UserError` with its last line when it fails."""
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            # What an interrupted run saves goes into the temporary folder too, and so not into the repository.
            process = start(record.provenance.machine, *words, code=code, caches=self.folder, quiet=True)
            self._running.append(process)
        _, errors = process.communicate()
        if process.returncode:
            last = (errors.strip().splitlines() or [f"status {process.returncode}"])[-1]
            hint = "" if self.here else "; --here runs the present code instead"
            raise UserError(f"{key}: cannot be re-run: {last.removeprefix('harness: ')}{hint}")

    @contextlib.contextmanager
    def stopping(self) -> Iterator[None]:
        """While it lasts, SIGTERM and Ctrl-C end what runs; at its end the working trees are taken away."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._stop()
            raise KeyboardInterrupt

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            self._stop()
            for tree in self.folder.glob("code-*"):
                git(self.root, "worktree", "remove", "--force", str(tree))
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()
