"""The answer of a study in one paragraph, made from its verdicts: a direction is named only where one of them is."""

from harness.report.tables import VariantRow, rules
from harness.report.template import paragraph
from harness.settings.study import Study
from harness.statistics.judging import PROMISED


def answer(study: Study, rows: list[VariantRow], images: str) -> str:
    """The answer of the study: one paragraph of Markdown. `images` names its data, as in `which_images`."""
    base = next(row for row in rows if row.is_baseline)
    judged = [(row, row.comparison) for row in rows if row.comparison and row.comparison.in_family]
    sides = {
        side: [row for row, c in judged if c.verdict == side]
        for side in ("helps", "hurts", "equivalent", "inconclusive")
    }
    decided = [row for row, c in judged if c.verdict in ("helps", "hurts")]
    undecided = [row for row in sides["inconclusive"] if row.difference.sign is not None]
    silent = [row for row in sides["inconclusive"] if row.difference.sign is None] if base.finished else []
    outside = [row for row in rows if row.comparison and not row.comparison.in_family] if base.finished else []
    spoken = [row for row, c in judged if row.difference.sign is not None or c.verdict != "inconclusive"]
    return paragraph(
        "answer",
        study=study,
        rules=rules(study),
        images=images,
        base=base,
        finished=sum(row.finished for row in rows),
        declared=sum(row.declared for row in rows),
        compared=len(judged),
        decided=sorted(decided, key=lambda row: -abs(row.difference.mean or 0)),
        equivalent=sides["equivalent"],
        undecided=undecided,
        few=[row for row in silent if row.difference.n < 2],
        constant=[row for row in silent if row.difference.n >= 2],
        outside=outside,
        spoken=spoken,
        seeds=min((row.comparison.difference.n for row in spoken if row.comparison), default=0),
        promised=PROMISED,
    )
