"""Tables of predictions: one answer an image of the test part, as evaluation stores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.user_code import function_of, told

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from harness.record import Run
    from harness.settings.study import Study


def read_predictions(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table, or some of its columns. Raises `UserError` where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{path}: no such file; evaluate the run again")
    try:
        return pq.read_table(path, columns=columns and list(columns))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a table of predictions: {error}; evaluate the run again") from error


def same_predictions(one: Path, other: Path) -> bool:
    """Whether two tables hold the same answers. Raises `UserError`."""
    # Not by their bytes: other versions of the library may write the same table in others.
    return bool(read_predictions(one).equals(read_predictions(other)))


def extended(run: Run, study: Study, root: Path) -> Run:
    """A run with its study's own metrics among its numbers, as their files compute them from its predictions.

    Nothing is added to a run without numbers, which diverged or is not evaluated. Raises `UserError`: see `own`.
    """
    metrics = study.file.metrics
    if not run.measured or not run.metrics or metrics.keys() <= run.metrics.keys():
        return run
    table = read_predictions(run.folder.predictions).to_pandas()
    numbers = {name: own(name, file, root)(table.copy()) for name, file in metrics.items()}
    return replace(run, measured=run.measured.model_copy(update={"numbers": {**run.metrics, **numbers}}))


def own(name: str, file: str, root: Path) -> Callable[[pd.DataFrame], float]:
    """A study's own metric: the function `name` of a Python file, of the table of predictions: an error in percent.

    Raises `UserError`, with file and line, where there is none; the function does where it fails or gives something
    else than a number from 0 to 100.
    """
    function = function_of(file, name, root, f"metrics.{name}")

    line = function.__code__.co_firstlineno

    def metric(table: pd.DataFrame) -> float:
        with told(file, line):
            value: Any = function(table)
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 100:
            raise UserError(f"{file}:{line}: {name} gives {value!r}; allowed: a number from 0 to 100, in percent")
        return float(value)

    return metric
