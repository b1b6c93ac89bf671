"""The report's templates: they hold its sentences and tables, and Python hands them the values."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

from harness.grammar import counted, verb
from harness.progress import clock
from harness.report import markdown, numbers, words
from harness.report.tables import other_crop


def effect_interval(effect: Any) -> str:
    """`−0.3 to +0.8`: the interval of an effect, with a decimal more where it is narrow."""
    places = 1 if effect.high - effect.low >= 0.4 else 2
    return f"{numbers.number(effect.low, places, sign=True)} to {numbers.number(effect.high, places, sign=True)}"


CALLED = {
    function.__name__: function
    for function in (
        markdown.code, markdown.joined, markdown.plain, markdown.unbroken,
        numbers.adjusted_p, numbers.decimals, numbers.estimate, numbers.interval, numbers.mean_sd, numbers.number,
        numbers.p_value, numbers.places_of, numbers.ratio, numbers.value,
        effect_interval, words.possible_interval,
        words.cells_text, words.changes_text, words.confidence, words.difference_text, words.error_text,
        clock, counted, other_crop, verb,
    )
}  # fmt: skip
"""What a template may call, also as a filter."""


def between(loop: Any) -> str:
    """What stands before an item of `a, b and c`, in a loop of a template."""
    return "" if loop.first else " and " if loop.last else ", "


def _environment(blocks: bool, autoescape: bool = False) -> Environment:
    """`blocks`: a line that holds nothing but a block leaves nothing behind. `autoescape`: for HTML.

    In Markdown each text of others passes `plain` or `code`.
    """
    environment = Environment(
        autoescape=autoescape,  # noqa: S701
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=blocks,
        lstrip_blocks=blocks,
    )
    environment.filters |= CALLED
    environment.globals |= CALLED | {"between": between, "nothing": numbers.NOTHING, "METRICS": words.METRICS}
    return environment


INLINE = MarkdownIt("commonmark", {"html": False})


def inline(markdown: str) -> str:
    """One of the report's sentences, which are Markdown, as HTML; markup in it stays text."""
    return str(INLINE.renderInline(markdown))


def compact(text: str) -> str:
    """Text without indentation and empty lines."""
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())


def digest(text: str) -> str:
    """SHA-256 of a script as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


PAGES = _environment(blocks=True)
SENTENCES = _environment(blocks=False)
HTML = _environment(blocks=True, autoescape=True)
HTML.filters |= {"inline": inline, "compact": compact, "digest": digest}


def html(template: str, **values: Any) -> str:
    """A page of HTML, in which every value is escaped."""
    return compact(HTML.get_template(template).render(values)) + "\n"


def rendered(template: str, **values: Any) -> str:
    """The text of a page; a value that is missing raises `jinja2.UndefinedError`."""
    return PAGES.get_template(template).render(values, paragraph=paragraph)


def paragraph(name: str, **values: Any) -> str:
    """A template of `sentences` on one line: its lines and blocks are joined by single spaces."""
    return " ".join(_words(SENTENCES.get_template(f"sentences/{name}.md.j2").render(values)))


def paragraphs(name: str, **values: Any) -> list[str]:
    """The parts of a template of `sentences` between lines of `---`, each on one line; empty ones are left out."""
    text = SENTENCES.get_template(f"sentences/{name}.md.j2").render(values)
    return [" ".join(_words(part)) for part in re.split(r"(?m)^---$", text) if part.strip()]


def _words(text: str) -> list[str]:
    return re.findall(r"[^ \n]+", text)  # not at spaces that do not break
