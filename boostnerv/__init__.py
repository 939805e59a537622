"""boostnerv: reproducible neural video compression, from a video to a network to a small file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from boostnerv.codec.decoder import VideoFile

__all__ = ["open"]


def open(path: str | Path, device: str = "cpu", *, exact: bool = True) -> VideoFile:
    """Open a ``.bnv`` file: ``boostnerv.open("x.bnv")[k]`` is frame k as uint8 RGB ``[H, W, 3]``.

    With `exact`, a frame does not depend on which others are requested; without, frames are computed in larger batches
    and pixels may differ by one level. Raises `UserError` if the file cannot be read, `BitstreamError` if damaged.
    """
    from boostnerv.codec.decoder import VideoFile

    return VideoFile(path, device, exact=exact)
