"""The commands that put numbers to the test: made again, held against others, simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import STUDY, StudyFile, app, find_study

PANEL = "Proofs"


@app.command(rich_help_panel=PANEL)
def verify(
    study: StudyFile,
    row: Annotated[str | None, typer.Argument(help="A variant, or candidate.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its run with this seed; without it, every seed.")] = None,
    quick: Annotated[int | None, typer.Option(min=1, help="Its first steps alone, so many.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every row.")] = False,
    here: Annotated[bool, typer.Option("--here", help="By the present code, not the recorded commit's.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="CPU threads, not the recorded number.")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Runs at once.")] = 1,
) -> None:
    """Make runs of a report again and compare them with their records to the bit; exit status 1 where they differ."""
    from harness.settings.load import load_study
    from harness.verify.verify import targets
    from harness.verify.verify import verify as verify_runs

    checked = load_study(study)
    chosen = targets(checked, row, seed, everything)
    if not verify_runs(checked, chosen, Path("."), jobs=jobs, steps=quick, here=here, threads=threads):
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="A report's folder, or a git revision with its report.")],
    new: Annotated[str, typer.Argument(metavar="B", help="The same, newer.")],
    study: Annotated[
        Path,
        typer.Option(help="The study whose report of a revision is read.", metavar="STUDY", callback=find_study),
    ] = STUDY,
    check: Annotated[bool, typer.Option("--check", help="Exit status 1 where a verdict changed.")] = False,
) -> None:
    """Compare two reports: each row's estimates, whether they agree, and which verdicts changed, and why."""
    from harness.diff.compare import compare
    from harness.diff.listing import table
    from harness.diff.sides import open_source, read_side
    from harness.settings.load import load_study

    folder = load_study(study).folder
    one, other = (read_side(open_source(given, folder)) for given in (old, new))
    changes = compare(one, other)
    print(table(one, other, changes))
    if check and any(change.verdict_changed for change in changes):
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def calibrate(
    out: Annotated[Path, typer.Option(help="Folder of tables and figures; the report is beside it, as OUT.md.")] = Path(
        "reports/calibration"
    ),
    studies: Annotated[int, typer.Option(min=100, help="Simulated studies a cell.")] = 10_000,
    noise: Annotated[
        list[str] | None, typer.Option(help="Simulate this noise alone; the other rows of the tables stay.")
    ] = None,
) -> None:
    """Simulate how often the tests err and what they find, and write the report on it."""
    from harness.report.calibration import calibrate as simulate
    from harness.statistics.calibrate import NOISES

    print(simulate(out, studies, Path("."), tuple(noise or NOISES)))
