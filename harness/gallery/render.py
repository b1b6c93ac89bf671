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
    if run.diverged_epoch is not None:
        pictures: dict[str, bytes] = {}
        index |= {"note": f"the run diverged in epoch {run.diverged_epoch}", "pictures": [], "left_out": []}
        message = f"no pictures: {index['note']}"
    else:
        gallery = compute(run, cell.key, images_of(study, root))
        pictures = draw_all(gallery)
        images = _shown(gallery)
        index["note"] = ""
        index["pictures"] = [
            {"name": name, "file": f"{name}.png", "title": title, "caption": caption, "images": images.get(name, {})}
            for name, (title, caption) in captions(gallery).items()
        ]
        index["left_out"] = [{"name": name, "why": why} for name, why in gallery.left_out.items()]
        message = f"{len(pictures)} pictures of {cell.key}, {sum(map(len, pictures.values())) / 1000:.0f} KB"
    with atomic_folder(out) as temporary:
        write_json(temporary / INDEX, index)
        for name, content in pictures.items():
            write_bytes(temporary / f"{name}.png", content)
    say(f"{out}: {message}")
    return index


def draw_all(gallery: Gallery) -> dict[str, bytes]:
    names = gallery.class_names
    pictures = {
        "kernels": draw.kernels(gallery.kernels),
        "predictions": draw.predictions(gallery.predictions, names),
        "neighbours": draw.neighbours(gallery.neighbours, names),
        "confusion": draw.confusion(gallery.confusion, names),
    }
    if gallery.augmentations:
        pictures["augmentations"] = draw.augmentations(gallery.augmentations)
    if gallery.response:
        pictures["lrn"] = draw.response(gallery.response, names)
    return pictures


def _shown(gallery: Gallery) -> dict[str, dict[str, Any]]:
    """Which images a picture shows, as places in the part of the data that they are from."""
    near = gallery.neighbours
    shown: dict[str, dict[str, Any]] = {
        "predictions": {"test": gallery.predictions.indices.tolist()},
        "neighbours": {"test": near.indices.tolist(), "train": near.near.tolist()},
    }
    if gallery.augmentations:
        shown["augmentations"] = {"train": [gallery.augmentations.index]}
    if gallery.response:
        shown["lrn"] = {"test": [gallery.response.index]}
    return shown
