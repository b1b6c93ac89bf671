"""A comparison of two reports as a table to read."""

from collections import Counter
from collections.abc import Sequence

from harness.diff.changes import RowChange, same_runs
from harness.diff.sides import Side
from harness.report.format import number, rendered

HEAD = ("variant", "old", "new", "change", "interval", "estimates", "verdict")


def table(old: Side, new: Side, changes: Sequence[RowChange]) -> str:
    """What `harness diff` prints: a line a variant, then why each verdict changed, then what all rows share."""
    both = [change for change in changes if change.old and change.new]
    changed = [change for change in changes if change.verdict_changed]
    elsewhere: dict[str, list[str]] = {}
    for change in both:
        for why in () if change.verdict_changed else change.why:
            elsewhere.setdefault(why, []).append(change.variant)
    return rendered(
        "diff.txt.j2",
        old=old,
        new=new,
        same=same_runs(old, new),
        table=_aligned([HEAD, *(_line(change) for change in changes)]),
        rows=len(changes),
        both=both,
        agreements=Counter(change.agreement for change in both),
        alpha=next((float(change.new.rule["alpha"]) for change in both if change.new), 0.0),
        adjusted=[change.moved.adjusted for change in both if change.moved.adjusted is not None],
        changed=changed,
        shared=[why for why in changed[0].why if all(why in one.why for one in changed)] if changed[1:] else [],
        verdicts=verdicts,
        elsewhere=elsewhere,
    ).rstrip("\n")


def _line(change: RowChange) -> tuple[str, ...]:
    old, new, moved = change.old, change.new, change.moved
    both = change.agreement if old and new else f"only in the {'old' if old else 'new'}"
    interval = "-" if moved.low is None else f"{points(moved.low)} to {points(moved.high)}"
    estimates = (points(row.difference if row else None) for row in (old, new))
    return change.variant, *estimates, points(moved.mean), interval, both, verdicts(change)


def points(value: float | None) -> str:
    """A difference as the report rounds it: in plain ASCII, for a terminal."""
    return "-" if value is None else number(value, sign=True).replace("−", "-")


def verdicts(change: RowChange) -> str:
    """`old -> new` where it changed."""
    old, new = ((row.verdict or "none") if row else "-" for row in (change.old, change.new))
    return f"{old} -> {new}" if change.verdict_changed else new if change.new else old


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]
