"""The commands that make the rows of a report again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.report.cells import CANDIDATE, Results
from harness.settings.study import Study

MADE_BY = ["runs", "command"]
"""Columns of a table with a row a variant: its runs, as seed: fingerprint, and what makes them and the baseline's."""


def inside(path: Path, root: Path) -> Path | None:
    """A path relative to the repository, or None when it lies elsewhere."""
    absolute = path.resolve() if path.is_absolute() else (root / path).resolve()
    return absolute.relative_to(root.resolve()) if absolute.is_relative_to(root.resolve()) else None


def rerun(study: Study, variants: Sequence[str]) -> str:
    """The command that runs every seed of some variants again, and brings the report up to date."""
    return f"harness run {study.name} --force --only {','.join(variants)}"


def carried(study: Study, results: Results, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table with a row a variant, each with what made its numbers: see `MADE_BY`."""

    def made(variant: str) -> dict[str, str]:
        cells = [results.candidate] if variant == CANDIDATE else results.of(variant)
        runs = [f"{c.seed}: {c.run.fingerprint[:12]}" for c in cells if c and c.run and c.status == "finished"]
        pair = list(dict.fromkeys([variant, study.baseline]))
        return {"runs": "; ".join(runs), "command": rerun(study, [variant] if variant == CANDIDATE else pair)}

    return [row | made(row["variant"]) for row in table]
