"""The ledger: a row a claim, with the published number, ours with its interval, the verdict and the reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.claims import entries
from harness.claims.arithmetic import FACTS
from harness.claims.entries import Claim, Need
from harness.claims.measure import Ensemble, Found, in_regime, measure
from harness.claims.statistics import NotMeasuredError, Runs
from harness.claims.verdict import Estimate, Judged, Verdict
from harness.errors import UserError
from harness.files import read_json
from harness.settings.check import SOURCES
from harness.settings.parse import parse
from harness.settings.study import Study, top_of
from harness.statistics.comparison import Comparison

NEEDS: dict[Need, str] = {
    "colour": "colour images",
    "imagenet": "ImageNet",
    "ilsvrc2010": "the images of ILSVRC-2010",
    "fall2009": "the Fall 2009 release of ImageNet (10,184 classes)",
    "fall2011": "the Fall 2011 release of ImageNet (22,000 classes), to train on first",
    "hardware_2012": "two GTX 580 of 2012",
    "overfitting": "a net that overfits",
    "any": "",
}
"""What a claim may need, in words."""


TOP5 = "top-5"
"""Name of a published number that is the top-5 error's."""


@dataclass(frozen=True)
class ClaimRow:
    """A claim and what this study says of it.

    `estimates`: ours, one for each part of the claim; `weakest` is the one that speaks least for it. `text`: ours in
    words where no interval is a number's. `command` re-runs what the row rests on, empty where nothing does.
    """

    claim: Claim
    estimates: tuple[Estimate, ...]
    weakest: Estimate | None
    text: str
    n: int | None
    verdict: Verdict
    reason: str
    command: str


def ledger(
    claims: Mapping[str, Claim],
    study: Study,
    finished: Callable[[str], Runs],
    ensembles: Mapping[str, Ensemble] | None,
    command: Callable[[Sequence[str]], str],
    comparisons: Mapping[str, Comparison] | None = None,
) -> list[ClaimRow]:
    """A row a claim, in the order of the file.

    `finished`: a variant's finished runs by seed; `ensembles`: as `read_ensembles` gives them; `command`: what re-runs
    the named variants of the study; `comparisons`: of the study's variants with its baseline, whose intervals the rows
    on the same differences have.
    """
    runs = {name: finished(name) for name in study.variants}

    def measured(claim: Claim, test: entries.Test) -> Found:
        found = measure(test, study, runs, ensembles, comparisons)
        return in_regime(found, test, runs) if "overfitting" in claim.needs else found

    return [_row(claim, study, measured, command) for claim in claims.values()]


def read_ensembles(path: Path) -> dict[str, Ensemble] | None:
    """A study's ensembles by variant; None where it has none. Raises `UserError`."""
    if not path.exists():
        return None
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: got {type(values).__name__}; a mapping from variants to errors is allowed")
    return {name: parse(Ensemble, value, f"{path}: {name}") for name, value in values.items()}


def provided(study: Study) -> set[Need]:
    """What a study's images offer, of what claims need. Whether its net overfits is known after its runs alone."""
    source: str = study.data.source
    found: set[Need] = {"any", "overfitting"}
    if SOURCES[source][0] == 3:
        found.add("colour")
    if source == "imagenet" and study.variants[study.baseline].geometry == "imagenet":
        found.add("imagenet")
    # Several releases of ImageNet come in the same folders: which one it is must be said.
    return found | {need for need in ("ilsvrc2010", "fall2009", "fall2011") if need == study.data.release}


def _row(
    claim: Claim,
    study: Study,
    measured: Callable[[Claim, entries.Test], Found],
    command: Callable[[Sequence[str]], str],
) -> ClaimRow:
    test = claim.test
    if isinstance(test, entries.ArithmeticTest):
        return _arithmetic(claim)
    if test is None:
        return _untestable(claim, "nothing to run: these are numbers of others")
    unmet = _unmet(claim, study)
    also = f"; {unmet}" if unmet else ""
    if lacking := entries.missing(claim, study.variants):
        where = f", declared in study {test.study}" if test.study and test.study != study.name else ""
        return _untestable(claim, f"needs variant{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}{where}{also}")
    try:
        found = measured(claim, test)
    except NotMeasuredError as error:
        return _untestable(claim, f"{error}{also}", command(test.names))
    judged, notes = found.judged, list(found.notes)
    n = min((estimate.n for estimate in found.estimates), default=None)
    if n is not None and n < len(study.seeds):
        notes.append(f"{n} of {len(study.seeds)} declared seeds are behind it")
    if unmet:
        judged = Judged("not testable here", unmet)
    else:
        notes += _published(claim, found, study)
    notes += [FACTS[fact]().words for fact in claim.entry.computed]
    reason = _sentences([judged.reason, *notes])
    return ClaimRow(claim, found.estimates, found.weakest, found.text, n, judged.verdict, reason, command(test.names))


def _published(claim: Claim, found: Found, study: Study) -> list[str]:
    """Where the published number lies, seen from our interval: size is no part of most claims, but worth a look."""
    own = found.weakest
    numbers = [n for n in claim.published if (n.name == TOP5 if _of_top5(claim.test, study) else n.tested)]
    if own is None or own.low is None or own.high is None or len(found.estimates) != 1 or not numbers:
        return []
    value = numbers[0].value
    where = "above" if value > own.high else "below" if value < own.low else "inside"
    number = f"{value:g}".replace("-", "\N{MINUS SIGN}")
    return [f"The published {number} lies {where} our interval"]


def _arithmetic(claim: Claim) -> ClaimRow:
    assert isinstance(claim.test, entries.ArithmeticTest)  # noqa: S101 - the caller asked
    fact = FACTS[claim.test.fact]()
    estimate = Estimate(claim.test.fact, fact.value, None, None, 1, fact.unit)
    text = "" if fact.unit else ("they agree" if fact.holds else "they differ")
    reason = _sentences([f"Computed, final: {fact.words}", *(FACTS[name]().words for name in claim.entry.computed)])
    command = f"python -m harness claims {claim.id}"
    return ClaimRow(
        claim, (estimate,), estimate, text, None, "replicates" if fact.holds else "contradicts", reason, command
    )


def _sentences(parts: Sequence[str]) -> str:
    return ". ".join(part[:1].upper() + part[1:] for part in parts)


def _untestable(claim: Claim, reason: str, command: str = "") -> ClaimRow:
    facts = [FACTS[fact]().words for fact in claim.entry.computed]
    return ClaimRow(claim, (), None, "", None, "not testable here", _sentences([reason, *facts]), command)


def _unmet(claim: Claim, study: Study) -> str:
    offered = provided(study)
    lacking = [NEEDS[need] for need in claim.needs if need not in offered]
    if lacking:
        return f"needs {' and '.join(lacking)}; this study has {study.data.source}"
    test = claim.test
    if isinstance(test, entries.DifferenceTest) and (test.bound or test.margin) and _of_top5(test, study):
        return f"its size is of top-1 errors; this study compares {study.file.metric}"
    return ""


def _of_top5(test: entries.Test | None, study: Study) -> bool:
    """Whether a test's number is of a top-5 error, since the study's is: its bound and its margin are of top-1."""
    return isinstance(test, entries.DifferenceTest) and test.metric is None and top_of(study.file.metric) == 5


# ---- claims as a list to read: what each says, and what tests it


def list_claims(claims: Mapping[str, Claim]) -> str:
    """Each claim with its section, its words, its numbers and its test; what is computed comes with its verdict."""
    computed = (_arithmetic(claim) for claim in claims.values() if isinstance(claim.test, entries.ArithmeticTest))
    final = {row.claim.id: f"{row.verdict}. {row.reason}" for row in computed}
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
    if test is None or isinstance(test, entries.ArithmeticTest):
        return f"arithmetic, {test.fact}" if test else ""
    against = f" against {test.against}" if test.against else ""
    claimed = ""
    if isinstance(test, entries.Directed):
        within = f" within {'a factor of ' if test.ratio else ''}{test.margin:g}" if test.margin else ""
        claimed = f": {test.direction} {'to' if test.margin else 'than'} {test.bound:g}{within}"
    where = f" (study {test.study})" if test.study else ""
    return f"{test.statistic} of {', '.join(test.variants)}{against}{claimed}{where}"
