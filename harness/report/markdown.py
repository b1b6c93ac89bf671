"""Texts of others in Markdown: shown as they are, whatever characters they hold."""

import html
import re


def plain(text: object) -> str:
    """A text of someone else as one line of Markdown that shows it as it is, in a table as elsewhere."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", line)
    line = re.sub(r"^(\d*)([-+=.)])(?=\s|[-=]*$)", r"\1\\\2", line)  # else a list, or the line under a heading
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: object) -> str:
    """A text as code in a line of Markdown, in a table as elsewhere."""
    line = " ".join(str(text).split())
    if re.fullmatch(r"[\w .,:;/()\[\]{}=+@%→−-]+", line):
        return f"`{line}`"
    # Backticks would keep neither a backtick nor, in a table, a pipe.
    marks = re.sub(r"[`|*_\[\]\\~$#]", lambda match: f"&#{ord(match[0])};", html.escape(line))
    return f"<code>{marks}</code>"


def joined(parts: list[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def unbroken(text: str) -> str:
    """Kept on one line of a narrow column."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")
