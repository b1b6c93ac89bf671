"""Images that a study left out because they cannot be read: which, and why, under the table of its images."""

from collections.abc import Iterable, Mapping, Sequence

from harness.grammar import counted
from harness.report.cells import Images
from harness.report.markdown import code, plain
from harness.settings.study import Study

SHOWN = 20
"""Files that are listed at most."""


def unreadable_text(study: Study, used: Iterable[Images], known: Mapping[str, Sequence[tuple[str, str]]]) -> list[str]:
    """A block of Markdown for each set of images that lacks some.

    `known`: hash of the images -> path and reason of each file that was left out, as the gallery has them. Where it has
    none, or not as many as the runs counted, the block says where the list is.
    """
    return [_block(study, images, known.get(images.hash, ())) for images in used if images.left_out]


def _block(study: Study, images: Images, files: Sequence[tuple[str, str]]) -> str:
    said = (
        f"Left out of {plain(images.name)} {code(images.hash[:12])}, since `data.on_error` is `skip`: "
        f"{counted(images.left_out, 'file')} that cannot be read as an image"
    )
    manifest = code(f"{study.packed.as_posix()}/manifest.json")
    if len(files) != images.left_out:
        # data/ is not in git, so the report does not look there: it would be another one in another clone.
        return (
            f"{said}. {manifest} of the packed images lists {'it' if images.left_out == 1 else 'them'} with the "
            "reason; after `harness gallery` this report does, too."
        )
    items = [f"- {code(path)}: {plain(why)}" for path, why in files[:SHOWN]]
    if more := len(files) - len(items):
        items.append(f"- and {more:,} more, listed in {manifest}")
    return "\n".join([f"{said}:", "", *items])
