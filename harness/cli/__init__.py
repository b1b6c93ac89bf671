"""The command line: it parses, calls and prints. Everything heavy is imported where it is needed."""

import errno
import io
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from harness.cli import results, stages, studies
from harness.cli.app import app
from harness.errors import UserError

__all__ = ["app", "main", "results", "stages", "studies"]

PANELS = (studies.PANEL, results.EXPERIMENTS, results.PANEL, stages.PANEL)
"""The groups of commands as `harness --help` lists them: what is used first stands first."""

app.registered_commands.sort(key=lambda command: PANELS.index(command.rich_help_panel))

STOPPED = 130
"""Exit status after Ctrl-C, by the shell's custom."""

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

CIRCUMSTANCES = NO_LOCKS | {
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.EISDIR, errno.EMFILE, errno.ENAMETOOLONG,
    errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS, errno.ESTALE,
}  # fmt: skip
"""Errors of a disk, of rights, of limits and of what stands in the way: wherever they turn up, none of the program."""

# Typer carries click's classes with it; this is the one that its own errors are made from.
Mistake: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def main() -> None:
    """Run a command. A user's mistake is one line and exit status 2; told to stop, 130."""
    status: Any = 0
    _open_streams()
    if any(option.startswith("error") for option in sys.warnoptions):  # of libraries: they end no run
        os.environ.pop("PYTHONWARNINGS", None)
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks the minus sign gets its number
    try:
        status = app(standalone_mode=False, prog_name="harness")
    except KeyboardInterrupt:
        status = STOPPED
    except (UserError, OSError, ImportError, MemoryError, Mistake) as error:
        _tell(error)
        status = 2
    if status == STOPPED:
        print("harness: stopped", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _open_streams() -> None:
    """Have standard input, output and error where its user closed them: a file would take their numbers."""
    for number in range(3):
        with suppress(OSError):
            os.fstat(number)
            continue
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or sys.stdout


def _tell(error: Any) -> None:
    """Print one line on a mistake, or on what the machine lacks; an error of the program's own is raised again."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    if isinstance(error, UserError):
        line = str(error)
    elif isinstance(error, Mistake):
        command = error.ctx.command_path if getattr(error, "ctx", None) else "harness"
        line = f"{' '.join(error.format_message().split()).rstrip('.')}; see: {command} --help"
    elif isinstance(error, OSError):
        if error.errno not in CIRCUMSTANCES:
            raise error
        # An error without a file's name is a lock's or a limit's, and of a full disk one of what is printed.
        place = error.filename or ("standard output" if error.errno == errno.ENOSPC else Path.cwd())
        line = f"{place}: {error.strerror}{'; its file system has no file locks' if error.errno in NO_LOCKS else ''}"
    else:  # a library that finds no room fails as one that is not there
        line = f"{str(error) or 'no memory left'}; is there enough memory, and is every library installed?"
    print(f"harness: {line}", file=sys.stderr)
