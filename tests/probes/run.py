"""The adapter between the probes and the code of its own tree: runs probes here, and writes what they come to.

    python -m tests.probes TABLE.json OUT [NAME...]

It is a part of the tree that it belongs to: where a function that it calls changes its form, it changes with it, and
what it writes does not. All that is particular to this tree's functions is in this file.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from harness.record import Run
    from harness.settings.schema import Settings

CONSTANTS = {
    "held_in_memory": ("harness.data.batches", "IN_MEMORY"),
    "searched": ("harness.evaluate", "SEARCHED"),
    "searched_pixels": ("harness.evaluate", "SEARCHED_PIXELS"),
}
"""Limits that a probe sets lower, so that small images pass them: name in the table -> module and name here."""

TIMES = ("seconds", "time")
"""Columns of a history that no two runs share."""

STREAMS = ("data", "initial", "batch_order", "augmentation", "losses", "weights")
"""Hashes of a run's record that are of numbers; others are of the code."""

NAMES = ("code", "weights")
"""Keys of metrics.json that name what was evaluated and by what."""

Outcomes = dict[str, Any]


def _settings(values: dict[str, Any], name: str) -> Settings:
    from harness.settings.parse import parse
    from harness.settings.schema import Settings, recorded

    return parse(Settings, recorded(values), name)


@dataclass
class Runner:
    """Runs probes of a table in this process. `folder`: the table's, with its pictures; `scratch`: for what is made."""

    images: dict[str, dict[str, Any]]
    folder: Path
    scratch: Path

    def run(self, probe: dict[str, Any]) -> Outcomes:
        """What a probe comes to: names and values that JSON holds. An error that it raises is what it comes to."""
        from harness.settings.schema import Settings

        if unknown := sorted(set(probe["settings"]) - set(Settings.model_fields)):
            return {"unknown_settings": unknown}
        kinds: dict[str, Callable[[dict[str, Any]], Outcomes]] = {
            "pack": self._pack,
            "library": self._library,
            "train": self._train,
            "run": self._run,
            "eval": self._evaluate,
        }
        with contextlib.redirect_stdout(io.StringIO()), _constants(probe["extra"].get("constants", {})):
            try:
                return kinds[probe["kind"]](probe)
            except Exception as error:  # code that now fails computes something else
                return {"raised": type(error).__name__, "message": str(error)}

    def _packed_at(self, name: str) -> Path:
        from harness.data.pack import pack
        from harness.settings.parse import parse
        from harness.settings.schema import DataSettings

        out = self.scratch / "images" / name
        if not out.exists():
            values = dict(self.images[name])
            if "root" in values:
                values["root"] = str(self.folder / values["root"])
            pack(parse(DataSettings, values, name), out)
        return out

    def _pack(self, probe: dict[str, Any]) -> Outcomes:
        out = self._packed_at(probe["images"])
        files = {path.name: _hash(path.read_bytes()) for path in sorted(out.iterdir()) if path.suffix != ".json"}
        manifest = json.loads((out / "manifest.json").read_text())
        left_out = [entry["path"] for entry in manifest.pop("left_out")]  # not why: words may be mended
        manifest.pop("notes", None)  # of the images, in words
        return {"files": files, "manifest": _exact(manifest), "left_out": left_out}

    def _library(self, probe: dict[str, Any]) -> Outcomes:
        """Data sets whose published files are too large for a probe: their readers on small ones."""
        from harness.data import libraries

        folder = self.folder / "pictures" / "cifar"
        names, sets = libraries._cifar(SimpleNamespace(**json.loads((folder / "kind.json").read_text())), folder)
        stl = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
        sets["stl"] = libraries._arrays(SimpleNamespace(data=stl, labels=np.array([3, 1, 0, 2], np.uint8)))
        return {"names": names, **{part: [_hash(_bytes(one)) for one in pair] for part, pair in sets.items()}}

    def _train(self, probe: dict[str, Any]) -> Outcomes:
        """The trainer alone, stopped and resumed after the given numbers of pauses (after each step and epoch)."""
        from harness.data.packed import Packed
        from harness.net.alexnet import AlexNet
        from harness.numerics import configure
        from harness.train.checkpoint import Checkpoints
        from harness.train.loop import Interrupted, Trainer

        extra, name = probe["extra"], probe["name"]
        settings = _settings(probe["settings"], name)
        numerics = configure(settings)
        packed = Packed.open(self._packed_at(probe["images"]))
        start: dict[str, Tensor] = {}
        if "start" in extra:
            other = AlexNet(_settings(extra["start"], name), packed.manifest.channels, 10)
            other.initialise(7)
            start = other.state()
        pauses = 0

        def stop() -> bool:
            nonlocal pauses
            pauses += 1
            return pauses in extra.get("stops", [])

        every = float(extra.get("every", math.inf))
        place = self.scratch / "state" / name
        while True:
            checkpoints = Checkpoints(place)
            trainer = Trainer(settings, probe["seed"], packed, numerics, checkpoints, every, _ignore, stop, start=start)
            with contextlib.suppress(Interrupted):
                state = trainer.run()
                break
        checkpoints.clear()
        return {
            "images": packed.manifest.hash,
            "steps": trainer.batches.steps,
            "initial": trainer.initial,
            "batch_order": state.hashes["batch_order"],
            "augmentation": state.hashes["augmentation"],
            "loss_stream": state.hashes["losses"],
            "losses": trainer.losses.astype("<f4").tobytes().hex(),
            "history": [_exact({k: v for k, v in row.items() if k not in TIMES}) for row in state.history],
            "diverged_epoch": state.diverged_epoch,
            "resumed": state.resumed,
            "weights": {key: _tensor(value) for key, value in trainer.net.state().items()},
            "velocities": {key: _tensor(value) for key, value in trainer.optimiser.velocities.items()},
        }

    def _made(self, probe: dict[str, Any]) -> Run:
        """A run, by the entry point of the train stage."""
        from harness import weights
        from harness.data.packed import Packed
        from harness.record import RunFolder, read_run
        from harness.train.run import train

        name, seed = probe["name"], probe["seed"]
        packed = Packed.open(self._packed_at(probe["images"]))
        place = self.scratch / "records"

        def made(settings: dict[str, Any], key: str, start: Any = None) -> Run:
            out = place / f"{key}-{seed}"
            if not out.exists():
                train(_settings(settings, name), seed, packed, out, math.inf, "probe", start)
            return read_run(RunFolder(out, out))

        start = None
        if "start" in probe["extra"]:
            before = made(probe["extra"]["start"], "start")
            start = before, weights.load(before)
        return made(probe["settings"], name, start)

    def _run(self, probe: dict[str, Any]) -> Outcomes:
        from harness import weights

        run = self._made(probe)
        record = json.loads(run.folder.provenance.read_text())
        with run.folder.history.open(newline="") as file:
            rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
        kept = weights.load(run)
        return {
            **{key: record[key] for key in ("status", "diverged_epoch", "resumed", "parameters")},
            "steps": record["steps"] // len(rows),
            "hashes": {key: record["hashes"][key] for key in STREAMS},
            "losses": np.load(run.folder.losses, allow_pickle=False).astype("<f4").tobytes().hex(),
            "history": rows,
            "weights": {key: _tensor(value) for key, value in (kept or {}).items()},
        }

    def _evaluate(self, probe: dict[str, Any]) -> Outcomes:
        import pyarrow.parquet as pq

        from harness.data.packed import Packed
        from harness.evaluate import evaluate
        from harness.record import RunFolder

        run = self._made(probe)
        out = self.scratch / "results" / probe["name"]
        evaluate(run, probe["name"], Packed.open(self._packed_at(probe["images"])), out)
        folder = RunFolder(out, out)
        table = pq.read_table(folder.predictions)
        columns = {name: [str(table[name].type), _hash(_bytes(table[name].to_numpy()))] for name in table.column_names}
        metrics = json.loads(folder.metrics.read_text())
        return {"metrics": _exact({k: v for k, v in metrics.items() if k not in NAMES}), "predictions": columns}


@contextlib.contextmanager
def _constants(values: dict[str, int]) -> Iterator[None]:
    import importlib

    before = []
    for name, value in values.items():
        module, key = CONSTANTS[name]
        place = importlib.import_module(module)
        before.append((place, key, getattr(place, key)))
        setattr(place, key, value)
    try:
        yield
    finally:
        for place, key, value in before:
            setattr(place, key, value)


def _ignore(row: object) -> None:
    pass


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _bytes(array: np.ndarray) -> bytes:
    return f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes()


def _tensor(value: Tensor) -> str:
    return _hash(_bytes(value.detach().cpu().contiguous().numpy()))


def _exact(value: Any) -> Any:
    """The same with numbers as texts that show every digit; JSON has no NaN, which is not the text `nan` either."""
    if isinstance(value, dict):
        return {key: _exact(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_exact(one) for one in value]
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else f"({float(value)!r})"
    return value


def main(table_file: Path, out: Path, names: list[str]) -> None:
    """Run the probes of a table, all or those named, and write OUT/NAME.json of each; what this code is comes first."""
    import tempfile

    import harness
    from harness.identity.code import PROVEN, digest

    table = json.loads(table_file.read_text(encoding="utf-8"))
    root = Path(harness.__file__).resolve().parents[1]
    _write(out / "_code.json", {"root": str(root), "digests": {scope: digest(scope, root) for scope in PROVEN}})
    with tempfile.TemporaryDirectory(prefix="probes-") as scratch:
        os.environ["DVC_ROOT"] = scratch  # where the checkpoints of runs go
        runner = Runner(table["images"], table_file.parent, Path(scratch))
        torch.set_num_threads(1)
        for probe in table["probes"]:
            if names and probe["name"] not in names:
                continue
            begin = time.perf_counter()
            outcomes = runner.run(probe)
            _write(out / f"{probe['name']}.json", {"outcomes": outcomes, "seconds": time.perf_counter() - begin})


def _write(path: Path, value: Any) -> None:
    # Renamed, since the other side counts the files while they are written.
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.rename(path)
