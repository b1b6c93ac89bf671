"""What a trained net has learned, in numbers: dropout at test time, neighbours in fc7, colours of the first kernels.

Krizhevsky et al. (2012), sections 4.2 (halved outputs stand for the mean over the thinned nets) and 6.1 (one column's
kernels see colour, the other's do not; images that lie near each other in the last hidden layer look alike).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from harness import randomness
from harness.data.batches import Images
from harness.data.crops import CENTRE
from harness.net.alexnet import AlexNet
from harness.net.layout import Dropout
from harness.net.predict import BATCH
from harness.numerics import Numerics
from harness.progress import Advance

MASKS = 32
"""Thinned nets whose predictions are averaged."""

NEIGHBOURS = 6
"""Neighbours of an image that are looked at, as in the paper's figure 4."""

QUERIES = 1024
"""Images whose neighbours are looked for at a time."""

BLOCK = 128 * BATCH
"""Images that are searched at a time: 16,384, 268 MB of 4,096 units.

A part that fits is searched in one product and one top-k. In a larger one the last bit of a distance may depend on the
shape of the products, and among images exactly as far as the last neighbour those of the earlier block stay.
"""

PERMUTATIONS = 10_000
"""Random divisions of the kernels into two columns, for a p-value to the third digit."""


def hides(net: AlexNet) -> bool:
    """Whether a hidden layer is fully connected, so that `see` has its outputs to give."""
    return len(net.rows) > 1 and net.rows[-2].kind == "fc"


@torch.no_grad()
def see(
    net: AlexNet,
    images: Images,
    numerics: Numerics,
    ten: bool = False,
    thinned: int | None = None,
    hidden: Callable[[Tensor], None] | None = None,
    advance: Advance | None = None,
) -> dict[str, Tensor]:
    """Show a net all images of a part once; class probabilities by name, each row an image, on the CPU.

    `centre`: of the centre crop; `ten` (if asked for): the mean over ten crops of the softmax outputs, as section 4.1
    says, not of the logits; `geometric` and `arithmetic`: means over `MASKS` thinned nets with masks of the seed
    `thinned` (if given, and the net has dropout). The layers below the first dropout and below the last layer are
    computed once for all that stands on them. `hidden`: given the outputs of the last hidden layer on the centre crop,
    (batch, units) on the CPU, batch by batch and scaled as at test time, if the net `hides`; they are not kept, since
    those of a large part need more memory than all else. `advance`: told of each batch.
    """
    last = len(net.rows) - 1
    dropped = [i for i, row in enumerate(net.rows) if any(isinstance(op, Dropout) for op in row.after)]
    parts: defaultdict[str, list[Tensor]] = defaultdict(list)
    net.eval()
    for step, views in enumerate(images.test_views(BATCH, ten)):
        total = torch.zeros(())
        for place, view in enumerate(views):
            with numerics.autocast():
                units = net(view, stop=last)
                probs = net(units, start=last).float().softmax(1).cpu()
            if place == (CENTRE if ten else 0):
                parts["centre"].append(probs)
                if hidden is not None and hides(net):
                    hidden(units.float().cpu())
                if thinned is not None and dropped:
                    geometric, arithmetic = _thinned(net, view, dropped[0], numerics, thinned, step)
                    parts["geometric"].append(geometric)
                    parts["arithmetic"].append(arithmetic)
            total = probs + total
        if ten:
            parts["ten"].append(total / len(views))
        if advance is not None:
            advance(1, "")
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def _thinned(net: AlexNet, view: Tensor, first: int, numerics: Numerics, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Geometric and arithmetic mean over thinned nets of the class probabilities of a batch."""
    logs = []
    with numerics.autocast():
        below = net(view, stop=first)
        for number in range(MASKS):
            # Training counts epochs from 1: the streams of epoch 0 are nobody else's.
            masks = net.draw_masks(len(view), seed, 0, step * MASKS + number)
            logs.append(net(below, masks, start=first).float().log_softmax(1))
    stacked = torch.stack(logs)
    return stacked.mean(0).softmax(1).cpu(), stacked.exp().mean(0).cpu()


def pixels(images: Images) -> Iterator[Tensor]:
    """The centre crops as the net sees them, batch by batch: (batch, channels * crop * crop) on the CPU."""
    return (view.flatten(1).cpu() for (view,) in images.test_views(BATCH, ten=False))


class Search:
    """The nearest of a stream of images to each of some queries, in Euclidean distance.

    `queries` is (queries, features). What is held of the stream is a block of `BLOCK` images and what is nearest so
    far, however long it is.
    """

    def __init__(self, queries: Tensor, count: int = NEIGHBOURS) -> None:
        self.queries, self.count = queries, count
        self._block: list[Tensor] = []
        self._waiting = self._searched = 0
        self._nearest = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)

    def add(self, others: Tensor) -> None:
        """Take the next images of the stream: (batch, features)."""
        self._block.append(others)
        self._waiting += len(others)
        if self._waiting >= BLOCK:
            self._search()

    def nearest(self) -> Tensor:
        """Places in the stream (queries, count) of the nearest so far, nearest first; fewer if there are no more."""
        if self._waiting:
            self._search()
        return self._nearest[1]

    def _search(self) -> None:
        others, self._block, self._waiting = torch.cat(self._block), [], 0
        squares = (others * others).sum(1)
        blocks = []
        for queries, *before in zip(*(torch.split(t, QUERIES) for t in (self.queries, *self._nearest)), strict=True):
            # |q - o|^2 less |q|^2, which does not change the order.
            distances = squares - 2 * queries @ others.mT
            new = distances.topk(min(self.count, len(others)), largest=False)
            blocks.append(_nearer(before[0], before[1], new.values, new.indices + self._searched, self.count))
        values, places = zip(*blocks, strict=True)
        self._nearest = torch.cat(values), torch.cat(places)
        self._searched += len(others)


def _nearer(values: Tensor, places: Tensor, new: Tensor, new_places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest of each row of two sorted lists (rows, n); of equal ones those of the first list."""
    both = torch.cat([values, new], 1)
    # Stable, so that one block alone comes out as its top-k gave it, in whatever order that has equal ones.
    order = both.argsort(dim=1, stable=True)[:, :count]
    return both.gather(1, order), torch.cat([places, new_places], 1).gather(1, order)


def precision(nearest: Tensor, labels: Tensor, other_labels: Tensor) -> float:
    """Mean share of an image's nearest neighbours that have its label, 0..1. `nearest`: as of `Search.nearest`."""
    return float((other_labels[nearest] == labels[:, None]).double().mean())


def chroma(kernels: Tensor) -> np.ndarray:
    """Share of each kernel's energy that is colour: 1 - energy of its mean over channels / energy; (kernels,), 0..1.

    `kernels` is (kernels, 3, side, side). Zero for a grey kernel.
    """
    energy = (kernels * kernels).sum((1, 2, 3))
    grey = kernels.mean(1)
    return (1 - 3 * (grey * grey).sum((1, 2)) / energy.clamp(min=1e-30)).double().numpy()


def column_chroma(net: AlexNet, seed: int) -> dict[str, float]:
    """Mean chroma of conv1's kernels in each column, and the two-sided permutation p of their difference.

    Nothing for grey images or one column. A kernel belongs to the column that reads it: the first half, or the second.
    """
    first = net.rows[0]
    if first.inputs != 3 or not any(row.groups == 2 for row in net.rows):
        return {}
    values = chroma(net.get_parameter(f"layers.{first.name}.weight").detach().cpu().float())
    half = len(values) // 2
    observed = abs(values[:half].mean() - values[half:].mean())
    draws = np.random.default_rng(randomness.stream_seed(seed, "permutations of columns"))
    shuffled = draws.permuted(np.tile(values, (PERMUTATIONS, 1)), axis=1)
    drawn = np.abs(shuffled[:, :half].mean(1) - shuffled[:, half:].mean(1))
    return {
        "conv1_chroma_column1": float(values[:half].mean()),
        "conv1_chroma_column2": float(values[half:].mean()),
        "conv1_chroma_p": float((1 + (drawn >= observed - 1e-12).sum()) / (1 + PERMUTATIONS)),
    }
