"""MS-SSIM for losses on CPUs: the values of ``pytorch_msssim``, in fewer and wider operations.

Wang et al., "Multiscale structural similarity for image quality assessment", 2003. The package filters three channels
at a time, one map after another; here all maps are filtered at once, in both directions over contiguous rows. Contrast
needs only the sum of both variances, luminance is computed only at the last scale, where it counts, and gradients are
explicit. Values and gradients equal the package's up to the order of sums (`tests/training/test_similarity.py`);
results are measured with the package itself (`boostnerv.evaluation.metrics`).

Shapes: frames ``[N, C, H, W]`` in [0, 1], contiguous; inside, filtered maps ``[W − 10, N·C·(H − 10)]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SIZE, _SIGMA = 11, 1.5  # of the Gaussian window
_C1, _C2 = 0.01**2, 0.03**2  # for values in [0, 1]
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """MS-SSIM of each frame ``[N]``; H and W over 160. The gradient reaches only x, not y."""
    product = torch.ones(x.shape[:2], device=x.device, dtype=x.dtype)
    for scale, weight in enumerate(_SCALE_WEIGHTS, 1):
        last = scale == len(_SCALE_WEIGHTS)
        similarity: Tensor = _Similarity.apply(x, y, last)  # type: ignore[no-untyped-call]
        product = product * similarity.relu() ** weight
        if not last:
            x, y = _half(x), _half(y)
    return product.mean(1)


class _Similarity(torch.autograd.Function):
    """Contrast and structure, or SSIM with `luminance`, of each channel ``[N, C]``: the mean over positions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, luminance: bool) -> Tensor:
        maps = torch.stack((x, y, torch.addcmul(x * x, y, y), x * y))
        mean_x, mean_y, squares, product = _filtered(maps)
        of_means, means = mean_x * mean_y, torch.addcmul(mean_x * mean_x, mean_y, mean_y)
        per_variance = (squares - means).add_(_C2).reciprocal_()
        contrast = (product - of_means).mul_(2).add_(_C2).mul_(per_variance)
        similarity, saved = contrast, [x, y, mean_x, mean_y, contrast, per_variance]
        if luminance:
            per_mean = (means + _C1).reciprocal_()
            bright = of_means.mul_(2).add_(_C1).mul_(per_mean)
            similarity, saved = contrast * bright, [*saved, bright, per_mean]
        ctx.save_for_backward(*saved)
        return similarity.view(len(similarity), *x.shape[:2], -1).mean((0, 3))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, y, mean_x, mean_y, contrast, per_variance, *rest = ctx.saved_tensors
        rows = contrast.shape[1] // gradients[0].numel()
        share = (gradients[0] / (len(contrast) * rows)).flatten().repeat_interleave(rows)
        to_product = 2 * per_variance * share
        to_squares = (contrast * to_product).mul_(-0.5)
        to_mean = (contrast * mean_x).sub_(mean_y).mul_(to_product)
        if rest:
            bright, per_mean = rest
            to_bright = contrast * share
            to_product, to_squares = to_product * bright, to_squares * bright
            to_mean = to_mean * bright + 2 * (mean_y - mean_x * bright) * per_mean * to_bright
        of_mean, of_squares, of_product = _spread(torch.stack((to_mean, to_squares, to_product), 1), x.shape)
        return of_mean.addcmul_(x, of_squares, value=2).addcmul_(y, of_product), None, None


def _half(frames: Tensor) -> Tensor:
    return F.avg_pool2d(frames, 2, padding=[side % 2 for side in frames.shape[2:]])


def _filtered(maps: Tensor) -> Sequence[Tensor]:
    """Maps ``[M, N, C, H, W]`` where the window fits, ``[W − 10, N·C·(H − 10)]`` each."""
    down = _along_first(maps.flatten(0, 2))
    across = _along_first(down.flatten(0, 1).t().contiguous()[None])[0]
    return across.unflatten(1, (len(maps), -1)).unbind(1)


def _spread(maps: Tensor, shape: torch.Size) -> Tensor:
    """The adjoint of `_filtered`: ``[W − 10, M, N·C·(H − 10)] → [M, N, C, H, W]``."""
    count, channels = maps.shape[1], shape[0] * shape[1]
    across = _along_first(maps.flatten(1)[None], _SIZE - 1)[0]
    down = _along_first(across.t().contiguous().unflatten(0, (count * channels, -1)), _SIZE - 1)
    return down.view(count, *shape)


def _along_first(lines: Tensor, padding: int = 0) -> Tensor:
    """The symmetric window over L of ``[B, L, K]``; K, contiguous in memory, are the channels."""
    count = lines.shape[2]
    weights = _window(lines.dtype, lines.device).expand(count, 1, 1, -1)
    filtered = F.conv2d(lines.transpose(1, 2)[:, :, None], weights, padding=(0, padding), groups=count)
    return filtered[:, :, 0].transpose(1, 2)


@cache
def _window(dtype: torch.dtype, device: torch.device) -> Tensor:
    places = torch.arange(_SIZE, dtype=torch.float32) - _SIZE // 2
    window = torch.exp(-(places**2) / (2 * _SIGMA**2))
    return (window / window.sum()).to(device, dtype)
