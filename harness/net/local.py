"""Layers whose units do not share weights: locally connected ones, and fully connected ones in columns."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class LocallyConnected(nn.Module):
    """A convolution at stride 1 whose weights and biases differ from place to place.

    Takes (N, inputs, H, W) and returns (N, outputs, side, side), side = H + 2 pad - kernel + 1. `weight` is (places,
    outputs, inputs * kernel^2), `bias` (places, outputs), places row by row. The authors' nets for CIFAR-10 have two.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, pad: int, side: int) -> None:
        super().__init__()
        self.kernel, self.pad, self.side = kernel, pad, side
        places = side**2
        self.weight = nn.Parameter(torch.empty(places, outputs, inputs * kernel**2))
        self.bias = nn.Parameter(torch.empty(places, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        windows = F.unfold(x, self.kernel, padding=self.pad).permute(2, 0, 1)  # (places, N, inputs * kernel^2)
        y = torch.baddbmm(self.bias[:, None], windows, self.weight.mT)  # (places, N, outputs)
        maps: Tensor = y.permute(1, 2, 0).view(len(x), -1, self.side, self.side)
        return maps


class GroupedLinear(nn.Module):
    """A fully connected layer in `groups` columns that do not see each other.

    Takes (N, inputs), column by column, and returns (N, outputs). `weight` is (outputs, inputs / groups).
    """

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        parts = zip(x.chunk(self.groups, 1), self.weight.chunk(self.groups), self.bias.chunk(self.groups), strict=True)
        return torch.cat([F.linear(*part) for part in parts], 1)
