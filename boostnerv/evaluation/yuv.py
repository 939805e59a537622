"""PSNR of Y, U and V against the source's own planes, at their depth, as the video literature measures it.

Decoded RGB frames become planes again by the matrix in float32 that the source became RGB by; U and V are means of the
pixels about the place where the source has them (see `boostnerv.video.colour.subsampled`), and all are rounded. RGB of
8 bits does not give back every code, so that even the frames that a model was trained on stay below 90 dB.
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
    """How close the planes of a video are to the source's, of `bits` bits; one value a frame, in dB."""

    bits: int
    frame_psnr_y_db: tuple[float, ...]
    frame_psnr_u_db: tuple[float, ...]
    frame_psnr_v_db: tuple[float, ...]

    def summary(self) -> dict[str, float | int]:
        """Means over frames, under the names of the columns of points.csv."""
        y, u, v = (metrics.mean(values) for values in self.frame_columns().values())
        return {
            "psnr_y_db": y,
            "psnr_u_db": u,
            "psnr_v_db": v,
            "psnr_yuv_db": (6 * y + u + v) / 8,
            "yuv_bits": self.bits,
        }

    def frame_columns(self) -> dict[str, tuple[float, ...]]:
        """Values of the frames by the names of their columns."""
        return {
            "psnr_y_db": self.frame_psnr_y_db,
            "psnr_u_db": self.frame_psnr_u_db,
            "psnr_v_db": self.frame_psnr_v_db,
        }


def plane_psnr_db(reference: Samples, test: Samples, bits: int) -> float:
    """PSNR in dB of codes of so many bits, with the peak 2^bits - 1.

    As for RGB, 1e-9 is added to the mean squared error of values in [0, 1]: 90 dB where the planes are identical.
    """
    difference = reference.astype(np.int64) - test
    error = int(np.sum(difference * difference)) / (difference.size * float(2**bits - 1) ** 2)
    return float(metrics.psnr_from_mse_db(error))


def check_planes(planes: PlanesManifest, frames: VideosManifest) -> None:
    """Raise `UserError` unless the planes are those of the same frames of the same source."""
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
    way = manifest.conversion
    if test.shape != (manifest.frames, manifest.height, manifest.width, 3):
        raise UserError(
            f"the decoded frames are {list(test.shape)}, and the planes are of {manifest.frames} frames of "
            f"{manifest.height}x{manifest.width}; give the planes of this video"
        )

    def converted(index: int) -> FramePlanes:
        planes = rgb_to_yuv(test[index : index + 1][0], way.matrix, way.range, manifest.bits)
        return subsampled(planes, way.chroma_location, manifest.bits)

    return _measure(reference, converted, progress)


def measure_planes(reference: Planes, test: Planes, progress: Progress = silent) -> YuvQuality:
    """Compare planes with the source's, of the same sizes and depth."""
    return _measure(reference, test.frame, progress)


def _measure(reference: Planes, test: Callable[[int], FramePlanes], progress: Progress) -> YuvQuality:
    bits, rows = reference.manifest.bits, []
    for index in range(reference.manifest.frames):
        pairs = zip(reference.frame(index), test(index), strict=True)
        rows.append([plane_psnr_db(left, right, bits) for left, right in pairs])
        progress(index + 1)
    y, u, v = (tuple(column) for column in zip(*rows, strict=True))
    return YuvQuality(bits, y, u, v)
