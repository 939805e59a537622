"""Small H.264 previews for browsers, written while frames are measured: the first seconds, at most 640 pixels a side.

They are lossy 4:2:0, for viewing only: nothing is measured on them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boostnerv import files
from boostnerv.errors import UserError
from boostnerv.video import ffmpeg
from boostnerv.video.writing import BT709_TAGS, OutputVideo, rgb_input, to_yuv

LARGEST_SIDE = 640
"""In pixels; larger frames are scaled down, smaller ones keep their size."""
LONGEST_S = 10.0

_CODEC = {"c:v": "libx264", "preset": "medium", "crf": 18, "g": 15, "threads": 1, "movflags": "+faststart"}


class Previewed:
    """Frames uint8 ``[T, H, W, 3]`` that feed the encoder of a preview whenever a slice of them is read.

    Slices must be read in order; a frame that is read again is not fed again.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, frames: Any, process: ffmpeg.Process, count: int) -> None:
        self.shape: tuple[int, ...] = frames.shape
        self.size = math.prod(self.shape)
        self._frames, self._process = frames, process
        self._count, self._fed = count, 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> npt.NDArray[np.uint8]:
        taken: npt.NDArray[np.uint8] = self._frames[part]
        for number, frame in zip(range(len(self))[part], taken, strict=True):
            if number == self._fed < self._count:
                self._process.feed(_even(frame).data)
                self._fed += 1
        return taken


@contextlib.contextmanager
def previewed(frames: Any, path: Path | None, fps: float) -> Iterator[Any]:
    """Yield `frames`, uint8 ``[T, H, W, 3]``, whose slices become the preview `path` as they are read, in order.

    The preview has the first `LONGEST_S` seconds and appears when the block ends without an error. Without a path,
    `frames` are yielded unchanged. Raises `UserError` if ffmpeg cannot write the preview.
    """
    if path is None:
        yield frames
        return
    total, height, width = frames.shape[:3]
    count = _preview_frames(total, fps)
    video = OutputVideo(count, height + height % 2, width + width % 2, fps)
    with files.final(path) as temporary:
        options = {**_CODEC, "filter:v": _chain(video), "fps_mode": "passthrough", "format": "mp4"}
        graph = rgb_input(video).output(ffmpeg.local_file(temporary), **options).overwrite_output()
        try:
            with ffmpeg.running(graph, fed=True) as process:
                yield Previewed(frames, process, count)
                process.finish()
        except ffmpeg.FfmpegError as error:
            raise UserError(
                f"ffmpeg could not write the preview {path} ({error}): set FFMPEG_BINARY to one with libx264"
            ) from error


def write_preview(frames: Any, path: Path, fps: float) -> None:
    """Write a preview of `frames`, uint8 ``[T, H, W, 3]``, without measuring; raises `UserError` as `previewed`."""
    with previewed(frames, path, fps) as source:
        for number in range(_preview_frames(len(source), fps)):
            source[number : number + 1]


def _preview_frames(total: int, fps: float) -> int:
    return min(total, max(1, int(LONGEST_S * fps)))


def preview_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the preview of frames of this size: even, and at most `LARGEST_SIDE`."""
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    return _rounded(height, scale), _rounded(width, scale)


def _rounded(side: int, scale: float) -> int:
    return side + side % 2 if scale == 1.0 else max(2, 2 * round(side * scale / 2))


def _chain(video: OutputVideo) -> str:
    """Filters from RGB with even sides to the YUV 4:2:0 that browsers play."""
    height, width = preview_size(video.height, video.width)
    smaller = f"scale={width}:{height}:flags=lanczos," if (height, width) != (video.height, video.width) else ""
    return f"{smaller}{to_yuv('bt709')},format=yuv420p,{BT709_TAGS}"


def _even(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pad a frame to even sides by repeating its last row and column."""
    height, width = frame.shape[:2]
    padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded)
