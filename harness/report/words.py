"""What the numbers say, in sentences. A direction is named only where the verdict is one."""

import math
from collections.abc import Iterable

from harness.report.candidate import INPUTS, Twin
from harness.report.cells import Result
from harness.report.markdown import code, joined, plain
from harness.report.numbers import decimals, number, p_value, places_of, value
from harness.report.tables import VariantRow, rules
from harness.settings.schema import Settings
from harness.settings.study import Study

METRICS = {
    "test_top1": "test error (centre crop)",
    "test_top1_10crop": "test error (mean of ten crops)",
    "test_top1_mc_geometric": "test error (geometric mean over dropout masks)",
    "test_top1_mc_arithmetic": "test error (arithmetic mean over dropout masks)",
    "validation_top1": "validation error",
    "train_top1": "training error (evaluation mode)",
}
"""The study's metric in words."""


def answer(study: Study, rows: list[VariantRow], images: str) -> str:
    """The answer of the study: one paragraph of Markdown. `images` names its data, as in `which_images`.

    It is made from the verdicts: a direction is named for `helps` and `hurts` alone.
    """
    base = next(row for row in rows if row.is_baseline)
    others = [row for row in rows if row.comparison and row.comparison.in_family]
    outside = [row for row in rows if row.comparison and not row.comparison.in_family]
    spoken = [row for row in others if row.difference.sign is not None or _verdict(row) != "inconclusive"]
    return " ".join(
        part
        for part in (
            _unfinished(rows),
            _decided([row for row in others if _verdict(row) in ("helps", "hurts")], len(others), base, study),
            _helping(others),
            _equivalent([row for row in others if _verdict(row) == "equivalent"]),
            _undecided([row for row in spoken if _verdict(row) == "inconclusive"], len(others)),
            _silent([row for row in others if row not in spoken], base),
            _outside(outside) if base.finished else "",
            _limits(spoken, len(others), study, images),
        )
        if part
    )


def _verdict(row: VariantRow) -> str:
    return row.comparison.verdict if row.comparison else "inconclusive"


def _unfinished(rows: list[VariantRow]) -> str:
    finished, declared = sum(row.finished for row in rows), sum(row.declared for row in rows)
    if finished == declared:
        return ""
    return f"**{finished} of the {declared} declared runs have finished; what is missing is listed below.**"


def _decided(rows: list[VariantRow], compared: int, base: VariantRow, study: Study) -> str:
    if not compared and study.file.family == [] and len(study.variants) > 1:
        return "The study asks for no verdict: the family that it declares is empty."
    if not compared:
        return f"The study declares no variant beside the baseline {code(base.variant)}: there is nothing to compare."
    if not base.finished:
        return f"No run of the baseline {code(base.variant)} has finished: nothing can be compared yet."
    error = f"the {METRICS[study.file.metric]} against the baseline {code(base.variant)} ({error_text(base)} %)"
    if not rows:
        return f"Of {count(compared, 'variant')}, none is found to change {error}."
    rows = sorted(rows, key=lambda row: -abs(row.difference.mean or 0))
    effects = joined([_effect(row, first=row is rows[0], study=study) for row in rows])
    return f"Of {count(compared, 'variant')}, {len(rows)} {verb(len(rows), 'change')} {error}: {effects}."


def _effect(row: VariantRow, first: bool, study: Study) -> str:
    d = row.difference
    moves = "raises" if _verdict(row) == "helps" else "lowers"
    if d.low is None or d.high is None:
        return f"{code(row.variant)} {moves} it by {number(abs(d.mean or 0), places_of(d))} points"
    low, high = sorted((abs(d.low), abs(d.high)))
    places = places_of(d)
    bounds = f"{number(low, places)} to {number(high, places)}"
    ends = f"({confidence(study, [row])} interval {bounds})" if first else f"({bounds})"
    return f"{code(row.variant)} {moves} it by {number(abs(d.mean or 0), places)} points {ends}"


def _helping(rows: list[VariantRow]) -> str:
    sides = {side: [code(row.variant) for row in rows if _verdict(row) == side] for side in ("helps", "hurts")}
    parts = [f"{side} where {joined(names)} {'changes' if len(names) == 1 else 'change'} it"
             for side, names in sides.items() if names]  # fmt: skip
    return f"So what the baseline has {' and '.join(parts)}." if parts else ""


def _equivalent(rows: list[VariantRow]) -> str:
    if not rows or not rows[0].comparison:
        return ""
    each = joined([f"{code(row.variant)} ({difference_text(row)})" for row in rows])
    margin = rows[0].comparison.margin
    return (
        f"{each} {'is' if len(rows) == 1 else 'are'} equivalent to the baseline: the difference is shown to be smaller "
        f"than the declared margin of {value(margin)} points."
    )


def _undecided(rows: list[VariantRow], compared: int) -> str:
    if not rows:
        return ""
    pairs = sorted({row.difference.n for row in rows})
    n = f"n = {pairs[0]}" if len(pairs) == 1 else f"n = {pairs[0]} to {pairs[-1]}"
    each = joined([f"{code(row.variant)} ({difference_text(row)})" for row in rows])
    alone = [code(row.variant) for row in rows if row.difference.sign]
    text = (
        f"For {each} the study is undecided with {n} paired {'seed' if pairs == [1] else 'seeds'}, which is not the "
        "same as no effect."
    )
    if alone:
        text += (
            f" (Taken alone, the interval of {joined(alone)} excludes zero; among {count(compared, 'comparison')} that "
            "is not enough.)"
        )
    return text


def _silent(rows: list[VariantRow], base: VariantRow) -> str:
    if not base.finished:
        return ""
    few = [code(row.variant) for row in rows if row.difference.n < 2]
    more = [row for row in rows if row.difference.n >= 2]
    constant = [f"{code(row.variant)} ({difference_text(row)})" for row in more if not row.difference.sd]
    mute = [f"{code(row.variant)} ({difference_text(row)})" for row in more if row.difference.sd]
    sentences = []
    if few:
        sentences.append(f"For {joined(few)} there are fewer than two complete pairs, hence no interval.")
    if constant:
        sentences.append(f"For {joined(constant)} the difference is the same on every seed, hence no interval.")
    if mute:
        sentences.append(f"For {joined(mute)} the sign-flip test has no interval with so few seeds: undecided.")
    return " ".join(sentences)


def _outside(rows: list[VariantRow]) -> str:
    if not rows:
        return ""
    return f"{joined([code(row.variant) for row in rows])}: outside the declared family, hence without a verdict."


def _limits(rows: list[VariantRow], compared: int, study: Study, images: str) -> str:
    sentences = []
    if rows and compared > 1:
        sentences.append(
            f"The verdicts hold for all {compared} comparisons together: if no variant changed anything, no more than "
            f"{value(100 * rules(study).alpha)} % of such studies would say that one does. The intervals hold at "
            f"{confidence(study, rows)} each."
        )
    if rows:
        sentences.append("Both speak of other seeds on the same images.")
    sentences.append(f"All this is one data set, {images}, at this scale.")
    return " ".join(sentences)


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
        f"{count(sum(c.in_family for c in own), 'comparison')}."
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
            sentences.append(f"{joined(apart)} left the pool and {verb(len(apart), 'stand')} on its own differences.")
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


def scale(settings: Settings) -> str:
    """How far a net and its training are from the paper's."""
    own = (
        f"geometry {settings.geometry} with crops of {settings.crop} pixels, convolutions at {value(settings.width)} "
        f"times the paper's width, {settings.fc_width} units in fc6 and fc7, {settings.epochs} epochs"
    )
    return (
        f"**Scale.** The baseline here has {own}. The paper's net has crops of 224 pixels, 4096 units, about 90 epochs "
        "over 1.2 million images. What a component does at this scale is no verdict on what it does at the paper's; "
        "the paper's differences stand beside ours for comparison."
    )


def confidence(study: Study, rows: Iterable[VariantRow] = ()) -> str:
    """`95 %`: the study's, or that of the intervals of its comparisons, which a look at it makes longer."""
    alpha = next((row.comparison.alpha for row in rows if row.comparison), 1 - study.file.confidence)
    places = max(2, 1 - math.floor(math.log10(100 * alpha)))
    return f"{100 * (1 - alpha):.{places}f}".rstrip("0").rstrip(".") + " %"


def count(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def verb(n: int, base: str) -> str:
    """`1 changes`, `2 change`."""
    return f"{base}s" if n == 1 else base


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
    why = (
        f"Among what went into them, they differ in {joined(causes)}."
        if causes
        else "Nothing that is hashed of what went into them differs: device, threads or versions may."
    )
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
