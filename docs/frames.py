"""The columns of the frames of `harness.load_study`, from their docstrings."""

import inspect
import re
from functools import cached_property

from harness import StudyResults


def frames() -> dict[str, list[tuple[str, str]]]:
    """Frame -> its columns, as `low, high`, each with what it is."""
    docs = {
        n: inspect.cleandoc(v.__doc__ or "") for n, v in vars(StudyResults).items() if isinstance(v, cached_property)
    }
    return {
        name: re.findall(r"^    ([\w, ]+): (.+)$", doc.partition("Columns:\n")[2], re.M) for name, doc in docs.items()
    }


def section() -> str:
    """They as a section of a page."""
    lines = ["", "## Columns", ""]
    for name, columns in frames().items():
        lines += [f"### `{name}`", "", "| column | what it is |", "|:--|:--|"]
        lines += [f"| {', '.join(f'`{one}`' for one in names.split(', '))} | {text} |" for names, text in columns]
        lines += [""]
    return "\n".join(lines)
