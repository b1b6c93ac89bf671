"""The ledger: a row a claim, with the published number, ours with its interval, the verdict and the reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.claims.claim import Claim, Need
from harness.claims.estimate import NotMeasuredError, Runs, by_seed, mean
from harness.claims.facts import BESIDE, FACTS
from harness.claims.finding import ArithmeticTest, Ensemble, Evidence, Finding, Test
from harness.claims.statistic import DifferenceTest
from harness.claims.verdict import Estimate, Verdict
from harness.errors import UserError
from harness.files import read_json
from harness.grammar import counted
from harness.settings.check import SOURCES
from harness.settings.load import load_study
from harness.settings.parse import parse
from harness.settings.study import Study, top_of
from harness.statistics.judging import PROMISED

NEEDS: dict[Need, str] = {
    "colour": "colour images",
    "imagenet": "ImageNet",
    "ilsvrc2010": "the images of ILSVRC-2010",
    "fall2009": "the Fall 2009 release of ImageNet (10,184 classes)",
    "fall2011": "the Fall 2011 release of ImageNet (22,000 classes), to train on first",
    "hardware_2012": "two GTX 580 of 2012",
}
"""What a study's images and machine may lack, in words."""

TOP5 = "top-5"
"""Name of a published number that is the top-5 error's."""


@dataclass(frozen=True)
class ClaimRow:
    """A claim and what this study says of it.

    `estimates`: ours, one for each part of the claim; `weakest` is the one that speaks least for it. `text`: ours in
    words where no interval is a number's. `command` re-runs what the row rests on, empty where nothing does.
    """

    claim: Claim
    verdict: Verdict
    reason: str
    command: str = ""
    estimates: tuple[Estimate, ...] = ()
    weakest: Estimate | None = None
    text: str = ""
    n: int | None = None


def read_ensembles(path: Path) -> dict[str, Ensemble]:
    """A study's ensembles by variant; none where it has no file of them. Raises `UserError`."""
    values = read_json(path) if path.exists() else {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: got {type(values).__name__}; a mapping from variants to errors is allowed")
    return {name: parse(Ensemble, value, f"{path}: {name}") for name, value in values.items()}


def claim_row(claim: Claim, evidence: Evidence, command: Callable[[Sequence[str]], str]) -> ClaimRow:
    """What a study says of a claim. `command`: what re-runs the named variants of the study."""
    test, study = claim.test, evidence.study
    if isinstance(test, ArithmeticTest):
        return computed(claim, test)
    if test is None:
        return ClaimRow(claim, "not testable here", _reason(claim, "nothing to run: these are numbers of others"))
    unmet = _unmet(claim, test, study)
    also = f"; {unmet}" if unmet else ""
    if missing := [name for name in test.names if name not in study.variants]:
        where = f", declared in study {test.study}" if test.study and test.study != study.name else ""
        needed = f"needs variant{'s' if len(missing) > 1 else ''} {', '.join(missing)}{where}{also}"
        return ClaimRow(claim, "not testable here", _reason(claim, needed))
    try:
        if absent := [name for name in test.names if not evidence.runs[name]]:
            raise NotMeasuredError(f"no finished run of {', '.join(absent)}")
        finding = test.measure(evidence)
        if "overfitting" in claim.needs and isinstance(test, DifferenceTest):
            finding = _in_regime(finding, test, evidence.runs)
    except NotMeasuredError as error:
        return ClaimRow(claim, "not testable here", _reason(claim, f"{error}{also}"), command(test.names))
    notes = [*finding.notes, *_several(test, study)]
    n = min(estimate.n for estimate in finding.estimates)
    if n < len(study.seeds):
        notes.append(f"{n} of {len(study.seeds)} declared seeds are behind it")
    if unmet:
        finding = replace(finding, verdict="not testable here", reason=unmet)
    else:
        if n < PROMISED and finding.verdict in ("replicates", "contradicts"):
            few = f"{counted(n, 'seed')}: with fewer than {PROMISED} no error rate is promised"
            finding = replace(finding, verdict="inconclusive", reason=few)
        notes += _published(claim, test, finding, study)
    reason = _reason(claim, finding.reason, *notes)
    shown = (finding.estimates, finding.weakest, finding.text)
    return ClaimRow(claim, finding.verdict, reason, command(test.names), *shown, n)


def _several(test: Test, study: Study) -> list[str]:
    """A note on each variant that changes more than one setting: what it shows is no verdict on any of them alone."""
    if test.against != study.baseline:
        return []
    changes = {name: len(study.differences(name)) for name in test.variants}
    return [f"Variant {name} changes {count} settings at once" for name, count in changes.items() if count > 1]


def _in_regime(finding: Finding, test: DifferenceTest, runs: Mapping[str, Runs]) -> Finding:
    """A verdict on overfitting where the net does: where it fits its training images far better than the test's."""

    def errors(name: str) -> tuple[float, float]:
        training, test = (mean(list(by_seed(runs[name], key).values())) for key in ("train_top1", "test_top1"))
        return training, test

    name, against = test.variants[0], test.against
    training, error = errors(name)
    words = f"Regime: {name} has {training:.1f} % training and {error:.1f} % test error"
    if training > test.fitted * error:
        limit = f"{words}; overfitting is taken to begin where the first is at most {test.fitted:g} times the second"
        notes = (limit, *finding.notes)
        return replace(finding, verdict="not testable here", reason="the net does not overfit here", notes=notes)
    training, error = errors(against)
    shown = f"({training:.1f} % and {error:.1f} %)"
    too = f"and so does {against} {shown}: the claim is on by how much"
    other = too if training <= test.fitted * error else f"and {against} does not {shown}"
    return replace(finding, notes=(f"{words}: it overfits, {other}", *finding.notes))


def _published(claim: Claim, test: Test, finding: Finding, study: Study) -> list[str]:
    """Where the published number lies, seen from our interval: size is no part of most claims, but worth a look."""
    numbers = [n for n in claim.published if (n.name == TOP5 if _of_top5(test, study) else n.tested)]
    places: dict[str, list[str]] = {}
    for ours in finding.estimates if numbers else ():
        if ours.low is not None and ours.high is not None:
            value = numbers[0].value
            where = "above" if value > ours.high else "below" if value < ours.low else "inside"
            places.setdefault(where, []).append(ours.name)
    if not places:
        return []
    number = f"{numbers[0].value:g}".replace("-", "\N{MINUS SIGN}")
    several = len(finding.estimates) > 1
    lies = [f"{where} our interval" + (f" of {', '.join(names)}" if several else "") for where, names in places.items()]
    return [f"The published {number} lies {'; '.join(lies)}"]


def computed(claim: Claim, test: ArithmeticTest) -> ClaimRow:
    """The row of a claim that needs no run."""
    fact = FACTS[test.fact]()
    estimate = Estimate(test.fact, fact.value, None, None, 1, fact.unit)
    reason = _reason(claim, f"Computed, final: {fact.words}")
    verdict: Verdict = "replicates" if fact.holds else "contradicts"
    return ClaimRow(claim, verdict, reason, f"python -m harness claims {claim.id}", (estimate,), estimate)


def _reason(claim: Claim, *parts: str) -> str:
    """Sentences, with the facts that stand beside a claim at their end."""
    sentences = [*parts, *(BESIDE[fact]() for fact in claim.computed)]
    return ". ".join(part[:1].upper() + part[1:] for part in sentences)


def _unmet(claim: Claim, test: Test, study: Study) -> str:
    """What the claim needs and the study's images are not. Whether its net overfits, its runs alone can tell."""
    source: str = study.data.source
    met = {
        "colour": SOURCES[source][0] == 3,
        "imagenet": bool(source == "imagenet" or study.data.release)
        and study.variants[study.baseline].geometry == "imagenet",
        "fall2011": "fall2011" in (study.data.release, *_first_releases(test, study)),
        "hardware_2012": False,
    }
    # Several releases of ImageNet come in the same folders: which one it is must be said.
    lacking = [NEEDS[need] for need in claim.needs if need in NEEDS and not met.get(need, need == study.data.release)]
    if lacking:
        return f"needs {' and '.join(lacking)}; this study has {source}"
    if isinstance(test, DifferenceTest) and (test.bound or test.margin) and _of_top5(test, study):
        return f"its size is of top-1 errors; this study compares {study.file.metric}"
    return ""


def _first_releases(test: Test, study: Study) -> set[str]:
    """Releases of ImageNet that all pre-trained variants of a test were trained on first."""
    starts = {study.variants[name].pretrained.partition("/")[0] for name in test.names if name in study.variants} - {""}
    studies = [load_study(study.path.parent.with_name(name) / study.path.name) for name in sorted(starts)]
    releases: set[str] = {other.data.release for other in studies}
    return releases if len(releases) == 1 else set()


def _of_top5(test: Test, study: Study) -> bool:
    """Whether a test's number is of a top-5 error, since the study's is: its bound and its margin are of top-1."""
    return isinstance(test, DifferenceTest) and test.metric is None and top_of(study.file.metric) == 5


def list_claims(claims: Mapping[str, Claim]) -> str:
    """Each claim with its section, its words, its numbers and its test; what is computed comes with its verdict."""
    lines = []
    for claim in claims.values():
        test, row = claim.test, None
        tested = "nothing: these are numbers of others" if test is None else str(test)
        if isinstance(test, ArithmeticTest):
            row, tested = computed(claim, test), f"arithmetic, {test.fact}"
        facts = {
            "published": "; ".join(f"{n.name} {n.value:g} {n.unit}".strip() for n in claim.published),
            "behind": claim.behind,
            "tested by": tested,
            "computed": f"{row.verdict}. {row.reason}" if row else "",
            "needs": ", ".join(need for need in claim.needs if need != "any"),
            "scale": claim.scale,
            "caveat": claim.caveat,
        }
        lines.append(f"{claim.id}  [{claim.type}; section {claim.section}]  {claim.claim}")
        lines += [f"    {name}: {text}" for name, text in facts.items() if text]
    return "\n".join(lines)
