"""The candidate in the report: its row beside the variants, its section, and the commands that make it again."""

from harness.progress import clock
from harness.report import words
from harness.report.candidate import Candidate
from harness.report.cells import CANDIDATE
from harness.report.markdown import code, plain, unbroken
from harness.report.numbers import NOTHING, number
from harness.report.rerun import CANDIDATE_AGAIN
from harness.report.tables import other_crop
from harness.settings.study import Study


def row(candidate: Candidate, study: Study) -> list[str]:
    """Its row of the table of variants: one run, so no interval and no verdict."""
    result = candidate.result
    run = result.run if result.status == "finished" else None
    other = run.metrics.get(other_crop(study.file.metric)) if run else None
    return [
        f"*{CANDIDATE}* (one run, seed {result.seed})",
        words.changes_text(candidate.changes, "nothing"),
        unbroken(f"{1 if run else 0} of 1"),
        number(candidate.error),
        number(candidate.difference, sign=True),
        "none: one run" if candidate.difference is not None else NOTHING,
        "1" if candidate.difference is not None else NOTHING,
        *[NOTHING] * 4,
        number(other),
        f"{run.provenance.parameters:,}" if run else NOTHING,
        unbroken(clock(run.provenance.wall_seconds)) if run else NOTHING,
    ]


def candidate_text(study: Study, candidate: Candidate | None) -> str:
    """The section on the candidate: one run beside the declared ones; empty where none is declared."""
    if candidate is None:
        return ""
    result = candidate.result
    sentences = [
        f"One run with seed {result.seed}; it differs from the baseline {code(study.baseline)} in "
        f"{words.changes_text(candidate.changes, 'no setting')}."
    ]
    if candidate.error is None:
        return f"{sentences[0]} It is **{result.status}**: {plain(result.note)}."
    sentences.append(f"Its {words.METRICS[study.file.metric]} is {number(candidate.error)} %.")
    if candidate.difference is None:
        sentences.append(f"It is not compared: {plain(candidate.why_not)}.")
    else:
        sentences.append(
            f"To {code(f'{study.baseline}-{result.seed}')}, the baseline's run of the same seed, that is "
            f"{number(candidate.difference, sign=True)} points: one pair, so no interval, and no verdict on the switch."
        )
    if candidate.twin:
        sentences.append(words.twin_text(candidate.twin))
    else:
        sentences.append("No declared cell has its settings and its seed.")
    return " ".join(sentences)


def commands(candidate: Candidate) -> list[str]:
    """How it is run again: through DVC, and plainly."""
    run = candidate.result.run
    return [
        f"*{CANDIDATE}*",
        code(CANDIDATE_AGAIN),
        code(run.provenance.command) if run else NOTHING,
    ]
