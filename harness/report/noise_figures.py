"""Figures of one net against itself: how its runs scatter by source, and how p is distributed."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.statistics.noise import GRID, Against, Floor
from harness.style import BLUE, GREEN, GREY, INK, ORANGE, style, svg

COLOURS = (INK, BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00")
"""Of the sources, in the order of the study; from the palette of the other figures."""


def floors(sources: Mapping[str, tuple[NDArray[np.float64], Floor | None]]) -> bytes:
    """By source: the error of each run, and their sd with its interval, the part of single images, and the binomial."""
    with style():
        figure = Figure(figsize=(7.6, 1.0 + 0.34 * len(sources)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for place, (errors, found) in enumerate(sources.values()):
            if found is None:
                continue
            colour = COLOURS[place % len(COLOURS)]
            left.plot(errors, np.full(len(errors), place), "|", color=colour, markersize=9)
            left.plot([found.mean], [place], "o", color=colour, markersize=4)
            right.plot([found.low, found.high], [place, place], color=colour, linewidth=1.6)
            right.plot(
                [found.sd], [place], "o", color=colour, markersize=5, label="sd of the runs" if not place else None
            )
            right.plot([found.flips], [place], "|", color=GREY, markersize=11, markeredgewidth=2,
                       label="images by themselves" if not place else None)  # fmt: skip
        binomial = max(found.binomial for _, found in sources.values() if found)
        right.axvline(binomial, color=INK, linewidth=1, linestyle="--", label="binomial floor")
        left.set_yticks(range(len(sources)), list(sources))
        left.set_ylim(len(sources) - 0.5, -0.5)
        left.set_xlabel("test error in %, a mark a run")
        right.set_xlabel("sd in points")
        right.set_xlim(left=0)
        figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8)
        return svg(figure)


def distributions(rows: Mapping[str, Sequence[Against]], baseline: str, mean: str) -> bytes:
    """Share of p at most each value: a line a source, a panel a design (its first test), the band for one source."""
    designs = list(dict.fromkeys(one.design.name for own in rows.values() for one in own))
    with style():
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        for axes, design in zip(figure.subplots(1, len(designs), sharey=True, squeeze=False)[0], designs, strict=True):
            first = {name: next(one for one in own if one.design.name == design) for name, own in rows.items()}
            sources = [name for name in first if name != mean]
            band = first[baseline if baseline in first else sources[0]]
            first_panel = design == designs[0]
            low, high = (_from_zero(end) for end in (band.low, band.high))
            axes.fill_between(
                _from_zero(GRID), low, high, color="#dddddd", linewidth=0, label="simulated" if first_panel else None
            )
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
            for place, name in enumerate(sources):
                axes.plot(_from_zero(GRID), _from_zero(first[name].observed), color=COLOURS[place % len(COLOURS)],
                          linewidth=1.2, label=name if first_panel else None)  # fmt: skip
            axes.set_title(f"{design}, {band.test}", loc="left")
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            axes.set_aspect("equal")
        figure.supxlabel("p", fontsize=9)
        figure.supylabel("share of p at most that", fontsize=9)
        figure.legend(loc="outside right upper", ncols=1, frameon=False, fontsize=8)
        return svg(figure)


def _from_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a distribution: no p is below 0."""
    return np.concatenate([[0.0], values])
