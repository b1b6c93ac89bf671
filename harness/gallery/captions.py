"""What stands under each picture: one or two sentences that say what is seen, with its numbers; see captions.j2."""

from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.gallery.arrays import Gallery
from harness.gallery.draw import shown_classes
from harness.grammar import counted

TITLES = {
    "kernels": "First-layer kernels",
    "predictions": "Test images and what the net says",
    "neighbours": "Nearest neighbours",
    "confusion": "Confusion",
    "augmentations": "Augmentation",
    "lrn": "Local response normalisation",
}
"""Name of a picture -> its title, in the order in which they are shown."""


def captions(gallery: Gallery) -> dict[str, tuple[str, str]]:
    """Name of each picture that is drawn -> its title and its caption."""
    environment = Environment(  # noqa: S701 - plain text, which the report escapes
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("captions.j2")
    count, side, _, channels = gallery.kernels.columns[0].shape
    near, predictions, counts = gallery.neighbours, gallery.predictions, gallery.confusion
    wrong = counts - np.diag(np.diag(counts))
    context = template.new_context(
        vars(gallery)
        | {
            "columns": len(gallery.kernels.columns), "count": count, "side": side, "channels": channels,
            "right": (predictions.top[:, 0] == predictions.labels).sum(),
            "same": (near.near_labels == near.labels[:, None]).sum(),
            "total": counts.sum(), "correct": np.trace(counts), "shown": len(shown_classes(counts)),
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
