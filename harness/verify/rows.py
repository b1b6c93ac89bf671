"""Which runs are to be verified: from a study and a row to the declared cells."""

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.report.cells import CANDIDATE
from harness.settings.study import Study


@dataclass(frozen=True)
class Target:
    """A run that a report shows: the key that it has there, and the folder of its results below the repository."""

    key: str
    results: Path


def targets(study: Study, row: str | None, seed: int | None, everything: bool) -> list[Target]:
    """The runs of a row (of every row with `everything`), of one seed or all. Raises `UserError`."""
    rows = [*study.variants, CANDIDATE]
    if (row is None) != everything:
        found = "no row" if row is None else f"the row {row} and --all"
        raise UserError(f"verify: got {found}; allowed: --all, or one of {', '.join(rows)}")
    if row is not None and row not in rows:
        raise UserError(f"verify: {study.name} has no row {row!r}; allowed: {', '.join(rows)}")
    if row == CANDIDATE:
        if seed is not None:
            raise UserError(f"verify: --seed: got {seed}; the candidate has the seed of params.yaml")
        return [Target(CANDIDATE, study.candidate_results)]
    if seed is not None and seed not in study.seeds:
        raise UserError(f"verify: --seed: got {seed}; allowed: {', '.join(map(str, study.seeds))}")
    return [
        Target(cell.key, cell.results)
        for cell in study.cells
        if (everything or cell.variant == row) and (seed is None or cell.seed == seed)
    ]
