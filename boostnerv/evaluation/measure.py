"""Quality and rate of a decoded video, measured against the original frames at full size."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boostnerv import files
from boostnerv.evaluation import metrics
from boostnerv.evaluation.vmaf import VmafMeter
from boostnerv.evaluation.yuv import YuvQuality
from boostnerv.progress import Progress, silent
from boostnerv.video.videos import FrameSource

BATCH = 4
"""Frames that are compared at a time."""


@dataclass(frozen=True)
class Quality:
    """Quality of a video relative to its reference.

    `frame_psnr_db` and `frame_ms_ssim` have one value per frame, `psnr_db` and `ms_ssim` are means over frames.
    `frame_ms_ssim` and `ms_ssim` are None together; `ms_ssim_missing` is the reason. `frame_hidden_psnr_db` is the
    PSNR of the hidden pixels alone and `frame_visible_psnr_db` of the others, None if nothing was hidden. `frame_vmaf`
    and `yuv`, the quality of the planes, are None unless they were measured.
    """

    frame_psnr_db: tuple[float, ...]
    frame_ms_ssim: tuple[float, ...] | None
    psnr_db: float
    psnr_of_mean_mse_db: float
    ms_ssim: float | None
    ms_ssim_missing: str | None
    frame_hidden_psnr_db: tuple[float, ...] | None = None
    frame_visible_psnr_db: tuple[float, ...] | None = None
    frame_vmaf: tuple[float, ...] | None = None
    yuv: YuvQuality | None = None

    def part(self, frames: range) -> Quality:
        """Quality of a range of frames, without that of hidden and visible pixels."""
        psnr_db = self.frame_psnr_db[frames.start : frames.stop]
        ms_ssim = None if self.frame_ms_ssim is None else self.frame_ms_ssim[frames.start : frames.stop]
        return Quality(
            frame_psnr_db=psnr_db,
            frame_ms_ssim=ms_ssim,
            psnr_db=metrics.mean(psnr_db),
            psnr_of_mean_mse_db=metrics.psnr_of_mean_mse_db(metrics.mse_from_psnr_db(psnr_db)),
            ms_ssim=None if ms_ssim is None else metrics.mean(ms_ssim),
            ms_ssim_missing=self.ms_ssim_missing,
            frame_vmaf=None if self.frame_vmaf is None else self.frame_vmaf[frames.start : frames.stop],
        )

    @property
    def vmaf(self) -> float | None:
        """Mean over frames."""
        return None if self.frame_vmaf is None else metrics.mean(self.frame_vmaf)

    def summary(self) -> dict[str, float | str | None]:
        """The values of the video, with the column names of points.csv; those of planes and VMAF only if measured."""
        values: dict[str, float | str | None] = {
            "psnr_db": self.psnr_db,
            "psnr_of_mean_mse_db": self.psnr_of_mean_mse_db,
            "ms_ssim": self.ms_ssim,
            "ms_ssim_missing": self.ms_ssim_missing,
            **({} if self.yuv is None else self.yuv.summary()),
        }
        return values if self.vmaf is None else values | {"vmaf": self.vmaf}

    def by_frame(self) -> dict[str, tuple[float, ...]]:
        """The values of the frames, by column of the table of frames; a missing MS-SSIM is NaN."""
        columns: dict[str, tuple[float, ...] | None] = {
            "psnr_db": self.frame_psnr_db,
            "ms_ssim": self.frame_ms_ssim or (math.nan,) * len(self.frame_psnr_db),
            "psnr_hidden_db": self.frame_hidden_psnr_db,
            "psnr_visible_db": self.frame_visible_psnr_db,
            "vmaf": self.frame_vmaf,
            **({} if self.yuv is None else self.yuv.frame_columns()),
        }
        return {name: values for name, values in columns.items() if values is not None}


def split_summary(quality: Quality, unseen: Sequence[int]) -> dict[str, float | None]:
    """Means over the frames used in training and the `unseen` ones, and over the hidden and the visible pixels.

    Empty if nothing was withheld from training.
    """
    means: dict[str, float | None] = {}
    if unseen:
        unseen_indices = set(unseen)
        seen = [index for index in range(len(quality.frame_psnr_db)) if index not in unseen_indices]
        for name, frames in (("seen", seen), ("unseen", list(unseen))):
            means[f"psnr_{name}_db"] = metrics.mean([quality.frame_psnr_db[index] for index in frames])
            if quality.frame_ms_ssim is not None:
                means[f"ms_ssim_{name}"] = metrics.mean([quality.frame_ms_ssim[index] for index in frames])
    if quality.frame_hidden_psnr_db is not None and quality.frame_visible_psnr_db is not None:
        means["psnr_hidden_db"] = metrics.mean(quality.frame_hidden_psnr_db)
        means["psnr_visible_db"] = metrics.mean(quality.frame_visible_psnr_db)
    return means


def measure(
    reference: metrics.Frames | FrameSource,
    test: metrics.Frames | FrameSource,
    *,
    hidden: npt.NDArray[np.bool_] | None = None,
    progress: Progress = silent,
    device: str = "cpu",
    vmaf: VmafMeter | None = None,
) -> Quality:
    """Compare two videos, uint8 ``[T, H, W, 3]``, memory maps included.

    At most `BATCH` frames of each are in memory at a time; the result does not depend on it. MS-SSIM is computed on
    `device`. Pixels marked in `hidden` ``[H, W]`` are also measured separately, and VMAF by `vmaf`, a meter used for
    this video alone. Raises `UserError` if shapes, dtypes or frame counts differ.
    """
    metrics.check_comparable(reference, test)
    slices = (slice(start, start + BATCH) for start in range(0, reference.shape[0], BATCH))
    pairs = ((reference[part], test[part]) for part in slices)
    return measure_pairs(pairs, hidden=hidden, progress=progress, device=device, vmaf=vmaf)


def measure_pairs(
    pairs: Iterable[tuple[metrics.Frames, metrics.Frames]],
    *,
    hidden: npt.NDArray[np.bool_] | None = None,
    progress: Progress = silent,
    device: str = "cpu",
    vmaf: VmafMeter | None = None,
) -> Quality:
    """`measure` for two videos in batches: pairs of (reference, test), uint8 ``[B, H, W, 3]``.

    There must be at least one pair, all of one frame size. Raises `UserError` if the two of a pair are not comparable.
    """
    errors: list[float] = []
    similarities: list[float] = []
    hidden_errors: list[float] = []
    missing: str | None = None
    for left, right in pairs:
        errors += metrics.mse(left, right).tolist()
        if hidden is not None:
            # The hidden pixels form a row, passed as a frame one pixel high.
            hidden_errors += metrics.mse(left[:, hidden][:, None], right[:, hidden][:, None]).tolist()
        missing = metrics.ms_ssim_missing(*left.shape[1:3])
        if missing is None:
            values = metrics.ms_ssim(left, right, device=device)
            assert values is not None
            similarities += values.tolist()
        if vmaf is not None:
            vmaf.feed(left, right)
        progress(len(errors))
    frame_psnr_db = tuple(metrics.psnr_from_mse_db(errors).tolist())
    hidden_psnr_db, visible_psnr_db = (None, None) if hidden is None else _regions(errors, hidden_errors, hidden)
    return Quality(
        frame_psnr_db=frame_psnr_db,
        frame_ms_ssim=None if missing else tuple(similarities),
        psnr_db=metrics.mean(frame_psnr_db),
        psnr_of_mean_mse_db=metrics.psnr_of_mean_mse_db(errors),
        ms_ssim=None if missing else metrics.mean(similarities),
        ms_ssim_missing=missing,
        frame_hidden_psnr_db=hidden_psnr_db,
        frame_visible_psnr_db=visible_psnr_db,
        frame_vmaf=None if vmaf is None else vmaf.values(),
    )


def measure_patches(
    reference: metrics.Frames | FrameSource,
    test: metrics.Frames,
    cut: Callable[[metrics.Frames], metrics.Frames],
    *,
    progress: Progress = silent,
) -> Quality:
    """`measure` with every patch as a frame; `cut` splits frames ``[B, H, W, 3]`` into patches ``[P, B, h, w, 3]``.

    The mean squared error of a frame is the mean of its patches'; that is not so for PSNR and MS-SSIM.
    """
    pairs = (
        tuple(np.concatenate(cut(frames[index : index + 1])) for frames in (reference, test))
        for index in range(reference.shape[0])
    )
    return measure_pairs(pairs, progress=progress)  # type: ignore[arg-type]


def bits_per_pixel(file_bytes: float, frames: int, height: int, width: int) -> float:
    """Rate in bits per pixel: ``8 · file_bytes / (T · H · W)`` of the original video."""
    return 8 * file_bytes / (frames * height * width)


def write_quality(
    quality: Quality,
    json_path: str | Path,
    csv_path: str | Path,
    extra: Mapping[str, Any],
    parts: Mapping[str, range] | None = None,
    part_records: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write the video's values together with `extra` as flat JSON, and the frames' values as CSV.

    The CSV has the columns frame (from 0), psnr_db and ms_ssim (may be empty); psnr_hidden_db and psnr_visible_db if
    pixels were hidden; vmaf, psnr_y_db, psnr_u_db and psnr_v_db if measured. For several concatenated videos, `parts`
    maps their names to their frames and `part_records` to their counterparts of `extra`: the JSON is then a list that
    begins with the values of all, and the CSV begins with a column video and counts the frames of every video from 0.
    """
    record = merged(extra, quality.summary())
    if not parts:
        write_frames(quality, csv_path)
        files.write_json(json_path, record)
        return
    assert part_records is not None
    merged_parts = [merged(part_records[name], quality.part(frames).summary()) for name, frames in parts.items()]
    files.write_text(csv_path, _frames_csv(quality, parts))
    files.write_json(json_path, [record, *merged_parts])


def write_frames(quality: Quality, path: str | Path) -> None:
    """Write the values of the frames of one video as CSV, as `write_quality` does."""
    files.write_text(path, _frames_csv(quality, {"": range(len(quality.frame_psnr_db))}))


def merged(extra: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Merge both into one flat mapping; `extra` must not contain measured keys."""
    duplicates = sorted(extra.keys() & measured.keys())
    assert not duplicates, f"given although measured: {duplicates}"
    return {**extra, **measured}


def _regions(
    errors: list[float], hidden_errors: list[float], hidden: npt.NDArray[np.bool_]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-frame PSNR in dB of the hidden and of the visible pixels, from the errors of all and of the hidden pixels."""
    hidden_share = float(hidden.mean())
    visible = (np.array(errors) - hidden_share * np.array(hidden_errors)) / (1 - hidden_share)
    return (
        tuple(metrics.psnr_from_mse_db(hidden_errors).tolist()),
        tuple(metrics.psnr_from_mse_db(np.maximum(visible, 0.0)).tolist()),
    )


def _frames_csv(quality: Quality, parts: Mapping[str, range]) -> str:
    columns = quality.by_frame()
    rows = list(zip(*columns.values(), strict=True))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*(["video"] if any(parts) else []), "frame", *columns))
    for name, frames in parts.items():
        for index, values in enumerate(rows[frames.start : frames.stop]):
            cells = ("" if math.isnan(value) else repr(value) for value in values)
            table.writerow((*([name] if name else []), index, *cells))
    return text.getvalue()
