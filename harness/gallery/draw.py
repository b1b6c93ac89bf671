"""The pictures, from arrays: pure, the same arrays give the same bytes."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from harness.gallery.arrays import MAPS, Augmentations, Confusion, Kernels, Neighbours, Predictions, Response
from harness.gallery.sheet import WIDTH, Sheet, fitted, png, short, tile
from harness.style import BLUE, GREEN, GREY, INK, ORANGE, style

EDGE = 20
"""Pixels that stay white along the left and right edge."""

LIGHT, LIGHT_BLUE, TRACK = "#d2d2d2", "#86bfe6", "#f3f3f3"

NEIGHBOURS_LIMIT = 145_000
"""Bytes of the picture with the most images."""

MATRIX = 20
"""Classes of a confusion matrix at most; of more, those that are confused most are shown."""


def kernels(found: Kernels) -> bytes:
    """Every kernel of the first layer, column by column; grey is zero, and each kernel has its own scale."""
    columns = [[kernel_pixels(kernel) for kernel in column] for column in found.columns]
    apart = 60 if len(columns) > 1 else 0
    area = (WIDTH - 2 * EDGE - apart * (len(columns) - 1)) // len(columns)
    count, side = len(columns[0]), len(columns[0][0])
    across, factor = _grid(count, side, area)
    step = side * factor + 6
    down = -(-count // across)
    top = 46 if apart else 14
    with style():
        sheet = Sheet(top + down * step + 8)
        for number, column in enumerate(columns):
            left = EDGE + number * (area + apart) + (area - across * step + 6) // 2
            if apart:
                sheet.text(left, 22, f"column {number + 1}", weight="bold")
            for place, kernel in enumerate(column):
                row, along = divmod(place, across)
                sheet.image(left + along * step, top + row * step, fitted(kernel, side * factor))
        return png(sheet.figure)


def kernel_pixels(kernel: np.ndarray) -> np.ndarray:
    """Weights (side, side, channels) as uint8: zero is middle grey, the largest weight by size black or white."""
    largest = float(np.abs(kernel).max()) or 1.0
    return np.round(127.5 + 127.5 * kernel.astype(np.float64) / largest).astype(np.uint8)


def _grid(count: int, side: int, area: int) -> tuple[int, int]:
    """Kernels in a row and pixels on screen of one weight: as large as `area` and a moderate height allow."""
    fitting = []
    for across in range(4, 25):
        factor = min(area // across - 6, 120) // side
        if factor and -(-count // across) * (side * factor + 6) <= 380:
            fitting.append((across, factor))
    whole = [pair for pair in fitting if count % pair[0] == 0]
    return (whole or fitting or [(24, max((area // 24 - 6) // side, 1))])[0]


def predictions(found: Predictions, class_names: list[str]) -> bytes:
    """Each image under its label, above the most probable classes with their bars; blue is the label's."""
    across, side, line = 5, tile(found.images, 168, 112), 27
    step = (WIDTH - 2 * EDGE + 16) // across
    wide, classes = step - 16, found.top.shape[1]
    tall = 34 + side + 8 + classes * line + 22
    with style():
        sheet = Sheet(10 + -(-len(found.images) // across) * tall - 12)
        for number, image in enumerate(found.images):
            row, along = divmod(number, across)
            x, y = EDGE + along * step, 10 + row * tall
            label, top = int(found.labels[number]), found.top[number].tolist()
            right = top[0] == label
            mark, colour = ("✓", GREEN) if right else ("✗", ORANGE)
            sheet.text(x, y + 14, mark, 11, color=colour, weight="bold")
            sheet.text(x + 24, y + 14, short(class_names[label], 19), weight="bold")
            pixels = fitted(image, side)
            sheet.image(x, y + 34, pixels)
            for place, (name, p) in enumerate(zip(top, found.probabilities[number].tolist(), strict=True)):
                at = y + 34 + side + 10 + place * line
                sheet.box(x, at, wide, line - 5, facecolor=TRACK)
                sheet.box(x, at, max(round(wide * p), 1), line - 5, facecolor=LIGHT_BLUE if name == label else LIGHT)
                sheet.text(x + 6, at + (line - 5) / 2, short(class_names[name], 17), 8)
                sheet.text(x + wide - 5, at + (line - 5) / 2, f"{100 * p:.0f} %", 8, ha="right")
        return png(sheet.figure)


def neighbours(found: Neighbours, class_names: list[str]) -> bytes:
    """A test image a line, and the training images nearest to it; framed green where they have its label."""
    side, first, step = tile(found.images, 120, 84), 232, 152
    tall = side + 50
    with style():
        sheet = Sheet(40 + len(found.images) * tall)
        sheet.text(EDGE, 18, "test image", weight="bold")
        sheet.text(first, 18, f"nearest training images in {found.layer}, nearest first", weight="bold")
        for row, image in enumerate(found.images):
            y = 46 + row * tall
            label = int(found.labels[row])
            sheet.image(EDGE, y, fitted(image, side))
            sheet.text(EDGE, y + side + 18, short(class_names[label], 20), 8)
            for place, near in enumerate(found.near_images[row]):
                x, own = first + place * step, int(found.near_labels[row, place])
                pixels = fitted(near, side)
                colour = GREEN if own == label else ORANGE
                sheet.image(x, y, pixels)
                sheet.frame(x, y, pixels, colour, 5)
                name = short(class_names[own], 14)
                sheet.text(x - 5, y + side + 18, name if own == label else f"✗ {name}", 8,
                           color=INK if own == label else ORANGE)  # fmt: skip
        return png(sheet.figure, NEIGHBOURS_LIMIT)


def confusion(found: Confusion, class_names: list[str]) -> bytes:
    """Share of each class's test images by the class they were taken for, in percent; errors are orange."""
    chosen = shown_classes(found)
    some = len(chosen) < len(found.counts)
    counts = found.counts[np.ix_(chosen, chosen)].astype(float)
    if some:
        counts = np.hstack([counts, found.counts[chosen].sum(1, keepdims=True) - counts.sum(1, keepdims=True)])
    share = 100 * counts / np.maximum(found.counts[chosen].sum(1, keepdims=True), 1)
    names = [short(class_names[place], 16) for place in chosen]
    wrong = share.copy()
    np.fill_diagonal(wrong, 0)
    worst = max(float(wrong[:, : len(chosen)].max()), 1e-9)
    with style():
        size = 0.4 * len(chosen) + 1.6
        figure = Figure(figsize=(max(min(size * 1.25, 7.6), 4.4), max(min(size, 7.2), 2.6)), layout="constrained")
        axes = figure.subplots()
        for row, column in np.ndindex(*share.shape):
            value = share[row, column]
            others = column == len(chosen)
            strength = value / 100 if column == row else 0 if others else value / worst
            colour = _tint(BLUE if column == row else ORANGE, strength * 0.75)
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=1))
            if round(value):
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=INK)
        axes.set_xlim(-0.5, share.shape[1] - 0.5)
        axes.set_ylim(len(chosen) - 0.5, -0.5)
        axes.set_xticks(range(share.shape[1]), [*names, *(["others"] if some else [])], rotation=40, ha="left",
                        rotation_mode="anchor", fontsize=8)  # fmt: skip
        axes.set_yticks(range(len(chosen)), names, fontsize=8)
        axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
        axes.set_xlabel("taken for", weight="bold")
        axes.xaxis.set_label_position("top")
        axes.set_ylabel("label", weight="bold")
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return png(figure)


def shown_classes(found: Confusion) -> list[int]:
    """The classes that the matrix shows: all, or the MATRIX of them that are confused most."""
    if len(found.counts) <= MATRIX:
        return list(range(len(found.counts)))
    wrong = found.counts.copy()
    np.fill_diagonal(wrong, 0)
    # Pairs from the most frequent confusion on: classes that are confused with each other stand there together.
    pairs = np.argsort(-(wrong + wrong.T), axis=None, kind="stable")
    chosen: list[int] = []
    for place in pairs.tolist():
        for one in divmod(place, len(wrong)):
            if one not in chosen and len(chosen) < MATRIX:
                chosen.append(one)
        if len(chosen) == MATRIX:
            break
    return sorted(chosen)


def _tint(colour: str, strength: float) -> tuple[float, ...]:
    """The colour mixed with white: 0 is nearly white, 1 the colour."""
    full = np.array(mpl.colors.to_rgb(colour))
    light = np.array(mpl.colors.to_rgb(TRACK))
    return tuple(np.round(light + (full - light) * strength, 3).tolist())


def augmentations(found: Augmentations) -> bytes:
    """The stored image with the crops of all epochs, and what the net saw in each."""
    across, side, large = 5, tile(found.views, 128, 112), tile(found.image, 288, 256)
    first, step = 372, 152
    tall = side + (60 if found.colour is None else 80)
    with style():
        sheet = Sheet(48 + max(-(-len(found.views) // across) * tall, large + 20))
        sheet.text(EDGE, 18, "stored image and its crops", weight="bold")
        sheet.text(first, 18, "what the net saw of it", weight="bold")
        pixels = fitted(found.image, large)
        sheet.image(EDGE, 44, pixels)
        scale, crop = len(pixels) / len(found.image), found.views.shape[1]
        for row, column in np.unique(found.corners, axis=0).tolist():
            sheet.box(
                EDGE + column * scale, 44 + row * scale, crop * scale, crop * scale, edgecolor=ORANGE, linewidth=3
            )
        for number, view in enumerate(found.views):
            down, along = divmod(number, across)
            x, y = first + along * step, 44 + down * tall
            sheet.image(x, y, fitted(view, side))
            sheet.text(x, y + side + 14, f"epoch {found.epochs[number]}", 8)
            if found.flips[number]:
                sheet.text(x, y + side + 34, "mirrored", 8, color=BLUE)
            if found.colour is not None and found.colour[number].any():
                shift = " ".join(f"{value:+.0f}".replace("-", "−") for value in found.colour[number])
                sheet.text(x, y + side + 54, f"RGB {shift}", 7, color=GREY)
        return png(sheet.figure)


def response(found: Response, class_names: list[str]) -> bytes:
    """Neighbouring kernels' maps before and after, the factor between them, and all units of the layer as dots."""
    side, first, top, step = 112, 262, 46, 120
    before, after = found.before[found.shown], found.after[found.shown]
    factor = np.divide(after, before, out=np.full_like(after, found.norm.k**-found.norm.beta), where=before != 0)
    signed = bool((found.before < 0).any())
    bound = float(np.abs(before).max()) or 1.0
    bound_after = float(np.abs(after).max()) or 1.0
    most = max(float(factor.max()), 1e-9)
    with style():
        sheet = Sheet(top + 3 * (step + 12) + 6)
        sheet.image(EDGE, top, fitted(found.image, tile(found.image, 120, 120)))
        sheet.text(EDGE, 22, short(class_names[found.label], 16), weight="bold")
        for place, kernel in enumerate(found.shown):
            x = first + place * step
            sheet.text(x, 22, f"kernel {kernel + 1}", 8, weight="bold" if kernel == found.centre else "normal")
            for row, (values, limit) in enumerate(((before, bound), (after, bound_after), (factor, most))):
                pixels = _coloured(values[place], limit, signed and row < 2, "cividis" if row == 2 else "viridis")
                sheet.image(x, top + row * (step + 12), fitted(pixels, side))
        for row, (name, limit) in enumerate((("before", bound), ("after", bound_after), ("share kept", most))):
            y = top + row * (step + 12)
            low = f"−{limit:.3g}" if signed and row < 2 else "0"
            sheet.text(first - 12, y + 18, name, weight="bold", ha="right")
            sheet.text(first - 12, y + 42, f"{low} to {limit:.3g}", 7, ha="right", color=GREY)
        right = first + MAPS * step + 64
        axes = sheet.axes(right, top, WIDTH - EDGE - right, 3 * (step + 12) - 70)
        axes.plot(found.before.ravel(), found.after.ravel(), ".", color=BLUE, markersize=2, markeredgewidth=0,
                  alpha=0.5, rasterized=True)  # fmt: skip
        alone = np.linspace(float(found.before.min()), float(found.before.max()), 200)
        n = found.norm
        axes.plot(alone, alone / (n.k + n.alpha * alone**2) ** n.beta, color=ORANGE, linewidth=1.4)
        axes.set_xlabel("before", fontsize=8)
        axes.set_ylabel("after", fontsize=8)
        axes.tick_params(labelsize=7, length=0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        sheet.text(right, 22, f"every unit of {found.layer}", 8, weight="bold")
        axes.text(0.97, 0.1, "no neighbour\nresponds", transform=axes.transAxes, ha="right", fontsize=7, color=ORANGE)
        return png(sheet.figure)


def _coloured(values: np.ndarray, limit: float, signed: bool, name: str) -> np.ndarray:
    """A map (h, w) in colours: from 0 to `limit`, or (signed) from -limit to limit about white."""
    scaled = values / limit / 2 + 0.5 if signed else values / limit
    colours = mpl.colormaps["RdBu_r" if signed else name](np.clip(scaled, 0, 1))
    return np.round(255 * colours[..., :3]).astype(np.uint8)
