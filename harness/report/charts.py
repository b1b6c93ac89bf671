"""Scales and curves of the HTML report: where each mark lies, in percent of its plot's width and height."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from harness.report.format import number
from harness.report.runs import CANDIDATE


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, with its ticks; logarithmic where `log`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, in percent of the axis; what is outside lies at its end."""
        low, high, value = (math.log(max(v, 1e-9)) if self.log else v for v in (self.low, self.high, value))
        return round(100 * min(max((value - low) / (high - low), 0), 1), 1)


def linear(values: Iterable[float], most: int = 7) -> Scale:
    """A scale with zero and all of the values, that begins and ends at a round number."""
    known = [0.0, *values]
    low, high = min(known), max(known)
    span = high - low or 1
    step = next(
        size
        for power in range(-6, 12)
        for size in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
        if span / size <= most
    )
    first, last = math.floor(low / step - 0.1), math.ceil(high / step + 0.1)
    return Scale(first * step, last * step, tuple(round(place * step, 9) for place in range(first, last + 1)))


def logarithmic(values: Iterable[float]) -> Scale:
    """A scale of the positive values with at most about five ticks."""
    known = [value for value in values if value > 0] or [1.0]
    low, high = min(known) / 1.04, max(known) * 1.04
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), range(1, 10)):
        ticks = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(ticks) >= 3:
            break
    return Scale(low, high, tuple(ticks), log=True)


STRIPS = 40
"""Epochs of a panel that answer to the pointer, at the most: of a longer run every second, third and so on."""


@dataclass(frozen=True)
class Strip:
    """An epoch of a panel: the part of its width that answers to the pointer, and what is said there."""

    left: float
    width: float
    text: str


@dataclass(frozen=True)
class Curve:
    """Means and one sd to either side, as points of SVG: `band` is '' for one run.

    `kind`: base, the baseline; own, the variant; lost, a diverged run.
    """

    kind: str
    line: str
    band: str


@dataclass(frozen=True)
class Panel:
    """A variant's curves, the baseline's first. `summary`: their ends in words."""

    variant: str
    summary: str
    curves: tuple[Curve, ...]
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Curves:
    """A column of curves.csv: a panel a variant, on common scales."""

    column: str
    panels: tuple[Panel, ...]
    error: Scale
    epochs: Scale


Levels = dict[int, tuple[float, float]]
"""Epoch -> mean and sd over the finished seeds."""


def curves(table: list[dict[str, Any]], variants: Sequence[str], baseline: str, column: str) -> Curves:
    """Means over the finished seeds with bands of one sd, the baseline's behind each variant's, diverged runs alone.

    `variants`: those with a panel; the baseline has one where no other has.
    """
    seen: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in table:
        if math.isfinite(row[column]):
            run = "" if row["status"] == "finished" else f"seed {row['seed']}, diverged"
            seen[row["variant"], run][row["epoch"]].append(row[column])
    levels = {
        key: {epoch: (fmean(v), stdev(v) if len(v) > 1 else 0.0) for epoch, v in epochs.items()}
        for key, epochs in seen.items()
    }
    every = [mean + side * sd for own in levels.values() for mean, sd in own.values() for side in (-1, 1)]
    last = max((epoch for own in levels.values() for epoch in own), default=2)
    middle = 10 * round(last / 20) or last // 2
    epochs = Scale(1, max(last, 2), (1, middle, last) if 1 < middle < last else (1, last))
    error = logarithmic(every)
    names = [*variants] + [CANDIDATE] * ((CANDIDATE, "") in levels)
    return Curves(column, tuple(_panel(n, baseline, levels, epochs, error) for n in names or [baseline]), error, epochs)


def _panel(variant: str, baseline: str, levels: dict[tuple[str, str], Levels], x: Scale, y: Scale) -> Panel:
    runs = [] if variant == baseline else [("base", baseline, levels.get((baseline, ""), {}))]
    runs += [("own", variant, levels.get((variant, ""), {}))]
    runs += [("lost", run, own) for (name, run), own in sorted(levels.items()) if name == variant and run]
    drawn = [_curve(kind, own, x, y) for kind, _, own in runs if own]
    count, step = max(int(x.high - x.low), 1), -(-int(x.high) // STRIPS)
    strips = []
    for epoch in range(1, int(x.high) + 1, step):
        said = [f"{name} {number(own[epoch][0])} (sd {number(own[epoch][1])})" for _, name, own in runs if epoch in own]
        if said:
            left, right = (max(0.0, min(100.0, 100 * (epoch - 1 + side) / count)) for side in (-step / 2, step / 2))
            strips.append(Strip(round(left, 1), round(right - left, 1), "\n".join([f"epoch {epoch}", *said])))
    ends = [f"{name} {number(own[max(own)][0])} in epoch {max(own)}" for _, name, own in runs if own]
    return Panel(variant, ", ".join(ends) or "no run", tuple(drawn), tuple(strips))


def _curve(kind: str, levels: Levels, x: Scale, y: Scale) -> Curve:
    def points(side: int) -> list[str]:  # from the top, as SVG counts
        return [f"{x.place(e):.3g},{100 - y.place(mean + side * sd):.3g}" for e, (mean, sd) in levels.items()]

    spread = any(sd for _, sd in levels.values())
    return Curve(kind, " ".join(points(0)), " ".join([*points(1), *reversed(points(-1))]) if spread else "")
