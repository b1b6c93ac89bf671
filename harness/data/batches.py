"""Batches: packed images cut, reflected, coloured and centred as whole tensors on the device that computes.

Every draw comes from the stream of its source, epoch and step (see `randomness`), so that neither another source nor
the number of fetching threads can change it. Krizhevsky et al. (2012), sections 2 and 4.1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness import randomness
from harness.data import crops
from harness.data.ahead import ahead
from harness.data.packed import Packed
from harness.errors import UserError
from harness.record import chain
from harness.settings.schema import Settings

IN_MEMORY = 4 * 2**30
"""Bytes of images up to which a part is held on the device whole; a larger one is read from its file by batches."""


@dataclass(frozen=True)
class Draws:
    """What was drawn for one batch of N images: corners (N, 2) in pixels, flips (N,), colour shifts (N, channels).

    With `colour_scale: per_image` the factors of the image's own components stand for the shifts.
    """

    corners: Tensor
    flips: Tensor
    colour: Tensor | None

    def hashed(self, link: str) -> str:
        """The next link of the hash over the augmentation stream."""
        content = self.corners.numpy().tobytes() + self.flips.numpy().tobytes()
        return chain(link, content + (b"" if self.colour is None else self.colour.numpy().tobytes()))


@dataclass(frozen=True)
class Batch:
    """Images (N, channels, crop, crop) float32, labels (N,) int64, and what was drawn for them."""

    step: int
    images: Tensor
    labels: Tensor
    draws: Draws


class Images:
    """One part of a packed data set on a device, and the views that a net sees of it."""

    def __init__(self, packed: Packed, part: str, settings: Settings, device: torch.device) -> None:
        size, crop = packed.manifest.size, settings.crop
        if crop > size:
            raise UserError(f"crop: got {crop}, but the images are {size} x {size}; allowed: at most {size}")
        self.settings, self.device, self.size = settings, device, size
        self.part = packed.part(part)
        self.count = len(self.part.labels)
        self.labels = torch.from_numpy(self.part.labels.copy()).to(device)
        fits = self.part.images.nbytes <= IN_MEMORY
        self._whole = torch.from_numpy(np.array(self.part.images)).to(device) if fits else None
        mean = torch.from_numpy(packed.mean)
        if settings.mean == "channel":
            mean = mean.mean((0, 1)).expand(size, size, -1)
        elif settings.mean == "scalar":
            mean = mean.mean().expand(size, size, mean.shape[-1])
        self.mean = mean.to(device)
        self.aligned = settings.mean == "image_aligned"
        edge = (size - crop) // 2
        self.centre_mean = self.mean[edge : edge + crop, edge : edge + crop]

    def fetch(self, indices: np.ndarray) -> Tensor:
        """Stored images at `indices`: (N, size, size, channels) uint8 on the device."""
        if self._whole is not None:
            return self._whole[torch.from_numpy(indices).to(self.device)]
        return torch.from_numpy(self.part.images[indices]).to(self.device)

    def view(self, stored: Tensor, corners: Tensor, flips: Tensor, colour: Tensor | None = None) -> Tensor:
        """Cut a crop of each stored image at its corner, centred on the mean, reflected and coloured as drawn.

        Returns (N, channels, crop, crop) float32 in channels-last order.
        """
        settings, crop = self.settings, self.settings.crop
        span = torch.arange(crop, device=self.device)
        corners, flips = corners.to(self.device), flips.to(self.device)
        rows = corners[:, :1] + span
        columns = corners[:, 1:] + torch.where(flips[:, None], span.flip(0), span)
        each = torch.arange(len(stored), device=self.device)[:, None, None]
        x = stored[each, rows[:, :, None], columns[:, None, :]].float()
        x -= self.mean[rows[:, :, None], columns[:, None, :]] if self.aligned else self.centre_mean
        if colour is not None:
            colour = colour.to(self.device)
            if settings.colour_scale == "per_image":
                colour = image_colour(stored, colour)
            x += colour[:, None, None, :]
            x /= settings.colour_divide
        if settings.input_scale != 1.0:
            x *= settings.input_scale
        return x.permute(0, 3, 1, 2)

    def test_views(self, batch: int, ten: bool, indices: np.ndarray | None = None) -> Iterator[list[Tensor]]:
        """Every image in order, or those at `indices`, in batches: the centre crop, or ten crops."""
        chosen = np.arange(self.count) if indices is None else indices
        views = crops.evaluation_views(self.size, self.settings.crop, ten)
        for start in range(0, len(chosen), batch):
            stored = self.fetch(chosen[start : start + batch])
            count = len(stored)
            yield [
                self.view(stored, torch.tensor(corner).expand(count, 2), torch.full((count,), mirrored))
                for corner, mirrored in views
            ]


def image_colour(stored: Tensor, factors: Tensor) -> Tensor:
    """Colour shifts (N, 3) in grey levels along the principal components of each image's own pixels.

    `stored` is (N, H, W, 3) in 0..255, `factors` (N, 3) multiply the eigenvalues of the pixels in 0..1.
    """
    pixels = stored.flatten(1, 2).float() / 255
    pixels = pixels - pixels.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(pixels.mT @ pixels / pixels.shape[1])
    # eigh gives ascending eigenvalues and vectors as columns; the packed components stand in falling order.
    shifts: Tensor = vectors.flip(2) @ (factors * values.flip(1).clamp(min=0))[:, :, None]
    return 255 * shifts[:, :, 0]


def _root(values: Tensor, settings: Settings) -> Tensor:
    """Square roots. Those of torch differ between processors in the last bit: see `harness.net.lrn`."""
    return torch.from_numpy(np.sqrt(values.numpy())) if settings.bits == "portable" else values.sqrt()


class TrainingBatches:
    """The training images, batch by batch: the same for the same settings, seed and epoch whenever they are asked."""

    def __init__(self, packed: Packed, settings: Settings, seed: int, device: torch.device) -> None:
        manifest = packed.manifest
        self.images = Images(packed, "train", settings, device)
        self.settings, self.seed = settings, seed
        if settings.batch > self.images.count:
            raise UserError(
                f"batch: got {settings.batch}, but there are {self.images.count} training images; "
                f"allowed: at most {self.images.count}"
            )
        self.colours = settings.augment and settings.colour > 0
        if self.colours and manifest.channels != 3:
            raise UserError(
                f"colour: got {settings.colour}, but the images of {manifest.name} are grey: colour noise needs three "
                "channels; allowed: 0"
            )
        # Rows: one principal component each, times its sd, in grey levels of 0..255.
        values = torch.tensor(manifest.eigenvalues, dtype=torch.float32)
        size = _root(values.clamp(min=0), settings) if settings.colour_scale == "root" else values / 255
        self.components = size[:, None] * torch.tensor(manifest.eigenvectors, dtype=torch.float32)
        self.middle = (manifest.size - settings.crop) // 2
        self.positions = crops.positions(settings, manifest.size)

    @property
    def steps(self) -> int:
        """Batches of an epoch; the last one is shorter where `batch` does not divide the images."""
        return -(-self.images.count // self.settings.batch)

    def _stream(self, source: str, *place: str | int) -> torch.Generator:
        return randomness.stream(randomness.seed_of(self.settings.vary, self.seed, source), source, *place)

    def order(self, epoch: int) -> np.ndarray:
        """The order of the training images in an epoch: (count,) int64."""
        place = epoch if self.settings.reshuffle else "fixed"
        stream = self._stream(randomness.BATCH_ORDER, place)
        return torch.randperm(self.images.count, generator=stream).numpy()

    def draw(self, epoch: int, step: int, count: int) -> Draws:
        """Crops, flips and colours of a batch of `count` images."""
        settings = self.settings
        chunks = -(-count // settings.crop_chunk)
        corners = torch.full((chunks, 2), self.middle)
        flips = torch.zeros(chunks, dtype=torch.bool)
        colour = None
        if settings.augment and settings.crops:
            stream = self._stream(randomness.CROPS, epoch, step)
            corners = torch.randint(self.positions, (chunks, 2), generator=stream)
        if settings.augment and settings.flips:
            stream = self._stream(randomness.FLIPS, epoch, step)
            flips = torch.randint(2, (chunks,), generator=stream).bool()
        if self.colours and epoch <= settings.colour_until * settings.epochs + 1e-9:
            stream = self._stream(randomness.COLOUR, epoch, step)
            colour = torch.randn(count, 3, generator=stream) * settings.colour
            if settings.colour_scale != "per_image":
                colour = colour @ self.components
        each = torch.arange(count) // settings.crop_chunk
        return Draws(corners[each], flips[each], colour)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (from 1), from step `first` (from 0)."""
        order = self.order(epoch)
        size = self.settings.batch

        def make(step: int) -> Batch:
            indices = order[step * size : (step + 1) * size]
            draws = self.draw(epoch, step, len(indices))
            images = self.images.view(self.images.fetch(indices), draws.corners, draws.flips, draws.colour)
            return Batch(step, images, self.images.labels[torch.from_numpy(indices).to(images.device)], draws)

        steps, workers = range(first, self.steps), self.settings.workers
        if not workers:
            yield from map(make, steps)
        else:
            yield from (batch.result() for batch in ahead(make, steps, workers, 2 * workers))
