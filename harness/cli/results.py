"""The commands about results beside those that are committed: an experiment against them, and the way back to them."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.app import HERE, STUDY, StudyArgument, StudyOption, app, named_study
from harness.settings.load import load_candidate
from harness.settings.study import CANDIDATE

PANEL = "Experiments"


@app.command(rich_help_panel=PANEL)
def compare(
    exp: Annotated[
        str, typer.Argument(metavar="EXP", help="A DVC experiment or a git revision; by default the workspace.")
    ] = "",
    study: StudyOption = STUDY,
) -> None:
    """Compare an experiment's candidate with the baseline's run of the same seed, computed on the same instructions."""
    from harness.compare.candidate import compare as compared

    print("\n".join(compared(exp, study, HERE)))


@app.command("candidate", rich_help_panel=PANEL)
def show_candidate(
    reset: Annotated[bool, typer.Option("--reset", help="Reset params.yaml to the last commit.")] = False,
) -> None:
    """Print what the candidate changes and where its results are; or reset it."""
    from harness.compare.candidate import standing
    from harness.pipeline.discard import reset_candidate

    study = named_study(STUDY)
    lines = reset_candidate(study, HERE) if reset else standing(study, load_candidate(CANDIDATE), HERE)
    print("\n".join(lines))


@app.command(rich_help_panel=PANEL)
def discard(study: StudyArgument) -> None:
    """Bring back a study's results, and what DVC recorded of them, as the last commit has them."""
    from harness.pipeline.discard import discard as discarded

    print("\n".join(discarded(study, HERE)))
