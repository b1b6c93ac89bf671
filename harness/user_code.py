"""Python files of the user's, run as they are: whatever goes wrong in one is one line, with file and line."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

from harness.errors import UserError


@contextmanager
def told(file: str, line: int | None = None) -> Iterator[None]:
    """While it lasts, an error is a `UserError` that names the line of `file` where it came up, or else `line`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a user's code may raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else line
        words = error.msg if isinstance(error, SyntaxError) else error
        raise UserError(f"{file}{f':{line}' if line else ''}: {type(error).__name__}: {words}") from error


def function_of(file: str, name: str, root: Path, key: str) -> Callable[..., Any]:
    """The function `name` of a Python file below `root`, which is run; `key`: the place that names the file.

    Raises `UserError`.
    """
    values: dict[str, Any] = {"__name__": Path(file).stem, "__file__": str(root / file)}
    with told(file):
        try:
            content = (root / file).read_bytes()
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror}; {key} names it") from error
        exec(compile(content, file, "exec"), values)  # noqa: S102 - the user's own, as any of his programs
    function = values.get(name)
    if not isinstance(function, FunctionType):
        raise UserError(f"{file}: has no function {name}; {key} names this file for it")
    return function
