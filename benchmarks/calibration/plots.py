"""The calibration's figures: where the tests err, what they find, and which verdicts the default gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.calibration.cuts import GRID, Against, Floor
from benchmarks.calibration.simulate import ALLOWED, ALPHA, EFFECTS, MARGIN, METHODS, NOISES, SEEDS, SimulatedCell
from harness.statistics.judging import DEFAULT
from harness.style import BLUE, GREEN, GREY, INK, ORANGE, style, svg

COLOURS = {"paired_t": ORANGE, "block": BLUE, "plain_block": GREY}
MARKERS = {"paired_t": "s", "block": "o", "plain_block": "D"}
FAMILY = 7
"""Comparisons of the study that the figures show: as many as the default study has."""


def errors_figure(cells: Sequence[SimulatedCell]) -> bytes:
    """Family-wise error by noise for 5 seeds and FAMILY comparisons, a mark a test, with what is allowed."""
    own = [c for c in cells if c.effect == 0 and c.seeds == 5 and c.comparisons == FAMILY]
    noises = [noise for noise in NOISES if any(c.noise == noise for c in own)]
    with style():
        figure = Figure(figsize=(7.6, 0.8 + 0.3 * max(len(noises), 1)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for method in METHODS:
            mine = {c.noise: c for c in own if c.test == method}
            shown = [n for n in noises if n in mine]
            look: dict[str, Any] = {
                "color": COLOURS[method], "marker": MARKERS[method], "linestyle": "none", "markersize": 5,
            }  # fmt: skip
            places = [noises.index(n) for n in shown]
            left.plot([100 * mine[n].family_error for n in shown], places, label=method, **look)
            right.plot([100 * mine[n].coverage for n in shown], places, **look)
        left.axvline(100 * (ALPHA + ALLOWED), color=INK, linewidth=1, linestyle="--")
        right.axvline(100 * (1 - ALPHA - ALLOWED), color=INK, linewidth=1, linestyle="--")
        left.set_yticks(range(len(noises)), noises)
        left.set_ylim(max(len(noises), 1) - 0.5, -0.5)
        left.set_xlabel("family-wise error in %")
        right.set_xlabel("least coverage in %")
        figure.legend(loc="outside upper center", ncols=5, frameon=False)
        return svg(figure)


def power_figure(cells: Sequence[SimulatedCell]) -> bytes:
    """Power over the planted effect, normal noise, FAMILY comparisons; a panel a number of seeds."""
    panels = [n for n in SEEDS if n in (3, 5, 8, 12)]
    with style():
        figure = Figure(figsize=(7.6, 2.5), layout="constrained")
        for axes, n in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
            for method in METHODS:
                kind = "normal", n, FAMILY, method
                own = [c for c in cells if (c.noise, c.seeds, c.comparisons, c.test) == kind and c.effect > 0]
                axes.plot([c.effect for c in own], [100 * c.power for c in own], color=COLOURS[method],
                          marker=MARKERS[method], markersize=4, label=method if n == panels[0] else None)  # fmt: skip
            axes.axhline(80, color=INK, linewidth=0.8, linestyle="--")
            axes.set_title(f"{n} seeds", loc="left")
            axes.set_xticks([effect for effect in EFFECTS if effect])
        figure.supxlabel("planted difference in sd of a run")
        figure.supylabel("found, % of studies")
        figure.legend(loc="outside upper center", ncols=5, frameon=False)
        return svg(figure)


def verdicts_figure(cells: Sequence[SimulatedCell]) -> bytes:
    """How often the default test gives each verdict, over the planted effect; a panel a number of seeds."""
    names = {"helps": BLUE, "equivalent": GREEN, "inconclusive": "#cfcfcf", "hurts": ORANGE}
    panels = [n for n in SEEDS if n in (3, 5, 8, 20)]
    with style():
        figure = Figure(figsize=(7.6, 2.5), layout="constrained")
        for axes, n in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
            own = [c for c in cells if (c.noise, c.seeds, c.comparisons, c.test) == ("normal", n, FAMILY, DEFAULT)]
            under = np.zeros(len(own))
            for name, colour in names.items():
                share = np.array([100 * getattr(c, name) for c in own])
                axes.bar([c.effect for c in own], share, bottom=under, color=colour, width=0.8,
                         label=name if n == panels[0] else None)  # fmt: skip
                under += share
            axes.set_title(f"{n} seeds", loc="left")
            axes.set_xticks(list(EFFECTS))
            axes.grid(axis="x", visible=False)
        figure.supxlabel(f"planted difference in sd of a run (margin: {MARGIN:g})")
        figure.supylabel("% of studies")
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
        return svg(figure)


# ---- real runs

SOURCES = (INK, BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00")
"""Of the sources, in the order of the study; from the palette of the other figures."""


def floors(sources: Mapping[str, tuple[NDArray[np.float64], Floor | None]]) -> bytes:
    """By source: the error of each run, and their sd with its interval, the part of single images, and the binomial."""
    with style():
        figure = Figure(figsize=(7.6, 1.0 + 0.34 * len(sources)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for place, (errors, found) in enumerate(sources.values()):
            if found is None:
                continue
            colour = SOURCES[place % len(SOURCES)]
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
        figure.legend(loc="outside upper right", ncols=3, frameon=False)
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
                axes.plot(_from_zero(GRID), _from_zero(first[name].observed), color=SOURCES[place % len(SOURCES)],
                          linewidth=1.2, label=name if first_panel else None)  # fmt: skip
            axes.set_title(f"{design}, {band.test}", loc="left")
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            axes.set_aspect("equal")
        figure.supxlabel("p")
        figure.supylabel("share of p at most that")
        figure.legend(loc="outside right upper", ncols=1, frameon=False)
        return svg(figure)


def _from_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a distribution: no p is below 0."""
    return np.concatenate([[0.0], values])
