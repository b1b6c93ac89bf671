"""How far a study is, by which rule it may be judged now, and how the report says so."""

from dataclasses import dataclass

from harness.errors import UserError
from harness.report.cells import Results
from harness.settings.study import Study
from harness.statistics.sequential import nominal


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


def standing(study: Study, results: Results) -> Standing:
    """Where the study stands with these results.

    A seed is complete when every variant's run with it has finished or diverged. A look is made on the first complete
    seeds, as many as it has: what finished since waits for the next one.
    """
    finished = {(c.variant, c.seed) for c in results.cells if c.ended}
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
