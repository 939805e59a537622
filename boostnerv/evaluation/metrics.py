"""PSNR and MS-SSIM of decoded frames, computed as in the Boosting-NeRV code.

Legend: T frames, B frames of a batch, H and W pixels, C = 3 channels (RGB). Frames are uint8
``[T, H, W, C]``; tensors are float ``[B, C, H, W]`` in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from boostnerv.errors import UserError
from boostnerv.video.videos import FrameSource

if TYPE_CHECKING:
    import torch

Frames = npt.NDArray[np.uint8]

MSE_FLOOR = 1e-9
"""Added to every mean squared error, so that identical frames have 90 dB instead of infinity."""

MS_SSIM_SMALLEST_SIDE = 161
"""Smallest side in pixels: five scales of an 11-pixel window need more than (11 - 1) · 2^4."""


def psnr_from_mse_db(mse: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """PSNR in dB for mean squared errors of values in [0, 1]: ``-10 · log10(mse + 1e-9)``."""
    return np.asarray(-10.0 * np.log10(np.asarray(mse, dtype=np.float64) + MSE_FLOOR))


def mse_from_psnr_db(psnr_db: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Inverse of `psnr_from_mse_db`, at least 0."""
    return np.maximum(10.0 ** (np.asarray(psnr_db, dtype=np.float64) / -10.0) - MSE_FLOOR, 0.0)


def mse(reference: Frames, test: Frames) -> npt.NDArray[np.float64]:
    """Per-frame mean squared error of uint8 frames scaled to [0, 1]: float64 ``[T]``.

    Squares are summed as integers, so the result is exact up to the final division and platform-independent.
    Raises `UserError` if the videos are not comparable (see `check_comparable`).
    """
    check_comparable(reference, test)
    errors = [_sum_of_squares(reference[index], test[index]) for index in range(len(reference))]
    values_per_frame = int(np.prod(reference.shape[1:]))
    return np.array(errors, dtype=np.float64) / (values_per_frame * 255.0**2)


def psnr_db(reference: Frames, test: Frames) -> npt.NDArray[np.float64]:
    """Per-frame PSNR in dB: float64 ``[T]``; 90 dB for identical frames."""
    return psnr_from_mse_db(mse(reference, test))


def ms_ssim(reference: Frames, test: Frames, *, device: str = "cpu") -> npt.NDArray[np.float64] | None:
    """Per-frame MS-SSIM, float64 ``[T]``; None for frames too small for it (see `ms_ssim_missing`).

    It is computed in float32 on the torch `device`. Raises `UserError` if the videos are not comparable.
    """
    check_comparable(reference, test)
    if ms_ssim_missing(reference.shape[1], reference.shape[2]):
        return None
    import torch  # here, so that tables and figures need not load it

    with torch.no_grad():
        values = ms_ssim_of_tensors(_as_tensor(reference, device), _as_tensor(test, device))
    return values.cpu().numpy().astype(np.float64)


def ms_ssim_missing(height: int, width: int) -> str | None:
    """Why frames of this size have no MS-SSIM, as a sentence; None if they have one."""
    if min(height, width) >= MS_SSIM_SMALLEST_SIDE:
        return None
    return (
        f"MS-SSIM needs {MS_SSIM_SMALLEST_SIDE} pixels or more on both sides for its five scales; "
        f"these frames have {height}x{width}"
    )


def ms_ssim_of_tensors(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Per-frame MS-SSIM ``[B]`` of tensors ``[B, C, H, W]`` in [0, 1], with H and W above 160."""
    import pytorch_msssim

    values: torch.Tensor = pytorch_msssim.ms_ssim(prediction, target, data_range=1, size_average=False)
    return values


def mean(per_frame: Sequence[float]) -> float:
    """Metric of a video as reported in the papers: the mean over its frames."""
    return float(np.mean(per_frame))


def psnr_of_mean_mse_db(per_frame_mse: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """PSNR in dB of the mean squared error over all frames of a video."""
    return float(psnr_from_mse_db(np.mean(per_frame_mse)))


def check_comparable(reference: Frames | FrameSource, test: Frames | FrameSource) -> None:
    """Raise `UserError` unless both are uint8 ``[T, H, W, 3]`` of one shape, with at least one frame."""
    for name, frames in (("reference", reference), ("test", test)):
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise UserError(
                f"the {name} video must be uint8 frames [T, H, W, 3], but it is {frames.dtype} "
                f"{list(frames.shape)}; extract its frames with boostnerv first"
            )
    if reference.shape != test.shape:
        raise UserError(
            f"the two videos differ in size: the reference has {_size(reference)}, the test has "
            f"{_size(test)}; compare the video with the frames it was made from"
        )
    if reference.size == 0:
        raise UserError(f"there is nothing to compare: both videos have {_size(reference)}")


def _size(frames: Frames | FrameSource) -> str:
    count, height, width = frames.shape[:3]
    return f"{count} frame{'' if count == 1 else 's'} of {height}x{width}"


def _sum_of_squares(reference: Frames, test: Frames) -> int:
    difference = np.subtract(reference, test, dtype=np.int32)
    return int(np.einsum("hwc,hwc->", difference, difference, dtype=np.int64))


def _as_tensor(frames: Frames, device: str) -> torch.Tensor:
    """uint8 ``[B, H, W, C]`` to contiguous float32 ``[B, C, H, W]`` in [0, 1]."""
    import torch

    # Copied, as torch does not accept read-only memory maps.
    tensor = torch.from_numpy(np.array(frames)).to(device)
    return tensor.permute(0, 3, 1, 2).contiguous().float() / 255.0
