"""The report as one HTML file that asks no host for anything: a table to sort, effects and curves with their values."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator

from harness.report.figures import means, panels_of
from harness.report.findings import Findings
from harness.report.format import effect_interval, number, points, rendered_html
from harness.report.runs import Result, rerun
from harness.report.variants import Effect, VariantRow

SYMBOLS = {"helps": "▲", "no difference": "=", "undecided": "○", "hurts": "▼"}
"""What stands beside a verdict's word; in the order in which the table sorts them."""

COLUMNS = (("validation_top1", "Validation error", "%"), ("train_loss", "Training loss", ""))
"""Columns of curves.csv that are drawn: name, title and unit; the first is unfolded."""


def html_page(findings: Findings, values: dict[str, Any], curves: list[dict[str, Any]]) -> str:
    """The study's HTML file. `values`: what every page is given; `curves`: the rows of curves.csv."""
    study, effects = findings.study, findings.components
    ends = [end for e in effects for end in (e.mean, e.low, e.high, e.paper, *e.values) if end is not None]
    scale = linear(ends)
    return rendered_html(
        "report.html.j2",
        **values,
        effects=effects,
        judged=[effect for effect in effects if effect.verdict],
        paper=[effect for effect in effects if effect.paper is not None],
        pairs_of=lambda row: pairs_of(findings.base, row),
        summary=summary,
        keys=keys,
        again=lambda variant: rerun(study, [variant, study.baseline]),
        scale=scale,
        places=max(0, -math.floor(math.log10(scale.ticks[1] - scale.ticks[0]) + 1e-9)),
        charts=[
            (Chart(means(curves, column), list(study.variants), study.baseline, column), title, unit)
            for column, title, unit in COLUMNS
        ],
        symbols=SYMBOLS | {"hurts here": SYMBOLS["hurts"]},
    )


# ---- the table


def pairs_of(base: VariantRow, row: VariantRow) -> list[tuple[Result, float | None, float | None, float | None]]:
    """A variant's declared runs, each with its error, the baseline's of its seed, and the difference, if compared."""
    errors, base_errors = ({run.seed: run.metrics[row.metric] for run in arm.runs} for arm in (row, base))
    differences = {} if row.is_baseline else dict(zip(row.difference.seeds, row.difference.values, strict=True))
    return [(c, errors.get(c.seed), base_errors.get(c.seed), differences.get(c.seed)) for c in row.cells]


def summary(effect: Effect) -> str:
    """All that the plot of a row shows."""
    if effect.mean is None:
        return f"{effect.label}: no complete pair of runs"
    interval = "" if effect.low is None else f" ({effect_interval(effect)})"
    lines = [f"{effect.label}: {points(effect.mean)} points{interval}", effect.word]
    lines += [] if effect.paper is None else [f"the paper: {points(effect.paper)}"]
    seeds = zip(effect.row.difference.seeds, effect.values, strict=True)
    shown = [f"{seed}: {points(value)}" for seed, value in seeds]
    return "\n".join(filter(None, [*lines, "seeds " + ", ".join(shown[:10]) + " …" * (len(shown) > 10)]))


def keys(effect: Effect) -> dict[str, str | float]:
    """What the table sorts by: column -> text or number; '' stands last."""
    return {
        "component": effect.label.casefold(),
        "effect": "" if effect.mean is None else round(effect.mean, 6),
        "verdict": list(SYMBOLS).index(effect.verdict) if effect.verdict else "",
        "paper": "" if effect.paper is None else effect.paper,
        "seeds": effect.seeds,
    }


# ---- scales and curves: where each mark lies, in percent of its plot's width and height


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, with its ticks; logarithmic where `log`."""

    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, in percent of the axis; what is outside lies at its end."""
        low, high, value = (math.log(max(v, 1e-9)) if self.log else v for v in (self.low, self.high, value))
        return round(100 * min(max((value - low) / (high - low), 0), 1), 1)


def linear(values: Iterable[float]) -> Scale:
    """A scale with zero and all of the values, that begins and ends at a round number."""
    low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    ticks = [round(float(tick), 9) for tick in MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(low, high or low + 1)]
    return Scale(ticks[0], ticks[-1], ticks)


def logarithmic(values: Iterable[float]) -> Scale:
    """A scale of the positive values with at most about five ticks."""
    known = [value for value in values if value > 0] or [1.0]
    low, high = min(known) / 1.04, max(known) * 1.04
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), range(1, 10)):
        ticks = [float(t) for t in LogLocator(subs=digits, numticks=99).tick_values(low, high) if low <= t <= high]
        if len(ticks) >= 3:
            break
    return Scale(low, high, ticks, log=True)


STRIPS = 40
"""Epochs of a panel that answer to the pointer, at the most: of a longer run every second, third and so on."""

Curve = dict[int, tuple[float, float]]
"""Epoch -> mean and sd over the finished seeds."""


class Chart:
    """A column of curves.csv: a panel a variant, on common scales."""

    def __init__(self, frame: pd.DataFrame, variants: list[str], baseline: str, column: str) -> None:
        self.column, self.baseline = column, baseline
        self.curves: dict[tuple[str, str], Curve] = {}
        for variant, run, epoch, mean, sd in frame.itertuples(index=False):
            self.curves.setdefault((variant, run), {})[epoch] = mean, sd
        last = max(frame["epoch"], default=2)
        middle = 10 * round(last / 20) or last // 2
        self.epochs = Scale(1, max(last, 2), (1, middle, last) if 1 < middle < last else (1, last))
        self.error = logarithmic([*(frame["mean"] - frame["sd"]), *(frame["mean"] + frame["sd"])])
        self.panels = [Panel(self, variant) for variant in panels_of(frame, variants, baseline)]


class Panel:
    """A variant's curves, the baseline's first.

    `summary`: their ends in words. `curves`: kind (base: the baseline; own: the variant; lost: a diverged run), and
    line and band of one sd as points of SVG; '' for a band without width. `strips`: place and width of an epoch's part
    that answers to the pointer, and what is said there.
    """

    def __init__(self, chart: Chart, variant: str) -> None:
        self.chart, self.variant = chart, variant
        names = [] if variant == chart.baseline else [("base", chart.baseline, (chart.baseline, ""))]
        names += [("own", variant, (variant, ""))]
        names += [("lost", run, (name, run)) for name, run in sorted(chart.curves) if name == variant and run]
        runs = [(kind, name, chart.curves[key]) for kind, name, key in names if key in chart.curves]
        ends = [f"{name} {number(curve[max(curve)][0])} in epoch {max(curve)}" for _, name, curve in runs]
        self.summary = ", ".join(ends) or "no run"
        self.curves = [(kind, *self._drawn(curve)) for kind, _, curve in runs]
        last = int(chart.epochs.high)
        step = -(-last // STRIPS)
        self.strips = []
        for epoch in range(1, last + 1, step):
            values = [f"{name} {number(c[epoch][0])} (sd {number(c[epoch][1])})" for _, name, c in runs if epoch in c]
            if values:
                left, right = (chart.epochs.place(epoch + side * step / 2) for side in (-1, 1))
                self.strips.append((left, round(right - left, 1), "\n".join([f"epoch {epoch}", *values])))

    def _drawn(self, curve: Curve) -> tuple[str, str]:
        x, y = self.chart.epochs, self.chart.error

        def line(side: int) -> list[str]:  # from the top, as SVG counts
            return [f"{x.place(e):.3g},{100 - y.place(mean + side * sd):.3g}" for e, (mean, sd) in curve.items()]

        spread = any(sd for _, sd in curve.values())
        return " ".join(line(0)), " ".join([*line(1), *reversed(line(-1))]) if spread else ""
