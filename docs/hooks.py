"""What `mkdocs build` adds to the pages here: components, columns, reports; links out of the site become text."""

import os
import posixpath
import re
import runpy
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\(<?((?!https?:|#|mailto:)[^)#>]+)(#[^)>]*)?>?\)")
STATIC = {".md", ".html", ".svg", ".png", ".csv"}


def on_files(files: Any, config: Any) -> Any:
    """Pages of components are made, reports are taken as they are; both are listed."""
    made = runpy.run_path(str(ROOT / "docs/components.py"))["pages"]()
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    reports = []
    for path in sorted((ROOT / "reports").rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in STATIC and "/runs/" not in name and "/candidate/" not in name:
            files.append(File.generated(config, name, abs_src_path=str(path)))
            reports += [name] if path.suffix == ".md" and path.parent.name == "reports" else []
    config.nav = [*config.nav, {"Components": list(made)}, {"Reports": reports}]
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A link out of docs/ leads to the site's copy of a report; to anything else of the repository it is its text."""
    folder = posixpath.dirname(page.file.src_uri)
    inside = folder.startswith("reports")

    def link(found: re.Match[str]) -> str:
        mark, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        at = posixpath.normpath(posixpath.join("." if inside else "docs", folder, target))
        at = at.removeprefix("docs/")
        if inside or at != posixpath.normpath(posixpath.join(folder, target)):
            if files.get_file_from_path(at) is None:
                return text
            target = os.path.relpath(at, folder or ".")
        return f"{mark}[{text}](<{target}{anchor}>)"

    if page.file.src_uri == "results.md":
        markdown += runpy.run_path(str(ROOT / "docs/frames.py"))["section"]()
    return LINK.sub(link, markdown)
