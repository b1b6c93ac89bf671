"""The application, and what its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.settings.schema import Settings
    from harness.settings.study import Study

STUDY = Path("experiments/study.yaml")
CANDIDATE = Path("params.yaml")

app = typer.Typer(
    help="Ablations of AlexNet: declared variants, paired seeds, bitwise reproducible runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def find_study(given: Path | None) -> Path | None:
    """The file of the study that was named on the command line; nothing where none was."""
    from harness.settings.load import find_study as find

    return find(given) if given else None


STUDY_HELP = "The study: its name, folder, file or report."
StudyFile = Annotated[Path, typer.Argument(help=STUDY_HELP, metavar="STUDY", callback=find_study)]
RequireClean = Annotated[
    bool | None,
    typer.Option(
        "--require-clean/--allow-dirty",
        help="Refuse code that no commit holds, or record its hash; by default a committed study refuses it.",
    ),
]


def candidate(study: Study) -> tuple[Settings, int] | None:
    """The run of params.yaml, which stands beside the default study alone."""
    from harness.settings.load import load_candidate

    return load_candidate(CANDIDATE) if study.is_default else None
