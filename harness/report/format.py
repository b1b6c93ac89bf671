"""Numbers, settings and names as text, and the templates that hold the report's sentences."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

from harness.grammar import counted, verb
from harness.progress import clock
from harness.statistics.effects import LevelRatio, Ratio
from harness.statistics.models import Difference, Summary

if TYPE_CHECKING:
    from harness.report.variants import Effect


def plain(text: object) -> str:
    """A text of someone else as one line of Markdown that shows it as it is, in a table as elsewhere."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", line)
    line = re.sub(r"^(\d*)([-+=.)])(?=\s|[-=]*$)", r"\1\\\2", line)  # else a list, or the line under a heading
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: object) -> str:
    """A text as code in a line of Markdown, in a table as elsewhere."""
    line = " ".join(str(text).split())
    if re.fullmatch(r"[\w .,:;/()\[\]{}=+@%→−-]+", line):
        return f"`{line}`"
    # Backticks would keep neither a backtick nor, in a table, a pipe.
    marks = re.sub(r"[`|*_\[\]\\~$#]", lambda match: f"&#{ord(match[0])};", html.escape(line))
    return f"<code>{marks}</code>"


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def unbroken(text: str) -> str:
    """Kept on one line of a narrow column."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


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


def mean_sd(summary: Summary, floor: float | None = None, places: int | None = None) -> str:
    """`21.83 (0.48)`: the mean, and the sd where there is one.

    `floor`: uncertainty of one value by itself (of a finite test part), used where the seeds show no spread. `places`:
    the decimals, where a table has them alike.
    """
    places = decimals(summary.sd or floor) if places is None else places
    return number(summary.mean, places) + (f" ({number(summary.sd, places)})" if summary.sd is not None else "")


def p_value(p: float | None, least: float = 0.0001) -> str:
    """A p-value with two significant digits, four decimals at most; below `least`, what the test resolves, as `< .`."""
    if p is None:
        return NOTHING
    if p < least:
        return f"< {least:.4g}"
    if p > 0.995:
        return "1"
    return f"{p:.{min(4, max(2, 1 - math.floor(math.log10(p))))}f}"


def places_of(difference: Difference | Effect) -> int:
    """Decimals of a difference and its interval."""
    return _places(difference.low, difference.high, 0, DECIMALS)


def _places(low: float | None, high: float | None, nothing: float, most: int) -> int:
    """Decimals of an interval; as many more as keep an end that is not `nothing` from reading as it."""
    if low is None or high is None:
        return DECIMALS
    places = decimals((high - low) / 2, most)
    while places < 6 and any(end != nothing and float(f"{end:.{places}f}") == nothing for end in (low, high)):
        places += 1
    return places


def interval(difference: Difference | Effect) -> str:
    """`−0.31 to +0.77`, or why there is none."""
    if difference.low is None:
        return "no interval"
    low, high = (number(end, places_of(difference), sign=True) for end in (difference.low, difference.high))
    return f"{low} to {high}"


def possible(difference: Difference, base: float | None) -> Difference:
    """With its interval cut at what an error between 0 and 100 % can do. `base`: the baseline's error."""
    if difference.low is None or difference.high is None or base is None:
        return difference
    return replace(difference, low=max(difference.low, -base), high=min(difference.high, 100 - base))


def estimate(difference: Difference) -> str:
    """`+0.23 (−0.31 to +0.77)`, or the mean alone where there is no interval."""
    mean = number(difference.mean, places_of(difference), sign=True)
    return mean if difference.low is None else f"{mean} ({interval(difference)})"


def ratio(times: Ratio | LevelRatio) -> str:
    """`1.34 (1.02 to 1.77)`, or the ratio alone; an end that is not 1 does not read as 1."""
    places = _places(times.low, times.high, 1, 3)
    if times.low is None:
        return number(times.ratio)
    return f"{number(times.ratio, places)} ({number(times.low, places)} to {number(times.high, places)})"


def value(setting: Any) -> str:
    """A setting's value as YAML would have it."""
    if isinstance(setting, bool):
        return str(setting).lower()
    if isinstance(setting, float):
        return f"{setting:g}"
    if isinstance(setting, list):
        return "[" + ", ".join(map(value, setting)) + "]"
    return "not set" if setting is None or setting == "" else str(setting)


class _Words(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name.replace("_", " ")


METRICS = _Words(
    {
        "test_top1": "test error (centre crop)",
        "test_top1_10crop": "test error (mean of ten crops)",
        "test_top1_mc_geometric": "test error (geometric mean over dropout masks)",
        "test_top1_mc_arithmetic": "test error (arithmetic mean over dropout masks)",
        "test_top5": "top-5 test error (centre crop)",
        "test_top5_10crop": "top-5 test error (mean of ten crops)",
        "validation_top1": "validation error",
        "train_top1": "training error (evaluation mode)",
    }
)
"""The study's metric in words."""


def changes_text(changes: dict[str, tuple[object, object]], none: str) -> str:
    """`lrn: true → false`, a setting each."""
    return ", ".join(code(f"{key}: {value(a)} → {value(b)}") for key, (a, b) in changes.items()) or none


def cells_text(cells: Iterable[Any]) -> str:
    """Results of runs by variant: `base` 0, 1; `tanh` 3."""
    seeds: dict[str, list[str]] = {}
    for cell in cells:
        seeds.setdefault(cell.variant, []).append(str(cell.seed))
    return "; ".join(f"{code(variant)} {', '.join(numbers)}" for variant, numbers in seeds.items())


def points(value: float | None) -> str:
    """An effect in points, as pages tell it: `+0.2`."""
    return number(value, 1, sign=True)


def effect_interval(effect: Effect) -> str:
    """`−0.3 to +0.8`: the interval of an effect."""
    return f"{points(effect.low)} to {points(effect.high)}"


def between(loop: Any) -> str:
    """What stands before an item of `a, b and c`, in a loop of a template."""
    return "" if loop.first else " and " if loop.last else ", "


CALLED = {
    function.__name__: function
    for function in (
        code, joined, plain, unbroken,
        decimals, estimate, interval, mean_sd, number, points, possible,
        p_value, places_of, ratio, value,
        effect_interval, cells_text, changes_text,
        between, clock, counted, verb,
    )
}  # fmt: skip
"""What a template may call, also as a filter."""


def inline(markdown: str) -> str:
    """One of the report's sentences, which are Markdown, as HTML; markup in it stays text."""
    return str(MarkdownIt("commonmark", {"html": False}).renderInline(markdown))


def compact(text: str) -> str:
    """Text without indentation and empty lines."""
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())


def digest(text: str) -> str:
    """SHA-256 of a script as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


TEMPLATES = Path(__file__).parent / "templates"


def paragraphs(name: str, **values: Any) -> list[str]:
    """The parts of a template of `sentences` between lines of `---`, each on one line; empty ones are left out."""
    parts = re.split(r"(?m)^---$", SENTENCES.get_template(f"sentences/{name}.md.j2").render(values))
    # Not split at spaces that do not break.
    return [" ".join(re.findall(r"[^ \n]+", part)) for part in parts if part.strip()]


def paragraph(name: str, **values: Any) -> str:
    """A template of `sentences` on one line: its lines and blocks are joined by single spaces."""
    return " ".join(paragraphs(name, **values))


def rendered(template: str, **values: Any) -> str:
    """The text of a page; a value that is missing raises `jinja2.UndefinedError`."""
    return PAGES.get_template(template).render(values)


def rendered_html(template: str, **values: Any) -> str:
    """A page of HTML, in which every value is escaped."""
    return compact(HTML.get_template(template).render(values)) + "\n"


PAGES = Environment(  # Markdown, in which each text of others passes `plain` or `code`
    autoescape=False,  # noqa: S701
    loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
PAGES.filters |= CALLED | {function.__name__: function for function in (inline, compact, digest)}
PAGES.globals |= CALLED | {"nothing": NOTHING, "METRICS": METRICS, "paragraph": paragraph}
SENTENCES, HTML = PAGES.overlay(trim_blocks=False, lstrip_blocks=False), PAGES.overlay(autoescape=True)
