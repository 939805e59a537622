"""Size, rate and length of videos before extraction, from the headers and the first frames of their sources."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from boostnerv import files
from boostnerv.config import PathSource, Preparation, VideoSpec
from boostnerv.errors import UserError
from boostnerv.video.datasets import source_path
from boostnerv.video.frames import open_video
from boostnerv.video.images import DEFAULT_FPS, image_files
from boostnerv.video.planes import with_planes

_ALL_FRAMES = {"fps": None, "first_frame": 0, "frame_count": None}
_PRINT_BYTES = 1 << 16  # hashed at the start and at the end of a file, where headers are


@dataclass(frozen=True)
class Probed:
    """A video as `declared` by its data set, and completed from its source."""

    declared: VideoSpec
    video: VideoSpec
    source: Path | None = None  # only if the number of frames is an estimate: the source in which to count them

    def counted(self, preparation: Preparation) -> tuple[int, int, int]:
        """(frames, height, width) of the prepared video, by decoding all of it; `source` must be set.

        Raises `UserError` if it cannot be decoded.
        """
        assert self.source is not None
        return _counted(self.declared, self.source, preparation)


def probe_videos(
    videos: Sequence[VideoSpec], dataset: str, preparation: Preparation, *, planes: bool = False
) -> list[Probed]:
    """Probe the sources of those `videos` that have their own path and exist; others are returned unchanged.

    Fetched and downloaded videos are described by their data set, and checked on extraction. Raises `UserError` for
    the first source that cannot be read, that `preparation` does not allow, or that is not 4:2:0 although `planes` are
    required.
    """

    def probed(video: VideoSpec) -> Probed:
        if not isinstance(video.source, PathSource) or not (source := source_path(video, dataset)).exists():
            return Probed(video, video)
        return _probed(video, source, preparation, planes)

    # Every thread waits for an ffmpeg process.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(probed, videos))


def source_prints(videos: Sequence[VideoSpec], dataset: str) -> dict[str, Any]:
    """Fingerprints of the sources that have their own path, by name of the video; None if one cannot be read.

    A fingerprint covers size, start and end of a file, or the names and sizes of a folder's images: it changes with the
    source, and is equal for copies.
    """
    return {
        video.name: _print_of(source_path(video, dataset)) for video in videos if isinstance(video.source, PathSource)
    }


# --- details ----------------------------------------------------------------------------------------------


def _probed(video: VideoSpec, source: Path, preparation: Preparation, planes: bool) -> Probed:
    # Without a range, as that depends on the number of frames, and at the source's rate, as a lower one would need all
    # timestamps.
    decoder = open_video(video, source, preparation.model_copy(update=_ALL_FRAMES))
    if planes:
        with_planes(decoder, source)
    info, total = decoder.info, decoder.total
    fps = video.fps or info.fps or (DEFAULT_FPS if source.is_dir() else None)
    is_known = preparation.fps is None and (video.frames is not None or total is not None)
    if total is None and info.duration_s is not None and info.fps is not None:
        total = round(info.duration_s * info.fps)
    frames = None if total is None else max(1, total - (video.first_frame or 0))
    size = {"height": decoder.geometry.height, "width": decoder.geometry.width}
    probed = video.model_copy(update={**size, "fps": fps, "frames": video.frames or frames})
    return Probed(video, probed, None if is_known else source)


@cache
def _counted(video: VideoSpec, source: Path, preparation: Preparation) -> tuple[int, int, int]:
    decoder = open_video(video, source, preparation)
    # For a lower rate the decoder has already read all timestamps.
    count = decoder.expected if preparation.fps is not None else sum(1 for _ in decoder.frames())
    assert count is not None
    return count, decoder.geometry.height, decoder.geometry.width


def _print_of(source: Path) -> Any:
    try:
        if source.is_dir():
            return files.sha256_of_value([[file.name, file.stat().st_size] for file in image_files(source)])
        if not source.is_file():
            return None
        size = source.stat().st_size
        with open(source, "rb") as file:
            digest = hashlib.sha256(file.read(_PRINT_BYTES))
            file.seek(max(0, size - _PRINT_BYTES))
            digest.update(file.read(_PRINT_BYTES))
    except (OSError, UserError):
        return None  # probing reports what is wrong
    return [size, digest.hexdigest()]
