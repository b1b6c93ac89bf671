"""The training loop: from settings, seed and packed images to trained weights and a record of how they came about."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harness.data.batches import Images, TrainingBatches
from harness.data.packed import Packed
from harness.net.alexnet import AlexNet
from harness.net.predict import mean_loss, probabilities, top_errors
from harness.numerics import Numerics
from harness.record import chain
from harness.settings.schema import Settings
from harness.train.checkpoint import Checkpoints
from harness.train.recipe import SGD, rate
from harness.weights import hash_modules


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The run was told to stop; its state is saved."""


@dataclass
class State:
    """All that a run carries from step to step beside weights and velocities.

    `wrong` and `seen` are those of the epoch so far; `epoch` counts from 1, `step` from 0 within it.
    """

    epoch: int = 1
    step: int = 0
    wrong: int = 0
    seen: int = 0
    epoch_seconds: float = 0.0
    wall_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=lambda: {"batch_order": "", "augmentation": "", "losses": ""})
    started: float = field(default_factory=time.time)
    diverged_epoch: int | None = None


@dataclass
class Trainer:
    """One run. `report` is told of every finished epoch (its row of history.csv).

    `start`: the state of another run's net (`AlexNet.state`) to begin with, where the sizes fit. `losses`: the loss of
    every step so far, float32.
    """

    settings: Settings
    seed: int
    packed: Packed
    numerics: Numerics
    checkpoints: Checkpoints
    checkpoint_seconds: float
    report: Callable[[dict[str, Any]], None]
    stop: Callable[[], bool]
    state: State = field(default_factory=State)
    start: dict[str, Tensor] = field(default_factory=dict)
    losses: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    def __post_init__(self) -> None:
        device = self.numerics.device
        manifest = self.packed.manifest
        self.net = AlexNet(self.settings, manifest.channels, len(manifest.class_names))
        self.batches = TrainingBatches(self.packed, self.settings, self.seed, device)
        self.validation = Images(self.packed, "validation", self.settings, device)
        # Evenly spaced, so that a data set sorted by class gives all of them.
        count = self.batches.images.count
        self.curve = np.linspace(0, count - 1, min(self.settings.curve_images, count)).astype(np.int64)
        self.net.initialise(self.seed)
        own = self.net.state()
        fitting = {name: one for name, one in self.start.items() if name in own and one.shape == own[name].shape}
        self.net.restore(own | fitting)
        self.initial = hash_modules(own)
        self.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = SGD(self.settings, self.net)
        self._resume()
        # Compiled last, so that the names of the weights are those of the plain net.
        self.forward: Callable[..., Tensor] = torch.compile(self.net) if self.settings.compile else self.net
        self._pending: list[Tensor] = []
        self._wrong: list[Tensor] = []

    def _resume(self) -> None:
        loaded = self.checkpoints.load()
        if loaded is None:
            return
        tensors, state = loaded
        for row in state["history"]:
            row |= {k: float(v) for k, v in row.items() if isinstance(v, str)}
        self.state = State(**state)
        self.state.resumed.append(self.state.epoch)
        self.losses = tensors["losses"].numpy()
        self.net.restore({name.removeprefix("weights."): tensor for name, tensor in tensors.items()})
        for name, velocity in self.optimiser.velocities.items():
            velocity.copy_(tensors[f"velocities.{name}"])

    @property
    def steps_done(self) -> int:
        return (self.state.epoch - 1) * self.batches.steps + self.state.step

    def run(self) -> State:
        """Train to the end, or until the loss is no longer finite. Raises `Interrupted` when told to stop."""
        saved = time.monotonic()
        for _ in self._steps():
            if self.stop():
                self._save()
                raise Interrupted
            if time.monotonic() - saved >= self.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        return self.state

    def _steps(self) -> Iterator[None]:
        """Take every step that is left; control returns between steps, when the state can be saved."""
        state, settings = self.state, self.settings
        while state.epoch <= settings.epochs and state.diverged_epoch is None:
            lr = rate(settings, state.epoch, [row["validation_top1"] for row in state.history])
            self.optimiser.set_epoch(state.epoch, lr)
            if state.step == 0:
                order = self.batches.order(state.epoch)
                state.hashes["batch_order"] = chain(state.hashes["batch_order"], order.tobytes())
            with self._clock():
                batches = self.batches.epoch(state.epoch, state.step)
            while True:
                with self._clock():
                    batch = next(batches, None)
                    if batch is None:
                        break
                    self._step(batch.images, batch.labels, batch.step)
                    state.hashes["augmentation"] = batch.draws.hashed(state.hashes["augmentation"])
                    state.step = batch.step + 1
                yield
            with self._clock():
                self._collect()
                row = self._validate(lr)
            state.history.append(row | {"seconds": state.epoch_seconds, "time": time.time()})
            if not np.isfinite(self._epoch_losses()).all():
                state.diverged_epoch = state.epoch
            state.wall_seconds += state.epoch_seconds
            state.epoch, state.step = state.epoch + 1, 0
            state.wrong, state.seen, state.epoch_seconds = 0, 0, 0.0
            self.report(state.history[-1])
            yield

    @contextmanager
    def _clock(self) -> Iterator[None]:
        # Time spent in saving, or between two halves of an interrupted epoch, is not the epoch's.
        begin = time.perf_counter()
        yield
        self.state.epoch_seconds += time.perf_counter() - begin

    def _step(self, images: Tensor, labels: Tensor, step: int) -> None:
        masks = self.net.draw_masks(len(images), self.seed, self.state.epoch, step)
        with self.numerics.autocast():
            logits = self.forward(images, masks)
        loss = F.cross_entropy(logits.float(), labels)
        gradients = torch.autograd.grad(loss, list(self.optimiser.parameters.values()))
        self.optimiser.step(gradients)
        # Kept on the device: reading a number would make it wait for each step.
        self._pending.append(loss.detach())
        self._wrong.append((logits.detach().argmax(1) != labels).sum())
        self.state.seen += len(images)

    def _collect(self) -> None:
        """Bring the losses of the steps since the last time from the device, into the state and its hash."""
        if not self._pending:
            return
        losses = torch.stack(self._pending).cpu().numpy().astype(np.float32, copy=False)
        self.state.wrong += int(torch.stack(self._wrong).sum())
        self._pending, self._wrong = [], []
        for loss in losses:
            self.state.hashes["losses"] = chain(self.state.hashes["losses"], loss.tobytes())
        self.losses = np.concatenate([self.losses, losses])

    def _validate(self, lr: float) -> dict[str, Any]:
        probs, labels = probabilities(self.net, self.validation, self.numerics), self.validation.labels.cpu()
        clean = {"clean_loss": math.nan, "clean_top1": math.nan}
        if len(self.curve):
            train_labels = self.batches.images.labels.cpu()[torch.from_numpy(self.curve)]
            train_probs = probabilities(self.net, self.batches.images, self.numerics, self.curve)
            clean = {
                "clean_loss": mean_loss(train_probs, train_labels),
                "clean_top1": top_errors(train_probs, train_labels),
            }
        return {
            "epoch": self.state.epoch,
            "lr": lr,
            "train_loss": float(self._epoch_losses().mean()),
            "train_top1": 100.0 * self.state.wrong / self.state.seen,
            "validation_loss": mean_loss(probs, labels),
            "validation_top1": top_errors(probs, labels),
            **clean,
        }

    def _epoch_losses(self) -> np.ndarray:
        return self.losses[(self.state.epoch - 1) * self.batches.steps :].astype(np.float64)

    def _save(self) -> None:
        self._collect()
        tensors = {f"weights.{name}": tensor for name, tensor in self.net.state().items()}
        tensors |= {f"velocities.{name}": v for name, v in self.optimiser.velocities.items()}
        tensors["losses"] = torch.from_numpy(self.losses)
        state = asdict(self.state)
        # JSON has no NaN: numbers that are not finite are kept as strings, which float() reads again.
        state["history"] = [{k: v if math.isfinite(v) else str(v) for k, v in row.items()} for row in state["history"]]
        self.checkpoints.save({name: tensor.cpu() for name, tensor in tensors.items()}, state)
