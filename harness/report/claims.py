"""The ledger of the paper's claims: its rows, how their numbers read, and a CSV of all."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.claims.claim import Claim, claims_of
from harness.claims.finding import Evidence
from harness.claims.ledger import ClaimRow, claim_row, read_ensembles
from harness.claims.verdict import VERDICTS, Estimate
from harness.report.format import DECIMALS, NOTHING, code, decimals, number, plain
from harness.report.runs import Results, rerun
from harness.report.variants import comparisons
from harness.settings.study import Study
from harness.statistics.comparison import Comparison

LEDGER_COLUMNS = [
    "claim", "section", "statement", "published", "ours", "low", "high", "n", "verdict", "reason", "command",
]  # fmt: skip

COUNTED = {"replicates": "replicate", "contradicts": "contradict"}
"""Verdicts of several claims."""

ERRORS = ("points", "%")
"""Units of errors."""

SIGNED = ("points", "nats")
"""Units of differences: shown with their sign."""


def ledger_rows(
    study: Study, results: Results, root: Path, compared: Mapping[str, Comparison], named: Mapping[str, Claim] = {}
) -> list[ClaimRow]:
    """A row a claim: of the `named` ones, else of the file that the study names; none where it names none.

    `compared`: the study's comparisons. Raises `UserError`.
    """
    known = named or claims_of(study, root)
    ensembles = read_ensembles(root / study.folder / "ensembles.json") if known else {}
    evidence = Evidence(study, {name: results.finished(name) for name in study.variants}, ensembles, compared)
    return [claim_row(claim, evidence, lambda names: rerun(study, names)) for claim in known.values()]


def ledger_csv(rows: Sequence[ClaimRow]) -> list[dict[str, Any]]:
    """A row a claim. Of a claim with several parts, `ours` and its interval are the part that speaks least for it."""
    table = []
    for row in rows:
        claim, ours = row.claim, row.weakest
        numbers = (
            claim.id, claim.section, claim.claim, published(claim),
            *((ours.value, ours.low, ours.high) if ours else [None] * 3),
            row.n, row.verdict, f"{row.reason}. {claim.caveat}", row.command,
        )  # fmt: skip
        table.append(dict(zip(LEDGER_COLUMNS, numbers, strict=True)))
    return table


def verdicts(named: Mapping[str, Claim], study: Study, results: Results, root: Path) -> str:
    """Some claims' verdicts in a study, as lines to read in a terminal. Raises `UserError`."""
    rows = ledger_rows(study, results, root, comparisons(study, results), named)
    return "\n".join(f"{row.claim.id}  {row.verdict}: {row.reason}" for row in rows)


def counts(rows: Sequence[ClaimRow]) -> list[str]:
    """How many claims have each verdict: `8 replicate`; nothing without rows."""
    verdicts = Counter(row.verdict for row in rows)
    return [f"{verdicts[verdict]} {COUNTED.get(verdict, verdict)}" for verdict in VERDICTS] if rows else []


def published(claim: Claim) -> str:
    """`top-1: 1.4 points; top-5: 1.2 points`: errors with as many decimals as the longest has."""
    errors = max((_decimals(n.value) for n in claim.published if n.unit in ERRORS), default=0)
    parts = []
    for n in claim.published:
        places = errors if n.unit in ERRORS else _decimals(n.value)
        text = f"{n.value:,.{places}f}" if n.value >= 10_000 else number(n.value, places)
        parts.append(f"{n.name}: {text} {'point' if n.unit == 'points' and n.value == 1 else n.unit}".rstrip())
    return "; ".join(parts)


def _decimals(published: float) -> int:
    """Decimals that a number was printed with; a last zero is lost in it."""
    return max(0, -int(Decimal(repr(published)).normalize().as_tuple().exponent))


def ours(row: ClaimRow) -> str:
    """Ours as Markdown, a line each part of the claim."""
    if row.text:
        return plain(row.text)
    several = len(row.estimates) > 1
    return "<br>".join((f"{code(e.name)} " if several else "") + plain(_estimate(e)) for e in row.estimates) or NOTHING


def _estimate(estimate: Estimate) -> str:
    """`+1.30 points (+0.12 to +2.50)`; an open end is said in words."""
    value, low, high = estimate.value, estimate.low, estimate.high
    if value is None:
        return NOTHING
    signed = estimate.unit in SIGNED
    if low is None and value == int(value) and not signed:
        return f"{value:,.0f} {estimate.unit}".rstrip()  # counted
    most, places = DECIMALS if estimate.unit in ERRORS else 4, DECIMALS
    if low is not None and high is not None:
        places = decimals(value - low if math.isinf(high) else (high - low) / 2, most)
    text = f"{number(value, places, sign=signed)} {estimate.unit}".rstrip()
    if low is None or high is None:
        return text
    ends = [number(end, places, sign=signed) for end in (low, high)]
    if math.isinf(high):
        return f"at least {text} ({ends[0]} or more)"
    if estimate.unit == "times" and low == 0:
        return f"at most {text} ({ends[1]} or less)"
    return f"{text} ({ends[0]} to {ends[1]})"
