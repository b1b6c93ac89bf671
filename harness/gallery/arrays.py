"""What each picture shows, as plain arrays: nothing here knows how they are made or drawn."""

from dataclasses import dataclass

import numpy as np

from harness.net.layout import Norm
from harness.record import Config

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
