"""AlexNet: the table of `layout` as a module."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness import randomness
from harness.net.layout import Activation, Dropout, Layer, Norm, Op, Pool, layout
from harness.net.local import GroupedLinear, LocallyConnected
from harness.net.lrn import response_norm
from harness.settings.schema import Settings

Masks = dict[str, Tensor]
"""Dropout masks of one step: layer -> the shape of its output, true where a unit is kept."""


class AlexNet(nn.Module):
    """The net of Krizhevsky, Sutskever and Hinton (2012) under declared settings.

    Takes images (N, channels, crop, crop) in float32, 0..255 less the mean, and returns logits (N, classes). The
    weights are not initialised here: see `initialise`. `rows` is the table that it was built from.
    Raises `UserError` when the settings' classes are not the data's.
    """

    def __init__(self, settings: Settings, channels: int = 3, classes: int | None = None) -> None:
        super().__init__()
        self.rows = layout(settings, channels, classes)
        self.vary = settings.vary
        self.layers = nn.ModuleDict({row.name: _module(row) for row in self.rows})

    def forward(self, x: Tensor, masks: Masks | None = None, start: int = 0, stop: int | None = None) -> Tensor:
        """Logits. With `masks` (of `draw_masks`) as in training; without, as at test time, every unit scaled.

        `start` and `stop`: the part of `rows` that is computed, when `x` is what the rows before it gave.
        """
        for row in self.rows[start:stop]:
            x = self._layer(row, x)
            for op in row.after:
                x = _apply(x, op, self.layers[row.name], None if masks is None else masks.get(row.name))
        return x

    def trace(self, x: Tensor) -> Iterator[tuple[str, Op | None, Tensor]]:
        """What a forward pass at test time computes on its way: layer, operation (None: the layer itself), result."""
        for row in self.rows:
            x = self._layer(row, x)
            yield row.name, None, x
            for op in row.after:
                x = _apply(x, op, self.layers[row.name], None)
                yield row.name, op, x

    def _layer(self, row: Layer, x: Tensor) -> Tensor:
        if row.kind == "fc" and x.dim() > 2:
            x = x.flatten(1)
        if row.pad_end:
            x = F.pad(x, (0, row.pad_end, 0, row.pad_end))
        return self.layers[row.name](x)  # type: ignore[no-any-return]

    def state(self) -> dict[str, Tensor]:
        """All that a run leaves and resumes with: parameters and persistent buffers, by layer (as `conv1.weight`).

        They are the net's own, not copies.
        """
        return {name.removeprefix("layers."): tensor for name, tensor in self.state_dict().items()}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the values of a `state`. Raises `KeyError` when it lacks one."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def draw_masks(self, count: int, seed: int, epoch: int, step: int) -> Masks:
        """Masks for a batch of `count` images at a step, each layer's from a stream of its own."""
        device = next(self.parameters()).device
        seed = randomness.seed_of(self.vary, seed, randomness.DROPOUT)
        masks = {}
        for row in self.rows:
            for op in row.after:
                if isinstance(op, Dropout):
                    stream = randomness.stream(seed, randomness.DROPOUT, row.name, epoch, step, device=device)
                    shape = (count, row.outputs) if row.kind == "fc" else (count, row.outputs, *[row.side_after] * 2)
                    masks[row.name] = torch.rand(shape, generator=stream, device=device) >= op.p
        return masks

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw every layer's weights from its own stream: normal with the row's sd and constant biases, or uniform."""
        seed = randomness.seed_of(self.vary, seed, randomness.INITIAL_WEIGHTS)
        for row in self.rows:
            weight = self.get_parameter(f"layers.{row.name}.weight")
            bias = self.get_parameter(f"layers.{row.name}.bias")
            stream = randomness.stream(seed, randomness.INITIAL_WEIGHTS, row.name)
            if row.init_std is None:
                bound = row.fan_in**-0.5
                weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=stream))
                bias.copy_(torch.empty(bias.shape).uniform_(-bound, bound, generator=stream))
            else:
                weight.copy_(torch.empty(weight.shape).normal_(0.0, row.init_std, generator=stream))
                bias.fill_(row.bias_init)


def trained(settings: Settings, channels: int, classes: int, weights: dict[str, Tensor]) -> AlexNet:
    """A net with the weights of a run, as `AlexNet.state` gives them, in evaluation mode."""
    net = AlexNet(settings, channels, classes)
    net.restore(weights)
    return net.eval()


def _module(row: Layer) -> nn.Module:
    # On `meta` first, then empty: the weights are drawn in `initialise`, from their own streams, and not twice.
    module: nn.Module
    with torch.device("meta"):
        if row.kind == "local":
            module = LocallyConnected(row.inputs, row.outputs, row.kernel, row.pad, row.side)
        elif row.kind == "conv":
            module = nn.Conv2d(row.inputs, row.outputs, row.kernel, row.stride, row.pad, groups=row.groups)
        elif row.groups > 1:
            module = GroupedLinear(row.inputs, row.outputs, row.groups)
        else:
            module = nn.Linear(row.inputs, row.outputs)
    return module.to_empty(device=torch.get_default_device())


def _apply(x: Tensor, op: Op, layer: nn.Module, mask: Tensor | None) -> Tensor:
    """What follows a layer; `layer`: its module, which holds what the operation learns."""
    match op:
        case Activation("relu"):
            return F.relu(x)
        case Activation("tanh"):
            return x.tanh()
        case Activation("logistic"):
            return x.sigmoid()
        case Norm():
            return response_norm(x, op)
        case Pool():
            # The mean is over the places that the window covers, as in the authors' code, not over the whole window.
            pool = F.avg_pool2d if op.mean else F.max_pool2d
            return pool(x, op.kernel, op.stride, ceil_mode=op.ceil)
        case Dropout():
            if mask is not None:
                kept = x * mask
                return kept / (1 - op.p) if op.inverted else kept
            return x if op.inverted else x * (1 - op.p)
    raise TypeError(f"no such operation: {op}")
