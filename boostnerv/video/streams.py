"""Which of several streams of a file is its video, and how its pictures are turned."""

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
_COUNTED_PACKETS = 50  # more than lie between two packets of another stream
# What a matrix of so many quarter turns does that mirrors.
_MIRRORED = (
    "mirrored top to bottom",
    "mirrored left to right and rotated by 270 degrees counter-clockwise",
    "mirrored left to right",
    "mirrored left to right and rotated by 90 degrees counter-clockwise",
)
_BLOCK_BYTES = 2**20
_ALWAYS_WITH_ALPHA = ("gif", "webp", "webp_anim")
_FIRST = "V:0"  # ffmpeg's name of the first video stream that is no attached picture


def is_beside(description: str) -> bool:
    """Whether a stream that ffmpeg describes so belongs to the file and not to the video, as covers do."""
    return _BESIDE.search(description) is not None


def shown_stream(path: Path, videos: Mapping[str, str]) -> str:
    """The number, e.g. ``0:1``, of that one of `videos` (number -> ffmpeg's description) that a player shows.

    It is the one that is flagged as default, else ffmpeg's choice, the largest; the first of equal ones. One of a
    single frame beside others is a cover, whatever its flags say.
    """
    covers = _single_frames(path, videos)
    films = [number for number in videos if number not in covers] or list(videos)
    flagged = [number for number in films if "(default)" in videos[number]]
    return max(flagged or films, key=lambda number: _pixels(videos[number]))


def specifier(number: str) -> str:
    """How a stream of the only input is named to ffmpeg; the first one where its number is not known."""
    return number.partition(":")[2] or _FIRST


def _single_frames(path: Path, videos: Mapping[str, str]) -> set[str]:
    """Those of several streams that have one frame where others have many; none of them where ffmpeg cannot tell."""
    numbers = list(videos)
    streams = [ffmpeg.video_input(path)[specifier(number)] for number in numbers]
    # A line a packet, which begins with the number of its stream.
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
    """What is done to pictures that ffmpeg says are rotated by `degrees`, as a note, empty where that is nothing.

    `size` is (height, width) as coded. ffmpeg tells the angle of a matrix and not whether it mirrors, so that the first
    picture is compared with itself.
    """
    rotated = f"rotated by {degrees:g} degrees counter-clockwise, as the file asks for" if round(degrees) else ""
    if round(degrees) % 90:
        return rotated
    turns = round(degrees / 90) % 4
    coded = _first_luma(path, number, autorotate=False).reshape(size)
    shown = _first_luma(path, number, autorotate=True)
    # A matrix that mirrors has the angle of the rotation that is half a turn from it.
    choices = (np.rot90(coded, turns), np.rot90(coded[:, ::-1], turns + 2))
    plain, mirrored = (int(np.abs(choice.ravel() - shown).sum()) for choice in choices)
    return rotated if plain <= mirrored else f"{_MIRRORED[turns]}, as the file asks for"


def has_alpha(path: Path, number: str, codec: str, pixel_format: str) -> bool:
    """Whether a stream has alpha that matters.

    Decoders of animated images give alpha whether the file has any or not, so that all of it is looked at there.
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
    """Brightness of the first picture, row by row, as it is coded or, with `autorotate`, shown."""
    options = {} if autorotate else {"noautorotate": None}
    stream = ffmpeg.video_input(path, **options)[specifier(number)]
    graph = stream.output("pipe:1", format="rawvideo", pix_fmt="gray", vframes=1, fps_mode="passthrough")
    return np.frombuffer(ffmpeg.run(graph).stdout, np.uint8).astype(np.int32)
