"""One run from start to finish: lock, train or go on, and leave the run's folder."""

import contextlib
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from harness import provenance
from harness.data.packed import Packed
from harness.errors import UserError
from harness.files import atomic_folder, read_json, write_array, write_bytes, write_csv, write_json
from harness.net.alexnet import AlexNet
from harness.numerics import Numerics, configure
from harness.progress import progress, say
from harness.record import Config, DataRecord, RunFolder, checkpoint_folder, code_hash
from harness.settings.schema import Settings
from harness.train.checkpoint import Checkpoints
from harness.train.loop import State, Trainer, hash_tensors

HISTORY = ["epoch", "lr", "train_loss", "train_top1", "validation_loss", "validation_top1",
           "clean_loss", "clean_top1", "seconds", "time"]  # fmt: skip


def data_record(packed: Packed) -> DataRecord:
    """What a run records of its images."""
    m = packed.manifest
    return DataRecord(
        m.name, m.hash, m.size, len(m.class_names), m.channels, list(m.class_names), dict(m.counts), len(m.left_out)
    )


def train(
    settings: Settings,
    seed: int,
    data: Path,
    out: Path,
    checkpoint_seconds: float,
    command: str,
    reuse: Path | None = None,
) -> State:
    """Train one run on the packed images in `data` and leave its folder at `out`.

    Goes on from the last checkpoint where there is one. With `reuse`, a finished run of the same fingerprint, machine
    and torch under that folder (as `runs/STUDY/CELL`) is copied instead: studies share their cells. Raises `UserError`
    for a mistake of the user, `Interrupted` when it was told to stop by SIGINT or SIGTERM: its state is then saved.
    """
    numerics = configure(settings)
    packed = Packed.open(data)
    start, weights = _start(settings, seed, out)
    config = Config(settings, seed, data_record(packed), start)
    folder = RunFolder(out)
    if folder.config.exists():
        found = folder.fingerprint()
        if found != config.fingerprint:
            raise UserError(
                f"{out}: holds the run {found[:12]} of other settings, data or code, this one is "
                f"{config.fingerprint[:12]}; name another folder, or remove it"
            )
        say(f"{out}: is finished already")
        return State()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: is there and is no run's folder; name another one")
    machine = provenance.machine(numerics.device, settings.threads)
    if reuse and (same := _same_run(reuse, config, machine)):
        _copy_run(same, folder)
        say(f"{out}: is the run of {same.path}: the same settings, seed, images and code; copied")
        return State()
    place = checkpoint_folder(config, out, {key: machine[key] for key in ("device", "threads")})
    with _lock(place), _signals() as told, contextlib.ExitStack() as shown:
        checkpoints = Checkpoints(place)
        watch = _Watch(told, shown)
        trainer = Trainer(
            settings,
            seed,
            packed,
            numerics,
            checkpoints,
            checkpoint_seconds,
            watch.epoch,
            watch.between_steps,
            start=weights,
        )
        for line in checkpoints.damaged:
            say(line)
        say(_head(config, trainer, numerics))
        watch.start(trainer)
        source = provenance.source()
        done = trainer.run()
        # The last update can be the one that blows up: no step's loss comes after it, only the validation's.
        if done.diverged_epoch is None and not math.isfinite(done.history[-1]["validation_loss"]):
            done.diverged_epoch = done.history[-1]["epoch"]
        write_run(folder, config, trainer, _provenance(config, trainer, machine, source, command))
        checkpoints.clear()
    say(f"{out}: {_ending(done)}")
    return done


def _start(settings: Settings, seed: int, out: Path) -> tuple[str | None, dict[str, Tensor]]:
    """Fingerprint and weights of the run that `pretrained` names, beside this one: of the same seed, in `runs/`."""
    if not settings.pretrained:
        return None, {}
    folder = RunFolder(out.parent.parent / f"{settings.pretrained}-{seed}")
    if not folder.provenance.exists():
        study = settings.pretrained.partition("/")[0]
        raise UserError(
            f"pretrained: {folder.path}: no run is there; run: harness run experiments/{study}/study.yaml first"
        )
    weights = _sound_weights(folder, read_json(folder.provenance))
    if weights is None:
        raise UserError(f"pretrained: {folder.path}: its weights are not those of its record; run it again")
    return folder.fingerprint(), weights


def _same_run(place: Path, config: Config, machine: dict[str, Any]) -> RunFolder | None:
    """A finished run of the same fingerprint, made by the same machine and torch, whose weights are sound."""
    torch = provenance.versions()["torch"]
    for path in sorted(place.glob("*/*/provenance.json")):
        found = RunFolder(path.parent)
        record = read_json(found.provenance)
        if not isinstance(record, dict) or record.get("fingerprint") != config.fingerprint:
            continue
        made = record.get("machine"), record.get("versions", {}).get("torch"), record.get("status")
        if made == (machine, torch, "finished") and _sound_weights(found, record) is not None:
            return found
    return None


def _sound_weights(folder: RunFolder, record: Any) -> dict[str, Tensor] | None:
    """A run's weights; None where they are missing, or are not those of its record."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(folder.model)
        return weights if hash_tensors(weights) == record["hashes"]["weights"] else None
    except (OSError, SafetensorError, KeyError, TypeError):
        return None


def _copy_run(source: RunFolder, folder: RunFolder) -> None:
    with atomic_folder(folder.path, replace=False) as temporary:
        made = RunFolder(temporary)
        for one, copy in (
            (source.config, made.config),
            (source.history, made.history),
            (source.losses, made.losses),
            (source.model, made.model),
        ):
            shutil.copyfile(one, copy)
        write_json(made.provenance, read_json(source.provenance) | {"reused_from": source.path.as_posix()})


class _Watch:
    """Shows how far a run is, and tells it to stop."""

    def __init__(self, told: Callable[[], bool], shown: contextlib.ExitStack) -> None:
        self.told, self.shown = told, shown
        self.note = ""

    def start(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.seen = self._steps()
        total = trainer.settings.epochs * trainer.batches.steps
        self.advance = self.shown.enter_context(progress(total, "train", "steps", self.seen))

    def _steps(self) -> int:
        state = self.trainer.state
        return (state.epoch - 1) * self.trainer.batches.steps + state.step

    def epoch(self, row: dict[str, Any]) -> None:
        self.note = (
            f"after epoch {row['epoch']}: loss {row['train_loss']:.3f}, training error {row['train_top1']:.1f} %, "
            f"validation error {row['validation_top1']:.1f} %"
        )

    def between_steps(self) -> bool:
        done = self._steps()
        if done > self.seen:
            self.advance(done - self.seen, self.note)
            self.seen = done
        return self.told()


def _head(config: Config, trainer: Trainer, numerics: Numerics) -> str:
    s, data, net = config.settings, config.data, trainer.net
    where = str(numerics.device) + (f" ({s.threads} threads)" if numerics.device.type == "cpu" else "")
    start = f"; goes on in epoch {trainer.state.epoch}" if trainer.state.resumed else ""
    return (
        f"train: {data.name}, seed {config.seed}: {s.epochs} epochs of {trainer.batches.steps} steps of {s.batch}; "
        f"{s.geometry} {data.channels}x{s.crop}x{s.crop}, {sum(r.parameters for r in net.rows):,} parameters; "
        f"{where}, {s.precision}{start}"
    )


def _ending(state: State) -> str:
    if state.diverged_epoch is not None:
        return f"diverged in epoch {state.diverged_epoch}: the loss is not finite"
    return f"finished, validation error {state.history[-1]['validation_top1']:.2f} %"


@contextlib.contextmanager
def _lock(place: Path) -> Iterator[None]:
    """The run's lock. It is the operating system's, so a dead process leaves none; a live one makes this one refuse."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{place}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{place}.lock: another process is training this run; wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM set a flag that the loop reads between steps; a second one takes its usual course."""
    told: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _provenance(
    config: Config, trainer: Trainer, machine: dict[str, Any], source: dict[str, str | None], command: str
) -> dict[str, Any]:
    import os

    state = trainer.state
    steps = trainer.batches.steps * len(state.history)
    images = trainer.batches.images.count * len(state.history)
    return {
        "fingerprint": config.fingerprint,
        "status": "finished" if state.diverged_epoch is None else "diverged",
        "diverged_epoch": state.diverged_epoch,
        "resumed": state.resumed,
        "command": command,
        **source,
        "dvc_stage": os.environ.get("DVC_STAGE"),
        "machine": machine,
        "versions": provenance.versions(),
        "packages": provenance.packages(),
        "hashes": {
            "data": config.data.hash,
            "code": code_hash(),
            "initial": trainer.initial,
            **state.hashes,
            "weights": hash_tensors(trainer.optimiser.parameters),
        },
        "started": state.started,
        "wall_seconds": state.wall_seconds,
        "images_per_second": images / state.wall_seconds,
        "peak_memory_mb": provenance.peak_memory_mb(trainer.numerics.device),
        "parameters": sum(row.parameters for row in trainer.net.rows),
        "steps": steps,
    }


def write_run(folder: RunFolder, config: Config, trainer: Trainer, record: dict[str, Any]) -> None:
    """Write a run's folder under a temporary name and rename it: it is there whole, or not at all."""
    from safetensors.torch import save

    with atomic_folder(folder.path, replace=False) as temporary:
        made = RunFolder(temporary)
        write_json(made.config, config.as_json())
        write_csv(made.history, trainer.state.history, HISTORY)
        write_array(made.losses, trainer.losses)
        write_json(made.provenance, record)
        weights = {name: p.detach().cpu().contiguous() for name, p in trainer.optimiser.parameters.items()}
        write_bytes(made.model, save(weights, {"fingerprint": config.fingerprint}))


def load_net(folder: RunFolder, config: Config) -> AlexNet:
    """The trained net of a run. Raises `UserError` when its weights are missing or do not fit its settings."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    net = AlexNet(config.settings, config.data.channels, config.data.classes)
    try:
        weights = load_file(folder.model)
        net.load_state_dict({f"layers.{name}": tensor for name, tensor in weights.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{folder.model}: not the weights of this run: {error}") from error
    return net
