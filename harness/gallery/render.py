"""From a run to its pictures on the disk: the one place of the gallery that writes."""

from pathlib import Path
from typing import Any

from harness.data.store import images_of
from harness.errors import UserError
from harness.files import atomic_folder, write_bytes, write_json
from harness.gallery import draw
from harness.gallery.arrays import Gallery
from harness.gallery.captions import captions
from harness.gallery.compute import compute
from harness.progress import say
from harness.record import RunFolder, read_run
from harness.settings.study import Cell, Study

INDEX = "gallery.json"
"""What the gallery shows, beside the pictures: for the report, which needs neither run nor images."""


def find_cell(study: Study, variant: str | None, seed: int | None) -> Cell:
    """The declared run that is shown: by default the baseline's with the first seed. Raises `UserError`."""
    variant = variant or study.baseline
    seed = study.seeds[0] if seed is None else seed
    if variant not in study.variants:
        raise UserError(f"gallery: --variant: got {variant!r}; allowed: {', '.join(study.variants)}")
    if seed not in study.seeds:
        raise UserError(f"gallery: --seed: got {seed}; allowed: {', '.join(map(str, study.seeds))}")
    return Cell(study.name, variant, seed)


def render(cell: Cell, study: Study, root: Path, out: Path) -> dict[str, Any]:
    """Draw the run of `cell`, and leave the gallery at `out`, whole: no picture of another run is left in it.

    A run that diverged has an index that says so, and no pictures. Returns the index. Raises `UserError` when there is
    no such run, or when the images are not its own.
    """
    folder = RunFolder.of(root / cell.results)
    if not folder.config.exists():
        raise UserError(f"{cell.results}: no run is there; run: harness run {study.name}")
    run = read_run(folder)
    index: dict[str, Any] = {
        "run": {
            "key": cell.key, "variant": cell.variant, "seed": run.seed, "fingerprint": run.fingerprint,
            "images": run.images.name,
        },
        "chosen_by": f"streams 'gallery' of seed {run.seed}",
    }  # fmt: skip
    pictures: dict[str, tuple[bytes, dict[str, Any]]] = {}
    if run.diverged_epoch is not None:
        index |= {"note": f"the run diverged in epoch {run.diverged_epoch}", "pictures": [], "left_out": []}
        message = f"no pictures: {index['note']}"
    else:
        gallery = compute(run, cell.key, images_of(study, root))
        pictures = draw_all(gallery)
        index["note"] = ""
        index["pictures"] = [
            {"name": name, "file": f"{name}.png", "title": title, "caption": caption, "images": pictures[name][1]}
            for name, (title, caption) in captions(gallery).items()
        ]
        index["left_out"] = [{"name": name, "why": why} for name, why in gallery.left_out.items()]
        size = sum(len(content) for content, _ in pictures.values())
        message = f"{len(pictures)} pictures of {cell.key}, {size / 1000:.0f} KB"
    with atomic_folder(out) as temporary:
        write_json(temporary / INDEX, index)
        for name, (content, _) in pictures.items():
            write_bytes(temporary / f"{name}.png", content)
    say(f"{out}: {message}")
    return index


def draw_all(gallery: Gallery) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Each picture, and which images it shows: places in the part of the data that they are from."""
    names, answers, near = gallery.class_names, gallery.predictions, gallery.neighbours
    shown: dict[str, Any] = {"test": near.indices.tolist(), "train": near.near.tolist()}
    pictures: dict[str, tuple[bytes, dict[str, Any]]] = {
        "kernels": (draw.kernels(gallery.kernels), {}),
        "predictions": (draw.predictions(answers, names), {"test": answers.indices.tolist()}),
        "neighbours": (draw.neighbours(near, names), shown),
        "confusion": (draw.confusion(gallery.confusion, names), {}),
    }
    if gallery.augmentations:
        pictures["augmentations"] = draw.augmentations(gallery.augmentations), {"train": [gallery.augmentations.index]}
    if gallery.response:
        pictures["lrn"] = draw.response(gallery.response, names), {"test": [gallery.response.index]}
    return pictures
