"""How far a study is, by which rule it may be judged now, and how the report says so."""

from dataclasses import dataclass

from harness.errors import UserError
from harness.report.cells import Results
from harness.report.markdown import joined
from harness.report.numbers import value
from harness.settings.study import Study
from harness.statistics.sequential import nominal

UNJUDGED = (
    "Intervals: each for its comparison alone, as if this number of seeds had been fixed beforehand; they prove "
    "nothing when a study is looked at until they do."
)
"""How to read an interim table whose study declared no look here."""


@dataclass(frozen=True)
class Standing:
    """What a report may say at this point of a study.

    `interim`: the study is not done. `judged`: its rule allows verdicts now. `look`: number of the look from 1, 0
    before the first; None where none is declared. `seeds`: those that are compared. `ended`: seeds of which every
    variant's run has ended. `alpha`: of this look, that p-values are held against and that intervals are made for.
    """

    interim: bool
    judged: bool
    look: int | None
    seeds: tuple[int, ...]
    ended: tuple[int, ...]
    alpha: float

    def text(self, study: Study) -> str:
        """What the reader is to know before the numbers; empty for a study without looks that is not interim."""
        withheld = " The paper's claims are judged when the study is done." if study.file.claims else ""
        return self._text(study) + (withheld if self.interim else "")

    def _text(self, study: Study) -> str:
        planned, full = study.file.looks, (study.file.looks or [len(study.seeds)])[-1]
        here = f"{len(self.ended)} of {full} seeds are complete"
        if self.look is None:
            if not self.interim:
                return ""
            return (
                f"**Interim: {here}.** No rule for looking early was declared (`looks`), so there are estimates here "
                "and no verdicts; what is seen now must not decide how the study goes on."
            )
        numbers = joined([str(number) for number in planned])
        if not self.judged:
            return (
                f"**Interim: {here}.** The study declares looks at {numbers} seeds, and the first is not reached: "
                "there are estimates here and no verdicts."
            )
        last = "" if self.interim else ", the last"
        waits = len(self.ended) - len(self.seeds)
        more = f" ({waits} more wait for the next look)" if waits else ""
        return (
            f"**{'Interim: look' if self.interim else 'Look'} {self.look} of {len(planned)}{last}.** The study "
            f"declares looks at {numbers} seeds; compared are the seeds {', '.join(map(str, self.seeds))}{more}. "
            f"Alpha of this look is {self.alpha:.3g}: p-values are held against it, and intervals are made for it, "
            f"so that all looks together err in no more than {value(100 * study.alpha)} % of studies."
        )


def standing(study: Study, results: Results) -> Standing:
    """Where the study stands with these results.

    A seed is complete when every variant's run with it has finished or diverged. A look is made on the first complete
    seeds, as many as it has: what finished since waits for the next one.
    """
    finished = {(c.variant, c.seed) for c in results.cells if c.status in ("finished", "diverged")}
    ended = tuple(seed for seed in study.seeds if all((variant, seed) in finished for variant in study.variants))
    if not study.file.looks:
        every = tuple(study.seeds)
        return Standing(results.early, not results.early, None, every, ended, study.alpha)
    reached = [number for number in study.file.looks if number <= len(ended)]
    if not reached:
        return Standing(True, False, 0, tuple(study.seeds), ended, study.alpha)
    family = len(study.variants) - 1 if study.file.family is None else len(study.file.family)
    alphas = nominal(tuple(study.file.looks), study.alpha, max(1, family))
    look = len(reached)
    return Standing(look < len(alphas), True, look, ended[: reached[-1]], ended, alphas[look - 1])


def check_early(study: Study, results: Results) -> None:
    """Refuse an interim report on a study that is done. Raises `UserError`."""
    now = standing(study, results)
    if len(now.ended) == len(study.seeds) and (now.look is None or not now.interim):
        raise UserError(f"report: --interim: every run of {study.name} has ended; make its report without --interim")
