"""One interface for all sources: what ffmpeg reads as video, headerless files with their layout, folders of images.

`probe` returns the properties of a source, `open_source` checks it against a preparation and decodes its frames.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from boostnerv.config import Preparation, RawVideo
from boostnerv.errors import UserError
from boostnerv.files import sha256_of_file
from boostnerv.video.images import folder_sha256, image_files, open_folder, probe_folder
from boostnerv.video.info import Geometry, SourceInfo, Timing
from boostnerv.video.kinds import check_source
from boostnerv.video.selection import WHOLE, Part
from boostnerv.video.video_file import has_audio, open_clip, probe_clip

__all__ = [
    "Decoder",
    "Part",
    "SourceInfo",
    "Timing",
    "check_source",
    "has_sound",
    "open_source",
    "probe",
    "source_sha256",
    "source_state",
]


class Decoder(Protocol):
    """An opened source, whose frames can be read once, in order."""

    info: SourceInfo
    geometry: Geometry
    notes: list[str]  # what the user should know about the conversion; complete after `timing`

    @property
    def total(self) -> int | None:
        """Number of frames of the source up to the end of the video, None if it is not known before reading."""
        ...

    @property
    def expected(self) -> int | None:
        """Number of frames that `frames` will yield, None if it is only known after reading."""
        ...

    def frames(self) -> Generator[npt.NDArray[np.uint8]]:
        """Yield uint8 RGB [geometry.height, geometry.width, 3]; raises `UserError`. It may be closed early."""
        ...

    def timing(self) -> Timing:
        """Presentation times of the frames; valid after all frames have been read."""
        ...


def probe(path: str | Path, raw: RawVideo | None = None) -> SourceInfo:
    """Properties of a source, from its first frames; raises `UserError` if it cannot be read.

    `raw` is the layout of a headerless file, and must be None for any other source.
    """
    path = check_source(path)
    _no_raw_for_folder(path, raw)
    return probe_folder(path) if path.is_dir() else probe_clip(path, raw)


def open_source(
    path: str | Path,
    preparation: Preparation,
    *,
    raw: RawVideo | None = None,
    fps: float | None = None,
    part: Part = WHOLE,
) -> Decoder:
    """Open a source; raises `UserError` if it cannot be read or `preparation` does not allow it.

    `fps` is the frame rate of a folder of images; `part` is the range of the source that is the video.
    """
    path = check_source(path)
    _no_raw_for_folder(path, raw)
    return open_folder(path, preparation, fps, part) if path.is_dir() else open_clip(path, preparation, raw, part)


def source_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, or over the names and hashes of a folder's images."""
    return folder_sha256(path) if path.is_dir() else sha256_of_file(path)


def source_state(path: Path) -> list[tuple[str, int, int]]:
    """(name, size in bytes, modification time in ns) of a file or of a folder's images, to detect changes."""
    entries = image_files(path) if path.is_dir() else (path,)
    return [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries]


def has_sound(path: Path) -> bool:
    """Whether a source has sound; raises `UserError` if it cannot be read."""
    return not path.is_dir() and has_audio(path)


def _no_raw_for_folder(path: Path, raw: RawVideo | None) -> None:
    if raw is not None and path.is_dir():
        raise UserError(f"{path} is a folder of images: remove raw, which is for headerless files")
