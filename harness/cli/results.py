"""The commands about results beside those that are committed: an experiment against them, and the way back to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import CANDIDATE, STUDY, STUDY_HELP, StudyFile, app, find_study

PANEL = "Experiments"

Chosen = Annotated[Path, typer.Option(help=STUDY_HELP, metavar="STUDY", callback=find_study)]


@app.command(rich_help_panel=PANEL)
def compare(
    exp: Annotated[
        str, typer.Argument(metavar="EXP", help="A DVC experiment or a git revision; by default the workspace.")
    ] = "",
    study: Chosen = STUDY,
) -> None:
    """Compare an experiment's candidate with the baseline's run of the same seed, computed on the same instructions."""
    from harness.compare.candidate import compare as compared
    from harness.settings.load import load_study

    print("\n".join(compared(exp, load_study(study), Path("."))))


@app.command("candidate", rich_help_panel=PANEL)
def show_candidate(
    reset: Annotated[bool, typer.Option("--reset", help="Reset params.yaml to the last commit.")] = False,
) -> None:
    """Print what the candidate changes and where its results are; or reset it."""
    from harness.compare.candidate import standing
    from harness.discard import reset_candidate
    from harness.settings.load import load_candidate, load_study

    checked = load_study(STUDY)
    if reset:
        print("\n".join(reset_candidate(checked, Path("."))))
    else:
        print("\n".join(standing(checked, load_candidate(CANDIDATE), Path("."))))


@app.command(rich_help_panel=PANEL)
def discard(study: StudyFile) -> None:
    """Bring back a study's results, and what DVC recorded of them, as the last commit has them."""
    from harness.discard import discard as discarded
    from harness.settings.load import load_study

    print("\n".join(discarded(load_study(study), Path("."))))
