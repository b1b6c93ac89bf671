"""The ledger of the paper's claims as text: two tables, of what was tested and of what was not, and a CSV of all."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.claims.claim import Claim, Number, claims_of
from harness.claims.ledger import ClaimRow, ledger, read_ensembles
from harness.claims.verdict import VERDICTS, Estimate
from harness.report.format import DECIMALS, NOTHING, code, decimals, number, plain
from harness.report.runs import Results, rerun
from harness.report.variants import comparisons
from harness.settings.study import Study

LEDGER_COLUMNS = [
    "claim", "section", "statement", "published", "ours", "low", "high", "n", "verdict", "reason", "command",
]  # fmt: skip

COUNTED = {"replicates": "replicate", "contradicts": "contradict"}
"""Verdicts of several claims."""

ERRORS = ("points", "%")
"""Units of errors."""

SIGNED = ("points", "nats")
"""Units of differences: shown with their sign."""


def ledger_rows(study: Study, results: Results, root: Path) -> list[ClaimRow]:
    """A row a claim of the file that the study names; none where it names none. Raises `UserError`."""
    claims = claims_of(study, root)
    return _rows(claims, study, results, root) if claims else []


def _rows(claims: Mapping[str, Claim], study: Study, results: Results, root: Path) -> list[ClaimRow]:
    ensembles, own = read_ensembles(root / study.folder / "ensembles.json"), comparisons(study, results)
    return ledger(claims, study, results.finished, ensembles, lambda names: rerun(study, names), own)


def ledger_csv(rows: Sequence[ClaimRow]) -> list[dict[str, Any]]:
    """A row a claim. Of a claim with several parts, `ours` and its interval are the part that speaks least for it."""
    return [
        {
            "claim": row.claim.id,
            "section": row.claim.section,
            "statement": row.claim.claim,
            "published": _published(row.claim),
            "ours": row.weakest.value if row.weakest else None,
            "low": row.weakest.low if row.weakest else None,
            "high": row.weakest.high if row.weakest else None,
            "n": row.n,
            "verdict": row.verdict,
            "reason": f"{row.reason}. {row.claim.caveat}",
            "command": row.command,
        }
        for row in rows
    ]


def verdicts(claims: Mapping[str, Claim], study: Study, results: Results, root: Path) -> str:
    """Some claims' verdicts in a study, as lines to read in a terminal. Raises `UserError`."""
    return "\n".join(f"{row.claim.id}  {row.verdict}: {row.reason}" for row in _rows(claims, study, results, root))


def section(rows: Sequence[ClaimRow]) -> dict[str, Any]:
    """What the section shows: the rows of its tables, and how many there are of each verdict; empty without rows."""
    if not rows:
        return {}
    verdicts = Counter(row.verdict for row in rows)
    return {
        "total": len(rows),
        "counts": [f"{verdicts[verdict]} {COUNTED.get(verdict, verdict)}" for verdict in VERDICTS],
        "final": sum(row.claim.type == "arithmetic" for row in rows),
        "tested": [row for row in rows if row.verdict != "not testable here"],
        "untested": [row for row in rows if row.verdict == "not testable here"],
        "published": _published,
        "ours": _ours,
    }


def _published(claim: Claim) -> str:
    """`top-1: 1.4 points; top-5: 1.2 points`."""
    errors = [number.value for number in claim.published if number.unit in ERRORS]
    places = max((_decimals(error) for error in errors), default=0)
    return "; ".join(
        f"{n.name}: {_printed(n, places if n.unit in ERRORS else _decimals(n.value))}" for n in claim.published
    )


def _printed(published: Number, places: int) -> str:
    unit = "point" if published.unit == "points" and published.value == 1 else published.unit
    text = f"{published.value:,.{places}f}" if published.value >= 10_000 else number(published.value, places)
    return f"{text}{_unit(unit)}"


def _decimals(published: float) -> int:
    """Decimals that a number was printed with; a last zero is lost in it."""
    return max(0, -int(Decimal(repr(published)).normalize().as_tuple().exponent))


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _ours(row: ClaimRow) -> str:
    if row.text:
        return plain(row.text)
    several = len(row.estimates) > 1
    return "<br>".join((f"{code(e.name)} " if several else "") + plain(_estimate(e)) for e in row.estimates) or NOTHING


def _estimate(estimate: Estimate) -> str:
    """`+1.30 points (+0.12 to +2.50)`; an open end is said in words."""
    if estimate.value is None:
        return NOTHING
    if estimate.low is None and estimate.value == int(estimate.value) and estimate.unit not in SIGNED:
        return f"{estimate.value:,.0f}{_unit(estimate.unit)}"  # counted
    signed = estimate.unit in SIGNED
    places = _places(estimate)
    own = f"{number(estimate.value, places, sign=signed)}{_unit(estimate.unit)}"
    if estimate.low is None or estimate.high is None:
        return own
    low, high = (number(end, places, sign=signed) for end in (estimate.low, estimate.high))
    if math.isinf(estimate.high):
        return f"at least {own} ({low} or more)"
    if estimate.unit == "times" and estimate.low == 0:
        return f"at most {own} ({high} or less)"
    return f"{own} ({low} to {high})"


def _places(estimate: Estimate) -> int:
    most = DECIMALS if estimate.unit in ERRORS else 4
    if estimate.low is None or estimate.high is None or estimate.value is None:
        return DECIMALS
    if math.isinf(estimate.high):
        return decimals(estimate.value - estimate.low, most)
    return decimals((estimate.high - estimate.low) / 2, most)
