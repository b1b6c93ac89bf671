"""Guessing at random: the error that it has, and the variants that are no better."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report import words
from harness.report.cells import Results
from harness.report.markdown import code, joined
from harness.report.numbers import number
from harness.report.tables import VariantRow
from harness.settings.study import top_of


@dataclass(frozen=True)
class Chance:
    """What guessing `top` of `classes` at random comes to. `error`: in percent; `lost`: the rows that are at it."""

    top: int
    classes: int
    error: float
    base: VariantRow
    lost: list[VariantRow]

    @classmethod
    def of(cls, rows: list[VariantRow], results: Results) -> Chance | None:
        """The chance of a study's metric; None before any run is there."""
        classes = min((c.run.images.classes for c in results.cells if c.run and c.status != "stale"), default=None)
        if classes is None:
            return None
        base = next(row for row in rows if row.is_baseline)
        top = top_of(base.metric)
        error = 100 * (1 - top / classes)
        lost = [row for row in rows if row.error.mean is not None and row.error.mean > error - 3 * (row.floor or 0)]
        return cls(top, classes, error, base, lost)

    @property
    def _named(self) -> str:
        return joined([code(row.variant) for row in self.lost])

    def warnings(self) -> list[str]:
        """For the top of the report: what the differences say where a net learned nothing. Empty where none is lost."""
        if not self.lost:
            return []
        one = len(self.lost) == 1
        if any(row.is_baseline for row in self.lost):
            which = "It is the baseline" if one else "The baseline is among them"
            says = f"{which}, so no difference here says what a component does."
        else:
            says = (
                f"{'Its' if one else 'Their'} difference to the baseline says that the training "
                "failed, not what the component does."
            )
        are = "is" if one else "are"
        return [f"{self._named} {are} at chance: nothing was learned there. {says} See [levels](#levels)."]

    def levels(self) -> str:
        """Where the errors lie: that of guessing, the baseline's, and which variants are at chance."""
        guessed = {1: "one", 5: "five"}[self.top]
        sentences = [
            f"Guessing {guessed} of {self.classes} classes at random errs in "
            f"{number(self.error, 4).rstrip('0').rstrip('.')} %."
        ]
        if self.base.finished:
            sentences.append(
                f"The {words.METRICS[self.base.metric]} of the baseline {code(self.base.variant)} is "
                f"{words.error_text(self.base)} %."
            )
        if self.lost:
            sentences.append(
                f"**At chance: {self._named}.** Nothing was learned there; the difference to the baseline says that "
                "the training failed, not what the component does."
            )
        return " ".join(sentences)
