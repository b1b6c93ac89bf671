"""The baseline's run that a candidate is paired with: same seed, images and code, computed alike.

The committed one where it was, else one that was kept here, else it is trained and evaluated here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.commits import has_commit, run_of
from harness.data.packed import read_manifest
from harness.data.store import images_of
from harness.errors import UserError
from harness.files import write_json
from harness.identity.known import identity
from harness.instructions import LIMITS, limits
from harness.progress import clock, say
from harness.record import Provenance, Run, RunFolder, caches, fingerprint, read_provenance, read_run
from harness.settings.schema import MACHINE, Settings, sparse
from harness.settings.study import Cell, Study, unequal
from harness.weights import SHORT, name_of

EVALUATION = "eval"
"""Folder of a run's evaluation, beside its weights in the cache."""


@dataclass(frozen=True)
class Alike:
    """What two runs have in common that are paired: device type, what decides its arithmetic, and torch's version.

    `arithmetic`: instructions of a processor, or the name of a GPU.
    """

    device: str
    arithmetic: str
    torch: str

    @staticmethod
    def of(record: Provenance) -> Alike:
        machine = record.machine
        device = str(machine.get("device")).partition(":")[0]
        name = machine.get("instructions" if device == "cpu" else "device_name")
        return Alike(device, str(name), str(record.versions.get("torch")))

    def __str__(self) -> str:
        return f"{self.device}, {self.arithmetic}, torch {self.torch}"


def baseline_for(run: Run, study: Study, root: Path) -> tuple[Run, str]:
    """The evaluated run of the study's baseline with the seed of `run`, computed as `run` was, and whose it is.

    Says so where it trains one. Raises `UserError` where images or code are others, or it cannot be computed here.
    """
    cell, wanted = Cell(study.name, study.baseline, run.seed), Alike.of(run.provenance)
    records = _records(cell, study, root)
    for record in records:
        if not _other(record, run) and Alike.of(record.provenance) == wanted:
            return record, "as recorded"
    _check_present(run, study, root)
    start = _start(records, study)
    mark = fingerprint(study.variants[study.baseline], run.seed, run.images.hash, start)
    kept = _kept(mark, wanted)
    if kept and kept.measured and not _other(kept, run):
        return kept, "made here"
    _check_machine(wanted)
    seconds = (records[0] if records else run).provenance.wall_seconds
    whose = "as recorded" if records else "as the candidate took"
    verb = "evaluating it" if kept else f"training it, {clock(seconds)} {whose}"
    say(f"{cell.key}: no run of it with {wanted} is here: {verb}")
    made = _make(cell, run, study, root, kept)
    found = Alike.of(made.provenance)
    if found != wanted:
        raise UserError(f"compare: {cell.key}: this machine computes with {found}, the candidate was with {wanted}")
    if made.diverged_epoch is not None:
        raise UserError(f"compare: {cell.key} diverged in epoch {made.diverged_epoch}: it has no error")
    return made, "made here"


def _records(cell: Cell, study: Study, root: Path) -> list[Run]:
    """The baseline's run with declared settings, as the workspace has it and as the last commit does."""
    found = []
    folder = RunFolder.of(root / cell.results)
    if folder.config.exists():
        found.append(read_run(folder))
    if has_commit(root):
        try:
            with run_of("HEAD", cell.results, root) as committed:
                found += [committed] if committed else []
        except UserError:
            pass  # of another version
    declared = study.variants[study.baseline]
    return [run for run in found if not unequal(declared, run.settings) and run.seed == cell.seed]


def _other(base: Run, run: Run) -> str:
    """Why two runs cannot be compared; '' where they can."""
    if base.measured is None or base.measured.weights or base.diverged_epoch is not None:
        return "it has no error of its recorded weights"
    pairs = [
        ("images", base.images.hash, run.images.hash),
        ("numerics identity", base.hashes.code, run.hashes.code),
        ("evaluation's numerics identity", base.measured.code, run.measured.code if run.measured else None),
    ]
    return next((f"{name}: {a} and {b}" for name, a, b in pairs if a != b), "")


def _check_present(run: Run, study: Study, root: Path) -> None:
    """Refuse a candidate to which the present images and code give no baseline."""
    manifest = root / study.manifest
    present = read_manifest(manifest).hash if manifest.exists() else None
    evaluated = run.measured.code if run.measured else None
    for name, own, here in (
        ("was run on other images", run.images.hash, present),
        ("was trained by code of another numerics identity", run.hashes.code, identity("train")),
        ("was evaluated by code of another numerics identity", evaluated, identity("eval")),
    ):
        if own != here:
            raise UserError(
                f"compare: the candidate {name} ({_short(own)}) than the study's baseline would be ({_short(here)}): "
                "no comparison; run the candidate again"
            )


def _check_machine(wanted: Alike) -> None:
    """Refuse before anything is trained what this machine cannot compute with. Raises `UserError`."""
    import torch

    own = torch.backends.cpu.get_cpu_capability()
    here = {own} | ({name for name in LIMITS if own not in ("DEFAULT", name)})
    if torch.__version__ != wanted.torch:
        problem = f"torch {torch.__version__} is installed"
    elif wanted.device == "cpu" and wanted.arithmetic not in here:
        problem = f"this processor computes with {' or '.join(sorted(here))}"
    elif wanted.device != "cpu" and not torch.cuda.is_available():
        problem = "this machine has no CUDA device"
    else:
        return
    raise UserError(f"compare: no run of the baseline with {wanted} is here, and none can be made: {problem}")


def _start(records: list[Run], study: Study) -> str | None:
    """Fingerprint of the run that the baseline starts from. Raises `UserError` where it cannot be known."""
    if not study.variants[study.baseline].pretrained:
        return None
    if not records:
        raise UserError(f"compare: {study.baseline} has no run with this seed to take as a model; run the study first")
    return records[0].config.start


def _kept(mark: str, wanted: Alike) -> Run | None:
    """A run in the cache of that fingerprint and computed like that, evaluated or not."""
    found = None
    for place in sorted((caches() / "runs").glob(f"{mark[:SHORT]}-*")):
        try:
            run = read_run(RunFolder(place, place / EVALUATION))
        except UserError:
            continue  # damaged: as if it were not there
        if run.fingerprint == mark and Alike.of(run.provenance) == wanted and run.diverged_epoch is None:
            found = run if run.measured or found is None else found
    return found


def _make(cell: Cell, like: Run, study: Study, root: Path, kept: Run | None) -> Run:
    """Train the baseline as `like` was, where `kept` is not its run, and evaluate it; both stay in the cache."""
    packed = images_of(study, root)
    with tempfile.TemporaryDirectory(prefix="harness-compare-") as folder:
        place = kept.folder.training if kept else _train(cell, like, study, packed.folder, Path(folder))
        # Evaluated in the cache: the next comparison finds it there.
        _call(cell, like, "eval", place, place / EVALUATION, "--data", packed.folder)
        return read_run(RunFolder(place, place / EVALUATION))


def _train(cell: Cell, like: Run, study: Study, data: Path, folder: Path) -> Path:
    """Train the baseline's run; returns its folder in the cache."""
    settings, out = folder / "settings.json", folder / "run"
    write_json(settings, sparse(_settings(like, study)))
    _call(cell, like, "train", settings, "--seed", cell.seed, "--out", out, "--data", data)
    record = read_provenance(RunFolder(out, out).provenance)
    return caches() / "runs" / name_of(record.fingerprint, record.hashes.weights)


def _settings(like: Run, study: Study) -> Settings:
    """The baseline's settings, computed where and how `like` was: device, threads, workers."""
    own = like.config.resolved
    machine = {name: getattr(own, name) for name in MACHINE}
    machine["device"] = str(like.provenance.machine.get("device")).partition(":")[0]
    return study.variants[study.baseline].model_copy(update=machine)


def _call(cell: Cell, like: Run, *words: object) -> None:
    """Run a command of the harness in a process whose libraries are held to the instructions of `like`.

    Raises `UserError` when it fails; what it said stands above.
    """
    kept = {key: value for key, value in os.environ.items() if key != "DVC_STAGE"}
    narrow = limits(like.provenance.machine.get("instructions"))
    command = [sys.executable, "-m", "harness", *map(str, words)]
    done = subprocess.run(command, env={**narrow, **kept}, stdin=subprocess.DEVNULL, check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode:
        raise UserError(f"compare: {cell.key}: `harness {words[0]}` failed: see above")


def _short(value: str | None) -> str:
    return "none" if value is None else value[:SHORT]
