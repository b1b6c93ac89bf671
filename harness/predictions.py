"""Tables of predictions: one answer an image of the test part, as evaluation stores them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


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
