"""Numbers, settings and tests in words, as every section of a report puts them."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness.report.cells import Result
from harness.report.markdown import code, plain
from harness.report.numbers import decimals, interval, number, places_of, value
from harness.report.tables import VariantRow
from harness.settings.study import Study

METRICS = {
    "test_top1": "test error (centre crop)",
    "test_top1_10crop": "test error (mean of ten crops)",
    "test_top1_mc_geometric": "test error (geometric mean over dropout masks)",
    "test_top1_mc_arithmetic": "test error (arithmetic mean over dropout masks)",
    "test_top5": "top-5 test error (centre crop)",
    "test_top5_10crop": "top-5 test error (mean of ten crops)",
    "validation_top1": "validation error",
    "train_top1": "training error (evaluation mode)",
}
"""The study's metric in words."""


def confidence(study: Study, rows: Iterable[VariantRow] = ()) -> str:
    """`95 %`: the study's, or that of the intervals of its comparisons, which a look at it makes longer."""
    alpha = next((row.comparison.alpha for row in rows if row.comparison), 1 - study.file.confidence)
    places = max(2, 1 - math.floor(math.log10(100 * alpha)))
    return f"{100 * (1 - alpha):.{places}f}".rstrip("0").rstrip(".") + " %"


def error_text(row: VariantRow) -> str:
    return number(row.error.mean, decimals(row.error.sd or row.floor))


def difference_text(row: VariantRow) -> str:
    """`+0.23, −0.31 to +0.77`."""
    d = row.difference
    mean = number(d.mean, places_of(d), sign=True)
    return mean if d.low is None else f"{mean}, {interval(d)}"


def changes_text(changes: dict[str, tuple[object, object]], none: str) -> str:
    """`lrn: true → false`, a setting each."""
    return ", ".join(code(f"{key}: {value(a)} → {value(b)}") for key, (a, b) in changes.items()) or none


def cells_text(cells: list[Result]) -> str:
    """Cells by variant: `base` 0, 1; `tanh` 3."""
    seeds: dict[str, list[str]] = {}
    for cell in cells:
        seeds.setdefault(cell.variant, []).append(str(cell.seed))
    return "; ".join(f"{code(variant)} {', '.join(numbers)}" for variant, numbers in seeds.items())


def images_name(study: Study) -> str:
    """The source of a study's images; of a folder its name."""
    return Path(study.data.root).name if study.data.source == "folder" and study.data.root else study.data.source


def possible_interval(row: VariantRow, base: float | None) -> str:
    """`−0.31 to +0.77`, cut at what an error between 0 and 100 % can do; `base`: the baseline's error."""
    d = row.difference
    if d.low is None or d.high is None or base is None:
        return interval(d)
    return interval(replace(d, low=max(d.low, -base), high=min(d.high, 100 - base)))


def which_images(name: str, counts: dict[str, int]) -> str:
    """`fashion-mnist-8k (3,500 training, ...)`."""
    ways = {"train": "training", "validation": "validation", "test": "test images"}
    parts = [f"{counts[part]:,} {way}" for part, way in ways.items() if part in counts]
    return f"{plain(name)} ({', '.join(parts)})"
