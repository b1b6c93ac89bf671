"""Response normalisation with its closed-form gradient.

torch's own `local_response_norm` is slow on a CPU and has no deterministic gradient on CUDA. With
s = k + alpha * W(x^2) and y = x * s^-beta, W the sum over the window, the gradient is
dx = g * s^-beta - 2 * alpha * beta * x * W'(g * x * s^(-beta-1)), W' the sum over the mirrored window.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.net.layout import Norm


def response_norm(x: Tensor, norm: Norm) -> Tensor:
    """Normalise `x` of shape (N, C, H, W) as `norm` says; the result has its shape, type and memory format.

    Krizhevsky et al. (2012), section 3.3. Half-precision inputs are computed in float32.
    The columns divide C.
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        return response_norm(x.float(), norm).to(x.dtype)
    return _ResponseNorm.apply(x, norm)  # type: ignore[no-any-return]


class _ResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Norm) -> Tensor:
        s = _window(x * x, norm).mul_(norm.alpha).add_(norm.k)
        power = _negative_power(s, norm)
        ctx.save_for_backward(x, s, power)
        ctx.norm = norm
        return x * power

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, s, power = ctx.saved_tensors
        norm = ctx.norm
        direct = grads[0] * power
        spread = _window((direct * x).div_(s), norm, mirrored=True)
        return direct.sub_(spread.mul_(x), alpha=2 * norm.alpha * norm.beta), None


def _negative_power(s: Tensor, norm: Norm) -> Tensor:
    if norm.beta == 0.75:
        # r = s^-1/2, r * sqrt(r) = s^-3/4: a fraction of the time that a general power takes.
        r = s.rsqrt()
        # MKL's square root refines the processor's own estimate, which AMD and Intel make differently; torch's inverse
        # square root is one exact root and one exact division.
        return r.rsqrt().mul_(r).mul_(r) if norm.portable else r * r.sqrt()
    return s.pow(-norm.beta)


def _window(x: Tensor, norm: Norm, mirrored: bool = False) -> Tensor:
    """Sum over the window around each element; elements beyond the edge count as zero. A new tensor."""
    # torch's and the original code's window of an even size reaches further back than ahead.
    before, ahead = norm.size // 2, (norm.size - 1) // 2
    if mirrored:
        before, ahead = ahead, before
    if norm.spatial:
        return _sum_along(3, _sum_along(2, x, before, ahead), before, ahead)
    n, c, h, w = x.shape
    return _sum_along(2, x.view(n, norm.columns, c // norm.columns, h, w), before, ahead).view_as(x)


def _sum_along(axis: int, x: Tensor, before: int, ahead: int) -> Tensor:
    """Sum over a window along one axis, from `before` places back to `ahead` places on."""
    total, length = x.clone(), x.shape[axis]
    for shift in range(1, min(max(before, ahead), length - 1) + 1):
        if shift <= before:
            total.narrow(axis, shift, length - shift).add_(x.narrow(axis, 0, length - shift))
        if shift <= ahead:
            total.narrow(axis, 0, length - shift).add_(x.narrow(axis, shift, length - shift))
    return total
