"""Templates of reports: Markdown with the sentences and tables of a report, in the folder `templates`."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.report.markdown import code, joined, plain
from harness.report.numbers import decimals, number, p_value

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    environment = Environment(  # noqa: S701 - Markdown, where each text passes `plain` or `code`
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {one.__name__: one for one in (code, decimals, joined, number, p_value, plain)}
    return environment


def rendered(template: str, **values: object) -> str:
    """The text of a template of the folder; a value that is missing raises `jinja2.UndefinedError`."""
    return _environment().get_template(template).render(values)
