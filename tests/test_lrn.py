"""Our response normalisation is the paper's formula, torch's function, and their gradient."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from harness.net.layout import Norm
from harness.net.lrn import response_norm


def images(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 8, 17])
@pytest.mark.parametrize("size", range(1, 10))
def test_values_and_gradients_are_torchs(size: int, channels: int, dtype: torch.dtype) -> None:
    for order in (torch.contiguous_format, torch.channels_last):
        x = images(2, channels, 3, 4, dtype=dtype).contiguous(memory_format=order).requires_grad_()
        ours = response_norm(x, Norm(size, 0.3 / size, 0.75, 2.0))
        torchs = F.local_response_norm(x, size, 0.3, 0.75, 2.0)  # it divides alpha by the size
        torch.testing.assert_close(ours, torchs)
        upstream = images(2, channels, 3, 4, dtype=dtype).flip(0)
        torch.testing.assert_close(
            torch.autograd.grad(ours, x, upstream)[0], torch.autograd.grad(torchs, x, upstream)[0]
        )


@given(
    size=st.integers(1, 7),
    channels=st.integers(1, 4),
    columns=st.sampled_from([1, 2]),
    beta=st.sampled_from([0.5, 0.75, 1.0]),
    spatial=st.booleans(),
)
def test_gradient_is_the_functions(size: int, channels: int, columns: int, beta: float, spatial: bool) -> None:
    norm = Norm(size, 0.2, beta, 1.5, columns, spatial)
    x = images(1, channels * columns, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: response_norm(x, norm), x)


def test_the_papers_formula_element_by_element() -> None:
    # Krizhevsky et al. (2012), section 3.3: k = 2, n = 5, alpha = 1e-4, beta = .75; the sum runs over N kernels.
    x = images(1, 7, 2, 2) * 50
    y = response_norm(x, Norm(5, 1e-4, 0.75, 2.0))
    for i in range(7):
        window = x[0, max(0, i - 2) : min(6, i + 2) + 1]
        torch.testing.assert_close(y[0, i], x[0, i] / (2 + 1e-4 * (window**2).sum(0)) ** 0.75)


def test_half_precision_is_computed_in_single() -> None:
    x = images(1, 6, 2, 2, dtype=torch.float32).bfloat16()
    norm = Norm(5, 0.1, 0.75, 2.0)
    assert torch.equal(response_norm(x, norm), response_norm(x.float(), norm).bfloat16())
