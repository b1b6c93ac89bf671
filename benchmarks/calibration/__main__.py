"""`python -m benchmarks.calibration`: how often the tests of the report err, and what they find."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.calibration.page import calibrate
from benchmarks.calibration.simulate import NOISES
from harness.errors import UserError


def main(
    out: Annotated[Path, typer.Option(help="Folder of tables and figures; the page is beside it, as OUT.md.")] = Path(
        "reports/calibration"
    ),
    studies: Annotated[int, typer.Option(min=100, help="Simulated studies a row of the tables.")] = 10_000,
    noise: Annotated[
        list[str] | None, typer.Option(help="Simulate this noise alone; the other rows of the tables stay.")
    ] = None,
) -> None:
    """Simulate how often the tests err and what they find, and write the page on it."""
    try:
        print(calibrate(out, studies, Path("."), tuple(noise or NOISES)))
    except UserError as error:
        print(f"calibration: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
