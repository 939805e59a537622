"""Cutting a long video into segments at scene changes, detected by ffmpeg's filter `scdet`.

A network spends its weights on what its frames have in common, which across scenes is little.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from boostnerv.errors import UserError
from boostnerv.progress import Progress, silent
from boostnerv.video import ffmpeg

SCENE_THRESHOLD = 10.0
"""`scdet` score, 0 to 100, from which a frame starts a new scene; ffmpeg's default."""

_LONGER_SIDE = 160
"""Frames are scaled down to this many pixels, as noise and moving detail are no scene changes."""
_FRAME = re.compile(r"\bn: *\d+ pts: *(\d+) ")


def scene_cuts(pixels: npt.NDArray[np.uint8], *, progress: Progress = silent) -> tuple[int, ...]:
    """Indices, in order and above 0, of the frames of uint8 RGB [T, H, W, 3] that start a new scene.

    Memory maps are read frame by frame. Neither fades nor the end of a one-frame flash count as cuts. Raises
    `UserError` if ffmpeg fails.
    """
    _, height, width, _ = pixels.shape
    cuts: list[int] = []

    def on_line(line: str) -> None:
        if match := _FRAME.search(line):
            cuts.append(int(match[1]))

    try:
        with ffmpeg.running(_graph(height, width), on_line, fed=True) as process:
            for frame in _fed(pixels, progress):
                process.feed(frame)
            process.finish()
    except ffmpeg.FfmpegError as error:
        raise UserError(
            f"ffmpeg cannot detect scenes in frames of {height}x{width} ({error}); set FFMPEG_BINARY to another one"
        ) from error
    return tuple(cuts)


def segments(frames: int, cuts: Sequence[int], longest: int, shortest: int) -> tuple[range, ...]:
    """Divide ``0..frames`` into consecutive ranges of `shortest` to `longest` frames, at `cuts` where possible.

    Of cuts closer together than `shortest` the first is kept, which keeps the largest number; cuts too close to an end
    are ignored. Ranges longer than `longest` are divided evenly, longer parts first. A video shorter than `shortest`
    is one segment. Raises `UserError` if ``longest < 2 * shortest - 1``, as some lengths could not be divided then.
    """
    if frames < 1 or shortest < 1:
        raise UserError(f"{frames} frames cannot be cut into segments of at least {shortest}; both must be 1 or more")
    if longest < 2 * shortest - 1:
        raise UserError(
            f"segments of {shortest} to {longest} frames do not fit every video; the longest must be at least "
            f"{2 * shortest - 1}, twice the shortest less one"
        )
    ends = [0, *_kept(frames, cuts, shortest), frames]
    return tuple(part for start, stop in itertools.pairwise(ends) for part in _divided(start, stop, longest))


def _graph(height: int, width: int) -> ffmpeg.Graph:
    """Graph that logs a line of `showinfo` for every frame that starts a scene; at 1 fps its timestamp is its index."""
    stream = ffmpeg.input_from_pipe(format="rawvideo", pixel_format="rgb24", video_size=(width, height), framerate=1)
    if (longer := max(height, width)) > _LONGER_SIDE:
        scaled = (max(1, round(side * _LONGER_SIDE / longer)) for side in (width, height))
        stream = stream.filter("scale", *scaled, flags="area")
    stream = stream.filter("scdet", threshold=SCENE_THRESHOLD, sc_pass=1).filter("showinfo", checksum=0)
    return stream.output("pipe:1", format="null", fps_mode="passthrough")


def _fed(pixels: npt.NDArray[np.uint8], progress: Progress) -> Iterator[memoryview]:
    for done, frame in enumerate(pixels, start=1):
        yield np.ascontiguousarray(frame).data
        progress(done)


def _kept(frames: int, cuts: Sequence[int], shortest: int) -> Iterator[int]:
    last = 0
    for cut in sorted(cuts):
        if cut - last >= shortest and frames - cut >= shortest:
            yield cut
            last = cut


def _divided(start: int, stop: int, longest: int) -> Iterator[range]:
    parts = -(-(stop - start) // longest)
    shorter, longer_parts = divmod(stop - start, parts)
    for index in range(parts):
        end = start + shorter + (index < longer_parts)
        yield range(start, end)
        start = end
