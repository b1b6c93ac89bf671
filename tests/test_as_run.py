"""The net as run, against a second one, written by hand from its authors' files."""

import torch
import torch.nn.functional as F  # noqa: N812

from harness.net.alexnet import AlexNet
from harness.settings.load import resolve
from harness.settings.schema import Settings
from harness.train.recipe import SGD, rate

SMALL = {"width": 0.5, "fc_width": 32, "geometry": "small", "crop": 24, "init": "fan_in", "epochs": 8, "device": "cpu"}


def as_run() -> Settings:
    return resolve({"preset": "as_run"} | SMALL, "t")


def cross_map_norm(x: torch.Tensor) -> torch.Tensor:
    """Run #145's: scale 1e-4 over 5 maps (which torch divides as the authors' code does), k = 2, within a column."""
    halves = [F.local_response_norm(half, 5, 1e-4, 0.75, 2.0) for half in x.chunk(2, 1)]
    return torch.cat(halves, 1)


def same_map_norm(x: torch.Tensor) -> torch.Tensor:
    """Run #145's: scale 1e-3 over 5 x 5 places of the same map, k = 1, zeros outside."""
    mean_square = F.avg_pool2d(x * x, 5, stride=1, padding=2, count_include_pad=True)
    return x / (1 + 1e-3 * mean_square) ** 0.75


def by_hand(net: AlexNet, x: torch.Tensor, masks: dict[str, torch.Tensor] | None) -> torch.Tensor:
    """The forward pass of run #145 in the small geometry, written out."""

    def conv(name: str, x: torch.Tensor, pad: int, groups: int = 1) -> torch.Tensor:
        weight, bias = (net.get_parameter(f"layers.{name}.{kind}") for kind in ("weight", "bias"))
        return F.conv2d(x, weight, bias, padding=pad, groups=groups)

    def full(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, net.get_parameter(f"layers.{name}.weight"), net.get_parameter(f"layers.{name}.bias"))

    def pool(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def drop(name: str, x: torch.Tensor) -> torch.Tensor:
        return x * 0.5 if masks is None else x * masks[name]

    x = F.relu(pool(cross_map_norm(conv("conv1", x, 2))))
    x = pool(same_map_norm(cross_map_norm(F.relu(conv("conv2", x, 2, 2)))))
    x = F.relu(conv("conv3", x, 1))
    x = F.relu(conv("conv4", x, 1, 2))
    x = pool(F.relu(conv("conv5", x, 1, 2)))
    x = drop("fc6", F.relu(full("fc6", x.flatten(1))))
    x = drop("fc7", F.relu(full("fc7", x)))
    return full("fc8", x)


def test_the_run_s_forward_pass_and_gradients_are_those_written_by_hand() -> None:
    settings = as_run()
    net = AlexNet(settings, 3, 10)
    net.initialise(5)
    x = torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(1)) * 70
    labels = torch.arange(6)
    torch.testing.assert_close(net(x), by_hand(net, x, None), rtol=1e-4, atol=1e-5)
    masks = net.draw_masks(6, 5, 1, 0)
    parameters = list(net.parameters())
    mine = torch.autograd.grad(F.cross_entropy(net(x, masks), labels), parameters)
    theirs = torch.autograd.grad(F.cross_entropy(by_hand(net, x, masks), labels), parameters)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()))


def test_one_step_of_the_run_is_the_one_written_by_hand() -> None:
    """Weights: momentum .9, decay 5e-4, rate .01; biases: twice the rate, and no decay (A7, A8)."""
    settings = as_run()
    net = AlexNet(settings, 3, 10)
    net.initialise(5)
    x = torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(2)) * 70
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = SGD(settings, net)
    optimiser.set_epoch(1, rate(settings, 1, []))
    gradients = torch.autograd.grad(F.cross_entropy(net(x), torch.arange(6)), list(optimiser.parameters.values()))
    optimiser.step(gradients)
    for (name, weight), gradient in zip(optimiser.parameters.items(), gradients, strict=True):
        old = before[f"layers.{name}"]
        expected = old - 0.02 * gradient if name.endswith("bias") else old - 0.01 * (gradient + 5e-4 * old)
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-8)
