"""The net as a table: one row a layer. It is counted, described, drawn and built from this table alone.

`layout` is a pure function of the settings; torch is not imported here. A switch changes rows here and nowhere else.
Sizes are those of Krizhevsky, Sutskever and Hinton (2012), section 3.5 and figure 2, where the geometry is `imagenet`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from harness.errors import UserError
from harness.settings.schema import CIFAR_NETS, Settings


class Op:
    """What follows a layer."""

    @property
    def parameters(self) -> int:
        """Values that it learns, in a module of its own within the layer's."""
        return 0


@dataclass(frozen=True)
class Activation(Op):
    """An elementwise non-linearity: relu, tanh or logistic."""

    kind: str


@dataclass(frozen=True)
class Norm(Op):
    """Response normalisation: x / (k + alpha * sum of squares over the window)^beta. `alpha` multiplies the sum.

    Over `size` neighbouring kernels of the same place, each of `columns` parts of the kernels by itself, or (`spatial`)
    over size x size neighbouring places of the same kernel. `portable`: by operations that give the same bits on every
    processor.
    """

    size: int
    alpha: float
    beta: float
    k: float
    columns: int = 1
    spatial: bool = False
    portable: bool = False


@dataclass(frozen=True)
class Pool(Op):
    """Pooling at `stride`: the largest value, or (`mean`) the mean of the places that a window covers.

    `ceil`: the last window may reach over the edge; `side`: of its result in pixels.
    """

    kernel: int
    stride: int
    ceil: bool
    side: int
    mean: bool = False


@dataclass(frozen=True)
class Dropout(Op):
    """Dropout with probability `p`. `inverted`: scaled by 1 / (1 - p) in training instead of by 1 - p at test time."""

    p: float
    inverted: bool


@dataclass(frozen=True)
class Layer:
    """One layer and what follows it, in order: a convolution, a locally connected or a fully connected layer.

    A locally connected layer (`local`) is a convolution whose weights and biases differ from place to place. `side` is
    that of the layer's output in pixels (1 if fully connected); `pad` zeros on every edge and `pad_end` more on the
    right and bottom; `groups`: columns that do not see each other; `init_std` None: uniform within 1 / sqrt(fan-in),
    biases too, as torch does; `lr_factor` and `decay_factor` multiply rate and decay of its weights.
    """

    name: str
    kind: Literal["conv", "local", "fc"]
    inputs: int
    outputs: int
    groups: int
    init_std: float | None
    bias_init: float
    kernel: int = 0
    stride: int = 1
    pad: int = 0
    pad_end: int = 0
    side: int = 1
    after: tuple[Op, ...] = ()
    lr_factor: float = 1.0
    decay_factor: float = 1.0

    @property
    def fan_in(self) -> int:
        """Inputs of one unit."""
        return self.inputs // self.groups * max(self.kernel, 1) ** 2

    @property
    def places(self) -> int:
        """Sets of weights: one, or one a place where the layer is locally connected."""
        return self.side**2 if self.kind == "local" else 1

    @property
    def weights(self) -> int:
        return self.outputs * self.fan_in * self.places

    @property
    def biases(self) -> int:
        return self.outputs * self.places

    @property
    def parameters(self) -> int:
        return self.weights + self.biases + sum(op.parameters for op in self.after)

    @property
    def neurons(self) -> int:
        """Units before pooling."""
        return self.outputs * self.side**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass, biases not counted."""
        return self.outputs * self.fan_in * self.side**2

    @property
    def side_after(self) -> int:
        """Side of the maps that the next layer sees."""
        return next((op.side for op in reversed(self.after) if isinstance(op, Pool)), self.side)


@dataclass(frozen=True)
class _Conv:
    """A convolution of a net's table: kernels (of both columns together), their side, stride and padding.

    `pooled`: max or mean pooling follows; `normed`: LRN does, where the settings want it; `in_column`: it sees its own
    column alone; `biased`: its biases start at `bias_init`; `std`: sd of its initial weights, where the net brings its
    own (else the settings').
    """

    kernels: int
    kernel: int
    stride: int
    pad: int
    pooled: Literal["", "max", "mean"] = ""
    normed: bool = False
    in_column: bool = False
    biased: bool = False
    local: bool = False
    std: float | None = None


_CONV6 = _Conv(256, 3, 1, 1, in_column=True)
"""`depth: +conv6`: over the last pooling layer (section 6 names no size: that of conv5 is taken)."""


def _five(kernels: tuple[int, int, int, int, int], first: tuple[int, int, int]) -> tuple[_Conv, ...]:
    return (
        _Conv(kernels[0], *first, "max", normed=True),
        _Conv(kernels[1], 5, 1, 2, "max", normed=True, in_column=True, biased=True),
        _Conv(kernels[2], 3, 1, 1),  # conv3 and the fully connected layers see both columns
        _Conv(kernels[3], 3, 1, 1, in_column=True, biased=True),
        _Conv(kernels[4], 3, 1, 1, "max", in_column=True, biased=True),
    )


# `medium` keeps the paper's kernels on smaller images; `small` takes 5x5 at stride 1 in conv1, as the authors' nets for
# CIFAR-10 do, and a third to a fourth of the kernels.
_PAPER = _five((96, 256, 384, 384, 256), (11, 4, 0))
_SMALL = _five((32, 64, 96, 96, 64), (5, 1, 2))
# Krizhevsky (2014), arXiv 1404.5997, with the widths of his code and of torchvision.
_OWT = _five((64, 192, 384, 256, 256), (11, 4, 0))
# The parameter files of cuda-convnet: 19 % (three convolutions), and 13 and 11 % (two, then two locally connected).
_CIFAR_QUICK = (
    _Conv(32, 5, 1, 2, "max", normed=True, std=1e-4),
    _Conv(32, 5, 1, 2, "mean", normed=True, std=0.01),
    _Conv(64, 5, 1, 2, "mean", std=0.01),
)
_CIFAR_LOCAL = (
    _Conv(64, 5, 1, 2, "max", normed=True, std=1e-4),
    _Conv(64, 5, 1, 2, "max", normed=True, std=0.01),
    _Conv(32, 3, 1, 1, local=True, std=0.04),
    _Conv(32, 3, 1, 1, local=True, std=0.04),
)

PAPER_FAN_IN = {
    "conv1": 363, "conv2": 1200, "conv3": 2304, "conv4": 1728, "conv5": 1728, "conv6": 1152,
    "fc6": 9216, "fc7": 4096, "fc8": 4096,
}  # fmt: skip
"""Inputs of one unit in the paper's two-column net; `init: fan_in` keeps sd * sqrt(fan-in) at what it is there."""


def layout(settings: Settings, channels: int = 3, classes: int | None = None) -> tuple[Layer, ...]:
    """The rows of the net that `settings` describe; `classes`: the data's (without it the settings', or 1000).

    Raises `UserError` when `classes` differs from the settings' own.
    """
    if settings.classes and classes and settings.classes != classes:
        raise UserError(f"classes: got {settings.classes}, but the data has {classes}; allowed: {classes}, or nothing")
    convs = _convolutions(settings, channels)
    return (*convs, *_fully_connected(settings, convs[-1], settings.classes or classes or 1000))


def _table(settings: Settings) -> dict[str, _Conv]:
    """Convolutions and locally connected layers of the net by name, all that `depth` may leave out included."""
    first = replace(_CIFAR_LOCAL[2], kernels=settings.local_width)
    local = (*_CIFAR_LOCAL[:2], first, _CIFAR_LOCAL[3])
    alexnet = _SMALL if settings.geometry == "small" else _PAPER
    if settings.columns == "apart":
        # As run #150: conv2 has 160 kernels a column instead of 128, to make up for what the columns no longer see.
        alexnet = (alexnet[0], replace(alexnet[1], kernels=alexnet[1].kernels * 5 // 4), *alexnet[2:])
    convs = {"cifar_quick": _CIFAR_QUICK, "cifar_local": local, "owt": _OWT, "alexnet": alexnet}[settings.net]
    if settings.depth == "-conv5_narrow":
        convs = (*convs[:3], replace(convs[3], kernels=convs[4].kernels), convs[4])
    if settings.depth == "+conv6":
        convs = (*convs, replace(_CONV6, kernels=convs[4].kernels))
    if settings.pool_geometry == "as_run":
        convs = (convs[0], replace(convs[1], pad=1), *convs[2:4], replace(convs[4], pad=0))
    if settings.conv1_pad == "both":
        convs = (replace(convs[0], pad=2), *convs[1:])
    return {f"{'local' if conv.local else 'conv'}{number}": conv for number, conv in enumerate(convs, 1)}


def _convolutions(settings: Settings, channels: int) -> list[Layer]:
    rows: list[Layer] = []
    inputs, side = channels, settings.crop
    for name, conv in _table(settings).items():
        if settings.depth.removesuffix("_narrow") == f"-{name}":
            # Its pooling stays, hung on the layer before, so that the maps that follow keep their size.
            if conv.pooled:
                rows[-1] = replace(rows[-1], after=(*rows[-1].after, _pool(settings, side, conv)))
                side = rows[-1].side_after
            continue
        # The original code rounds the number of modules up and reads zeros beyond the right and bottom edge; later
        # ports pad conv1 on every edge and round down.
        span = side + 2 * conv.pad - conv.kernel
        rounded_down = name == "conv1" and settings.conv1_pad == "both"
        steps = span // conv.stride if rounded_down else math.ceil(span / conv.stride)
        row = Layer(
            name=name,
            kind="local" if conv.local else "conv",
            inputs=inputs,
            outputs=_kernels(settings, conv, name),
            groups=_groups(settings, conv, bool(rows)),
            init_std=conv.std or (settings.init_std if conv.normed else settings.init_std_mid),
            bias_init=settings.bias_init if conv.biased else 0.0,
            kernel=conv.kernel,
            stride=conv.stride,
            pad=conv.pad,
            pad_end=max(0, steps * conv.stride - span),
            side=steps + 1,
            after=_after_conv(settings, name, conv, steps + 1),
            decay_factor=settings.conv_decay if not conv.local else 1.0,
        )
        rows.append(_scaled(settings, row))
        inputs, side = row.outputs, row.side_after
    if settings.dropout_place == "inputs":
        rows[-1] = replace(rows[-1], after=(*rows[-1].after, *_dropout(settings)))
    return rows


def _dropout(settings: Settings) -> tuple[Dropout, ...]:
    return (Dropout(settings.dropout, settings.dropout_form != "original"),) if settings.dropout else ()


def _groups(settings: Settings, conv: _Conv, after_another: bool) -> int:
    """Columns of a convolution that do not see each other; conv1 sees the image in any case."""
    if settings.gpus == 1 or settings.columns == "dense":
        return 1
    return 2 if conv.in_column or (settings.columns == "apart" and after_another) else 1


def _kernels(settings: Settings, conv: _Conv, name: str) -> int:
    """Kernels of a layer: scaled by `width`, even; the one-GPU net has half of them in conv1 to conv4, all in conv5."""
    if conv.local:
        return conv.kernels
    scaled = max(2, 2 * round(conv.kernels * settings.width / 2))
    whole = settings.net != "alexnet" or settings.gpus == 2 or (name in ("conv5", "conv6") and settings.conv5 == "full")
    return scaled if whole else scaled // 2


def _pool(settings: Settings, side: int, conv: _Conv) -> Pool:
    kernel = 3 if settings.overlap_pool else 2
    # Overlapping: rounded up, as the original code; else down: ceil((n - 3) / 2) + 1 = floor(n / 2) for all n >= 3.
    up = settings.overlap_pool or settings.pool_geometry == "as_run"
    return Pool(kernel, 2, up, math.ceil((side - kernel) / 2) + 1 if up else side // 2, conv.pooled == "mean")


def _after_conv(settings: Settings, name: str, conv: _Conv, side: int) -> tuple[Op, ...]:
    order = {"conv1": settings.order1, "conv2": settings.order2}.get(name, "relu-norm-pool")
    columns = 2 if settings.gpus == 2 and settings.lrn_span == "column" else 1
    alpha = settings.lrn_alpha / (settings.lrn_size if settings.lrn_alpha_form == "over_n" else 1)
    portable = settings.bits == "portable"
    ops: list[Op] = []
    for word in order.split("-"):
        if word == "relu":
            ops.append(Activation(settings.activation))
        elif word == "norm":
            if settings.lrn and conv.normed and settings.lrn_layers in ("both", name):
                ops.append(
                    Norm(settings.lrn_size, alpha, settings.lrn_beta, settings.lrn_k, columns, portable=portable)
                )
            if settings.spatial_norm and name == "conv2":
                # As run (A1): scale .001 over 25 places, power .75, k = 1; stands beside LRN, whether LRN is on or off.
                ops.append(Norm(5, 1e-3 / 25, 0.75, 1.0, spatial=True, portable=portable))
        elif conv.pooled:
            ops.append(_pool(settings, side, conv))
    return tuple(ops)


def _fully_connected(settings: Settings, last: Layer, classes: int) -> list[Layer]:
    rows: list[Layer] = []
    before, inputs, keep = last, last.outputs * last.side_after**2, 1.0 - settings.dropout
    apart = 2 if settings.columns == "apart" else 1
    # Run #150 has twice as many units in fc6, each of which sees its own column alone.
    hidden = {"fc6": settings.fc_width * apart, "fc7": settings.fc_width} if settings.net not in CIFAR_NETS else {}
    kept = [name for name in hidden if settings.depth != f"-{name}"]
    for name in (*kept, "fc8"):
        hides = name != "fc8"
        # On the inputs of fc6 and fc7, the outputs of the last hidden layer stay whole.
        dropped = settings.dropout_place == "outputs" or name != kept[-1] if hides else False
        row = Layer(
            name=name,
            kind="fc",
            inputs=inputs,
            outputs=hidden[name] if hides else classes,
            groups=apart if hides else 1,
            init_std=settings.init_std_fc if hides else settings.init_std_out,
            bias_init=settings.bias_init if hides else 0.0,
            after=(Activation(settings.activation), *(_dropout(settings) if dropped else ())) if hides else (),
            decay_factor=1.0 if hides else settings.output_decay,
        )
        row = _scaled(settings, row)
        fed_by_dropout = any(isinstance(op, Dropout) for op in before.after)
        if fed_by_dropout and settings.dropout_form == "inverted_compensated":
            # V = keep * W is the same function under inverted dropout, and takes the same path with these factors.
            std = row.init_std * keep if row.init_std else None
            row = replace(row, init_std=std, lr_factor=keep**2, decay_factor=row.decay_factor * keep**-2)
        rows.append(row)
        before, inputs = row, row.outputs
    return rows


def _scaled(settings: Settings, row: Layer) -> Layer:
    """The layer with the sd of its initial weights as the setting `init` wants it."""
    if settings.init == "torch":
        return replace(row, init_std=None)
    if settings.init == "paper" or row.init_std is None or settings.net in CIFAR_NETS:
        return row
    return replace(row, init_std=row.init_std * math.sqrt(PAPER_FAN_IN[row.name] / row.fan_in))
