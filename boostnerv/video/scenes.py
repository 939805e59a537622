"""Where a long video is cut into segments: at changes of scene, which ffmpeg's filter `scdet` finds.

A network spends its weights on what its frames have in common; frames of two scenes have little.
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
"""Score of `scdet`, 0 to 100, from which on a frame begins a scene; ffmpeg's own default."""

_LONGER_SIDE = 160
"""Frames are scaled down to this many pixels: noise and fine detail that moves are no change of scene."""
_FRAME = re.compile(r"\bn: *\d+ pts: *(\d+) ")


def scene_cuts(pixels: npt.NDArray[np.uint8], *, progress: Progress = silent) -> tuple[int, ...]:
    """Indices, all above 0, of the frames of uint8 RGB [T, H, W, 3] that begin a new scene, in order.

    Memory maps are read frame by frame. Fades are no cuts, nor is the end of a flash of one frame. Raises `UserError`
    where ffmpeg fails.
    """
    _, height, width, _ = pixels.shape
    found: list[int] = []

    def on_line(line: str) -> None:
        if match := _FRAME.search(line):
            found.append(int(match[1]))

    try:
        with ffmpeg.running(_graph(height, width), on_line, fed=True) as process:
            for frame in _fed(pixels, progress):
                process.feed(frame)
            process.finish()
    except ffmpeg.FfmpegError as error:
        raise UserError(
            f"ffmpeg cannot look for scenes in frames of {height}x{width} ({error}); try another by FFMPEG_BINARY"
        ) from error
    return tuple(found)


def segments(frames: int, cuts: Sequence[int], longest: int, shortest: int) -> tuple[range, ...]:
    """Divide ``0..frames`` into consecutive ranges of `shortest` to `longest` frames, at `cuts` where that can be.

    Of cuts nearer than `shortest` to each other the first is kept, which keeps as many as any choice; those too near
    to an end are ignored. What is longer than `longest` between two cuts is divided evenly, longer parts first. A
    video shorter than `shortest` is one segment. Raises `UserError` where `longest` is less than twice `shortest`,
    less one: then some lengths cannot be divided.
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
    """A log line of `showinfo` for every frame that begins a scene; at 1 fps its timestamp is its index."""
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
