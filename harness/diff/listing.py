"""A comparison of two reports as a table to read."""

from collections import Counter
from collections.abc import Sequence

from harness.diff.compare import Change, same_runs
from harness.diff.sides import Side
from harness.report.numbers import number

HEAD = ("variant", "old", "new", "change", "interval", "estimates", "verdict")


def table(old: Side, new: Side, changes: Sequence[Change]) -> str:
    """What `harness diff` prints: a line a variant, then why each verdict changed, then what all rows share."""
    lines = [f"old: {old.name}   new: {new.name}"]
    if same_runs(old, new):
        lines.append("Both hold the same runs (the fingerprints are equal).")
    lines += ["", *_aligned([HEAD, *(_line(change) for change in changes)]), ""]
    lines += _summary(changes)
    lines += _changed([change for change in changes if change.verdict_changed])
    rest = _elsewhere(changes)
    return "\n".join([*lines, *(["", "Differs, without a changed verdict:", *rest] if rest else [])])


def _line(change: Change) -> tuple[str, ...]:
    old, new, moved = change.old, change.new, change.moved
    both = change.agreement if old and new else f"only in the {'old' if old else 'new'}"
    interval = "-" if moved.low is None else f"{points(moved.low)} to {points(moved.high)}"
    estimates = (points(row.difference if row else None) for row in (old, new))
    return change.variant, *estimates, points(moved.mean), interval, both, _verdicts(change)


def points(value: float | None) -> str:
    """A difference as the report rounds it: in plain ASCII, for a terminal."""
    return "-" if value is None else number(value, sign=True).replace("−", "-")


def _verdicts(change: Change) -> str:
    old, new = ((row.verdict or "none") if row else "-" for row in (change.old, change.new))
    return f"{old} -> {new}" if change.verdict_changed else new if change.new else old


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _summary(changes: Sequence[Change]) -> list[str]:
    both = [change for change in changes if change.old and change.new]
    if not both or not both[0].new:
        return ["No row is in both."]
    alpha = float(both[0].new.rule["alpha"])
    said = Counter(change.agreement for change in both)
    tested = said["agree"] + said["differ"]
    lines = []
    if tested:
        sure = sum(change.moved.adjusted is not None and change.moved.adjusted <= alpha for change in both)
        lines.append(
            f"Estimates: of {tested}, {said['agree']} agree and {said['differ']} differ by an interval of their own "
            f"({100 * (1 - alpha):g} %; chance alone gives about {alpha * tested:.1g}), {sure} among all {tested} "
            "together."
        )
    changed = sum(change.verdict_changed for change in both)
    lines.append(f"Verdicts: {changed} of {len(both)} changed." if changed else "Verdicts: none changed.")
    return lines


def _changed(changes: Sequence[Change]) -> list[str]:
    """Why verdicts changed: first what differs in every row whose verdict did, then what each has of its own."""
    shared = [why for why in changes[0].why if all(why in change.why for change in changes)] if changes[1:] else []
    lines = ["", "Differs in every row with another verdict:", *(f"  {why}" for why in shared)] if shared else []
    for change in changes:
        own = [why for why in change.why if why not in shared]
        if own:
            lines += ["", f"{change.variant}: {_verdicts(change)}; these differ:", *(f"  {why}" for why in own)]
    return lines


def _elsewhere(changes: Sequence[Change]) -> list[str]:
    """What differs in rows that kept their verdict: each reason once, with the rows that have it."""
    found: dict[str, list[str]] = {}
    kept = [change for change in changes if change.old and change.new and not change.verdict_changed]
    for change in kept:
        for why in change.why:
            found.setdefault(why, []).append(change.variant)
    return [
        f"  {why} ({'all rows' if len(names) == len(changes) else ', '.join(names)})" for why, names in found.items()
    ]
