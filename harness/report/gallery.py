"""The report's pictures of one run, as the gallery left them: which run they are of, and what stands under each."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import UserError
from harness.files import read_json
from harness.report.cells import Results
from harness.report.markdown import code, plain
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


def _read(study: Study, root: Path) -> tuple[Path, _Index] | None:
    """The gallery's folder and index; None where no gallery was made. Raises `UserError` when it is broken."""
    folder = root / study.folder / "gallery"
    path = folder / "gallery.json"
    return (folder, parse(_Index, read_json(path), str(path))) if path.exists() else None


def gallery(study: Study, results: Results, root: Path) -> dict[str, Any] | None:
    """What the section on pictures says: its lines and pictures, as Markdown. None where no gallery was made.

    Raises `UserError` when the gallery is broken, or a picture is missing.
    """
    found = _read(study, root)
    if found is None:
        return None
    folder, index = found
    for picture in index.pictures:
        if not (folder / picture.file).exists():
            raise UserError(f"{folder / picture.file}: missing, though gallery.json names it; run: harness gallery")
    run = index.run
    lines = [
        f"All of the run {code(run.key)} on {plain(run.images)} (fingerprint {code(run.fingerprint[:12])}). Its seed, "
        f"{run.seed}, drew which images are shown. `harness gallery` makes the pictures of another run."
        if index.pictures
        else f"None: of the run {code(run.key)}, {plain(index.note)}."
    ]
    if _outdated(run, results):
        lines.append(f"**Careful: these are of an earlier run {code(run.key)}, not of the one in the tables.**")
    lines += [f"Left out ({plain(one.name)}): {plain(one.why)}." for one in index.left_out]
    return {
        "lines": lines,
        "pictures": [
            {
                "title": plain(picture.title),
                "caption": plain(picture.caption),
                "path": f"{study.name}/gallery/{picture.file}",
            }
            for picture in index.pictures
        ],
    }


def _outdated(run: _Run, results: Results) -> bool:
    """Whether the tables hold another run under this name."""
    return any(
        cell.run is not None and cell.key == run.key and cell.run.fingerprint != run.fingerprint
        for cell in results.cells
    )
