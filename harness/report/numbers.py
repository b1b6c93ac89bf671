"""Numbers as text, rounded to what their uncertainty supports."""

import math
from typing import Any

from harness.statistics.effects import LevelRatio, Ratio
from harness.statistics.models import Difference, Summary

DECIMALS = 2
"""Decimals of an error in percent, at the most: a test part of 4,000 images has steps of .025."""

NOTHING = "–"
"""Stands where there is no number."""


def decimals(uncertainty: float | None, most: int = DECIMALS) -> int:
    """Decimals that show an uncertainty with two significant digits, as its own uncertainty supports."""
    if not uncertainty or not math.isfinite(uncertainty):
        return most
    return min(most, max(0, 1 - math.floor(math.log10(abs(uncertainty)))))


def number(value: float | None, places: int = DECIMALS, *, sign: bool = False) -> str:
    """A number with a true minus sign; with `sign`, a plus too. Zero has neither."""
    if value is None:
        return NOTHING
    # Means of the same answers, added in another order, differ in the last bits: a tie is to fall the same way.
    text = f"{round(value, 9):.{places}f}"
    if float(text) == 0:
        return text.lstrip("-")
    return text.replace("-", "−") if value < 0 else f"+{text}" if sign else text


def mean_sd(summary: Summary, floor: float | None = None, most: int | None = None) -> str:
    """`21.83 (0.48)`: the mean, and the sd where there is one.

    `floor`: uncertainty of one value by itself (of a finite test part), used where the seeds show no spread. `most`:
    the decimals, where a table has them alike.
    """
    places = decimals(summary.sd or floor) if most is None else most
    spread = f" ({number(summary.sd, places)})" if summary.sd is not None else ""
    return number(summary.mean, places) + spread


def p_value(p: float | None, least: float = 0.0001) -> str:
    """A p-value with two significant digits, four decimals at most; below `least`, what the test resolves, as `< .`."""
    if p is None:
        return NOTHING
    if p < least:
        return f"< {least:.4g}"
    if p > 0.995:
        return "1"
    return f"{p:.{min(4, max(2, 1 - math.floor(math.log10(p))))}f}"


def binomial_sd(error: float, images: float) -> float:
    """Standard error, in points, of an error in percent that was measured on so many images."""
    share = error / 100
    return 100 * math.sqrt(share * (1 - share) / images)


def places_of(difference: Difference) -> int:
    """Decimals of a difference and its interval; as many more as keep an end that is not zero from reading as zero."""
    if difference.low is None or difference.high is None:
        return DECIMALS
    places = decimals((difference.high - difference.low) / 2)
    while places < 6 and any(end and float(f"{end:.{places}f}") == 0 for end in (difference.low, difference.high)):
        places += 1
    return places


def interval(difference: Difference) -> str:
    """`−0.31 to +0.77`, or why there is none."""
    if difference.low is None:
        return "no interval"
    places = places_of(difference)
    return f"{number(difference.low, places, sign=True)} to {number(difference.high, places, sign=True)}"


def estimate(difference: Difference) -> str:
    """`+0.23 (−0.31 to +0.77)`, or the mean alone where there is no interval."""
    mean = number(difference.mean, places_of(difference), sign=True)
    return mean if difference.low is None else f"{mean} ({interval(difference)})"


def ratio(found: Ratio | LevelRatio, most: int = 3) -> str:
    """`1.34 (1.02 to 1.77)`, or the ratio alone; an end that is not 1 does not read as 1."""
    if found.low is None or found.high is None:
        return number(found.ratio)
    places = decimals((found.high - found.low) / 2, most)
    while places < 6 and any(end != 1 and float(f"{end:.{places}f}") == 1 for end in (found.low, found.high)):
        places += 1
    own, low, high = (number(one, places) for one in (found.ratio, found.low, found.high))
    return f"{own} ({low} to {high})"


def value(setting: Any) -> str:
    """A setting's value as YAML would have it."""
    if isinstance(setting, bool):
        return str(setting).lower()
    if isinstance(setting, float):
        return f"{setting:g}"
    if isinstance(setting, list):
        return "[" + ", ".join(map(value, setting)) + "]"
    return "not set" if setting is None or setting == "" else str(setting)
