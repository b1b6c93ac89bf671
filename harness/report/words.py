"""Numbers, settings and tests in words, as every section of a report puts them."""

import math
from collections.abc import Iterable

from harness.grammar import counted, verb
from harness.report.candidate import INPUTS, Twin
from harness.report.cells import Result
from harness.report.markdown import code, joined, plain
from harness.report.numbers import decimals, number, p_value, places_of, value
from harness.report.tables import VariantRow, rules
from harness.settings.study import Study

METRICS = {
    "test_top1": "test error (centre crop)",
    "test_top1_10crop": "test error (mean of ten crops)",
    "test_top1_mc_geometric": "test error (geometric mean over dropout masks)",
    "test_top1_mc_arithmetic": "test error (arithmetic mean over dropout masks)",
    "test_top5": "top-5 test error (centre crop)",
    "test_top5_10crop": "top-5 test error (mean of ten crops)",
    "validation_top1": "validation error",
    "train_top1": "training error (evaluation mode)",
}
"""The study's metric in words."""


TEST_NAMES = {
    "paired_t": "Student's paired t",
    "block": "seeds as blocks, one residual for the arms of like scale",
    "moderated": "moderated t: each difference's variance, shrunk towards the common one",
    "sign_flip": "the exact sign-flip test",
}
"""The tests that a study can declare, in words."""


def method(study: Study, rows: list[VariantRow]) -> str:
    """How the table's tests were made, and what they cannot do here."""
    own = [row.comparison for row in rows if row.comparison]
    declared = rules(study)
    alpha = own[0].alpha if own else declared.alpha
    sentences = [
        f"Test: `{declared.test}` ({TEST_NAMES[declared.test]}), alpha {alpha:.3g}, adjusted over "
        f"{counted(sum(c.in_family for c in own), 'comparison')}."
    ]
    there = [row for row in rows if row.comparison and row.comparison.se]
    if declared.test == "block" and there:
        apart = [code(row.variant) for row in there if row.comparison and not row.comparison.pooled]
        if len(apart) == len(there):
            sentences.append(
                "No residual is shared here (too few seeds or comparisons, or the baseline's scale is another): each "
                "comparison stands on its own paired differences, with Holm's adjustment."
            )
        elif apart:
            sentences.append(
                f"{joined(apart)} left the pool and {verb(len(apart), 'stand')} on "
                f"{'its' if len(apart) == 1 else 'their'} own differences."
            )
    sentences.append(
        f"Margin of equivalence: {value(declared.margin)} points."
        if declared.margin is not None
        else "No margin is declared, so nothing can be called equivalent."
    )
    mute = [c for c in own if c.in_family and c.flip.p is not None and not c.flip.can_reject(c.alpha, c.comparisons)]
    if mute and declared.test != "sign_flip":
        sentences.append(
            "The sign-flip test, which assumes nothing but symmetry, cannot reject at this n: its smallest p is "
            f"{p_value(min(c.flip.least or 1 for c in mute))}, before adjustment."
        )
    elif own and declared.test != "sign_flip":
        agree = [c for c in own if c.in_family and c.verdict in ("helps", "hurts")]
        same = sum(c.flip_adjusted is not None and c.flip_adjusted <= c.alpha for c in agree)
        if agree:
            sentences.append(
                f"The sign-flip test, which assumes nothing but symmetry, agrees on {same} of {len(agree)} that help "
                "or hurt."
            )
    lost = [
        f"{code(row.variant)} {row.comparison.diverged}" for row in rows if row.comparison and row.comparison.diverged
    ]
    if lost:
        sentences.append(
            f"Pairs with a diverged run: {', '.join(lost)}; they are in no mean, and have the worst rank in the "
            "sign-flip test."
        )
    return " ".join(sentences)


def confidence(study: Study, rows: Iterable[VariantRow] = ()) -> str:
    """`95 %`: the study's, or that of the intervals of its comparisons, which a look at it makes longer."""
    alpha = next((row.comparison.alpha for row in rows if row.comparison), 1 - study.file.confidence)
    places = max(2, 1 - math.floor(math.log10(100 * alpha)))
    return f"{100 * (1 - alpha):.{places}f}".rstrip("0").rstrip(".") + " %"


def error_text(row: VariantRow) -> str:
    """The mean error, rounded as its sd allows."""
    return number(row.error.mean, decimals(row.error.sd or row.floor))


def difference_text(row: VariantRow) -> str:
    """`+0.23, −0.31 to +0.77`."""
    d = row.difference
    places = places_of(d)
    mean = number(d.mean, places, sign=True)
    if d.low is None:
        return mean
    return f"{mean}, {number(d.low, places, sign=True)} to {number(d.high, places, sign=True)}"


def changes_text(changes: dict[str, tuple[object, object]], none: str) -> str:
    """`lrn: true → false`, a setting each."""
    return ", ".join(code(f"{key}: {value(a)} → {value(b)}") for key, (a, b) in changes.items()) or none


def cells_text(cells: list[Result]) -> str:
    """Cells by variant: `base` 0, 1; `tanh` 3."""
    seeds: dict[str, list[str]] = {}
    for cell in cells:
        seeds.setdefault(cell.variant, []).append(str(cell.seed))
    return "; ".join(f"{code(variant)} {', '.join(numbers)}" for variant, numbers in seeds.items())


def which_images(name: str, counts: dict[str, int]) -> str:
    """`fashion-mnist-8k (3,500 images to train, ...)`."""
    ways = {"train": "images to train", "validation": "to validate", "test": "to test"}
    parts = [f"{counts[part]:,} {way}" for part, way in ways.items() if part in counts]
    return f"{plain(name)} ({', '.join(parts)})"


def twin_text(twin: Twin) -> str:
    """Whether the candidate came out as the declared cell that has its settings and seed."""
    cell = code(twin.cell.key)
    if not twin.equal:
        return f"It has the settings and the seed of {cell}; the two cannot be compared, since one of them is missing."
    if not twin.differing:
        return (
            f"It has the settings and the seed of {cell}, and came out **equal to the bit**: losses, final weights and "
            "predictions are the same."
        )
    words = {"batch_order": "batch order", "initial": "initial weights"}
    causes = [words.get(name, name) for name in INPUTS if not twin.equal[name]]
    surroundings = [f"{name} ({code(a)} → {code(b)})" for name, (a, b) in twin.apart.items()]
    if causes:
        why = f"Among what went into them, they differ in {joined(causes)}."
    elif surroundings:
        why = (
            "Nothing that is hashed of what went into them differs, but what they were computed with does: "
            f"{joined(surroundings)}."
        )
    else:
        why = "Nothing that is hashed of what went into them differs: device, threads or versions may."
    outcomes = [name for name in twin.differing if name not in INPUTS]
    if not outcomes:
        return (
            f"It has the settings and the seed of {cell}, and came out **equal to the bit** in losses, final weights "
            f"and predictions. {why}"
        )
    return (
        f"It has the settings and the seed of {cell}, but came out **not equal to the bit**: {joined(outcomes)} "
        f"{verb(len(outcomes), 'differ')}. {why}"
    )
