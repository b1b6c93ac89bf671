"""The recipe: learning rates over a run, and the update.

Krizhevsky et al. (2012), section 5: v <- momentum * v - decay * lr * w - lr * gradient; w <- w + v.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.net.alexnet import AlexNet
from harness.net.layout import Layer
from harness.settings.schema import Settings

QUARTERS = 250 ** (-1 / 3)
"""Factor of the schedule `exponential` at 25, 50 and 75 % of the run: Krizhevsky (2014), arXiv 1404.5997."""


def rate(settings: Settings, epoch: int, validation_errors: Sequence[float]) -> float:
    """Learning rate of weights in an epoch (from 1), given the validation errors of the epochs before it.

    A pure function: a run that goes on after an interruption needs no other state.
    """
    done = (epoch - 1) / settings.epochs
    match settings.schedule:
        case "fixed":
            # The small term: 18 of 30 epochs are .6 of the run, though 18 / 30 < .6 in floating point.
            drops = sum(done >= drop - 1e-9 for drop in settings.drops)
            return settings.lr * settings.drop_factor**drops
        case "cosine":
            return settings.lr * (1 + math.cos(math.pi * done)) / 2
        case "exponential":
            return settings.lr * QUARTERS ** int(4 * done + 1e-9)
    return settings.lr * settings.drop_factor ** plateau_drops(settings, validation_errors)


def plateau_drops(settings: Settings, validation_errors: Sequence[float]) -> int:
    """Drops so far: one each time `patience` epochs brought no better validation error since the best or last drop."""
    drops, best, waited = 0, math.inf, 0
    for error in validation_errors:
        if error < best:
            best, waited = error, 0
            continue
        waited += 1
        if waited >= settings.patience and drops < settings.max_drops:
            drops, waited = drops + 1, 0
    return drops


@dataclass(frozen=True)
class Rates:
    """Rate and decay of one parameter in an epoch."""

    lr: float
    decay: float


def parameter_rates(settings: Settings, row: Layer, bias: bool, epoch: int, weights_lr: float) -> Rates:
    """Rate and decay of a layer's weights or biases when the weights' rate is `weights_lr`."""
    lr = weights_lr * row.lr_factor
    decay = settings.weight_decay * row.decay_factor
    if bias:
        lr = settings.bias_lr * _bias_rate(settings, epoch, weights_lr)
        decay = settings.weight_decay if settings.decay_bias else 0.0
    if row.name == "conv1":
        done = (epoch - 1) / settings.epochs
        if done >= settings.conv1_freeze:
            lr = 0.0
        elif done >= settings.conv1_slow:
            lr *= 0.1
    return Rates(lr, decay)


def _bias_rate(settings: Settings, epoch: int, weights_lr: float) -> float:
    match settings.bias_schedule:
        case "constant":
            return settings.lr
        case "last_drop":
            fallen = (epoch - 1) / settings.epochs >= max(settings.drops) - 1e-9
            return settings.lr * settings.drop_factor if fallen else settings.lr
    return weights_lr


class SGD:
    """Stochastic gradient descent with momentum, in the paper's form or in torch's.

    The paper's velocity is a step in the weights and so keeps the old rate when the rate falls; torch's is a mean of
    gradients that is multiplied by the rate of the moment. At a constant rate they are the same.

    Whatever else than weights a net learns follows the settings of biases: those of its layer, where it is within one.
    """

    def __init__(self, settings: Settings, net: AlexNet) -> None:
        self.settings = settings
        self.parameters: dict[str, Tensor] = {n.removeprefix("layers."): p for n, p in net.named_parameters()}
        layers, weights = {row.name: row for row in net.rows}, {f"{row.name}.weight" for row in net.rows}
        self._rows = {n: (layers.get(n.partition(".")[0], net.rows[-1]), n not in weights) for n in self.parameters}
        self.velocities = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.rates: dict[str, Rates] = {}

    def set_epoch(self, epoch: int, weights_lr: float) -> None:
        """Take the rates of an epoch."""
        rows, settings = self._rows.items(), self.settings
        self.rates = {name: parameter_rates(settings, row, bias, epoch, weights_lr) for name, (row, bias) in rows}

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One update; `gradients` in the order of `parameters`."""
        for (name, weight), gradient in zip(self.parameters.items(), gradients, strict=True):
            velocity, rates = self.velocities[name], self.rates[name]
            if rates.decay:
                gradient = gradient.add(weight, alpha=rates.decay)
            if self.settings.momentum_form == "paper":
                velocity.mul_(self.settings.momentum).add_(gradient, alpha=-rates.lr)
                weight.add_(velocity)
            else:
                velocity.mul_(self.settings.momentum).add_(gradient)
                weight.add_(velocity, alpha=-rates.lr)
