"""The application, and what its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.process import hold
from harness.settings.load import find_study, load_candidate, load_study
from harness.settings.schema import Settings
from harness.settings.study import CANDIDATE, DEFAULT, Study

HERE = Path(".")
"""The repository: commands are run in its root."""

STUDY: Any = DEFAULT.as_posix()
"""The default of a command's study, which typer parses as it does a word of the user's."""

app = typer.Typer(
    help="Ablations of AlexNet: declared variants, paired seeds, bitwise reproducible runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


OWN_BITS = ("train", "eval", "ensemble", "gallery")
"""Commands that compute a run's numbers: they hold the process as its settings say, before anything heavy is loaded."""


@app.callback()
def _portable(context: typer.Context) -> None:
    # Tables and figures, too, are the same to the byte on other processors.
    if context.invoked_subcommand not in OWN_BITS:
        hold("portable")


def named_study(name: str) -> Study:
    """The study that was named on the command line."""
    return load_study(find_study(Path(name)))


STUDY_HELP = "The study: its name, folder, file or report."
StudyArgument = Annotated[Study, typer.Argument(help=STUDY_HELP, metavar="STUDY", parser=named_study)]
StudyOption = Annotated[Study, typer.Option("--study", help=STUDY_HELP, metavar="STUDY", parser=named_study)]
RequireClean = Annotated[
    bool | None,
    typer.Option(
        "--require-clean/--allow-dirty",
        help="Refuse code that no commit holds, or record its hash; by default a committed study refuses it.",
    ),
]


def candidate(study: Study) -> tuple[Settings, int] | None:
    """The run of params.yaml, which stands beside the default study alone."""
    return load_candidate(CANDIDATE) if study.is_default else None
