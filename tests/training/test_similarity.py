"""MS-SSIM for losses is that of pytorch_msssim: values, and gradients to the prediction."""

from __future__ import annotations

import pytest
import pytorch_msssim
import torch
from torch import Tensor

from boostnerv.training.losses import FUSED_TERMS, MS_SSIM_SMALLEST_SIDE, TERMS, frame_losses, fused_frame_losses
from boostnerv.training.similarity import ms_ssim


def pictures(*shape: int, noise: float = 0.1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A smooth picture with noise, which needs a gradient, and the picture."""
    generator = torch.Generator().manual_seed(sum(shape))
    coarse = torch.rand(*shape[:2], 9, 11, generator=generator, dtype=torch.float64)
    clean = torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1)
    noisy = (clean + noise * torch.randn(shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    return noisy.to(dtype).requires_grad_(), clean.to(dtype)


def value_and_gradient(loss: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    weights = torch.arange(1, len(loss) + 1, dtype=loss.dtype)
    return loss.detach(), torch.autograd.grad((loss * weights).sum(), x)[0]


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("shape", [(1, 3, 161, 163), (2, 3, 180, 241), (3, 1, 200, 176)])
def test_values_and_gradients_are_those_of_the_package(shape: tuple[int, ...], noise: float) -> None:
    x, y = pictures(*shape, noise=noise)
    wanted = value_and_gradient(pytorch_msssim.ms_ssim(x, y, data_range=1.0, size_average=False), x)
    found = value_and_gradient(ms_ssim(x, y), x)
    assert torch.allclose(found[0], wanted[0], rtol=1e-12, atol=0)
    assert (found[1] - wanted[1]).norm() <= 1e-10 * wanted[1].norm() + 1e-15


def test_gradients_are_those_of_the_values() -> None:
    x, y = pictures(1, 2, 161, 162)
    gradient = torch.autograd.grad(ms_ssim(x, y).sum(), x)[0]
    step = 1e-6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    with torch.no_grad():
        change = (ms_ssim(x + step, y) - ms_ssim(x - step, y)).sum() / 2
    assert float((gradient * step).sum()) == pytest.approx(float(change), rel=1e-6)


def test_opposite_pictures_have_no_similarity() -> None:
    x, y = pictures(1, 3, 170, 170)
    assert float(ms_ssim(1 - x, y)) == pytest.approx(float(pytorch_msssim.ms_ssim(1 - x, y, data_range=1.0)), abs=1e-9)


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_loss_is_the_same_either_way(channels_last: bool) -> None:
    x, y = pictures(2, 3, MS_SSIM_SMALLEST_SIDE, 190, noise=0.05, dtype=torch.float32)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = x.detach().to(memory_format=layout).requires_grad_()
    terms = dict.fromkeys(TERMS, 1.0) | {"frequency": 0.1}
    wanted = value_and_gradient(frame_losses(terms, x, y), x)
    found = value_and_gradient(fused_frame_losses(terms, x, y), x)
    assert torch.allclose(found[0], wanted[0], rtol=1e-5)
    assert (found[1] - wanted[1]).norm() <= 1e-4 * wanted[1].norm()
    assert FUSED_TERMS.keys() == TERMS.keys()
