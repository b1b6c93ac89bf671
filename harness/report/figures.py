"""The report's figures, as SVG: the same data give the same bytes."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from harness.report.cells import CANDIDATE
from harness.report.tables import VariantRow
from harness.statistics.power import detectable_at
from harness.style import BLUE, GREEN, GREY, INK, ORANGE, style, svg

PURPLE, BAND = "#aa4499", "#eef1f4"
VERDICT_COLOURS = {"helps": BLUE, "hurts": BLUE, "equivalent": PURPLE, "inconclusive": GREY}

PANELS = 4
"""Panels in a row of small multiples."""


def forest(rows: list[VariantRow], candidate: float | None, metric: str) -> bytes:
    """Differences to the baseline with intervals, seeds and the paper's values; one line a variant.

    `candidate`: the difference of its one run, in points; None where there is none.
    """
    shown = [row for row in rows if not row.is_baseline]
    lines = len(shown) + (candidate is not None)
    baseline = next(row.variant for row in rows if row.is_baseline)
    with style():
        figure = Figure(figsize=(7.6, 1.35 + 0.36 * max(lines, 1)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1, zorder=1)
        margin = _margin(shown)
        if margin:
            axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
        for place, row in enumerate(shown):
            _forest_line(axes, place, row)
        if candidate is not None:
            axes.plot(candidate, lines - 1, "s", color=GREEN, markersize=5.5, zorder=4)
        names = [row.variant for row in shown] + ([CANDIDATE] if candidate is not None else [])
        axes.set_yticks(range(lines), names)
        axes.set_ylim(max(lines, 1) - 0.4, -0.6)
        if candidate is None and not any(row.difference.n or row.paper is not None for row in shown):
            axes.set_xlim(-1, 1)
        axes.set_xlabel(f"{metric}: difference to {baseline} in percentage points  (right: more errors)")
        axes.grid(axis="y", visible=False)
        sns.despine(ax=axes, left=True)
        axes.tick_params(axis="y", length=0)
        figure.legend(handles=_forest_legend(shown, candidate), loc="outside upper center", ncols=5, frameon=False,
                      fontsize=8, handletextpad=0.4, columnspacing=1.2)  # fmt: skip
        return svg(figure)


def _margin(rows: list[VariantRow]) -> float | None:
    return next((row.comparison.margin for row in rows if row.comparison), None)


def _verdict(row: VariantRow) -> str:
    return row.comparison.verdict if row.comparison else "inconclusive"


def _forest_line(axes: Axes, place: int, row: VariantRow) -> None:
    d = row.difference
    if row.paper is not None:
        axes.plot(row.paper, place, "D", markerfacecolor="white", markeredgecolor=ORANGE, markersize=6,
                  markeredgewidth=1.4, zorder=5)  # fmt: skip
    if d.mean is None:
        axes.text(0, place, "  no complete pair", va="center", color=GREY, fontsize=8)
        return
    axes.plot(d.values, [place] * d.n, "|", color=GREY, markersize=6, markeredgewidth=0.9, zorder=2)
    colour = VERDICT_COLOURS[_verdict(row)]
    if d.low is not None and d.high is not None:
        axes.plot([d.low, d.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt", zorder=3)
    axes.plot(d.mean, place, "o", color=colour, markersize=6.5, zorder=4)


def _forest_legend(rows: list[VariantRow], candidate: float | None) -> list[Line2D]:
    there = {_verdict(row) for row in rows if row.difference.mean is not None}
    judged = any(row.comparison and row.comparison.in_family for row in rows)
    paper = any(row.paper is not None for row in rows)
    white = {"markerfacecolor": "white", "markeredgecolor": ORANGE, "markeredgewidth": 1.4}
    entries: list[tuple[object, str, dict[str, Any]]] = [
        (there & {"helps", "hurts"}, "helps or hurts", {"color": BLUE, "marker": "o", "linewidth": 2}),
        ("equivalent" in there, "equivalent", {"color": PURPLE, "marker": "o", "linewidth": 2}),
        ("inconclusive" in there, "inconclusive" if judged else "no verdict",
         {"color": GREY, "marker": "o", "linewidth": 2}),
        (there, "one seed", {"color": GREY, "marker": "|", "linestyle": "none"}),
        (_margin(rows), "margin", {"color": BAND, "linewidth": 7}),
        (paper, "the paper", {"marker": "D", "linestyle": "none", **white}),
        (candidate is not None, "candidate (one run)", {"color": GREEN, "marker": "s", "linestyle": "none"}),
    ]  # fmt: skip
    return [Line2D([], [], label=label, **look) for shown, label, look in entries if shown]


def seeds(rows: list[VariantRow], metric: str) -> bytes:
    """Paired differences, a line a seed over the variants: seeds that favour some variants are seen by their lines."""
    shown = [row for row in rows if not row.is_baseline]
    names = sorted({seed for row in shown for seed in row.difference.seeds})
    colours = sns.color_palette("viridis", max(len(names), 1))
    with style():
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=1)
        if _margin(shown):
            axes.axhspan(-(_margin(shown) or 0), _margin(shown) or 0, color=BAND, linewidth=0)
        for seed, colour in zip(names, colours, strict=False):
            pairs = [dict(zip(row.difference.seeds, row.difference.values, strict=True)).get(seed) for row in shown]
            values = [float("nan") if pair is None else pair for pair in pairs]
            axes.plot(
                range(len(shown)), values, "o-", color=colour, linewidth=0.7, markersize=3.5, label=f"seed {seed}"
            )
        for place, row in enumerate(shown):
            if row.difference.mean is not None:
                axes.plot([place - 0.25, place + 0.25], [row.difference.mean] * 2, color=INK, linewidth=1.6, zorder=3)
        axes.set_xticks(range(len(shown)), [row.variant for row in shown], rotation=30, ha="right")
        axes.set_ylabel("difference in points")
        axes.set_title(f"{metric}: variant less baseline, seed by seed", loc="left")
        axes.grid(axis="x", visible=False)
        if names and len(names) <= 10:
            figure.legend(loc="outside right center", frameon=False, fontsize=8)
        return svg(figure)


def power(rows: list[VariantRow]) -> bytes:
    """The smallest detectable difference over the number of seeds, with the noise of this study.

    A line a variant where each stands by itself; one line for all that share a residual.
    """
    own = [(row.variant, row.comparison, row.difference.n) for row in rows if row.comparison and row.comparison.se]
    pooled = [entry for entry in own if entry[1].pooled]
    lines = [("arms of one pool", *max(pooled, key=lambda entry: entry[1].se or 0)[1:])] if pooled else []
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
        axes.set_ylabel("detectable difference, points")
        _log_scale(axes, 1, 2, 5)
        axes.set_xticks(counts)
        if lines:
            figure.legend(loc="outside right center", frameon=False, fontsize=8)
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
        figure.supxlabel("epoch", fontsize=9, y=0.08 / height, va="bottom")
        figure.supylabel(label, fontsize=9, x=0.08 / width, ha="left")
        handles = [Line2D([], [], color=GREY, linewidth=2, label=baseline)]
        handles += [Line2D([], [], color=BLUE, label="the variant")]
        handles += [Line2D([], [], color=GREEN, label="candidate (one run)") for _ in with_candidate]
        if (frame["status"] == "diverged").any():
            handles.append(Line2D([], [], color=ORANGE, linestyle="--", label="diverged"))
        figure.legend(handles=handles, loc="upper right", ncols=4, frameon=False, fontsize=8)
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
