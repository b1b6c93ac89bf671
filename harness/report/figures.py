"""The report's figures, as SVG: the same data give the same bytes."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from harness.report.runs import CANDIDATE
from harness.report.variants import Effect, VariantRow
from harness.statistics.power import detectable_at
from harness.style import BLUE, GREEN, GREY, INK, ORANGE, style, svg

PURPLE, BAND = "#aa4499", "#eef1f4"

COLUMN = 3.25
"""Width of a column of a paper, in inches."""

PANELS = 4
"""Panels in a row of small multiples."""


class Picture(Figure):
    """A figure that notebooks show as SVG, also without pyplot."""

    def _repr_svg_(self) -> str:
        with style():
            return svg(self).decode()


def forest(
    effects: Sequence[Effect], margin: float | None, metric: str, kind: Literal["svg", "pdf", "png"] = "svg"
) -> bytes:
    """The figure `effects_figure` as a file, the same bytes each time; pdf and png are as wide as a paper's column."""
    with style():
        figure = effects_figure(effects, margin, metric, column=kind != "svg")
        if kind == "svg":
            return svg(figure)
        metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}[kind]
        mpl.rcParams["pdf.fonttype"] = 42  # TrueType: publishers refuse Type 3
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=600, metadata=metadata)
        return buffer.getvalue()


def effects_figure(effects: Sequence[Effect], margin: float | None, metric: str, column: bool = False) -> Picture:
    """Effects of the components with intervals, seeds and the paper's values; one line a component, largest first.

    `column`: at the width of a column of a paper. To be drawn within `style`.
    """
    undecided = "undecided" if any(effect.verdict for effect in effects) else "no verdict"
    kinds = {"helps": ("helps or hurts", BLUE), "no difference": ("no difference", PURPLE), "": (undecided, GREY)}
    kinds |= {"hurts": kinds["helps"], "undecided": kinds[""]}
    lines = [(place, effect) for place, effect in enumerate(effects) if effect.mean is not None]
    papers = [(effect.paper, place) for place, effect in enumerate(effects) if effect.paper is not None]
    names, label, columns = [effect.label for effect in effects], f"effect on the {metric}, points", 5
    width, height, size = 7.6, 1.5 + 0.4 * max(len(effects), 1), 1.0
    if column:
        mpl.rcParams["font.size"] = 7
        names, label, columns = [textwrap.fill(name, 20) for name in names], "effect, points", 3
        width, height, size = COLUMN, 0.9 + 0.12 * sum(2 + name.count("\n") for name in names), 0.65
    figure = Picture(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    for kind, colour in dict.fromkeys(kinds.values()):
        rows = [(place, effect) for place, effect in lines if kinds[effect.verdict][0] == kind]
        if rows:
            places, ends = [place for place, _ in rows], np.array([(e.low, e.high) for _, e in rows], dtype=float)
            axes.plot(ends.T, [places] * 2, color=colour, linewidth=2 * size, solid_capstyle="butt", zorder=3)
            axes.plot([e.mean or 0 for _, e in rows], places, "o", color=colour, markersize=6.5 * size, zorder=4)
            axes.plot([], [], "o-", color=colour, linewidth=2 * size, markersize=6 * size, label=kind)
    values = [(value, place) for place, effect in lines for value in effect.values]
    looks: dict[str, dict[str, Any]] = {
        "one seed": {"marker": "|", "color": GREY, "markersize": 6 * size, "markeredgewidth": 0.9, "zorder": 2},
        "the paper": {"marker": "D", "markerfacecolor": "white", "markeredgecolor": ORANGE, "markeredgewidth": 1.4},
    }
    for (kind, look), marks in zip(looks.items(), (values, papers), strict=True):
        if marks:
            axes.plot(*zip(*marks, strict=True), linestyle="none", label=kind, **{"markersize": 6 * size} | look)
    if margin:
        axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0, label="margin")
    for place in set(range(len(effects))) - {place for place, _ in lines}:
        axes.text(0, place, "  no complete pair", va="center", color=GREY)
    axes.set_yticks(range(len(effects)), names)
    axes.set_ylim(max(len(effects), 1) - 0.4, -0.6)
    if not lines and not papers:
        axes.set_xlim(-1, 1)
    hurts, helps = ("hurts", "helps") if column else ("hurts (more errors)", "helps (fewer errors)")
    axes.set_xlabel(f"{label}\n← {hurts}        {helps} →")
    axes.grid(axis="y", visible=False)
    sns.despine(ax=axes, left=True)
    axes.tick_params(axis="y", length=0)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", ncols=columns, frameon=False, handletextpad=0.4)
    return figure


def seeds(rows: list[VariantRow], metric: str) -> bytes:
    """Paired differences: a dot a seed, of one colour in every variant, and a bar for the mean."""
    shown = [row for row in rows if not row.is_baseline]
    names = sorted({seed for row in shown for seed in row.difference.seeds})
    colours = dict(zip(names, sns.color_palette("viridis", max(len(names), 1)), strict=False))
    margin = next((row.comparison.margin for row in shown if row.comparison), None)
    with style():
        figure = Figure(figsize=(7.6, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=1)
        if margin:
            axes.axhspan(-margin, margin, color=BAND, linewidth=0)
        for place, row in enumerate(shown):
            for seed, value in zip(row.difference.seeds, row.difference.values, strict=True):
                # A seed has the same place in every variant, so that one which is off everywhere is seen.
                shift = 0.5 * (names.index(seed) + 0.5) / len(names) - 0.25
                axes.plot(place + shift, value, "o", color=colours[seed], markersize=4)
            if row.difference.mean is not None:
                axes.plot([place - 0.3, place + 0.3], [row.difference.mean] * 2, color=INK, linewidth=1.6, zorder=3)
        axes.set_xticks(range(len(shown)), [row.variant for row in shown], rotation=30, ha="right")
        axes.set_ylabel("difference, points")
        axes.set_title(f"{metric}: variant minus baseline", loc="left")
        axes.grid(axis="x", visible=False)
        if names and len(names) <= 10:
            handles = [Line2D([], [], color=colours[s], marker="o", linestyle="none", label=f"seed {s}") for s in names]
            figure.legend(handles=handles, loc="outside right center", frameon=False)
        return svg(figure)


def power(rows: list[VariantRow]) -> bytes:
    """The smallest detectable difference over the number of seeds, with the noise of this study.

    A line a variant where each stands by itself; one line for all that share a residual.
    """
    compared = [(row.variant, row.comparison) for row in rows if row.comparison and row.comparison.se]
    pooled = [c for _, c in compared if c.pooled]
    lines = [("pooled variants", max(pooled, key=lambda c: c.se or 0))] if pooled else []
    lines += [(name, c) for name, c in compared if not c.pooled]
    counts = [2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30]
    with style():
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        axes = figure.subplots()
        for (name, c), colour in zip(lines, sns.color_palette("colorblind", max(len(lines), 1)), strict=False):
            sizes = [detectable_at(c.design, count, c.alpha) for count in counts] if c.design else []
            axes.plot(counts[: len(sizes)], sizes, color=colour, linewidth=1.3, label=name)
            if c.detectable is not None:
                axes.plot(c.difference.n, c.detectable, "o", color=colour, markersize=4.5)
        axes.set_xlabel("seeds")
        axes.set_ylabel("minimum detectable\neffect, points")
        _log_scale(axes, 1, 2, 5)
        axes.set_xticks(counts)
        if lines:
            figure.legend(loc="outside right center", frameon=False)
        return svg(figure)


def means(table: list[dict[str, Any]], column: str) -> pd.DataFrame:
    """A column of curves.csv as curves: variant, run, epoch, mean and sd, in the order of the table.

    `run`: '' for the mean over the finished seeds; a diverged run stands alone, as `seed 3, diverged`.
    """
    frame = pd.DataFrame(table, columns=["variant", "seed", "status", "epoch", column])
    frame = frame[np.isfinite(frame[column].astype(float))]
    frame["run"] = np.where(frame["status"] == "finished", "", "seed " + frame["seed"].astype(str) + ", diverged")
    groups = frame.groupby(["variant", "run", "epoch"], sort=False)[column]
    return groups.agg(mean="mean", sd="std").fillna(0).reset_index()


def panels_of(curves: pd.DataFrame, variants: Sequence[str], baseline: str) -> list[str]:
    """The variants that have a panel: all but the baseline, and the candidate; the baseline where no other has."""
    candidate = [CANDIDATE] * bool((curves["variant"] == CANDIDATE).any())
    return [name for name in variants if name != baseline] + candidate or [baseline]


def curves(table: list[dict[str, Any]], variants: Sequence[str], baseline: str, column: str, label: str) -> bytes:
    """A column of curves.csv over the epochs: a panel a variant, the baseline grey behind it.

    Lines are means over the finished seeds, bands one sd to either side; a diverged run is a dashed line of its own.
    The scale is logarithmic: the end of a run, where variants differ, is then as large as its beginning.
    """
    frame = means(table, column)
    panels = panels_of(frame, variants, baseline)
    columns = min(PANELS, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        width, height = 2.0 * max(columns, 2) + 0.7, 1.75 * rows + 0.75
        figure = Figure(figsize=(width, height))
        # In inches from the edges: a layout that measures every label takes a second.
        figure.subplots_adjust(0.62 / width, 0.48 / height, 1 - 0.08 / width, 1 - 0.5 / height, wspace=0.08, hspace=0.2)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, variant in zip(grid.flat, panels, strict=False):
            if variant != baseline:
                _curves(axes, frame[frame["variant"] == baseline], GREY, 2.0, diverged=False)
            _curves(axes, frame[frame["variant"] == variant], GREEN if variant == CANDIDATE else BLUE, 1.3)
            axes.set_title(variant, loc="left", pad=3, fontweight="bold")
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        if frame.empty or (frame["mean"] > 0).any():  # errors of 0 alone have no logarithm
            _log_scale(grid.flat[0], 1, 2, 3, 5, 7)
        grid.flat[0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.supxlabel("epoch", y=0.08 / height, va="bottom")
        figure.supylabel(label, x=0.08 / width, ha="left")
        lines: list[tuple[str, dict[str, Any]]] = [
            (baseline, {"color": GREY, "linewidth": 2}),
            ("the variant", {"color": BLUE}),
        ]
        lines += [("candidate (one run)", {"color": GREEN})] * (CANDIDATE in panels)
        lines += [("diverged", {"color": ORANGE, "linestyle": "--"})] * bool(frame["run"].any())
        handles = [Line2D([], [], label=name, **look) for name, look in lines]
        figure.legend(handles=handles, loc="upper right", ncols=4, frameon=False)
        return svg(figure)


def _curves(axes: Axes, frame: pd.DataFrame, colour: str, width: float, diverged: bool = True) -> None:
    """The curves of a variant; a diverged run has no band."""
    for run, curve in frame.groupby("run"):
        if not run:
            axes.plot(curve["epoch"], curve["mean"], color=colour, linewidth=width)
            low, high = curve["mean"] - curve["sd"], curve["mean"] + curve["sd"]
            axes.fill_between(curve["epoch"], low, high, color=colour, alpha=0.2, linewidth=0)
        elif diverged:
            axes.plot(curve["epoch"], curve["mean"], "--", color=ORANGE, linewidth=1)
    if frame.empty:
        axes.text(0.5, 0.5, "no run", transform=axes.transAxes, ha="center", color=GREY)


def _log_scale(axes: Axes, *subs: float) -> None:
    axes.set_yscale("log", nonpositive="clip")
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="minor", visible=False)
