"""One run from start to finish: lock, train or resume, and leave the run's records and weights."""

import contextlib
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from harness import provenance, weights
from harness.data.packed import Packed
from harness.errors import UserError
from harness.identity.known import identity
from harness.numerics import Numerics, configure
from harness.progress import progress, say
from harness.record import Config, Hashes, Images, Provenance, Run, checkpoint_folder
from harness.settings.schema import Settings
from harness.train.checkpoint import Checkpoints
from harness.train.loop import State, Trainer

Reuse = Callable[[Config, dict[str, Any]], str]
"""Given a run and its machine: put an equal run's records where this one's belong, and say whose; '' for none."""


def train(
    settings: Settings,
    seed: int,
    packed: Packed,
    out: Path,
    checkpoint_seconds: float,
    command: str,
    start: tuple[Run, dict[str, Tensor]] | None = None,
    reuse: Reuse | None = None,
) -> State:
    """Train one run on packed images, leave its records at `out`, and keep its weights: see `harness.weights`.

    Resumes from the last checkpoint where there is one. `start`: the run whose weights it starts from, with them.
    `reuse`: looks for an equal run that is finished already. Raises `UserError` for a mistake of the user,
    `Interrupted` when it was stopped by SIGINT or SIGTERM: its state is then saved.
    """
    numerics = configure(settings)
    m = packed.manifest
    images = Images(
        name=m.name,
        hash=m.hash,
        size=m.size,
        classes=len(m.class_names),
        channels=m.channels,
        class_names=list(m.class_names),
        counts=dict(m.counts),
        left_out=len(m.left_out),
    )
    config = Config.of(settings, seed, images, start[0].fingerprint if start else None)
    if (out / "config.json").exists():
        other = Provenance.read(out / "provenance.json").fingerprint
        if other != config.fingerprint:
            raise UserError(
                f"{out}: holds the run {other[:12]} of other settings, images or code, this one is "
                f"{config.fingerprint[:12]}; name another folder, or remove it"
            )
        say(f"{out}: is finished already")
        return State()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: is there and is no run's folder; name another one")
    machine = provenance.machine(numerics.device, settings.threads)
    if reuse and (origin := reuse(config, machine)):
        say(f"{out}: {origin}")
        return State()
    place = checkpoint_folder(config, out, {key: machine[key] for key in ("device", "threads")})
    note = ""

    def report(row: dict[str, Any]) -> None:
        nonlocal note
        note = (
            f"after epoch {row['epoch']}: loss {row['train_loss']:.3f}, training error {row['train_top1']:.1f} %, "
            f"validation error {row['validation_top1']:.1f} %"
        )

    def stop() -> bool:
        if trainer.state.step:  # 0: asked at the end of an epoch, after its last step
            advance(1, note)
        return stopped()

    with _lock(place), _signals() as stopped:
        checkpoints = Checkpoints(place)
        trainer = Trainer(
            settings,
            seed,
            packed,
            numerics,
            checkpoints,
            checkpoint_seconds,
            report,
            stop,
            start=start[1] if start else {},
        )
        for line in checkpoints.damaged:
            say(line)
        say(_head(config, trainer, numerics))
        source = provenance.source()
        total = settings.epochs * trainer.batches.steps
        with progress(total, "train", "steps", trainer.steps_done) as advance:
            done = trainer.run()
        # The last update can be the one that blows up: no step's loss comes after it, only the validation's.
        if done.diverged_epoch is None and not math.isfinite(done.history[-1]["validation_loss"]):
            done.diverged_epoch = done.history[-1]["epoch"]
        record = _provenance(config, trainer, machine, source, command)
        # The weights come first: records in git without weights here would be trained again.
        entry = weights.save(config, record, done.history, trainer.losses, trainer.net.state())
        weights.copy_records(entry, out)
        checkpoints.clear()
    if done.diverged_epoch is not None:
        say(f"{out}: diverged in epoch {done.diverged_epoch}: the loss is not finite")
    else:
        say(f"{out}: finished, validation error {done.history[-1]['validation_top1']:.2f} %")
    return done


def _head(config: Config, trainer: Trainer, numerics: Numerics) -> str:
    s, data, net = trainer.settings, config.data, trainer.net
    where = str(numerics.device) + (f" ({s.threads} threads)" if numerics.device.type == "cpu" else "")
    start = f"; resuming in epoch {trainer.state.epoch}" if trainer.state.resumed else ""
    return (
        f"train: {data.name}, seed {config.seed}: {s.epochs} epochs of {trainer.batches.steps} steps of {s.batch}; "
        f"{s.geometry} {data.channels}x{s.crop}x{s.crop}, {sum(r.parameters for r in net.rows):,} parameters; "
        f"{where}, {s.precision}{start}"
    )


@contextlib.contextmanager
def _lock(place: Path) -> Iterator[None]:
    """The run's lock. It is the operating system's, so a dead process leaves none; a live one makes this one refuse."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{place}.lock", timeout=0, fallback_to_soft=False):
            yield
    except Timeout as error:
        raise UserError(f"{place}.lock: another process is training this run; wait for it, or stop it") from error


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM set a flag that the loop reads between steps; a second one takes its usual course."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for stop in (signal.SIGINT, signal.SIGTERM):
        before[stop] = signal.signal(stop, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _provenance(
    config: Config, trainer: Trainer, machine: dict[str, Any], source: dict[str, str | None], command: str
) -> Provenance:
    state = trainer.state
    images = trainer.batches.images.count * len(state.history)
    return Provenance(
        fingerprint=config.fingerprint,
        status="finished" if state.diverged_epoch is None else "diverged",
        diverged_epoch=state.diverged_epoch,
        resumed=state.resumed,
        command=command,
        **source,
        package=provenance.package(),
        dvc_stage=os.environ.get("DVC_STAGE"),
        machine=machine,
        versions=provenance.versions(),
        packages=provenance.packages(),
        hashes=Hashes(
            data=config.data.hash,
            code=identity("train"),
            initial=trainer.initial,
            **state.hashes,
            weights=weights.hash_tensors(trainer.net.state()),
        ),
        started=state.started,
        wall_seconds=state.wall_seconds,
        images_per_second=images / state.wall_seconds,
        peak_memory_mb=provenance.peak_memory_mb(trainer.numerics.device),
        parameters=sum(row.parameters for row in trainer.net.rows),
        steps=trainer.batches.steps * len(state.history),
    )
