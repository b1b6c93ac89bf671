"""What the numbers say, in sentences. A direction is named only where the interval excludes zero."""

from harness.report.candidate import INPUTS, Twin
from harness.report.cells import Result
from harness.report.markdown import code, joined, plain
from harness.report.numbers import decimals, number, places_of, value
from harness.report.tables import VariantRow
from harness.settings.schema import Settings
from harness.settings.study import Study

METRICS = {"test_top1": "test error (centre crop)", "test_top1_10crop": "test error (mean of ten crops)"}
"""The study's metric in words."""


def answer(study: Study, rows: list[VariantRow], images: str) -> str:
    """The answer of the study: one paragraph of Markdown. `images` names its data, as in `which_images`."""
    base = next(row for row in rows if row.is_baseline)
    others = [row for row in rows if not row.is_baseline]
    return " ".join(
        part
        for part in (
            _unfinished(rows),
            _decided([row for row in others if row.difference.sign], len(others), base, study),
            _undecided([row for row in others if row.difference.sign == 0]),
            _silent([row for row in others if row.difference.sign is None], base),
            _limits([row for row in others if row.difference.sign is not None], study, images),
        )
        if part
    )


def _unfinished(rows: list[VariantRow]) -> str:
    finished, declared = sum(row.finished for row in rows), sum(row.declared for row in rows)
    if finished == declared:
        return ""
    return f"**{finished} of the {declared} declared runs have finished; what is missing is listed below.**"


def _decided(rows: list[VariantRow], compared: int, base: VariantRow, study: Study) -> str:
    if not compared:
        return f"The study declares no variant beside the baseline {code(base.variant)}: there is nothing to compare."
    if not base.finished:
        return f"No run of the baseline {code(base.variant)} has finished: nothing can be compared yet."
    error = f"the {METRICS[study.file.metric]} against the baseline {code(base.variant)} ({error_text(base)} %)"
    if not rows:
        return f"No {confidence(study)} interval of a change in {error} excludes zero."
    rows = sorted(rows, key=lambda row: -abs(row.difference.mean or 0))
    effects = joined([_effect(row, first=row is rows[0], study=study) for row in rows])
    return f"Of {count(compared, 'variant')}, {len(rows)} {verb(len(rows), 'change')} {error}: {effects}."


def _effect(row: VariantRow, first: bool, study: Study) -> str:
    d = row.difference
    low, high = sorted((abs(d.low or 0), abs(d.high or 0)))
    places = places_of(d)
    bounds = f"{number(low, places)} to {number(high, places)}"
    ends = f"({confidence(study)} interval {bounds})" if first else f"({bounds})"
    moves = "raises" if d.sign == 1 else "lowers"
    return f"{code(row.variant)} {moves} it by {number(abs(d.mean or 0), places)} points {ends}"


def _undecided(rows: list[VariantRow]) -> str:
    if not rows:
        return ""
    pairs = sorted({row.difference.n for row in rows})
    n = f"n = {pairs[0]}" if len(pairs) == 1 else f"n = {pairs[0]} to {pairs[-1]}"
    each = joined([f"{code(row.variant)} ({difference_text(row)})" for row in rows])
    return (
        f"For {each} the interval includes zero: undecided with {n} paired {'seed' if pairs == [1] else 'seeds'}, "
        "which is not the same as no effect."
    )


def _silent(rows: list[VariantRow], base: VariantRow) -> str:
    if not base.finished:
        return ""
    few = [code(row.variant) for row in rows if row.difference.n < 2]
    constant = [f"{code(row.variant)} ({difference_text(row)})" for row in rows if row.difference.n >= 2]
    sentences = []
    if few:
        sentences.append(f"For {joined(few)} there are fewer than two complete pairs, hence no interval.")
    if constant:
        sentences.append(f"For {joined(constant)} the difference is the same on every seed, hence no interval.")
    return " ".join(sentences)


def _limits(rows: list[VariantRow], study: Study, images: str) -> str:
    k, level = len(rows), study.file.confidence
    sentences = []
    if k > 1:
        sentences.append(
            f"The {k} intervals hold at {confidence(study)} each and are not adjusted for {k} comparisons: if no "
            f"variant changed anything, up to {min(100, 100 * k * (1 - level)):.0f} % of such studies would still show "
            "at least one that excludes zero."
        )
    if k:
        sentences.append("They speak of other seeds on the same images.")
    sentences.append(f"All this is one data set, {images}, at this scale.")
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


def confidence(study: Study) -> str:
    """`95 %`."""
    return f"{value(100 * study.file.confidence)} %"


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
