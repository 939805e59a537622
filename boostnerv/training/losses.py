"""Losses as weighted sums of named terms.

Every term maps prediction and target, RGB ``[N, 3, H, W]`` in [0, 1], to one value a frame ``[N]``; a loss is
the batch mean of their weighted sum. Names and published mixtures are in `boostnerv.catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from pytorch_msssim import ms_ssim, ssim
from torch import Tensor

from boostnerv.errors import UserError
from boostnerv.training import similarity

# Five scales with an 11-tap window: below this the coarsest scale is smaller than the window.
MS_SSIM_SMALLEST_SIDE = 161


Term = Callable[[Tensor, Tensor], Tensor]


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of each frame."""
    return (prediction - target).abs().flatten(1).mean(1)


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each frame."""
    return (prediction - target).square().flatten(1).mean(1)


def ssim_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """1 − SSIM of each frame."""
    value: Tensor = ssim(prediction, target, data_range=1.0, size_average=False)
    return 1 - value


def ms_ssim_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """1 − MS-SSIM of each frame."""
    value: Tensor = ms_ssim(prediction, target, data_range=1.0, size_average=False)
    return 1 - value


def fused_ms_ssim_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """1 − MS-SSIM of each frame, on a CPU; see `boostnerv.training.similarity`."""
    return 1 - similarity.ms_ssim(prediction, target)


def frequency(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the 2-D spectra, real and imaginary parts stacked, of each frame.

    The transform is linear, so the difference is transformed once. The input is real: the columns that `rfft2` omits
    mirror those between the first and (for even widths) the last column, which therefore count twice.
    """
    width = prediction.shape[-1]
    spectrum = torch.view_as_real(torch.fft.rfft2(prediction - target)).abs()
    columns = spectrum.sum(dim=(1, 2, 4))
    mirrored = columns[:, 1 : (width + 1) // 2].sum(1)
    return (columns.sum(1) + mirrored) / (2 * prediction[0].numel())


TERMS: Mapping[str, Term] = MappingProxyType(
    {"l1": l1, "l2": l2, "ssim": ssim_loss, "ms_ssim": ms_ssim_loss, "frequency": frequency}
)


FUSED_TERMS: Mapping[str, Term] = MappingProxyType({**TERMS, "ms_ssim": fused_ms_ssim_loss})


def frame_losses(
    terms: Mapping[str, float], prediction: Tensor, target: Tensor, functions: Mapping[str, Term] = TERMS
) -> Tensor:
    """Weighted sum of the terms for each frame, ``[N]``."""
    return torch.stack([weight * functions[name](prediction, target) for name, weight in terms.items()]).sum(0)


def fused_frame_losses(terms: Mapping[str, float], prediction: Tensor, target: Tensor) -> Tensor:
    """`frame_losses` by the faster functions for CPUs; the gradient reaches only the prediction."""
    return frame_losses(terms, prediction.contiguous(), target.contiguous(), FUSED_TERMS)


def check_frame_size(terms: Mapping[str, float], height: int, width: int) -> None:
    """Reject loss terms that need larger frames."""
    if "ms_ssim" in terms and min(height, width) < MS_SSIM_SMALLEST_SIDE:
        raise UserError(
            f"the loss term ms_ssim needs frames with sides over {MS_SSIM_SMALLEST_SIDE - 1} pixels, these have "
            f"{height}×{width}; choose a loss without it, e.g. loss: boosting-nerv/l1_ssim_freq"
        )


def psnr_db(prediction: Tensor, target: Tensor) -> Tensor:
    """PSNR of each frame ``[N]`` in dB: ``−10·log10(mse + 1e-9)`` for values in [0, 1]."""
    mse = (prediction - target).square().flatten(1).mean(1)
    return -10 * torch.log10(mse + 1e-9)
