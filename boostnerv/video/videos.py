"""What a model represents, one video or several, behind one interface.

`boostnerv.video.frames.Frames` is one video; `boostnerv.video.collections.OpenCollection` is several of one size,
perhaps cut into patches. Code that reads pixels or describes a file asks for `Videos` and need not know which it has.

Legend: T frames of all videos together, H and W pixels of a whole frame, h and w pixels of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from boostnerv.config import Preparation
    from boostnerv.video.info import SourceInfo

Colour = tuple[float, float, float]
"""Values of R, G and B in [0, 1]."""


class FrameSource(Protocol):
    """Frames that are made or read when a slice of them is taken; as an array has them otherwise."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.uint8]
    ndim: int
    size: int

    def __getitem__(self, part: slice) -> npt.NDArray[np.uint8]:
        """Frames ``[B, H, W, 3]`` of a slice over time."""


@dataclass(frozen=True)
class MemberVideo:
    """One video of a collection. `frames` are its frame numbers among those of all; `fps` is in frames per second."""

    name: str
    frames: range
    fps: float
    whole_sha256: str  # of the pixels of its whole frames


class VideosManifest(Protocol):
    """What the manifests of one video and of a collection both say; of a collection it is of all videos together."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def video(self) -> str:
        """Name of the video, or a name for all videos."""

    @property
    def frames(self) -> int:
        """T."""

    @property
    def height(self) -> int:
        """Height in pixels."""

    @property
    def width(self) -> int:
        """Width in pixels."""

    @property
    def fps(self) -> float:
        """Frames per second, the mean at a variable rate; of a collection that of its first video."""

    @property
    def colour(self) -> str:
        """Profile by which the sources became RGB."""

    @property
    def timestamps_s(self) -> tuple[float, ...] | None:
        """When each frame is shown, from the first one; None at a constant rate."""

    @property
    def pixels_sha256(self) -> str:
        """Identity of the pixels."""

    @property
    def source(self) -> SourceInfo | None:
        """Properties of the source, where there is one and it is known."""

    @property
    def source_sha256(self) -> str | None:
        """SHA-256 of that source."""

    @property
    def preparation(self) -> Preparation | None:
        """How the frames were made of that source."""


class Videos(Protocol):
    """What a model represents."""

    @property
    def manifest(self) -> VideosManifest:
        """What is known of the pixels; its height and width are H and W."""

    @property
    def path(self) -> Path:
        """The file that was opened, for messages."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | FrameSource:
        """Whole frames of all videos, one video after the other: uint8 ``[T, H, W, 3]``, read when they are taken."""

    def array(self) -> npt.NDArray[np.uint8]:
        """The same as one array: a memory map of one video, a copy in memory of several."""

    @property
    def members(self) -> tuple[MemberVideo, ...]:
        """The videos of a collection, in order; empty for a single video, which is not told apart from the whole."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of frames of each video."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patches that a frame is cut into."""

    @property
    def is_cut(self) -> bool:
        """Whether frames are cut into several patches."""

    @property
    def statistics(self) -> tuple[Colour, Colour] | None:
        """Mean and standard deviation of the pixels, by which models of collections normalise; None of one video."""

    def patch(self, video: int, patch: int) -> npt.NDArray[np.uint8]:
        """A patch, numbered row by row, of all frames of a video: read-only view, uint8 ``[frames, h, w, 3]``."""
