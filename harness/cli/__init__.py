"""The command line: it parses, calls and prints. Everything heavy is imported where it is needed."""

import sys

from harness.cli import proofs, stages, studies
from harness.cli.app import app
from harness.errors import UserError

__all__ = ["app", "main", "proofs", "stages", "studies"]


def main() -> None:
    """Run a command. A user's mistake is one line and exit status 2; told to stop, 130."""
    try:
        app()
    except UserError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("harness: stopped", file=sys.stderr)
        sys.exit(130)
