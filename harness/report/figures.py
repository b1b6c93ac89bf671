"""The report's figures, as SVG: the same data give the same bytes."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from harness.report.runs import CANDIDATE
from harness.report.summary import Effect
from harness.report.variants import VariantRow
from harness.statistics.power import detectable_at
from harness.style import BLUE, GREEN, GREY, INK, ORANGE, style, svg

PURPLE, BAND = "#aa4499", "#eef1f4"
VERDICT_COLOURS = {"helps": BLUE, "hurts": BLUE, "no difference": PURPLE, "undecided": GREY, "": GREY}

PANELS = 4
"""Panels in a row of small multiples."""


def forest(effects: Sequence[Effect], margin: float | None, metric: str) -> bytes:
    """Effects of the components with intervals, seeds and the paper's values; one line a component, largest first."""
    judged = any(effect.verdict for effect in effects)
    with style():
        figure = Figure(figsize=(7.6, 1.5 + 0.4 * max(len(effects), 1)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1, zorder=1)
        if margin:
            axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
        for place, effect in enumerate(effects):
            _forest_line(axes, place, effect)
        axes.set_yticks(range(len(effects)), [_label(effect) for effect in effects])
        axes.set_ylim(max(len(effects), 1) - 0.4, -0.6)
        if not any(effect.seeds or effect.paper is not None for effect in effects):
            axes.set_xlim(-1, 1)
        axes.set_xlabel(f"effect on the {metric}, points\n← hurts (more errors)        helps (fewer errors) →")
        axes.grid(axis="y", visible=False)
        sns.despine(ax=axes, left=True)
        axes.tick_params(axis="y", length=0)
        handles = _forest_legend(effects, margin, judged)
        figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, handletextpad=0.4)
        return svg(figure)


def _label(effect: Effect) -> str:
    return f"{effect.component.label} (added)" if effect.labelled and effect.component.added else effect.component.label


def _forest_line(axes: Axes, place: int, effect: Effect) -> None:
    if effect.paper is not None:
        axes.plot(effect.paper, place, "D", markerfacecolor="white", markeredgecolor=ORANGE, markersize=6,
                  markeredgewidth=1.4, zorder=5)  # fmt: skip
    if effect.mean is None:
        axes.text(0, place, "  no complete pair", va="center", color=GREY)
        return
    axes.plot(effect.values, [place] * effect.seeds, "|", color=GREY, markersize=6, markeredgewidth=0.9, zorder=2)
    colour = VERDICT_COLOURS[effect.verdict]
    if effect.low is not None and effect.high is not None:
        axes.plot([effect.low, effect.high], [place] * 2, color=colour, linewidth=2, solid_capstyle="butt", zorder=3)
    axes.plot(effect.mean, place, "o", color=colour, markersize=6.5, zorder=4)


def _forest_legend(effects: Sequence[Effect], margin: float | None, judged: bool) -> list[Line2D]:
    there = {effect.verdict for effect in effects if effect.mean is not None}
    paper = any(effect.paper is not None for effect in effects)
    white = {"markerfacecolor": "white", "markeredgecolor": ORANGE, "markeredgewidth": 1.4}
    entries: list[tuple[object, str, dict[str, Any]]] = [
        (there & {"helps", "hurts"}, "helps or hurts", {"color": BLUE, "marker": "o", "linewidth": 2}),
        ("no difference" in there, "no difference", {"color": PURPLE, "marker": "o", "linewidth": 2}),
        (there & {"undecided", ""}, "undecided" if judged else "no verdict",
         {"color": GREY, "marker": "o", "linewidth": 2}),
        (there, "one seed", {"color": GREY, "marker": "|", "linestyle": "none"}),
        (margin, "margin", {"color": BAND, "linewidth": 7}),
        (paper, "the paper", {"marker": "D", "linestyle": "none", **white}),
    ]  # fmt: skip
    return [Line2D([], [], label=label, **look) for shown, label, look in entries if shown]


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
    own = [(row.variant, row.comparison, row.difference.n) for row in rows if row.comparison and row.comparison.se]
    pooled = [entry for entry in own if entry[1].pooled]
    lines = [("pooled variants", *max(pooled, key=lambda entry: entry[1].se or 0)[1:])] if pooled else []
    lines += [entry for entry in own if not entry[1].pooled]
    counts = [2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30]
    with style():
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        axes = figure.subplots()
        for (name, c, n), colour in zip(lines, sns.color_palette("colorblind", max(len(lines), 1)), strict=False):
            found = [detectable_at(c.design, count, c.alpha) for count in counts] if c.design else []
            axes.plot(counts[: len(found)], found, color=colour, linewidth=1.3, label=name)
            if c.detectable is not None:
                axes.plot(n, c.detectable, "o", color=colour, markersize=4.5)
        axes.set_xlabel("seeds")
        axes.set_ylabel("minimum detectable\neffect, points")
        _log_scale(axes, 1, 2, 5)
        axes.set_xticks(counts)
        if lines:
            figure.legend(loc="outside right center", frameon=False)
        return svg(figure)


def curves(table: list[dict[str, Any]], variants: list[str], baseline: str, column: str, label: str) -> bytes:
    """A column of curves.csv over the epochs: a panel a variant, the baseline grey behind it.

    Lines are means over the finished seeds, bands one sd to either side; a diverged run is a dashed line of its own.
    The scale is logarithmic: the end of a run, where variants differ, is then as large as its beginning. The candidate
    is one more panel.
    """
    frame = pd.DataFrame(table, columns=["variant", "seed", "status", "epoch", column])
    with_candidate = [CANDIDATE] if (frame["variant"] == CANDIDATE).any() else []
    panels = [variant for variant in variants if variant != baseline] + with_candidate or [baseline]
    columns = min(PANELS, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        width, height = 2.0 * max(columns, 2) + 0.7, 1.75 * rows + 0.75
        figure = Figure(figsize=(width, height))
        # In inches from the edges: a layout that measures every label takes a second.
        figure.subplots_adjust(0.62 / width, 0.48 / height, 1 - 0.08 / width, 1 - 0.5 / height, wspace=0.08, hspace=0.2)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, variant in zip(grid.flat, panels, strict=False):
            own = frame[frame["variant"] == variant]
            if variant != baseline:
                _curve(axes, frame[frame["variant"] == baseline], column, GREY, 2.0)
            _curve(axes, own, column, GREEN if variant == CANDIDATE else BLUE, 1.3)
            for _, run in own[own["status"] == "diverged"].groupby("seed"):
                axes.plot(run["epoch"], run[column], "--", color=ORANGE, linewidth=1)
            axes.set_title(variant, loc="left", pad=3, fontweight="bold")
            if own.empty:
                axes.text(0.5, 0.5, "no run", transform=axes.transAxes, ha="center", color=GREY)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        _log_scale(grid.flat[0], 1, 2, 3, 5, 7)
        grid.flat[0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.supxlabel("epoch", y=0.08 / height, va="bottom")
        figure.supylabel(label, x=0.08 / width, ha="left")
        handles = [Line2D([], [], color=GREY, linewidth=2, label=baseline)]
        handles += [Line2D([], [], color=BLUE, label="the variant")]
        handles += [Line2D([], [], color=GREEN, label="candidate (one run)") for _ in with_candidate]
        if (frame["status"] == "diverged").any():
            handles.append(Line2D([], [], color=ORANGE, linestyle="--", label="diverged"))
        figure.legend(handles=handles, loc="upper right", ncols=4, frameon=False)
        return svg(figure)


def _curve(axes: Axes, frame: pd.DataFrame, column: str, colour: str, width: float) -> None:
    finished = frame[frame["status"] == "finished"]
    if finished.empty:
        return
    epochs = finished.groupby("epoch")[column]
    mean, sd = epochs.mean(), epochs.std(ddof=1).fillna(0)
    axes.plot(mean.index, mean, color=colour, linewidth=width)
    axes.fill_between(mean.index, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0)


def _log_scale(axes: Axes, *subs: float) -> None:
    axes.set_yscale("log", nonpositive="clip")
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="minor", visible=False)
