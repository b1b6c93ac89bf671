"""The net's table as a picture, in the manner of the paper's figure 2: an SVG text."""

import math
from collections.abc import Sequence

from harness.net.describe import describe
from harness.net.layout import Row

STEP, LANE, TOP = 118, 120, 84
"""Pixels from layer to layer, from column to column, and above the first column."""
INK, PAPER, FILL = "#24292f", "#ffffff", "#cfe3f7"


def draw(rows: Sequence[Row], side: int, channels: int) -> str:
    """An SVG of the layers from left to right, a lane for each column; `side` and `channels` are the input's.

    A line joins a column to what it sees: its own column of the layer before, or both.
    """
    lanes = 2 if any(row.groups == 2 for row in rows) else 1
    width, height = STEP * (len(rows) + 1) + 40, TOP + LANE * lanes + 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
    ]
    middle = TOP + LANE * lanes / 2
    before = [(0, middle)]
    lines, boxes = [], [_box(0, middle, side, channels, f"{channels}x{side}x{side}")]
    for index, row in enumerate(rows, 1):
        # The last layer is one: its softmax is over all classes.
        places = [TOP + LANE * (lane + 0.5) for lane in range(lanes)] if row is not rows[-1] else [middle]
        apart = row.groups == 2 and len(before) == len(places)
        lines += [
            _line(index, from_y, to_y)
            for i, to_y in enumerate(places)
            for j, (_, from_y) in enumerate(before)
            if not apart or i == j
        ]
        each = row.outputs // len(places)
        label = f"{each}x{row.side}x{row.side}" if row.kind != "fc" else str(each)
        boxes += [_box(index, y, row.side, each, label) for y in places]
        before = [(index, y) for y in places]
    return "\n".join([*parts, *lines, *boxes, *_captions(rows, height), "</svg>"]) + "\n"


def _centre(index: int) -> float:
    return 20 + STEP * (index + 0.5)


def _box(index: int, y: float, side: int, kernels: int, label: str) -> str:
    tall, wide = 14 + 4.2 * math.sqrt(side), 8 + 4 * math.log2(kernels)
    x = _centre(index)
    return (
        f'<rect x="{x - wide / 2:.1f}" y="{y - tall / 2:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="2" '
        f'fill="{FILL}" stroke="{INK}"/>'
        # An outline in the colour of the paper keeps the label legible where a line crosses it.
        f'<text x="{x:.1f}" y="{y + tall / 2 + 14:.1f}" text-anchor="middle" paint-order="stroke" stroke="{PAPER}" '
        f'stroke-width="3">{label}</text>'
    )


def _line(index: int, from_y: float, to_y: float) -> str:
    return (
        f'<line x1="{_centre(index - 1):.1f}" y1="{from_y:.1f}" x2="{_centre(index):.1f}" y2="{to_y:.1f}" '
        f'stroke="{INK}" stroke-opacity="0.45"/>'
    )


def _captions(rows: Sequence[Row], height: int) -> list[str]:
    captions = []
    described = describe(rows)
    for index, layer in enumerate(described["layers"], 1):
        x = _centre(index)
        kernel = f" {layer['kernel']}x{layer['kernel']}/{layer['stride']}" if layer["kernel"] else ""
        captions.append(
            f'<text x="{x:.1f}" y="22" text-anchor="middle" font-weight="bold">{layer["name"]}{kernel}</text>'
        )
        captions += [
            f'<text x="{x:.1f}" y="{40 + 14 * line}" text-anchor="middle" font-size="10">{text}</text>'
            for line, text in enumerate(layer["after"])
        ]
        captions.append(
            f'<text x="{x:.1f}" y="{height - 34}" text-anchor="middle" font-size="10">{layer["parameters"]:,}</text>'
        )
    total = described["total"]
    return [
        *captions,
        f'<text x="{_centre(0):.1f}" y="22" text-anchor="middle" font-weight="bold">input</text>',
        f'<text x="{_centre(0):.1f}" y="{height - 34}" text-anchor="middle" font-size="10">parameters:</text>',
        f'<text x="20" y="{height - 12}">{total["parameters"]:,} parameters, {total["neurons"]:,} neurons, '
        f"{total['macs']:,} multiply-accumulates</text>",
    ]
