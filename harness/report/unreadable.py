"""Images that a study left out because they cannot be read: which, and why."""

from collections.abc import Iterable
from pathlib import Path

from harness.data.packed import read_manifest
from harness.record import Images
from harness.settings.study import Study


def unreadable(study: Study, used: Iterable[Images], root: Path) -> list[tuple[Images, list[tuple[str, str]]]]:
    """Each set of images that lacks some, with these files and why, where the study's manifest is of this set."""
    path = root / study.manifest
    lacking = [images for images in used if images.left_out]
    if not lacking or not path.exists():
        return [(images, []) for images in lacking]
    manifest = read_manifest(path)
    files = [(one["path"], one["why"]) for one in manifest.left_out]
    return [(images, files if images.hash == manifest.hash else []) for images in lacking]
