"""Images that a study left out because they cannot be read: which, and why, under the table of its images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.data.packed import read_manifest
from harness.grammar import counted
from harness.record import Images
from harness.report.markdown import code, plain
from harness.settings.study import Study

SHOWN = 20
"""Files that are listed at most."""


def unreadable_text(study: Study, used: Iterable[Images], root: Path) -> list[str]:
    """A block of Markdown for each set of images that lacks some, as the study's manifest lists them."""
    path = root / study.manifest
    lacking = [images for images in used if images.left_out]
    if not lacking or not path.exists():
        return [_block(study, images, []) for images in lacking]
    manifest = read_manifest(path)
    files = [(one["path"], one["why"]) for one in manifest.left_out]
    return [_block(study, images, files if images.hash == manifest.hash else []) for images in lacking]


def _block(study: Study, images: Images, files: Sequence[tuple[str, str]]) -> str:
    said = (
        f"Left out of {plain(images.name)} {code(images.hash[:12])}, since `data.on_error` is `skip`: "
        f"{counted(images.left_out, 'file')} that cannot be read as an image"
    )
    items = [f"- {code(path)}: {plain(why)}" for path, why in files[:SHOWN]]
    if more := len(files) - len(items):
        items.append(f"- and {more:,} more, listed in {code(study.manifest.as_posix())}")
    return "\n".join([f"{said}:", "", *items]) if items else f"{said}."
