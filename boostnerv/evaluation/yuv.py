"""PSNR of Y, U and V against the source's own planes, at their bit depth, as in the video literature.

Decoded RGB frames are converted back to planes in float32, by the matrix of the source's conversion to RGB; U and V are
means of the pixels around the source's chroma location (see `boostnerv.video.colour.subsampled`), and all are rounded.
8-bit RGB cannot reproduce every code, so even the frames that a model was trained on stay below 90 dB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from boostnerv.errors import UserError
from boostnerv.evaluation import metrics
from boostnerv.progress import Progress, silent
from boostnerv.video.colour import Samples, rgb_to_yuv, subsampled
from boostnerv.video.planes import Planes, PlanesManifest
from boostnerv.video.videos import FrameSource, VideosManifest

FramePlanes = tuple[Samples, Samples, Samples]


@dataclass(frozen=True)
class YuvQuality:
    """Per-frame PSNR in dB of a video's planes against the source's, which have `bits` bits."""

    bits: int
    frame_psnr_y_db: tuple[float, ...]
    frame_psnr_u_db: tuple[float, ...]
    frame_psnr_v_db: tuple[float, ...]

    def summary(self) -> dict[str, float | int]:
        """Means over frames, with the column names of points.csv."""
        y, u, v = (metrics.mean(values) for values in self.frame_columns().values())
        return {
            "psnr_y_db": y,
            "psnr_u_db": u,
            "psnr_v_db": v,
            "psnr_yuv_db": (6 * y + u + v) / 8,
            "yuv_bits": self.bits,
        }

    def frame_columns(self) -> dict[str, tuple[float, ...]]:
        """Per-frame values, by column."""
        return {
            "psnr_y_db": self.frame_psnr_y_db,
            "psnr_u_db": self.frame_psnr_u_db,
            "psnr_v_db": self.frame_psnr_v_db,
        }


def plane_psnr_db(reference: Samples, test: Samples, bits: int) -> float:
    """PSNR in dB of codes of `bits` bits, with the peak 2^bits - 1.

    As for RGB, 1e-9 is added to the mean squared error of values in [0, 1]: identical planes have 90 dB.
    """
    difference = reference.astype(np.int64) - test
    error = int(np.sum(difference * difference)) / (difference.size * float(2**bits - 1) ** 2)
    return float(metrics.psnr_from_mse_db(error))


def check_planes(planes: PlanesManifest, frames: VideosManifest) -> None:
    """Raise `UserError` unless planes and frames are the same frames of the same source."""
    same = ("dataset", "video", "frames", "height", "width", "source_sha256", "preparation")
    for name in same:
        if getattr(planes, name) != getattr(frames, name):
            raise UserError(
                f"the planes of '{planes.video}' differ in {name} from the frames of '{frames.video}'; extract both "
                "from the same source with the same settings"
            )


def measure_rgb(reference: Planes, test: metrics.Frames | FrameSource, progress: Progress = silent) -> YuvQuality:
    """Compare RGB frames, uint8 ``[T, H, W, 3]``, with the source's planes."""
    manifest = reference.manifest
    conversion = manifest.conversion
    if test.shape != (manifest.frames, manifest.height, manifest.width, 3):
        raise UserError(
            f"the decoded frames are {list(test.shape)}, but the planes are of {manifest.frames} frames of "
            f"{manifest.height}x{manifest.width}; give the planes of this video"
        )

    def converted(index: int) -> FramePlanes:
        planes = rgb_to_yuv(test[index : index + 1][0], conversion.matrix, conversion.range, manifest.bits)
        return subsampled(planes, conversion.chroma_location, manifest.bits)

    return _measure(reference, converted, progress)


def measure_planes(reference: Planes, test: Planes, progress: Progress = silent) -> YuvQuality:
    """Compare planes with the source's, which have the same size and bit depth."""
    return _measure(reference, test.frame, progress)


def _measure(reference: Planes, test: Callable[[int], FramePlanes], progress: Progress) -> YuvQuality:
    bits, rows = reference.manifest.bits, []
    for index in range(reference.manifest.frames):
        pairs = zip(reference.frame(index), test(index), strict=True)
        rows.append([plane_psnr_db(left, right, bits) for left, right in pairs])
        progress(index + 1)
    y, u, v = (tuple(column) for column in zip(*rows, strict=True))
    return YuvQuality(bits, y, u, v)
