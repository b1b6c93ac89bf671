"""The report's pictures of one run, as the gallery left them: which run they are of, and what stands under each."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import UserError
from harness.files import read_json
from harness.report.format import paragraphs
from harness.report.runs import Results
from harness.settings.parse import parse
from harness.settings.study import Study


class Stored(BaseModel):
    """What is read of the index; other keys may stand beside it."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Run(Stored):
    key: str
    seed: int
    fingerprint: str
    images: str


class _Picture(Stored):
    name: str
    file: str = Field(pattern=r"^[a-z0-9-]+\.(png|svg)$")
    title: str
    caption: str


class _LeftOut(Stored):
    name: str
    why: str


class _Index(Stored):
    run: _Run
    note: str
    pictures: list[_Picture]
    left_out: list[_LeftOut]


def gallery(study: Study, results: Results, root: Path) -> dict[str, Any]:
    """What the section on pictures says: its lines, as Markdown, and its pictures. Empty where no gallery was made.

    Raises `UserError` when the gallery is broken, or a picture is missing.
    """
    folder = root / study.folder / "gallery"
    path = folder / "gallery.json"
    if not path.exists():
        return {}
    index = parse(_Index, read_json(path), str(path))
    for picture in index.pictures:
        if not (folder / picture.file).exists():
            raise UserError(f"{folder / picture.file}: missing, though gallery.json names it; run: harness gallery")
    there = {cell.run.fingerprint for cell in results.cells if cell.run and cell.key == index.run.key}
    outdated = bool(there - {index.run.fingerprint})
    return {"lines": paragraphs("gallery", index=index, outdated=outdated), "pictures": index.pictures}
