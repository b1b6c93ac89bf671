"""The pictures, from arrays: pure, the same arrays give the same bytes."""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torchvision.utils import make_grid

from harness.gallery.compute import MAPS, Augmentations, Neighbours, Predictions, Response
from harness.style import BLUE, GREEN, INK, ORANGE, style

WIDTH, DPI = 7.6, 150
"""Inches across, as wide as the report's other figures, and pixels an inch."""

LIMIT = 90_000
"""Bytes of one picture; above it the picture is stored with fewer colours."""

NEIGHBOURS_LIMIT = 145_000
"""Bytes of the picture with the most images."""

LIGHT, LIGHT_BLUE, TRACK = "#d2d2d2", "#86bfe6", "#f3f3f3"

MATRIX = 20
"""Classes of a confusion matrix at most; of more, those that are confused most are shown."""


def png(figure: Figure, limit: int = LIMIT) -> bytes:
    """A figure as PNG: the same figure gives the same bytes. Above `limit` bytes it is stored with fewer colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    picture = Image.open(drawn).convert("RGB")
    for colours in (None, 256, 192, 128, 96, 64, 32):
        content = io.BytesIO()
        reduced = picture.quantize(colours, dither=Image.Dither.NONE) if colours else picture
        reduced.save(content, format="png", optimize=True)
        if content.tell() <= limit:
            break
    return content.getvalue()


def short(name: str, characters: int) -> str:
    """A name that fits: its end is left out where it is longer."""
    first = " ".join(name.split())
    return first if len(first) <= characters else first[: characters - 1].rstrip(" ,") + "…"


def _grid(height: float, rows: int, columns: int, **spaces: Any) -> tuple[Figure, GridSpec]:
    """A figure `height` inches high, and a grid of places in it; `spaces`: of the grid, margins in inches."""
    figure = Figure(figsize=(WIDTH, height))
    sides = {"left": 0.12, "right": 0.12, "top": 0.35, "bottom": 0.1} | spaces
    edges = {
        "left": sides.pop("left") / WIDTH, "right": 1 - sides.pop("right") / WIDTH,
        "bottom": sides.pop("bottom") / height, "top": 1 - sides.pop("top") / height,
    }  # fmt: skip
    return figure, figure.add_gridspec(rows, columns, **edges, **sides)


def _show(axes: Axes, image: np.ndarray, frame: str = "none", **look: Any) -> Axes:
    """An image (h, w, 1 or 3) uint8, or (h, w) as a map of colours, at the top of its place and in a frame."""
    grey = image.ndim == 3 and image.shape[2] == 1
    axes.imshow(np.repeat(image, 3, axis=2) if grey else image, **look)
    axes.set(xticks=[], yticks=[])
    axes.set_anchor("N")
    for spine in axes.spines.values():
        spine.set(visible=frame != "none", color=frame, linewidth=2.5)
    return axes


def kernels(weights: list[np.ndarray]) -> bytes:
    """Every kernel of the first layer, column by column; grey is zero, and each kernel has its own scale."""
    across = 16 if len(weights) == 1 else 8
    sheets = []
    for column in weights:
        pixels = torch.from_numpy(kernel_pixels(column)).permute(0, 3, 1, 2)
        sheets.append(make_grid(pixels, across, padding=1, pad_value=255).permute(1, 2, 0).numpy())
    high, wide, _ = sheets[0].shape
    inches = (WIDTH - 0.24 - 0.3 * (len(sheets) - 1)) / len(sheets)
    with style():
        figure, grid = _grid(0.45 + min(inches * high / wide, 2.6), 1, len(sheets), wspace=0.3 / inches)
        for number, sheet in enumerate(sheets):
            axes = _show(figure.add_subplot(grid[number]), sheet, interpolation="nearest")
            if len(sheets) > 1:
                axes.set_title(f"column {number + 1}", fontsize=9, weight="bold")
        return png(figure)


def kernel_pixels(weights: np.ndarray) -> np.ndarray:
    """Weights (kernels, side, side, channels) as uint8: zero is middle grey, a kernel's largest by size an end."""
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True).astype(np.float64)
    return np.round(127.5 + 127.5 * weights / np.where(largest > 0, largest, 1)).astype(np.uint8)


def predictions(answers: Predictions, class_names: list[str]) -> bytes:
    """Each image under its label, above the most probable classes with their bars; blue is the label's."""
    across, classes = 5, answers.top.shape[1]
    down = -(-len(answers.images) // across)
    with style():
        ratios = [1.1, 0.19 * classes, 0.25] * down
        figure, grid = _grid(
            0.35 + sum(ratios) + 0.1 * down, 3 * down, across, height_ratios=ratios, hspace=0.1, wspace=0.1
        )
        for number, image in enumerate(answers.images):
            row, along = divmod(number, across)
            label, top = int(answers.labels[number]), answers.top[number].tolist()
            mark, colour = ("✓", GREEN) if top[0] == label else ("✗", ORANGE)
            axes = _show(figure.add_subplot(grid[3 * row, along]), image)
            axes.set_title(f"{mark} {short(class_names[label], 19)}", fontsize=9, weight="bold", color=colour)
            bars, p = figure.add_subplot(grid[3 * row + 1, along]), answers.probabilities[number]
            bars.barh(range(classes), np.ones(classes), 0.8, color=TRACK)
            bars.barh(range(classes), p, 0.8, color=[LIGHT_BLUE if name == label else LIGHT for name in top])
            for place, name in enumerate(top):
                bars.text(0.04, place, short(class_names[name], 17), fontsize=8, va="center")
                bars.text(0.97, place, f"{100 * p[place]:.0f} %", fontsize=8, va="center", ha="right")
            bars.set(xlim=(0, 1), ylim=(classes - 0.5, -0.5))
            bars.axis("off")
        return png(figure)


def neighbours(near: Neighbours, class_names: list[str]) -> bytes:
    """A test image a line, and the training images nearest to it; framed green where they have its label."""
    queries, count = near.near.shape
    with style():
        figure, grid = _grid(0.6 + 1.13 * queries, queries, count + 1, hspace=0.3, wspace=0.15, bottom=0.2)
        for row, label in enumerate(near.labels.tolist()):
            axes = _show(figure.add_subplot(grid[row, 0]), near.images[row])
            axes.set_xlabel(short(class_names[label], 14), fontsize=8)
            if row == 0:
                axes.set_title("test image", fontsize=9, weight="bold")
            for place, name in enumerate(near.near_labels[row].tolist()):
                colour = GREEN if name == label else ORANGE
                axes = _show(figure.add_subplot(grid[row, place + 1]), near.near_images[row, place], colour)
                mark, ink = ("", INK) if name == label else ("✗ ", ORANGE)
                axes.set_xlabel(f"{mark}{short(class_names[name], 14)}", fontsize=8, color=ink)
                if row == place == 0:
                    title = f"nearest training images in {near.layer}, nearest first"
                    axes.set_title(title, fontsize=9, weight="bold", loc="left")
        return png(figure, NEIGHBOURS_LIMIT)


def confusion(counts: np.ndarray, class_names: list[str]) -> bytes:
    """Share of each class's test images by the class they were taken for, in percent; errors are orange."""
    chosen = shown_classes(counts)
    names = [short(class_names[place], 16) for place in chosen]
    inside, total = counts[np.ix_(chosen, chosen)], counts[chosen].sum(1, keepdims=True)
    share = 100 * inside / np.maximum(total, 1)
    errors = np.where(np.eye(len(chosen), dtype=bool), 0, share)
    strength = np.where(errors > 0, errors / max(errors.max(), 1e-9), share / 100)[..., None]
    full = np.where(np.eye(len(chosen))[..., None] > 0, mpl.colors.to_rgb(BLUE), mpl.colors.to_rgb(ORANGE))
    light = np.array(mpl.colors.to_rgb(TRACK))
    colours = light + (full - light) * 0.75 * strength
    if len(chosen) < len(counts):
        share = np.hstack([share, 100 - share.sum(1, keepdims=True)])
        colours = np.hstack([colours, np.broadcast_to(light, (len(chosen), 1, 3))])
        names = [*names, "others"]
    with style():
        size = 0.4 * len(chosen) + 1.6
        figure = Figure(figsize=(max(min(size * 1.25, WIDTH), 4.4), max(min(size, 7.2), 2.6)), layout="constrained")
        axes = _show(figure.subplots(), colours, aspect="auto")
        for (row, column), value in np.ndenumerate(share):
            if round(value):
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="left", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(len(chosen)), names[: len(chosen)], fontsize=8)
        axes.set_xticks(np.arange(0.5, len(names)), minor=True)
        axes.set_yticks(np.arange(0.5, len(chosen)), minor=True)
        axes.tick_params(which="both", length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
        axes.grid(visible=False)
        axes.grid(which="minor", color="white", linewidth=1)
        axes.set_xlabel("taken for", weight="bold")
        axes.xaxis.set_label_position("top")
        axes.set_ylabel("label", weight="bold")
        return png(figure)


def shown_classes(counts: np.ndarray) -> list[int]:
    """The classes that the matrix shows: all, or the MATRIX of them that are confused most."""
    if len(counts) <= MATRIX:
        return list(range(len(counts)))
    wrong = counts - np.diag(np.diag(counts))
    # Pairs from the most frequent confusion on: classes that are confused with each other stand there together.
    both = (wrong + wrong.T).ravel()
    pairs = np.flatnonzero(both)  # a few: of 10,000 classes there are 100 million pairs
    pairs = pairs[np.argsort(-both[pairs], kind="stable")]
    chosen = dict.fromkeys([*np.stack(np.divmod(pairs, len(wrong)), axis=1).ravel().tolist(), *range(len(wrong))])
    return sorted(list(chosen)[:MATRIX])


def augmentations(seen: Augmentations) -> bytes:
    """The stored image with the crops of all epochs, and what the net saw in each."""
    down = -(-len(seen.views) // 5)
    with style():
        figure, grid = _grid(0.5 + 1.45 * max(down, 2), max(down, 2), 7, hspace=0.5, wspace=0.15, bottom=0.5)
        axes = _show(figure.add_subplot(grid[:, :2]), seen.image)
        axes.set_title("stored image and its crops", fontsize=9, weight="bold", loc="left")
        crop = seen.views.shape[1]
        for row, column in np.unique(seen.corners, axis=0).tolist():
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), crop, crop, fill=False, edgecolor=ORANGE, linewidth=1.5)
            )
        for number, view in enumerate(seen.views):
            axes = _show(figure.add_subplot(grid[number // 5, 2 + number % 5]), view)
            if number == 0:
                axes.set_title("what the net saw of it", fontsize=9, weight="bold", loc="left")
            words = [f"epoch {seen.epochs[number]}"]
            if seen.flips[number]:
                words.append("mirrored")
            if seen.colour is not None and seen.colour[number].any():
                words.append("RGB " + " ".join(f"{value:+z.0f}" for value in seen.colour[number]).replace("-", "−"))
            axes.set_xlabel("\n".join(words), fontsize=7.5)
        return png(figure)


def response(lrn: Response, class_names: list[str]) -> bytes:
    """Neighbouring kernels' maps before and after, the factor between them, and all units of the layer as dots."""
    before, after, n = lrn.before[lrn.shown], lrn.after[lrn.shown], lrn.norm
    factor = np.divide(after, before, out=np.full_like(after, n.k**-n.beta), where=before != 0)
    signed = bool((lrn.before < 0).any())
    rows = (("before", before, signed), ("after", after, signed), ("share kept", factor, False))
    with style():
        figure, grid = _grid(3.1, 3, MAPS + 5, wspace=0.1, hspace=0.1, bottom=0.4)
        axes = _show(figure.add_subplot(grid[0, 0]), lrn.image)
        axes.set_title(short(class_names[lrn.label], 16), fontsize=9, weight="bold", loc="left")
        for row, (name, maps, both) in enumerate(rows):
            most = max(float(np.abs(maps).max()), 1e-9)
            palette = "RdBu_r" if both else "cividis" if name == "share kept" else "viridis"
            for place, kernel in enumerate(lrn.shown):
                axes = figure.add_subplot(grid[row, place + 2])
                _show(axes, maps[place], cmap=palette, vmin=-most if both else 0, vmax=most)
                if row == 0:
                    weight = "bold" if kernel == lrn.centre else "normal"
                    axes.set_title(f"kernel {kernel + 1}", fontsize=8, weight=weight)
                if place == 0:
                    label = f"{name}\n{f'−{most:.3g}' if both else 0} to {most:.3g}"
                    axes.set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center", labelpad=6)
        axes = figure.add_subplot(grid[:, MAPS + 3 :])
        axes.plot(lrn.before.ravel(), lrn.after.ravel(), ".", color=BLUE, markersize=2, markeredgewidth=0, alpha=0.5)
        alone = np.linspace(float(lrn.before.min()), float(lrn.before.max()), 200)
        axes.plot(alone, alone / (n.k + n.alpha * alone**2) ** n.beta, color=ORANGE, linewidth=1.4)
        axes.set_title(f"every unit of {lrn.layer}", fontsize=8, weight="bold")
        axes.set_xlabel("before", fontsize=8)
        axes.set_ylabel("after", fontsize=8)
        axes.tick_params(labelsize=7, length=0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.text(0.97, 0.1, "no neighbour\nresponds", transform=axes.transAxes, ha="right", fontsize=7, color=ORANGE)
        return png(figure)
