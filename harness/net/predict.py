"""What a trained net says of a part of the data."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from harness.data.batches import Images
from harness.data.crops import CENTRE
from harness.net.alexnet import AlexNet
from harness.numerics import Numerics

BATCH = 128
"""Images at a time: fixed, since the order of sums inside a batched product may depend on it."""


def probabilities(net: AlexNet, images: Images, numerics: Numerics, indices: np.ndarray | None = None) -> Tensor:
    """Class probabilities (count, classes) in float32 on the CPU, of the centre crop of all images or of some."""
    return torch.cat([batch[0] for batch in _said(net, images, numerics, False, indices)])


def ten_crops(net: AlexNet, images: Images, numerics: Numerics) -> tuple[Tensor, Tensor]:
    """Class probabilities of the centre crop, and their mean over ten crops: (count, classes) each.

    The softmax outputs of the crops are averaged, as the paper says (section 4.1), not the logits.
    """
    centre, mean = [], []
    for views in _said(net, images, numerics, True, None):
        centre.append(views[CENTRE])
        total = torch.zeros(())
        for view in views:
            total = view + total
        mean.append(total / len(views))
    return torch.cat(centre), torch.cat(mean)


@torch.no_grad()
def _said(
    net: AlexNet, images: Images, numerics: Numerics, ten: bool, indices: np.ndarray | None
) -> Iterator[list[Tensor]]:
    """What the net says of each view of each batch."""
    net.eval()
    for views in images.test_views(BATCH, ten, indices):
        said = []
        for view in views:
            with numerics.autocast():
                logits = net(view)
            said.append(logits.float().softmax(1).cpu())
        yield said
    net.train()


def top_errors(probabilities: Tensor, labels: Tensor, k: int = 1) -> float:
    """Percentage of images whose label is not among the `k` most probable classes; ties count for the lower class."""
    if not bool(probabilities.isfinite().all()):
        return float("nan")
    top = probabilities.argsort(dim=1, descending=True, stable=True)[:, :k]
    return 100.0 * float((top != labels[:, None]).all(1).double().mean())


def mean_loss(probabilities: Tensor, labels: Tensor) -> float:
    """Mean of -log p(label), in nats."""
    return float(-probabilities.gather(1, labels[:, None]).clamp(min=1e-38).log().double().mean())
