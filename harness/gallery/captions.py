"""What stands under each picture: one or two sentences that say what is seen, with its numbers."""

import numpy as np

from harness.gallery.arrays import Augmentations, Confusion, Gallery, Kernels, Neighbours, Predictions, Response
from harness.gallery.draw import shown_classes
from harness.grammar import counted
from harness.settings.schema import Settings


def captions(gallery: Gallery) -> dict[str, tuple[str, str]]:
    """Name of a picture -> its title and its caption, in the order in which they are shown."""
    texts = {
        "kernels": ("First-layer kernels", kernels(gallery.kernels)),
        "predictions": ("Test images and what the net says", predictions(gallery)),
        "neighbours": ("Nearest neighbours", neighbours(gallery.neighbours)),
        "confusion": ("Confusion", confusion(gallery.confusion, gallery.class_names)),
    }
    if gallery.augmentations:
        texts["augmentations"] = (
            "Augmentation",
            augmentations(gallery.augmentations, gallery.class_names, gallery.config.resolved),
        )
    if gallery.response:
        texts["lrn"] = ("Local response normalisation", response(gallery.response))
    return texts


def kernels(found: Kernels) -> str:
    count, side, _, channels = found.columns[0].shape
    apart = len(found.columns) > 1
    where = f" (column 1 left, column 2 right; {count} each)" if apart else ""
    ends = "black and white its largest weight" if channels == 1 else "full colour its largest weight"
    return (
        f"All {count * len(found.columns)} kernels of {found.layer}{where}, {side} × {side} pixels. Each kernel has "
        f"its own scale: middle grey is zero, {ends}."
    )


def predictions(gallery: Gallery) -> str:
    found: Predictions = gallery.predictions
    right, shown = int((found.top[:, 0] == found.labels).sum()), len(found.labels)
    counts = gallery.confusion.counts
    total, correct = int(counts.sum()), int(np.trace(counts))
    return (
        f"{shown} test images (centre crops, as the net sees them), drawn at random with as many classes as possible, "
        f"each under its label and above the {found.top.shape[1]} most probable classes. Blue bar: the label. "
        f"{right} of these {shown} are right (✓); of all {total:,} test images {100 * correct / total:.1f} % are."
    )


def neighbours(found: Neighbours) -> str:
    same, shown = int((found.near_labels == found.labels[:, None]).sum()), found.near_labels.size
    return (
        f"{len(found.labels)} test images, drawn at random with as many classes as possible, and of each the "
        f"{found.near.shape[1]} training images nearest to it in {found.layer}, the last hidden layer (Euclidean "
        f"distance). Green frame: the same label; orange: another. {same} of {shown} have the same."
    )


def confusion(found: Confusion, class_names: list[str]) -> str:
    counts = found.counts
    chosen = shown_classes(found)
    some = "" if len(chosen) == len(counts) else f" Shown are the {len(chosen)} of {len(counts)} classes confused most."
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    row, column = divmod(int(wrong.argmax()), len(counts))
    worst = (
        f" Most often: {class_names[row]} taken for {class_names[column]}, {wrong[row, column]} of {counts[row].sum()}."
        if wrong.any()
        else " No test image is taken for another class."
    )
    return (
        f"All {counts.sum():,} test images: of each label (row) the percentage that is taken for each class (column). "
        f"Blue: right; orange: wrong, darkest where it happens most; cells below half a percent are empty.{worst}{some}"
    )


def augmentations(found: Augmentations, class_names: list[str], settings: Settings) -> str:
    side = found.views.shape[1]
    parts = [f"a crop of {side} × {side} pixels" if settings.crops else f"the centre crop of {side} × {side} pixels"]
    if settings.flips:
        parts.append("mirrored half of the time")
    if found.colour is not None:
        parts.append("with colour noise (RGB: the grey levels that it added)")
    return (
        f"One training image ({class_names[found.label]}), drawn at random, and what the net saw of it in its first "
        f"{counted(len(found.epochs), 'epoch')}: {', '.join(parts)}."
    )


def response(found: Response) -> str:
    return (
        f"Neighbouring kernels of {found.layer} and how they respond to one test image, drawn at random: before the "
        "normalisation, after it, and the share that it keeps (dark: damped most). Bold: the kernel that responds "
        "most, among those that it is normalised with. Right: every unit of the layer; it lies on the line where no "
        "neighbouring kernel responds, and nearer to zero where one does."
    )
