"""boostnerv: a video becomes a neural network, the network becomes a small file, reproducibly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from boostnerv.codec.decoder import VideoFile

__all__ = ["open"]


def open(path: str | Path, device: str = "cpu", *, exact: bool = True) -> VideoFile:
    """Open a ``.bnv`` file: ``boostnerv.open("x.bnv")[k]`` is frame k as uint8 RGB ``[H, W, 3]``.

    `exact` frames are those of the encoder's machine whatever is asked for; others are computed in larger batches.
    """
    from boostnerv.codec.decoder import VideoFile

    return VideoFile(path, device, exact=exact)
