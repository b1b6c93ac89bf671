"""The commands on results: made again, held against others, brought back; and on code: whether it is the same."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli.app import HERE, STUDY, StudyArgument, StudyOption, app, named_study, word
from harness.errors import UserError
from harness.identity.code import ROOT
from harness.settings.load import load_candidate
from harness.settings.study import CANDIDATE

PANEL, EXPERIMENTS = "Verification", "Experiments"


@app.command(rich_help_panel=PANEL)
def verify(
    study: StudyArgument,
    row: Annotated[str | None, typer.Argument(help="A variant, or candidate.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its run with this seed; without it, every seed.")] = None,
    quick: Annotated[int | None, typer.Option(min=1, help="Its first steps alone, so many.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every row.")] = False,
    here: Annotated[bool, typer.Option("--here", help="By the present code, not the recorded commit's.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="CPU threads, not the recorded number.")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Runs at once.")] = 1,
) -> None:
    """Re-run runs of a report and compare them bit by bit with their records; exit status 1 where they differ.

    On a machine that computes other bits, errors are compared: exit status 3 where all agree within noise.
    """
    from harness.verify.verify import targets
    from harness.verify.verify import verify as verify_runs

    chosen = targets(study, row, seed, everything)
    if status := verify_runs(study, chosen, HERE, jobs=jobs, steps=quick, here=here, threads=threads):
        raise typer.Exit(status)


@app.command(rich_help_panel=PANEL)
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="A report's folder, or a git revision with its report.")],
    new: Annotated[str, typer.Argument(metavar="B", help="The same, newer.")],
    study: StudyOption = STUDY,
    check: Annotated[bool, typer.Option("--check", help="Exit status 1 where a verdict changed.")] = False,
) -> None:
    """Compare two reports: each row's estimates, whether they agree, and which verdicts changed, and why."""
    from harness.diff.changes import compare as changes_between
    from harness.diff.sides import open_report, read_side
    from harness.diff.table import table

    before, after = (read_side(open_report(word(side, names=False), study.folder)) for side in (old, new))
    changes = changes_between(before, after)
    print(table(before, after, changes))
    if check and any(change.verdict_changed for change in changes):
        raise typer.Exit(1)


@app.command("check-component", rich_help_panel=PANEL)
def check_component(
    setting: Annotated[str, typer.Argument(metavar="NAME", help="A setting, or one of its values as NAME=VALUE.")],
    beside: Annotated[list[str] | None, typer.Argument(help="Others that it needs, as NAME=VALUE.")] = None,
) -> None:
    """Train tiny nets to find what a component may not do, by file and line; exit status 1 where there is something."""
    from harness.verify.component import check_component as check

    if not check([setting, *(beside or [])], ROOT):
        raise typer.Exit(1)


def _own_repository() -> None:
    """Where the package's code is worked on: there are its probes, and a commit can hold what is entered."""
    if not (ROOT / "tests/probes").is_dir():
        raise UserError(f"numerics: needs the harness's own repository, with tests/probes; {ROOT} has none")


numerics = typer.Typer(
    help="Whether changed code computes the same numbers.", no_args_is_help=True, callback=_own_repository
)
app.add_typer(numerics, name="numerics", rich_help_panel=PANEL)


@numerics.command()
def status() -> None:
    """Show what the present code of each stage computes, and whether that is known."""
    from harness.verify.known_code import status as lines

    print("\n".join(lines(ROOT)))


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
    sys.path.insert(0, str(ROOT))
    from tests.probes.prove import prove as run

    if not run(ROOT, against, jobs, only or ()):
        raise typer.Exit(1)


@numerics.command()
def bump(scope: Annotated[str, typer.Argument(help="data, train or eval.")]) -> None:
    """Say that the changed code of a stage computes other numbers: what it computed before becomes stale."""
    from harness.verify.known_code import bump as enter

    enter(ROOT, scope)


@app.command(rich_help_panel=EXPERIMENTS)
def compare(
    exp: Annotated[
        str, typer.Argument(metavar="EXP", help="A DVC experiment or a git revision; by default the workspace.")
    ] = "",
    study: StudyOption = STUDY,
) -> None:
    """Compare an experiment's candidate with the baseline's run of the same seed, computed on the same instructions."""
    from harness.compare.candidate import compare as compared

    print("\n".join(compared(exp, study, HERE)))


@app.command("candidate", rich_help_panel=EXPERIMENTS)
def show_candidate(
    reset: Annotated[bool, typer.Option("--reset", help="Reset params.yaml to the last commit.")] = False,
) -> None:
    """Print what the candidate changes and where its results are; or reset it."""
    from harness.compare.candidate import standing
    from harness.pipeline.discard import reset_candidate

    study = named_study(STUDY)
    lines = reset_candidate(study, HERE) if reset else standing(study, load_candidate(CANDIDATE), HERE)
    print("\n".join(lines))


@app.command(rich_help_panel=EXPERIMENTS)
def discard(study: StudyArgument) -> None:
    """Bring back a study's results, and what DVC recorded of them, as the last commit has them."""
    from harness.pipeline.discard import discard as discarded

    print("\n".join(discarded(study, HERE)))
