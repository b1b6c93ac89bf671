"""From a run to its pictures on the disk: the one place of the gallery that writes."""

from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.data.store import images_of
from harness.errors import UserError
from harness.files import atomic_folder, write_bytes, write_json
from harness.gallery import draw
from harness.gallery.compute import Gallery, compute
from harness.grammar import counted
from harness.progress import say
from harness.record import RunFolder, read_run
from harness.settings.study import Cell, Study

TITLES = {
    "kernels": "First-layer kernels",
    "predictions": "Test images and what the net says",
    "neighbours": "Nearest neighbours",
    "confusion": "Confusion",
    "augmentations": "Augmentation",
    "lrn": "Local response normalisation",
}
"""Name of a picture -> its title, in the order in which they are shown."""


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
        write_json(temporary / "gallery.json", index)
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


def captions(gallery: Gallery) -> dict[str, tuple[str, str]]:
    """Name of each picture that is drawn -> its title and its caption."""
    environment = Environment(  # noqa: S701 - plain text, which the report escapes
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("captions.j2")
    count, side, _, channels = gallery.kernels[0].shape
    near, predictions, counts = gallery.neighbours, gallery.predictions, gallery.confusion
    wrong = counts - np.diag(np.diag(counts))
    context = template.new_context(
        vars(gallery)
        | {
            "columns": len(gallery.kernels), "count": count, "side": side, "channels": channels,
            "right": (predictions.top[:, 0] == predictions.labels).sum(),
            "same": (near.near_labels == near.labels[:, None]).sum(),
            "total": counts.sum(), "correct": np.trace(counts), "shown": len(draw.shown_classes(counts)),
            "wrong": wrong, "worst": divmod(int(wrong.argmax()), len(counts)),
            "settings": gallery.config.resolved,
            "epochs": counted(len(gallery.augmentations.epochs) if gallery.augmentations else 0, "epoch"),
        }
    )  # fmt: skip
    return {
        name: (title, "".join(template.blocks[name](context)).strip().replace("\n", " "))
        for name, title in TITLES.items()
        if name not in gallery.left_out
    }
