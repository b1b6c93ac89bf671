"""Mistakes of the user: told in one line, never as a traceback."""


class UserError(Exception):
    """A mistake that its user can mend: the message names the file and key, what was found and what is allowed.

    The command line prints it on one line and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
