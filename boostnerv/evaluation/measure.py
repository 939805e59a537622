"""Quality and rate of a decoded video against the frames it was made from, at full size."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boostnerv import files
from boostnerv.evaluation import metrics
from boostnerv.progress import Progress, silent

"""Called with (frames done, frames in all) after every batch."""


@dataclass(frozen=True)
class Quality:
    """How close a video is to its reference.

    `frame_psnr_db` and `frame_ms_ssim` have one value a frame; `ms_ssim` and `frame_ms_ssim` are None
    together, and then `ms_ssim_missing` says why. `psnr_db` and `ms_ssim` are means over frames.
    """

    frame_psnr_db: tuple[float, ...]
    frame_ms_ssim: tuple[float, ...] | None
    psnr_db: float
    psnr_of_mean_mse_db: float
    ms_ssim: float | None
    ms_ssim_missing: str | None

    def summary(self) -> dict[str, float | str | None]:
        """The values of the whole video, under the names of the columns of points.csv."""
        return {
            "psnr_db": self.psnr_db,
            "psnr_of_mean_mse_db": self.psnr_of_mean_mse_db,
            "ms_ssim": self.ms_ssim,
            "ms_ssim_missing": self.ms_ssim_missing,
        }


def measure(
    reference: metrics.Frames,
    test: metrics.Frames,
    *,
    progress: Progress = silent,
    batch: int = 4,
    device: str = "cpu",
) -> Quality:
    """Compare two videos, uint8 ``[T, H, W, 3]``, memory maps included.

    No more than `batch` frames of each are in memory at a time; the result does not depend on `batch`.
    `device` is where MS-SSIM is computed. Raises `UserError` where shapes, dtypes or frame counts differ.
    """
    metrics.check_comparable(reference, test)
    frames, height, width = reference.shape[:3]
    missing = metrics.ms_ssim_missing(height, width)
    errors: list[float] = []
    similarities: list[float] = []
    for start in range(0, frames, batch):
        left, right = reference[start : start + batch], test[start : start + batch]
        errors += metrics.mse(left, right).tolist()
        if missing is None:
            values = metrics.ms_ssim(left, right, device=device)
            assert values is not None
            similarities += values.tolist()
        progress(len(errors))
    frame_psnr_db = tuple(metrics.psnr_from_mse_db(errors).tolist())
    return Quality(
        frame_psnr_db=frame_psnr_db,
        frame_ms_ssim=None if missing else tuple(similarities),
        psnr_db=metrics.mean(frame_psnr_db),
        psnr_of_mean_mse_db=metrics.psnr_of_mean_mse_db(errors),
        ms_ssim=None if missing else metrics.mean(similarities),
        ms_ssim_missing=missing,
    )


def bits_per_pixel(file_bytes: int, frames: int, height: int, width: int) -> float:
    """Rate in bits per pixel: ``8 · file_bytes / (T · H · W)`` of the original video."""
    return 8 * file_bytes / (frames * height * width)


def write_quality(quality: Quality, json_path: str | Path, csv_path: str | Path, extra: Mapping[str, Any]) -> None:
    """Write the video's values together with `extra` as one flat JSON, and the frames' values as CSV.

    The CSV has the columns frame (from 0), psnr_db and ms_ssim; a missing MS-SSIM is an empty cell.
    """
    files.write_text(csv_path, _frames_csv(quality))
    files.write_json(json_path, merged(extra, quality.summary()))


def merged(extra: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """One flat mapping of both; what was measured cannot be given by the caller as well."""
    twice = sorted(extra.keys() & measured.keys())
    assert not twice, f"given although measured: {twice}"
    return {**extra, **measured}


def _frames_csv(quality: Quality) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("frame", "psnr_db", "ms_ssim"))
    similarities = quality.frame_ms_ssim or ("",) * len(quality.frame_psnr_db)
    for index, (psnr_db, similarity) in enumerate(zip(quality.frame_psnr_db, similarities, strict=True)):
        table.writerow((index, repr(psnr_db), similarity if similarity == "" else repr(similarity)))
    return text.getvalue()
