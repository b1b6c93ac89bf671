"""What the pictures show, as plain arrays, from a finished run and its packed images.

Which images are shown is drawn from streams of the run's seed and of nothing else: nobody picked them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from harness import randomness
from harness.data.batches import Images, TrainingBatches, image_colour
from harness.data.packed import Packed
from harness.features import Search
from harness.net.alexnet import AlexNet
from harness.net.layout import Norm
from harness.net.predict import BATCH, load_net, probabilities
from harness.numerics import Numerics
from harness.record import Config, Run

SHOWN, QUERIES, EPOCHS = 10, 5, 10
"""Test images with their answers; test images with their neighbours; epochs of one image's augmentations at most."""

MAPS = 5
"""Kernels of a response that are shown at most: a window of the paper's LRN."""


@dataclass(frozen=True)
class Predictions:
    """N test images (N, side, side, channels) uint8 as the net sees them, labels (N,), the most probable classes (N, k)
    and their probabilities (N, k). `indices` are places in the test part."""

    indices: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    top: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """Q test images, and of each the R training images nearest to it in `layer` (Euclidean), nearest first.

    `images` (Q, ...) and `near_images` (Q, R, ...) uint8; `near`: places in the training part (Q, R).
    """

    layer: str
    indices: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    near: np.ndarray
    near_images: np.ndarray
    near_labels: np.ndarray


@dataclass(frozen=True)
class Augmentations:
    """One training image (side, side, channels), and what the net saw of it in E epochs (E, crop, crop, channels).

    `corners` (E, 2): row and column of the crop's upper left pixel; `flips` (E,); `colour` (E, channels): grey levels
    added, or None where there was no colour noise.
    """

    index: int
    label: int
    image: np.ndarray
    epochs: list[int]
    corners: np.ndarray
    flips: np.ndarray
    colour: np.ndarray | None
    views: np.ndarray


@dataclass(frozen=True)
class Response:
    """A layer's maps (kernels, side, side) for one test image before and after response normalisation.

    `shown`: neighbouring kernels of one window, in order; `centre` is the one that responds most to the image.
    """

    layer: str
    index: int
    label: int
    image: np.ndarray
    norm: Norm
    before: np.ndarray
    after: np.ndarray
    shown: list[int]
    centre: int


@dataclass(frozen=True)
class Gallery:
    """Everything that is drawn of one run.

    `kernels`: weights of conv1, an array (kernels, side, side, channels) a column. `confusion`: counts of test images
    by label (rows) and most probable class (columns). `left_out`: name of a picture -> why there is none.
    """

    config: Config
    class_names: list[str]
    kernels: list[np.ndarray]
    predictions: Predictions
    neighbours: Neighbours
    confusion: np.ndarray
    augmentations: Augmentations | None
    response: Response | None
    left_out: dict[str, str]


def compute(run: Run, name: str, packed: Packed) -> Gallery:
    """The arrays of every picture of a finished run, from its images. `name`: the run's, for messages.

    Raises `UserError` when the images are not those of the run.
    """
    config, settings = run.config, run.config.resolved
    net, numerics, digest = load_net(run, name, packed)
    test = Images(packed, "test", settings, numerics.device)
    probs = probabilities(net, test, numerics)
    augmented = augmentations(packed, config)
    response = normalised(net, test, numerics, config.seed)
    left_out = {}
    if digest != run.hashes.weights:
        left_out["the recorded weights"] = f"this machine does not give them; the pictures are of others, {digest[:12]}"
    if augmented is None:
        left_out["augmentations"] = "it was trained on the same view of each image in every epoch"
    if response is None:
        left_out["lrn"] = "its net has no local response normalisation"
    return Gallery(
        config=config,
        class_names=list(packed.manifest.class_names),
        kernels=kernels(net),
        predictions=predictions(probs, test, config.seed),
        neighbours=neighbours(net, test, Images(packed, "train", settings, numerics.device), numerics, config.seed),
        confusion=confusion(probs, test.labels.cpu()),
        augmentations=augmented,
        response=response,
        left_out=left_out,
    )


def kernels(net: AlexNet) -> list[np.ndarray]:
    """Weights of conv1 (kernels, side, side, channels), by columns where the next layer reads them apart."""
    first, second = net.rows[:2]
    weights = net.get_parameter(f"layers.{first.name}.weight").detach().cpu().permute(0, 2, 3, 1).numpy()
    columns = second.groups if second.kind == "conv" else 1
    return [np.ascontiguousarray(column) for column in np.split(weights, columns)]


def predictions(probs: Tensor, test: Images, seed: int) -> Predictions:
    """Test images of as many classes as there is room for, drawn by `seed`, and what the net says of them."""
    indices = by_class(test.labels.cpu().numpy(), SHOWN, seed, "predictions")
    chosen = probs[torch.from_numpy(indices)]
    top = chosen.argsort(dim=1, descending=True, stable=True)[:, :5]
    labels = test.labels.cpu().numpy()[indices]
    return Predictions(indices, centres(test, indices), labels, top.numpy(), chosen.gather(1, top).numpy())


def neighbours(net: AlexNet, test: Images, train: Images, numerics: Numerics, seed: int) -> Neighbours:
    """Test images drawn by `seed` with their nearest training images in the last hidden layer (fc7)."""
    layer = net.rows[-2].name
    indices = by_class(test.labels.cpu().numpy(), QUERIES, seed, "neighbours")
    search = Search(features(net, _view(test, indices), numerics))
    for (view,) in train.test_views(BATCH, ten=False):
        search.add(features(net, view, numerics))
    near = search.nearest().numpy()
    images = centres(train, near.ravel())
    return Neighbours(
        layer=layer,
        indices=indices,
        images=centres(test, indices),
        labels=test.labels.cpu().numpy()[indices],
        near=near,
        near_images=images.reshape(*near.shape, *images.shape[1:]),
        near_labels=train.labels.cpu().numpy()[near],
    )


def confusion(probs: Tensor, labels: Tensor) -> np.ndarray:
    """Counts of test images by label and most probable class; ties count for the lower class, as in the errors."""
    classes = probs.shape[1]
    first = probs.argsort(dim=1, descending=True, stable=True)[:, 0]
    counts: np.ndarray = torch.bincount(labels * classes + first, minlength=classes**2).view(classes, classes).numpy()
    return counts


def augmentations(packed: Packed, config: Config) -> Augmentations | None:
    """What the net saw of one training image, drawn by the run's seed, in the first epochs of its training.

    None where it sees the same in each of them by declaration.
    """
    # No threads that fetch ahead: one batch of each epoch is all that is looked at.
    settings = config.resolved.model_copy(update={"workers": 0})
    batches = TrainingBatches(packed, settings, config.seed, torch.device("cpu"))
    if not (settings.augment and ((settings.crops and batches.positions > 1) or settings.flips or batches.colours)):
        return None
    images = batches.images
    index = int(_choose(images.count, 1, config.seed, "augmentations")[0])
    epochs = list(range(1, min(settings.epochs, EPOCHS) + 1))
    drawings = []
    for epoch in epochs:
        step, place = divmod(int(np.flatnonzero(batches.order(epoch) == index)[0]), settings.batch)
        batch = next(iter(batches.epoch(epoch, step)))
        corner, flip = batch.draws.corners[place], bool(batch.draws.flips[place])
        colour = torch.zeros(images.part.images.shape[3])  # added to every pixel, in grey levels
        if batch.draws.colour is not None:
            colour = batch.draws.colour[place]
            if settings.colour_scale == "per_image":
                colour = image_colour(images.fetch(np.array([index])), colour[None])[0]
        seen = batch.images[place].permute(1, 2, 0) / settings.input_scale + _mean(images, corner, flip)
        drawings.append((corner, flip, colour, seen.round().clamp(0, 255).to(torch.uint8)))
    corners, flips, colours, views = (np.stack(drawn) for drawn in zip(*drawings, strict=True))
    return Augmentations(
        index=index,
        label=int(images.labels[index]),
        image=np.array(images.part.images[index]),
        epochs=epochs,
        corners=corners,
        flips=flips,
        colour=colours if colours.any() else None,
        views=views,
    )


def normalised(net: AlexNet, test: Images, numerics: Numerics, seed: int) -> Response | None:
    """The maps of the first layer that has local response normalisation, for a test image drawn by `seed`.

    None where no layer has it.
    """
    index = int(_choose(test.count, 1, seed, "lrn")[0])
    with torch.no_grad(), numerics.autocast():
        traced = list(net.trace(_view(test, np.array([index]))))
    for place, (name, op, x) in enumerate(traced):
        if isinstance(op, Norm) and not op.spatial:
            maps, after = traced[place - 1][2][0].float().cpu().numpy(), x[0].float().cpu().numpy()
            # The kernel that responds most, of those whose window is not cut by the edge of their column.
            sizes = np.array([len(window(op, len(maps), kernel)) for kernel in range(len(maps))])
            centre = int(np.where(sizes == sizes.max(), np.abs(maps).sum((1, 2)), -1).argmax())
            return Response(
                layer=name,
                index=index,
                label=int(test.labels[index]),
                image=centres(test, np.array([index]))[0],
                norm=op,
                before=np.ascontiguousarray(maps),
                after=np.ascontiguousarray(after),
                shown=window(op, len(maps), centre),
                centre=centre,
            )
    return None


def window(norm: Norm, kernels: int, centre: int) -> list[int]:
    """Kernels whose responses damp that of `centre`, itself among them, in order; the nearest of them where many do."""
    column = kernels // norm.columns
    low = centre // column * column
    first = max(centre - min(norm.size // 2, MAPS // 2), low)
    last = min(centre + min((norm.size - 1) // 2, MAPS // 2), low + column - 1)
    return list(range(first, last + 1))


@torch.no_grad()
def features(net: AlexNet, views: Tensor, numerics: Numerics) -> Tensor:
    """Outputs of the last hidden layer for N images, as the last layer reads them: (N, units) float64 on the CPU."""
    with numerics.autocast():
        units: Tensor = net(views, stop=len(net.rows) - 1)
    return units.flatten(1).double().cpu()


def by_class(labels: np.ndarray, count: int, seed: int, picture: str) -> np.ndarray:
    """Places of `count` images (or of all, if fewer), of as many classes as possible, drawn by `seed`."""
    order = _choose(len(labels), len(labels), seed, picture)
    # The first image of its class in this order, the second, ...
    turn = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    return np.asarray(order[turn.argsort(kind="stable")][:count])


def centres(images: Images, indices: np.ndarray) -> np.ndarray:
    """Centre crops of stored images: (N, crop, crop, channels) uint8."""
    edge, crop = (images.size - images.settings.crop) // 2, images.settings.crop
    cut: np.ndarray = images.fetch(indices)[:, edge : edge + crop, edge : edge + crop].cpu().numpy()
    return cut


def _choose(count: int, shown: int, seed: int, picture: str) -> np.ndarray:
    stream = randomness.stream(seed, "gallery", picture)
    drawn: np.ndarray = torch.randperm(count, generator=stream)[:shown].numpy()
    return drawn


def _view(images: Images, indices: np.ndarray) -> Tensor:
    return next(images.test_views(BATCH, False, indices))[0]


def _mean(images: Images, corner: Tensor, flip: bool) -> Tensor:
    """What was subtracted from a view of `images` cut at `corner`: (crop, crop, channels)."""
    if not images.aligned:
        return images.centre_mean
    row, column = corner.tolist()
    crop = images.settings.crop
    cut = images.mean[row : row + crop, column : column + crop]
    return cut.flip(1) if flip else cut
