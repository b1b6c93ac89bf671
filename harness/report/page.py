"""The report as one HTML file that needs no other: for viewers that show no pictures beside a Markdown file."""

import base64
import re
from pathlib import Path

from markdown_it import MarkdownIt

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #24292f; background: #fff }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border: 1px solid #d0d7de; padding: .3em .6em; vertical-align: top }
code { background: #f3f4f6; padding: .1em .3em; border-radius: 3px }
blockquote { border-left: 4px solid #d0d7de; margin-left: 0; padding-left: 1em; color: #57606a }
img { max-width: 100% }
"""

KINDS = {"svg": "image/svg+xml", "png": "image/png"}
"""File endings of pictures, and what a browser calls them."""


def to_html(markdown: str, folder: Path) -> str:
    """The page of a report; its pictures, SVG and PNG files with paths relative to `folder`, are put into it.

    Markup in the text stays text. Links to files beside the report stay as they are.
    """
    # `<br>` between the lines of a cell is the one tag that the report writes; every other text is escaped there.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown).replace("&lt;br&gt;", "<br>")

    def embed(match: "re.Match[str]") -> str:
        content = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:{KINDS[match[2]]};base64,{content}"'

    body = re.sub(r'src="([^":]+\.(svg|png))"', embed, body)
    title = re.search(r"<h1>(.*?)</h1>", body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title[1] if title else ''}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
