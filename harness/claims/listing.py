"""Claims as a list to read: what each says, and what tests it."""

from collections.abc import Mapping

from harness.claims.ledger import computed_rows
from harness.claims.schema import ArithmeticTest, Claim, Directed


def list_claims(claims: Mapping[str, Claim]) -> str:
    """Each claim with its section, its words, its numbers and its test; what is computed comes with its verdict."""
    final = {row.claim.id: f"{row.verdict}. {row.reason}" for row in computed_rows(claims)}
    return "\n".join(line for claim in claims.values() for line in _lines(claim, final.get(claim.id, "")))


def _lines(claim: Claim, computed: str) -> list[str]:
    entry = claim.entry
    published = "; ".join(f"{number.name} {number.value:g} {number.unit}".strip() for number in claim.published)
    needs = ", ".join(need for need in claim.needs if need != "any")
    facts = {
        "published": published,
        "behind": entry.behind,
        "tested by": _test(claim) or "nothing: these are numbers of others",
        "computed": computed,
        "needs": needs,
        "scale": entry.scale,
        "caveat": entry.caveat,
    }
    return [
        f"{claim.id}  [{entry.type}; section {entry.section}]  {entry.claim}",
        *(f"    {name}: {text}" for name, text in facts.items() if text),
    ]


def _test(claim: Claim) -> str:
    test = claim.test
    if test is None or isinstance(test, ArithmeticTest):
        return f"arithmetic, {test.fact}" if test else ""
    against = f" against {test.against}" if test.against else ""
    claimed = ""
    if isinstance(test, Directed):
        within = f" within {'a factor of ' if test.ratio else ''}{test.margin:g}" if test.margin else ""
        claimed = f": {test.direction} {'to' if test.margin else 'than'} {test.bound:g}{within}"
    where = f" (study {test.study})" if test.study else ""
    return f"{test.statistic} of {', '.join(test.variants)}{against}{claimed}{where}"
