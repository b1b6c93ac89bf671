"""Weights of trained nets: in a cache below runs/, found by what they are, and trained again when they are missing.

Each entry is a folder FINGERPRINT-WEIGHTS (twelve characters of both hashes) with the run's records and the weights. So
a run whose settings are taken back is found again, and studies share the runs that they have in common.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.files import atomic_folder, write_bytes, write_json
from harness.process import call
from harness.progress import clock, say
from harness.record import Config, Provenance, Run, RunFolder, caches, chain, write_training

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.data.packed import Packed

FILE = "model.safetensors"
SHORT = 12
"""Characters of a hash in names."""

DVC = "weights"
"""Folder of the weights that DVC keeps, for studies that say `weights: dvc`."""


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of tensors, in the order of their names."""
    link = ""
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        link = chain(link, f"{name} {tuple(values.shape)} {values.dtype}".encode() + values.numpy().tobytes())
    return link


def hash_modules(state: dict[str, Tensor]) -> dict[str, str]:
    """Hashes of a net's state, one a module: of each layer, and of what in it has values of its own."""
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        module, _, kind = name.rpartition(".")
        modules.setdefault(module, {})[kind] = tensor
    return {name: hash_tensors(tensors) for name, tensors in modules.items()}


def name_of(fingerprint: str, weights: str) -> str:
    """Name of a run's entry."""
    return f"{fingerprint[:SHORT]}-{weights[:SHORT]}"


def entry_of(fingerprint: str, weights: str) -> RunFolder:
    """A run's entry, by both hashes."""
    place = caches() / "runs" / name_of(fingerprint, weights)
    return RunFolder(place, place)


def save(
    config: Config,
    provenance: Provenance,
    history: list[dict[str, Any]],
    losses: np.ndarray,
    weights: dict[str, Tensor],
) -> RunFolder:
    """Keep a run with its weights; returns its entry. Raises `UserError` when the disk is full."""
    from safetensors.torch import save as serialise

    entry = entry_of(config.fingerprint, provenance.hashes.weights)
    with atomic_folder(entry.training) as temporary:
        write_training(temporary, config, provenance, history, losses)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        write_bytes(temporary / FILE, serialise(tensors, {"fingerprint": config.fingerprint}))
    return entry


def find(config: Config, machine: dict[str, Any], torch: str | None) -> RunFolder | None:
    """A finished run of the same fingerprint and settings, made by the same machine and torch, with sound weights.

    Portable bits are the same on another processor.
    """
    if config.settings.get("bits") == "portable" and "bits" in machine:
        machine = {key: value for key, value in machine.items() if key not in ("cpu", "device_name")}
    for place in sorted((caches() / "runs").glob(f"{config.fingerprint[:SHORT]}-*")):
        entry = RunFolder(place, place)
        try:
            record = Provenance.read(entry.provenance)
        except UserError:
            continue  # damaged: as if it were not there
        held = {key: value for key, value in record.machine.items() if key in machine}
        made = record.fingerprint, machine | held, record.versions.get("torch"), record.status
        if made == (config.fingerprint, machine, torch, "finished") and _load(place / FILE, record.hashes.weights):
            return entry
    return None


def copy_records(source: RunFolder, out: Path, reused_from: str | None = None) -> None:
    """Copy a run's records to `out`; `reused_from` says whose they are. Raises `UserError`."""
    record = Provenance.read(source.provenance).model_copy(update={"reused_from": reused_from})
    with atomic_folder(out, replace=False) as temporary:
        for file in (source.config, source.history, source.losses):
            shutil.copyfile(file, temporary / file.name)
        write_json(RunFolder(temporary, temporary).provenance, record.as_json())


def load(run: Run) -> dict[str, Tensor] | None:
    """A run's weights, where they are here and are those of its record."""
    name = name_of(run.fingerprint, run.hashes.weights)
    pulled = sorted((caches() / DVC).glob(f"*/{name}.safetensors"))
    for path in (caches() / "runs" / name / FILE, *pulled):
        if weights := _load(path, run.hashes.weights):
            return weights
    return None


def _load(path: Path, expected: str) -> dict[str, Tensor] | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except (OSError, SafetensorError):
        return None
    return weights if hash_tensors(weights) == expected else None


def ensure(run: Run, name: str, packed: Packed) -> tuple[dict[str, Tensor], str]:
    """A run's weights and their hash; where they are not here, the run is trained again.

    It is computed with the bits that its record names. The hash is another than the record's on a machine that
    cannot give the same bits: that is said, and the caller marks what it makes. `name`: the run's, for messages.
    Raises `UserError` when it cannot be trained again.
    """
    if weights := load(run):
        return weights, run.hashes.weights
    say(f"{name}: its weights are not here: training it again, {clock(run.provenance.wall_seconds)} as recorded")
    failure = f"{name}: its weights are not here, and it could not be trained again"
    entry = train(run.settings, run.seed, run.provenance.machine, packed.folder, Path("."), failure)
    record = Provenance.read(entry.provenance)
    digest = record.hashes.weights
    loaded = _load(entry.training / FILE, digest)
    if loaded is None:
        raise UserError(f"{failure}: {entry.training / FILE} cannot be read")
    if digest != run.hashes.weights:
        old, new = ({**one.machine, "torch": one.versions.get("torch")} for one in (run.provenance, record))
        keys = [key for key in ("device_name", "cpu", "instructions", "threads", "torch") if old[key] != new[key]]
        why = ", ".join(f"{key} {old[key]} -> {new[key]}" for key in keys) or "nothing that is recorded explains it"
        say(f"{name}: trained again, its weights are not those of its record ({why}); what is made of them is marked")
    return loaded, digest


def train(
    settings: dict[str, Any], seed: int, machine: Mapping[str, Any], data: Path, code: Path, failure: str
) -> RunFolder:
    """Train a run in a process of its own, held as a recorded `machine` was; returns its entry. See `process.call`."""
    with tempfile.TemporaryDirectory(prefix="harness-weights-") as folder:
        file, out = Path(folder) / "settings.json", Path(folder) / "run"
        write_json(file, settings)
        words = ("train", file, "--seed", seed, "--out", out, "--data", data.resolve())
        call(machine, *words, code=code, caches=caches(), failure=failure)
        record = Provenance.read(RunFolder(out, out).provenance)
        return entry_of(record.fingerprint, record.hashes.weights)
