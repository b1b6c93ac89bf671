"""What a trained net says of a part of the data."""

import numpy as np
import torch
from torch import Tensor

from harness.data.batches import Images
from harness.data.packed import Packed
from harness.errors import UserError
from harness.net.alexnet import AlexNet, trained
from harness.numerics import Numerics, configure
from harness.record import Run
from harness.weights import ensure

BATCH = 128
"""Images at a time: fixed, since the order of sums inside a batched product may depend on it."""


def load_net(run: Run, name: str, packed: Packed) -> tuple[AlexNet, Numerics, str]:
    """The net of a finished run on its device, ready to see its packed images; and the hash of its weights.

    Weights that are not here are trained again. `name`: the run's, for messages. Raises `UserError` when the images are
    not those of the run.
    """
    if packed.manifest.hash != run.images.hash:
        raise UserError(
            f"{name}: was trained on other images ({run.images.hash[:12]}) than those of {packed.folder} "
            f"({packed.manifest.hash[:12]}); train it again, or name its images"
        )
    settings = run.config.resolved
    weights, digest = ensure(run, name, packed)
    numerics = configure(settings)
    net = trained(settings, run.images.channels, run.images.classes, weights)
    net.to(numerics.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net, numerics, digest


@torch.no_grad()
def probabilities(net: AlexNet, images: Images, numerics: Numerics, indices: np.ndarray | None = None) -> Tensor:
    """Class probabilities (count, classes) in float32 on the CPU, of the centre crop of all images or of some."""
    training = net.training
    net.eval()
    parts = []
    for (view,) in images.test_views(BATCH, False, indices):
        with numerics.autocast():
            logits = net(view)
        parts.append(logits.float().softmax(1).cpu())
    net.train(training)
    return torch.cat(parts)


def top_errors(probabilities: Tensor, labels: Tensor, k: int = 1) -> float:
    """Percentage of images whose label is not among the `k` most probable classes; ties count for the lower class."""
    if not bool(probabilities.isfinite().all()):
        return float("nan")
    top = probabilities.argsort(dim=1, descending=True, stable=True)[:, :k]
    return 100.0 * float((top != labels[:, None]).all(1).double().mean())


def mean_loss(probabilities: Tensor, labels: Tensor) -> float:
    """Mean of -log p(label), in nats."""
    return float(-probabilities.gather(1, labels[:, None]).clamp(min=1e-38).log().double().mean())
