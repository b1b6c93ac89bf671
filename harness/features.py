"""What a trained net has learned, in numbers: dropout at test time, neighbours in fc7, colours of the first kernels.

Krizhevsky et al. (2012), sections 4.2 (halved outputs stand for the mean over the thinned nets) and 6.1 (one column's
kernels see colour, the other's do not; images that lie near each other in the last hidden layer look alike).
"""

import numpy as np
import torch
from torch import Tensor

from harness import randomness
from harness.data.batches import Images
from harness.net.alexnet import AlexNet
from harness.net.layout import Dropout
from harness.net.predict import BATCH
from harness.numerics import Numerics

MASKS = 32
"""Thinned nets whose predictions are averaged."""

NEIGHBOURS = 6
"""Neighbours of an image that are looked at, as in the paper's figure 4."""

PERMUTATIONS = 10_000
"""Random divisions of the kernels into two columns, for a p-value to the third digit."""


@torch.no_grad()
def thinned_means(net: AlexNet, images: Images, numerics: Numerics, seed: int) -> tuple[Tensor, Tensor] | None:
    """Geometric and arithmetic mean over `MASKS` thinned nets of the class probabilities: (count, classes) each.

    None for a net without dropout. What lies below the first dropped layer is computed once.
    """
    dropped = [i for i, row in enumerate(net.rows) if any(isinstance(op, Dropout) for op in row.after)]
    if not dropped:
        return None
    net.eval()
    geometric, arithmetic = [], []
    for step, (view,) in enumerate(images.test_views(BATCH, ten=False)):
        logs = []
        with numerics.autocast():
            below = net(view, stop=dropped[0])
            for number in range(MASKS):
                # Training counts epochs from 1: the streams of epoch 0 are nobody else's.
                masks = net.draw_masks(len(view), seed, 0, step * MASKS + number)
                logs.append(net(below, masks, start=dropped[0]).float().log_softmax(1))
        stacked = torch.stack(logs)
        geometric.append(stacked.mean(0).softmax(1).cpu())
        arithmetic.append(stacked.exp().mean(0).cpu())
    net.train()
    return torch.cat(geometric), torch.cat(arithmetic)


@torch.no_grad()
def hidden(net: AlexNet, images: Images, numerics: Numerics) -> Tensor | None:
    """Outputs of the last hidden layer (count, units) on the centre crop, scaled as at test time.

    None for a net without a fully connected hidden layer.
    """
    below_output = len(net.rows) - 1
    if net.rows[below_output - 1].kind != "fc":
        return None
    net.eval()
    parts = []
    for (view,) in images.test_views(BATCH, ten=False):
        with numerics.autocast():
            parts.append(net(view, stop=below_output).float().cpu())
    net.train()
    return torch.cat(parts)


def pixels(images: Images) -> Tensor:
    """The centre crops as the net sees them: (count, channels * crop * crop)."""
    return torch.cat([view.flatten(1).cpu() for (view,) in images.test_views(BATCH, ten=False)])


def neighbours(queries: Tensor, others: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """Indices (queries, count) of the nearest of `others` in Euclidean distance, nearest first."""
    squares = (others * others).sum(1)
    found = []
    for part in torch.split(queries, 1024):
        # |q - o|^2 less |q|^2, which does not change the order.
        found.append((squares - 2 * part @ others.mT).topk(min(count, len(others)), largest=False).indices)
    return torch.cat(found)


def precision(queries: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor) -> float:
    """Mean share of an image's nearest neighbours that have its label, 0..1."""
    return float((other_labels[neighbours(queries, others)] == labels[:, None]).double().mean())


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
    seen = abs(values[:half].mean() - values[half:].mean())
    draws = np.random.default_rng(randomness.stream_seed(seed, "permutations of columns"))
    shuffled = draws.permuted(np.tile(values, (PERMUTATIONS, 1)), axis=1)
    drawn = np.abs(shuffled[:, :half].mean(1) - shuffled[:, half:].mean(1))
    return {
        "conv1_chroma_column1": float(values[:half].mean()),
        "conv1_chroma_column2": float(values[half:].mean()),
        "conv1_chroma_p": float((1 + (drawn >= seen - 1e-12).sum()) / (1 + PERMUTATIONS)),
    }
