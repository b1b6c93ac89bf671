"""The answer of a study in one paragraph, made from its verdicts: a direction is named only where one of them is."""

from harness.grammar import counted, verb
from harness.report.markdown import code, joined
from harness.report.numbers import number, places_of, value
from harness.report.tables import VariantRow, rules
from harness.report.words import METRICS, confidence, difference_text, error_text
from harness.settings.study import Study
from harness.statistics.judging import PROMISED


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
        return f"Of {counted(compared, 'variant')}, none is found to change {error}."
    rows = sorted(rows, key=lambda row: -abs(row.difference.mean or 0))
    effects = joined([_effect(row, first=row is rows[0], study=study) for row in rows])
    return f"Of {counted(compared, 'variant')}, {len(rows)} {verb(len(rows), 'change')} {error}: {effects}."


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
    # A variant that changes several settings at once says nothing of one thing that the baseline has.
    alone = [row for row in rows if len(row.changes) == 1]
    sides = {side: [code(row.variant) for row in alone if _verdict(row) == side] for side in ("helps", "hurts")}
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
            f" (Taken alone, the interval of {joined(alone)} excludes zero; among "
            f"{counted(compared, 'comparison')} that is not enough.)"
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
    few = min((row.comparison.difference.n for row in rows if row.comparison), default=0)
    if rows and few < PROMISED:
        sentences.append(f"With {counted(few, 'seed')}, fewer than {PROMISED}, no error rate is promised.")
    elif rows and compared > 1:
        sentences.append(
            f"The verdicts hold for all {compared} comparisons together: if no variant changed anything, about "
            f"{value(100 * rules(study).alpha)} % of such studies would say that one does. The intervals hold at "
            f"{confidence(study, rows)} each."
        )
    if rows:
        sentences.append("Verdicts and intervals speak of other seeds on the same images.")
    sentences.append(f"All this is one data set, {images}, at this scale.")
    return " ".join(sentences)
