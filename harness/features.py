"""What a trained net has learned, in numbers: dropout at test time, neighbours in fc7, colours of the first kernels.

Krizhevsky et al. (2012), sections 4.2 (halved outputs stand for the mean over the thinned nets) and 6.1 (one column's
kernels see colour, the other's do not; images that lie near each other in the last hidden layer look alike).
"""

from dataclasses import dataclass

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

PERMUTATIONS = 10_000
"""Random divisions of the kernels into two columns, for a p-value to the third digit."""


@dataclass(frozen=True)
class Seen:
    """What a net made of the images of a part, each row an image, on the CPU; None: it was not asked for, or is not.

    `centre` and `ten`: class probabilities of the centre crop, and their mean over ten crops: of the softmax outputs,
    as section 4.1 says, not of the logits. `geometric` and `arithmetic`: means over thinned nets. `hidden`: outputs of
    the last hidden layer on the centre crop, (images, units), scaled as at test time.
    """

    centre: Tensor
    ten: Tensor | None
    geometric: Tensor | None
    arithmetic: Tensor | None
    hidden: Tensor | None


@torch.no_grad()
def see(
    net: AlexNet,
    images: Images,
    numerics: Numerics,
    ten: bool = False,
    thinned: int | None = None,
    hidden: bool = False,
    advance: Advance | None = None,
) -> Seen:
    """Show a net all images of a part once: their centre crop, or ten crops.

    `thinned`: the seed of the masks of `MASKS` thinned nets, when these are wanted. The layers below the first dropout
    and below the last layer are computed once for all that stands on them. `hidden`: keep the outputs of the last
    hidden layer, where that is fully connected. `advance`: told of each batch.
    """
    last = len(net.rows) - 1
    hidden = hidden and last > 0 and net.rows[-2].kind == "fc"
    dropped = [i for i, row in enumerate(net.rows) if any(isinstance(op, Dropout) for op in row.after)]
    parts: dict[str, list[Tensor]] = {name: [] for name in ("centre", "ten", "geometric", "arithmetic", "hidden")}
    net.eval()
    for step, views in enumerate(images.test_views(BATCH, ten)):
        total = torch.zeros(())
        for place, view in enumerate(views):
            with numerics.autocast():
                units = net(view, stop=last)
                probs = net(units, start=last).float().softmax(1).cpu()
            if place == (CENTRE if ten else 0):
                parts["centre"].append(probs)
                if hidden:
                    parts["hidden"].append(units.float().cpu())
                if thinned is not None and dropped:
                    geometric, arithmetic = _thinned(net, view, dropped[0], numerics, thinned, step)
                    parts["geometric"].append(geometric)
                    parts["arithmetic"].append(arithmetic)
            total = probs + total
        if ten:
            parts["ten"].append(total / len(views))
        if advance is not None:
            advance(1, "")
    net.train()
    return Seen(**{name: torch.cat(tensors) if tensors else None for name, tensors in parts.items()})  # type: ignore[arg-type]


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


def count_batches(images: Images) -> int:
    """Batches in which `see` shows a part."""
    return -(-images.count // BATCH)


def pixels(images: Images) -> Tensor:
    """The centre crops as the net sees them: (images, channels * crop * crop) on the CPU."""
    return torch.cat([view.flatten(1).cpu() for (view,) in images.test_views(BATCH, ten=False)])


def nearest(queries: Tensor, others: Tensor) -> Tensor:
    """Places in `others` (images, features) of the `NEIGHBOURS` nearest to each query in Euclidean distance.

    (queries, NEIGHBOURS), nearest first; fewer if there are no more.
    """
    squares = (others * others).sum(1)
    count = min(NEIGHBOURS, len(others))
    # |q - o|^2 less |q|^2, which does not change the order.
    parts = (squares - 2 * part @ others.mT for part in torch.split(queries, QUERIES))
    return torch.cat([distances.topk(count, largest=False).indices for distances in parts])


def precision(places: Tensor, labels: Tensor, other_labels: Tensor) -> float:
    """Mean share of an image's nearest neighbours that have its label, 0..1. `places`: as of `nearest`."""
    return float((other_labels[places] == labels[:, None]).double().mean())


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
