"""The application, and what its commands share."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commits import git
from harness.errors import UserError
from harness.process import hold
from harness.settings.load import declared_names, find_study, load_candidate, load_study
from harness.settings.schema import Settings
from harness.settings.study import CANDIDATE, DEFAULT, Study, is_root

HERE = Path(".")
"""The repository: every command goes to its root, from whatever folder below it is called."""

_below = "."
"""The folder that the command was called in, from the root."""

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

GIT = ("run", "train", "verify", "compare", "diff", "candidate", "discard")
"""Commands that ask git about the code or the results."""


@app.callback()
def _begin(context: typer.Context) -> None:
    global _below
    try:
        here = Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the folder that this was called in is there no more; go to another one") from error
    root = next((folder for folder in (here, *here.parents) if is_root(folder)), here)
    _below = here.relative_to(root).as_posix()
    os.chdir(root)
    # A run would be recorded without its commit.
    if context.invoked_subcommand in GIT and any((folder / ".git").exists() for folder in (root, *root.parents)):
        if not shutil.which("git"):
            raise UserError(f"{root}: is a git repository, and no git is found in PATH; install it")
        if git(root, "rev-parse") is None:
            raise UserError(
                f"{root}: git does not read this repository; where it is another user's, as in a container, run: "
                f"git config --global --add safe.directory {shlex.quote(str(root))}"
            )
    # Tables and figures, too, are the same to the byte on other processors.
    if context.invoked_subcommand not in OWN_BITS:
        hold("portable")


def at(path: str | Path) -> Path:
    """A path that its user gave from where he stands, as one from the root. A default, which is a `Path`, is one."""
    return Path(path) if isinstance(path, Path) or _below == "." else Path(os.path.normpath(os.path.join(_below, path)))


def word(text: str, names: bool = True) -> str:
    """What a user named, alone or before a colon: a path that is there, as one from the root; anything else as it is.

    `names`: the name of a study is one also where he stands beside a folder that is called so.
    """
    head, colon, run = text.rpartition(":")
    for path, rest in ((text, ""), (head, colon + run)):
        if path and at(path).exists() and not (names and path in declared_names().values()):
            return f"{at(path)}{rest}"
    return text


def named_study(name: str) -> Study:
    """The study that was named on the command line."""
    return load_study(find_study(Path(word(name))))


def place(text: str, option: Any = typer.Option) -> Any:
    """An option or argument that is a path, with its help."""
    return option(help=text, parser=at, metavar="PATH")


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
