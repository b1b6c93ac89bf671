"""How tests read a report: its pages, their tables, its CSV files; whole pages are held against stored ones."""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from harness.report import figures
from harness.report.build import render
from harness.settings.schema import Settings
from harness.settings.study import Study

GOLDEN = Path(__file__).parent / "golden"

Table = list[dict[str, str]]


def rows_of(path: Path) -> Table:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tables_of(text: str) -> list[Table]:
    """The tables of a Markdown text: of each its rows, column -> cell. Every row has as many cells as the head."""
    tables = []
    for block in re.findall(r"(?m)(?:^\|.*\n)+", text.replace("\N{NO-BREAK SPACE}", " ") + "\n"):
        head, _, *rows = [
            [cell.strip() for cell in re.split(r" *\| +", line.strip("| "))] for line in block.split("\n")[:-1]
        ]
        tables.append([dict(zip(head, row, strict=True)) for row in rows])
    return tables


def by_first(table: Table) -> dict[str, list[str]]:
    """The rows of a table by the text of their first cell, without marks."""
    return {re.sub(r"[`‡†]", "", cells[0]).strip(): cells for row in table for cells in [list(row.values())]}


def section(text: str, head: str) -> str:
    """What stands below a heading that begins so."""
    return re.split(rf"(?m)^## {head}.*$", text)[1].partition("\n## ")[0]


def warnings_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("> ")]


@dataclass(frozen=True)
class Report:
    """A report on the disk."""

    path: Path

    @property
    def folder(self) -> Path:
        return self.path.with_suffix("")

    @property
    def page(self) -> str:
        return self.path.read_text()

    @property
    def details(self) -> str:
        return (self.folder / "details.md").read_text()

    @property
    def components(self) -> dict[str, list[str]]:
        """The first page's table: component -> cells; without the variant's name and the number of its settings."""
        table = by_first(tables_of(self.page)[0])
        return {re.sub(r"( \(\d+ settings\)\s*‡?)?\s+[a-z0-9_-]+$", "", head): cells for head, cells in table.items()}

    @property
    def variants(self) -> dict[str, list[str]]:
        """The table of variants: variant -> cells."""
        return by_first(tables_of(section(self.details, "Variants"))[0])

    def csv(self, name: str) -> Table:
        return rows_of(self.folder / f"{name}.csv")


def told(study: Study, root: Path, candidate: tuple[Settings, int] | None = None, early: bool = False) -> Report:
    """The study's report, made without its figures, which take most of the time."""
    with mock.patch.multiple(figures, **dict.fromkeys(("forest", "seeds", "power", "curves"), lambda *_: b"")):
        return Report(render(study, candidate, root, early))


def golden(name: str, text: str) -> None:
    """Hold a whole page against the stored one; `HARNESS_GOLDEN=write pytest tests/test_report.py` stores it anew."""
    if os.environ.get("HARNESS_GOLDEN") == "write":
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text(), f"{name} is another page; HARNESS_GOLDEN=write stores it"
