"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

EVERY = 10.0
"""Seconds between two plain lines, at the least."""

Advance = Callable[[int, str], None]
"""Told of finished units, and of what to say beside them."""


def say(line: str) -> None:
    """Print a line at once, so that it stands before what comes next even in a log."""
    print(line, flush=True)


def progress(total: int, label: str, unit: str, done: int = 0) -> AbstractContextManager[Advance]:
    """Show how far work of `total` units is, of which `done` were done before, with its rate and the time left."""
    return (_bar if sys.stdout.isatty() else _lines)(total, label, unit, done)


@contextmanager
def _lines(total: int, label: str, unit: str, done: int) -> Iterator[Advance]:
    begin = last = time.monotonic()
    count = done

    def advance(units: int, note: str = "") -> None:
        nonlocal count, last
        count += units
        now = time.monotonic()
        if units and (count - done == units or count >= total or now - last >= EVERY):
            last = now
            rate = (count - done) / max(now - begin, 1e-9)
            left = f", {clock((total - count) / rate)} left" if count < total else f" in {clock(now - begin)}"
            say(f"{label}: {count} of {total} {unit}, {rate:.3g}/s{left}" + (f"; {note}" if note else ""))

    yield advance


@contextmanager
def _bar(total: int, label: str, unit: str, done: int) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

    class Rate(TextColumn):
        def render(self, task: Task) -> Any:
            return f"{unit}, {task.speed or 0:.3g}/s"

    note = TextColumn("{task.fields[note]}")
    columns = BarColumn(), MofNCompleteColumn(), Rate(""), TimeRemainingColumn(), note
    with Progress(TextColumn("{task.description}"), *columns) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")

        def advance(units: int, note: str = "") -> None:
            bar.update(task, advance=units, note=note)

        yield advance


def clock(seconds: float) -> str:
    """Seconds as 40 s, 12 min, 3.5 h, 12 days or 14 years."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    days = seconds / 86400
    if days < 4:
        return f"{seconds / 3600:.1f} h"
    return f"{days:.0f} days" if days < 730 else f"{days / 365.25:,.0f} years"
