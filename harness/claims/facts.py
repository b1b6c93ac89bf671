"""Claims that need no run: counted on the net's table and on the settings, so that their verdicts are final."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.data.crops import evaluation_views, positions
from harness.net.layout import Layer, layout
from harness.settings.load import resolve
from harness.settings.schema import Settings

IMAGE = 256
"""Side of the stored images in section 2 of the paper, in pixels."""

ROUNDED = 0.02
"""`60 million` and `650,000` are round numbers: a count no further away than this part of it is what they say."""

PRINTED_CONV1 = 253_440
"""Neurons of conv1 in the caption of figure 2."""

CONV_SHARE = 1.0
"""Section 1: no convolutional layer has more than this share of the parameters, in percent."""


@dataclass(frozen=True)
class Fact:
    """What came out: the number that decides, its unit, whether the claim holds, and the numbers in words."""

    value: float
    unit: str
    holds: bool
    words: str


def _settings(preset: str = "paper", **changes: Any) -> Settings:
    return resolve({"preset": preset, **changes}, f"preset {preset}")


def _rows() -> tuple[Layer, ...]:
    return layout(_settings())


def _parameters(**changes: Any) -> int:
    return sum(row.parameters for row in layout(_settings(**changes)))


def conv_share() -> Fact:
    """C26: the largest share of the parameters that a convolutional layer has, in percent."""
    rows = _rows()
    whole = sum(row.parameters for row in rows)
    shares = {row.name: 100 * row.parameters / whole for row in rows if row.kind == "conv"}
    above = [f"{name} has {share:.2f} %" for name, share in shares.items() if share > CONV_SHARE]
    others = [f"{name} {share:.2f} %" for name, share in shares.items() if share <= CONV_SHARE]
    return Fact(max(shares.values()), "%", not above, " and ".join(above) + "; " + ", ".join(others))


def counts() -> Fact:
    """C27: parameters of the net, and its neurons."""
    rows = _rows()
    parameters, neurons = sum(row.parameters for row in rows), sum(row.neurons for row in rows)
    holds = abs(parameters / 60e6 - 1) <= ROUNDED and abs(neurons / 650e3 - 1) <= ROUNDED
    first = rows[0]
    words = (
        f"{parameters:,} parameters and {neurons:,} neurons; within 2 % of the round numbers. Figure 2 prints "
        f"{PRINTED_CONV1:,} for conv1, whose {first.side} x {first.side} maps of {first.outputs} kernels have "
        f"{first.neurons:,}; its printed sum is {neurons - first.neurons + PRINTED_CONV1:,}"
    )
    return Fact(parameters, "parameters", holds, words)


def label_bits() -> Fact:
    """C28: information in the label of one of so many classes, in bits."""
    classes = _rows()[-1].outputs
    bits = math.log2(classes)
    return Fact(bits, "bits", round(bits) == 10, f"log2({classes:,}) = {bits:.2f} bits")


def conv1_side() -> Fact:
    """A14: side of conv1's maps from crops of the text's size, by zeros beyond the right and bottom edge."""
    settings, row = _settings(), _rows()[0]
    return Fact(
        row.side, "pixels", row.side == 55, f"{settings.crop} pixels, kernels of {row.kernel} at stride {row.stride}, "
        f"{row.pad_end} zeros beyond the right and bottom edge: {row.side} x {row.side} maps",
    )  # fmt: skip


def _agree(name: str) -> Fact:
    """A3, A16: a setting, in the text and as run."""
    text, run = getattr(_settings(), name), getattr(_settings("as_run"), name)
    return Fact(float(text == run), "", text == run, f"{name} is {text} in the text and {run} as run")


FACTS: dict[str, Callable[[], Fact]] = {
    "conv_share": conv_share,
    "counts": counts,
    "label_bits": label_bits,
    "conv1_side": conv1_side,
    "order2": lambda: _agree("order2"),
    "dropout_form": lambda: _agree("dropout_form"),
}
"""What decides a claim."""


def crop_count() -> str:
    """C16, A12: views of one training image under crops and reflections, as in the text and as run."""
    text, run = (2 * positions(_settings(preset), IMAGE) ** 2 for preset in ("paper", "as_run"))
    border = IMAGE - _settings().crop
    return (
        f"{border} x {border} x 2 = {text:,} views as in the text; an image of {IMAGE} pixels has {border + 1} "
        f"positions a side, as run: {run:,}"
    )


def ten_crops() -> str:
    """C02: the crops of an image at test time (section 4.1)."""
    corners = [corner for corner, mirrored in evaluation_views(IMAGE, _settings().crop, ten=True) if not mirrored]
    places = ", ".join(f"({row}, {column})" for row, column in corners)
    return f"crops with upper left corners {places}, and their mirrors"


def one_gpu() -> str:
    """C11: parameters of the one-GPU net against those of the two-column net."""
    one, two = _parameters(gpus=1), _parameters()
    return f"{one:,} parameters, {100 * one / two:.1f} % of {two:,}"


def depths() -> str:
    """C25: parameters of the net without one of its middle convolutional layers."""
    without = {name: _parameters(depth=f"-{name}") for name in ("conv2", "conv3", "conv4", "conv5")}
    listed = ", ".join(f"without {name} {number:,}" for name, number in without.items())
    return (
        f"parameters {listed}; whole {_parameters():,}. Without conv5, fc6 sees conv4's wider maps and has more of them"
    )


BESIDE: dict[str, Callable[[], str]] = {
    function.__name__: function for function in (crop_count, ten_crops, one_gpu, depths)
}
"""What can stand beside a claim that is tested on runs."""
