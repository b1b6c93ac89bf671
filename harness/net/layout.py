"""The net as a table: one row a layer. It is counted, described, drawn and built from this table alone.

`layout` is a pure function of the settings; torch is not imported here. A switch changes rows here and nowhere else.
Sizes are those of Krizhevsky, Sutskever and Hinton (2012), section 3.5 and figure 2, where the geometry is `imagenet`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from harness.errors import UserError
from harness.settings.schema import Settings


@dataclass(frozen=True)
class Activation:
    """An elementwise non-linearity: relu, tanh or logistic."""

    kind: str


@dataclass(frozen=True)
class Norm:
    """Response normalisation: x / (k + alpha * sum of squares over the window)^beta. `alpha` multiplies the sum.

    Over `size` neighbouring kernels of the same place, each of `columns` parts of the kernels by itself, or (`spatial`)
    over size x size neighbouring places of the same kernel.
    """

    size: int
    alpha: float
    beta: float
    k: float
    columns: int = 1
    spatial: bool = False


@dataclass(frozen=True)
class Pool:
    """Max pooling at `stride`; `ceil`: the last window may reach over the edge; `side`: of its result in pixels."""

    kernel: int
    stride: int
    ceil: bool
    side: int


@dataclass(frozen=True)
class Dropout:
    """Dropout with probability `p`. `inverted`: scaled by 1 / (1 - p) in training instead of by 1 - p at test time."""

    p: float
    inverted: bool


Op = Activation | Norm | Pool | Dropout


@dataclass(frozen=True)
class Row:
    """One layer: a convolution (kernel > 0) or a fully connected layer, and what follows it, in order.

    `side` is that of the layer's output in pixels (1 if fully connected); `pad` zeros on every edge and `pad_end` more
    on the right and bottom; `lr_factor` and `decay_factor` multiply rate and decay of its weights.
    """

    name: str
    kind: Literal["conv", "fc"]
    inputs: int
    outputs: int
    kernel: int
    stride: int
    pad: int
    pad_end: int
    groups: int
    side: int
    init_std: float
    bias_init: float
    after: tuple[Op, ...] = ()
    lr_factor: float = 1.0
    decay_factor: float = 1.0

    @property
    def fan_in(self) -> int:
        """Inputs of one unit."""
        return self.inputs // self.groups * max(self.kernel, 1) ** 2

    @property
    def weights(self) -> int:
        return self.outputs * self.fan_in

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.outputs

    @property
    def neurons(self) -> int:
        """Units before pooling."""
        return self.outputs * self.side**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass, biases not counted."""
        return self.weights * self.side**2

    @property
    def side_after(self) -> int:
        """Side of the maps that the next layer sees."""
        return next((op.side for op in reversed(self.after) if isinstance(op, Pool)), self.side)


@dataclass(frozen=True)
class _Conv:
    kernels: int
    kernel: int
    stride: int
    pad: int


# Kernels of both columns together, kernel side, stride, padding. `medium` keeps the paper's kernels on smaller images;
# `small` takes 5x5 at stride 1 in conv1, as the authors' nets for CIFAR-10 do, and a third to a fourth of the kernels.
_PAPER = (_Conv(96, 11, 4, 0), _Conv(256, 5, 1, 2), _Conv(384, 3, 1, 1), _Conv(384, 3, 1, 1), _Conv(256, 3, 1, 1))
_SMALL = (_Conv(32, 5, 1, 2), _Conv(64, 5, 1, 2), _Conv(96, 3, 1, 1), _Conv(96, 3, 1, 1), _Conv(64, 3, 1, 1))
_CONVS = {"imagenet": _PAPER, "medium": _PAPER, "small": _SMALL}
_POOLED = ("conv1", "conv2", "conv5")
_NORMED = ("conv1", "conv2")
_IN_COLUMN = ("conv2", "conv4", "conv5")  # conv3 and the fully connected layers see both columns
_BIASED = ("conv2", "conv4", "conv5", "fc6", "fc7")

PAPER_FAN_IN = {
    "conv1": 363, "conv2": 1200, "conv3": 2304, "conv4": 1728, "conv5": 1728, "fc6": 9216, "fc7": 4096, "fc8": 4096,
}  # fmt: skip
"""Inputs of one unit in the paper's two-column net; `init: fan_in` keeps sd * sqrt(fan-in) at what it is there."""


def layout(settings: Settings, channels: int = 3, classes: int | None = None) -> tuple[Row, ...]:
    """The rows of the net that `settings` describe; `classes`: the data's (without it the settings', or 1000).

    Raises `UserError` when `classes` differs from the settings' own.
    """
    if settings.classes and classes and settings.classes != classes:
        raise UserError(f"classes: got {settings.classes}, but the data has {classes}; allowed: {classes}, or nothing")
    convs = _convolutions(settings, channels)
    width, side = convs[-1].outputs, convs[-1].side_after
    return tuple(convs + _fully_connected(settings, width * side**2, settings.classes or classes or 1000))


def _convolutions(settings: Settings, channels: int) -> list[Row]:
    rows: list[Row] = []
    inputs, side = channels, settings.crop
    for number, conv in enumerate(_CONVS[settings.geometry], 1):
        name = f"conv{number}"
        kernels = _kernels(settings, conv.kernels, name)
        if settings.depth == f"-{name}":
            # Its pooling stays, hung on the layer before, so that the maps that follow keep their size.
            pool = _pool(settings, side) if name in _POOLED else None
            if pool:
                rows[-1] = replace(rows[-1], after=(*rows[-1].after, pool))
                side = pool.side
            continue
        # The original code rounds the number of modules up and reads zeros beyond the right and bottom edge.
        steps = math.ceil((side + 2 * conv.pad - conv.kernel) / conv.stride)
        pad_end = steps * conv.stride + conv.kernel - side - 2 * conv.pad
        side = steps + 1
        row = Row(
            name=name,
            kind="conv",
            inputs=inputs,
            outputs=kernels,
            kernel=conv.kernel,
            stride=conv.stride,
            pad=conv.pad,
            pad_end=pad_end,
            groups=2 if settings.gpus == 2 and name in _IN_COLUMN else 1,
            side=side,
            init_std=settings.init_std if name in _NORMED else settings.init_std_mid,
            bias_init=settings.bias_init if name in _BIASED else 0.0,
        )
        row = replace(row, init_std=_scaled_std(settings, row), after=_after_conv(settings, name, side))
        rows.append(row)
        inputs, side = kernels, row.side_after
    return rows


def _kernels(settings: Settings, kernels: int, name: str) -> int:
    """Kernels of a layer: scaled by `width`, even; the one-GPU net has half of them in conv1 to conv4, all in conv5."""
    scaled = max(2, 2 * round(kernels * settings.width / 2))
    return scaled // 2 if settings.gpus == 1 and name != "conv5" else scaled


def _pool(settings: Settings, side: int) -> Pool:
    # Overlapping: rounded up, as the original code; else down: ceil((n - 3) / 2) + 1 = floor(n / 2) for all n >= 3.
    if settings.overlap_pool:
        return Pool(3, 2, True, math.ceil((side - 3) / 2) + 1)
    return Pool(2, 2, False, side // 2)


def _after_conv(settings: Settings, name: str, side: int) -> tuple[Op, ...]:
    order = {"conv1": settings.order1, "conv2": settings.order2}.get(name, "relu-norm-pool")
    columns = 2 if settings.gpus == 2 and settings.lrn_span == "column" else 1
    alpha = settings.lrn_alpha / (settings.lrn_size if settings.lrn_alpha_form == "over_n" else 1)
    ops: list[Op] = []
    for word in order.split("-"):
        if word == "relu":
            ops.append(Activation(settings.activation))
        elif word == "norm":
            if settings.lrn and name in _NORMED:
                ops.append(Norm(settings.lrn_size, alpha, settings.lrn_beta, settings.lrn_k, columns))
            if settings.spatial_norm and name == "conv2":
                # As run (A1): scale .001 over 25 places, power .75, k = 1; stands beside LRN, whether LRN is on or off.
                ops.append(Norm(5, 1e-3 / 25, 0.75, 1.0, spatial=True))
        elif name in _POOLED:
            ops.append(_pool(settings, side))
    return tuple(ops)


def _fully_connected(settings: Settings, inputs: int, classes: int) -> list[Row]:
    rows: list[Row] = []
    inverted = settings.dropout_form != "original"
    keep = 1.0 - settings.dropout
    for name, outputs in (("fc6", settings.fc_width), ("fc7", settings.fc_width), ("fc8", classes)):
        if settings.depth == f"-{name}":
            continue
        row = Row(name, "fc", inputs, outputs, 0, 1, 0, 0, 1, 1, settings.init_std_fc, 0.0)
        row = replace(row, init_std=_scaled_std(settings, row))
        if name in _BIASED:
            after: tuple[Op, ...] = (Activation(settings.activation),)
            if settings.dropout:
                after = (*after, Dropout(settings.dropout, inverted))
            row = replace(row, bias_init=settings.bias_init, after=after)
        fed_by_dropout = bool(rows) and settings.dropout > 0
        if fed_by_dropout and settings.dropout_form == "inverted_compensated":
            # V = keep * W is the same function under inverted dropout, and takes the same path with these factors.
            row = replace(row, init_std=row.init_std * keep, lr_factor=keep**2, decay_factor=keep**-2)
        rows.append(row)
        inputs = outputs
    return rows


def _scaled_std(settings: Settings, row: Row) -> float:
    if settings.init == "paper":
        return row.init_std
    return row.init_std * math.sqrt(PAPER_FAN_IN[row.name] / row.fan_in)
