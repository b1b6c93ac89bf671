"""The commands on the numerics identity: what the code computes, and whether a changed code computes the same."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli.app import app
from harness.cli.proofs import PANEL
from harness.errors import UserError
from harness.identity.code import ROOT

numerics = typer.Typer(help="Whether changed code computes the same numbers.", no_args_is_help=True)
app.add_typer(numerics, name="numerics", rich_help_panel=PANEL)


@numerics.command()
def status() -> None:
    """Show what the present code of each stage computes, and whether that is known."""
    from harness.verify.numerics import status as lines

    for line in lines(ROOT):
        print(line)


@numerics.command()
def prove(
    against: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="The known code; without it, the last known commit.")
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="2: old and new code at once.")] = 2,
    only: Annotated[list[str] | None, typer.Option(hidden=True, help="Run this probe alone (repeatable).")] = None,
) -> None:
    """Run changed code beside the last known code, and enter it as the same where every number is bitwise identical.

    Exit status 1 where one differs.
    """
    if not (ROOT / "tests/probes").is_dir():
        raise UserError(f"numerics prove: needs the repository, with tests/probes; {ROOT} has none")
    sys.path.insert(0, str(ROOT))
    from tests.probes.prove import prove as run

    if not run(ROOT, against, jobs, only or ()):
        raise typer.Exit(1)


@numerics.command()
def bump(scope: Annotated[str, typer.Argument(help="data, train or eval.")]) -> None:
    """Say that the changed code of a stage computes other numbers: what it computed before becomes stale."""
    from harness.verify.numerics import bump as enter

    enter(ROOT, scope)
