"""Choosing the video among several streams of a file, and determining its rotation and alpha."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from boostnerv.video import ffmpeg

_SIZE = re.compile(r", (\d+)x(\d+)")
_BESIDE = re.compile(r"\((attached pic|timed thumbnails)\)")
_COUNTED_PACKETS = 50  # more than there are between two packets of another stream
# The effect of a mirroring display matrix, by its number of quarter turns.
_MIRRORED = (
    "mirrored top to bottom",
    "mirrored left to right and rotated by 270 degrees counter-clockwise",
    "mirrored left to right",
    "mirrored left to right and rotated by 90 degrees counter-clockwise",
)
_BLOCK_BYTES = 2**20
_ALWAYS_WITH_ALPHA = ("gif", "webp", "webp_anim")
_FIRST = "V:0"  # ffmpeg's specifier of the first video stream that is not an attached picture


def is_beside(description: str) -> bool:
    """Whether ffmpeg's `description` of a stream marks it as a cover or thumbnails, not as the video."""
    return _BESIDE.search(description) is not None


def shown_stream(path: Path, videos: Mapping[str, str]) -> str:
    """The number, e.g. ``0:1``, of the stream among `videos` (number -> ffmpeg's description) that players show.

    This is the stream flagged as default, else the largest (ffmpeg's choice), and the first of equal ones. A stream of
    a single frame beside longer ones is a cover, whatever its flags say.
    """
    covers = _single_frames(path, videos)
    films = [number for number in videos if number not in covers] or list(videos)
    flagged = [number for number in films if "(default)" in videos[number]]
    return max(flagged or films, key=lambda number: _pixels(videos[number]))


def specifier(number: str) -> str:
    """ffmpeg's specifier of a stream of the only input; of the first video stream if `number` is empty."""
    return number.partition(":")[2] or _FIRST


def _single_frames(path: Path, videos: Mapping[str, str]) -> set[str]:
    """The streams that have a single frame while others have many."""
    numbers = list(videos)
    streams = [ffmpeg.video_input(path)[specifier(number)] for number in numbers]
    # One line per packet, which begins with the index of its stream.
    graph = ffmpeg.outputs(*streams, "pipe:1", c="copy", format="framecrc", flush_packets=1)
    counts: Counter[int] = Counter()
    with ffmpeg.running(graph) as process:
        for row in process.stdout:
            if not row.startswith(b"#"):
                counts[int(row.partition(b",")[0])] += 1
            if max(counts.values(), default=0) == _COUNTED_PACKETS:
                break
    return {number for index, number in enumerate(numbers) if counts[index] == 1}


def _pixels(description: str) -> int:
    match = _SIZE.search(description)
    return int(match[1]) * int(match[2]) if match else 0


def turning(path: Path, number: str, degrees: float, size: tuple[int, int]) -> str:
    """A note on how pictures that ffmpeg reports as rotated by `degrees` are rotated or mirrored; empty if not at all.

    `size` is (height, width) as coded. ffmpeg reports the angle of a display matrix but not whether it mirrors, so the
    first picture is compared with itself as coded.
    """
    rotated = f"rotated by {degrees:g} degrees counter-clockwise, as the file asks for" if round(degrees) else ""
    if round(degrees) % 90:
        return rotated
    turns = round(degrees / 90) % 4
    coded = _first_luma(path, number, autorotate=False).reshape(size)
    displayed = _first_luma(path, number, autorotate=True)
    # A mirroring matrix is reported with the angle of the rotation that is half a turn from it.
    candidates = (np.rot90(coded, turns), np.rot90(coded[:, ::-1], turns + 2))
    plain, mirrored = (int(np.abs(candidate.ravel() - displayed).sum()) for candidate in candidates)
    return rotated if plain <= mirrored else f"{_MIRRORED[turns]}, as the file asks for"


def has_alpha(path: Path, number: str, codec: str, pixel_format: str) -> bool:
    """Whether any pixel of a stream is transparent, or may be.

    Decoders of animated images always output alpha, so for those all pictures are checked.
    """
    if not ffmpeg.has_alpha(pixel_format):
        return False
    return codec not in _ALWAYS_WITH_ALPHA or not _is_opaque(path, number)


def _is_opaque(path: Path, number: str) -> bool:
    alpha = ffmpeg.video_input(path)[specifier(number)].filter("alphaextract")
    graph = alpha.output("pipe:1", format="rawvideo", pix_fmt="gray", fps_mode="passthrough")
    opaque = bytes([255])
    with ffmpeg.running(graph) as process:
        while block := process.stdout.read(_BLOCK_BYTES):
            if block.strip(opaque):
                return False
    return True


def _first_luma(path: Path, number: str, *, autorotate: bool) -> npt.NDArray[np.int32]:
    """Luma of the first picture, flattened row by row, as coded or, with `autorotate`, as displayed."""
    options = {} if autorotate else {"noautorotate": None}
    stream = ffmpeg.video_input(path, **options)[specifier(number)]
    graph = stream.output("pipe:1", format="rawvideo", pix_fmt="gray", vframes=1, fps_mode="passthrough")
    return np.frombuffer(ffmpeg.run(graph).stdout, np.uint8).astype(np.int32)
