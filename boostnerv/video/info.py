"""Properties of a source that are known before its pixels are read, and the geometry of its preparation.

*Coded* sizes are as stored in the file, *display* sizes are after the rotation that the file asks for.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from boostnerv.config import Closed, Preparation
from boostnerv.errors import UserError, enumeration

_NAMED_JOINTS = 5  # in a note; further ones are only counted
_HDR_TRANSFERS = ("smpte2084", "arib-std-b67")


class PreparationError(UserError):
    """A source has a property for which the preparation's setting `key` must be set to one of `choices`."""

    def __init__(self, problem: str, key: str, choices: Sequence[str], otherwise: str = "") -> None:
        super().__init__(f"{problem}: set preparation.{key} to {' or to '.join(choices)}{otherwise}")
        options = " or ".join(f"--prepare {key}={choice}" for choice in choices)
        self._with_options = f"{problem}: add {options}{otherwise}"

    def with_options(self) -> str:
        """The message for users who set the preparation by command-line options."""
        return self._with_options


class SourceInfo(Closed):
    """Properties of a video file or folder of images. Colour names are ffmpeg's, ``unknown`` included."""

    codec: str = Field(description="Decoder, e.g. h264; image format for a folder.")
    pixel_format: str = Field(description="ffmpeg's name, e.g. yuv420p.")
    bit_depth: int = Field(gt=0, description="Bits per sample.")
    width: int = Field(gt=0, description="Coded width in pixels.")
    height: int = Field(gt=0, description="Coded height in pixels.")
    display_width: int = Field(gt=0, description="Width in pixels after rotation.")
    display_height: int = Field(gt=0, description="Height in pixels after rotation.")
    rotation_degrees: float = Field(
        default=0, description="Counter-clockwise rotation that the file asks for; it is applied."
    )
    sample_aspect: str = Field(default="1:1", description="Width to height of a display pixel; 1:1 when unknown.")
    field_order: Literal["progressive", "tff", "bff"] = Field(
        default="progressive", description="Which field of an interlaced frame comes first."
    )
    fps: float | None = Field(default=None, description="Nominal frames per second; none if not declared.")
    duration_s: float | None = Field(default=None, description="Duration declared by the container, in seconds.")
    matrix: str = Field(default="unknown", description="Colour matrix.")
    range: str = Field(default="unknown", description="tv (limited) or pc (full).")
    chroma_location: str = Field(default="unknown", description="Location of U and V samples, e.g. left or center.")
    primaries: str = Field(default="unknown", description="Colour primaries.")
    transfer: str = Field(default="unknown", description="Transfer characteristics.")

    @property
    def interlaced(self) -> bool:
        """Whether a frame consists of two fields of different times."""
        return self.field_order != "progressive"

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.transfer in _HDR_TRANSFERS

    @property
    def aspect(self) -> Fraction:
        """`sample_aspect` as a number."""
        across, down = self.sample_aspect.split(":")
        return Fraction(int(across), int(down))


@dataclass(frozen=True)
class Timing:
    """Presentation times. `timestamps_s` are relative to the first used frame; None at a constant rate."""

    fps: float
    timestamps_s: tuple[float, ...] | None


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def halved(self) -> Window:
        """The same window in a picture of half the size; all numbers must be even."""
        return Window(self.top // 2, self.left // 2, self.height // 2, self.width // 2)

    def of(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Crop ``[H, W]`` or ``[H, W, 3]`` to the window; the result is contiguous."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        return np.ascontiguousarray(picture[rows, columns])


@dataclass(frozen=True)
class Geometry:
    """From display pixels to the pixels of a frame: crop to `before`, scale to `scaled`, crop to `window`."""

    before: Window | None  # None without a crop before scaling
    scaled: tuple[int, int] | None  # (height, width), or None without scaling
    window: Window

    @property
    def height(self) -> int:
        """Height of a frame in pixels."""
        return self.window.height

    @property
    def width(self) -> int:
        """Width of a frame in pixels."""
        return self.window.width


def is_420(info: SourceInfo) -> bool:
    """Whether a source is YUV 4:2:0."""
    return re.match(r"yuv[aj]?420p|nv12|nv21|p01", info.pixel_format) is not None


def check_allowed(info: SourceInfo, preparation: Preparation, where: str | Path) -> None:
    """Raise `PreparationError` if the source is interlaced, HDR or not square and `preparation` refuses that."""
    if info.interlaced and preparation.interlaced == "refuse":
        raise PreparationError(f"{where} is interlaced", "interlaced", ("deinterlace (bwdif)", "keep"))
    if info.interlaced and preparation.interlaced == "deinterlace" and info.rotation_degrees:
        raise PreparationError(
            f"{where} is interlaced and rotated, and fields cannot be separated after a rotation",
            "interlaced",
            ("keep",),
            ", or deinterlace the file first",
        )
    if info.aspect != 1 and preparation.sample_aspect == "refuse":
        raise PreparationError(
            f"{where} has pixels of aspect {info.sample_aspect}, not square",
            "sample_aspect",
            ("square (scales the width)", "keep"),
        )
    if info.is_hdr and preparation.hdr == "refuse":
        raise PreparationError(
            f"{where} is HDR (transfer {info.transfer})",
            "hdr",
            ("keep",),
            " to code its values as they are, or tone-map the file first",
        )


def geometry(info: SourceInfo, preparation: Preparation, where: str | Path) -> Geometry:
    """Crops and scaling of `preparation` for a source; raises `UserError` if the crop is larger than the picture."""
    height, width = info.display_height, info.display_width
    scaled = None
    if info.aspect != 1 and preparation.sample_aspect == "square":
        scaled = (height, max(1, round(width * info.aspect)))
        height, width = scaled
    if preparation.fit == "source":
        return Geometry(None, scaled, Window(0, 0, height, width))
    assert preparation.height is not None
    assert preparation.width is not None
    target = (preparation.height, preparation.width)
    if preparation.fit in ("resize", "crop-resize"):
        # Scale once, to the final size: scaling to square pixels first would only blur.
        display, pixel = (info.display_height, info.display_width), info.aspect if scaled else Fraction(1)
        window = _largest(display, target, pixel) if preparation.fit == "crop-resize" else Window(0, 0, *display)
        before = None if (window.height, window.width) == display else window
        resized = target if target != (window.height, window.width) else None
        return Geometry(before, resized, Window(0, 0, *target))
    if target[0] > height or target[1] > width:
        raise UserError(
            f"{where} is {height}x{width} (height x width), smaller than the crop of {target[0]}x{target[1]}: choose "
            "a smaller preparation.height and width, or fit: resize"
        )
    centred = preparation.fit == "crop-center"
    top, left = ((height - target[0]) // 2, (width - target[1]) // 2) if centred else (0, 0)
    return Geometry(None, scaled, Window(top, left, *target))


def _largest(size: tuple[int, int], target: tuple[int, int], pixel: Fraction) -> Window:
    """The largest centred window in a picture of `size` with the aspect ratio of `target`, both (height, width).

    One side is the picture's, the other is rounded down to whole pixels; of two unequal borders the larger is below or
    on the right. `pixel` is the aspect ratio (width over height) of a pixel of the picture.
    """
    shape = Fraction(target[1], target[0]) / pixel
    height, width = min(size[0], int(size[1] / shape)), min(size[1], int(size[0] * shape))
    height, width = max(1, height), max(1, width)
    return Window((size[0] - height) // 2, (size[1] - width) // 2, height, width)


def timing(
    ticks: Sequence[int | None], time_base: Fraction, rate: Fraction | None, first: int = 0
) -> tuple[Timing, list[str]]:
    """Constant or variable rate, from the frames' timestamps in units of `time_base` seconds; and notes.

    `rate` is the nominal frame rate, `first` the index of the first frame in its source. A time base too coarse for
    the rate (1 ms in Matroska) rounds timestamps by up to half a tick, which still counts as a constant rate. Where
    times go back, the following frames are moved to one frame interval after the preceding one.
    """
    known = [tick for tick in ticks if tick is not None]
    if len(known) < len(ticks):
        note = "some frames carry no timestamp; a constant frame rate is assumed"
        return Timing(float(rate or 25), None), [note]
    starts = _starts(known)
    notes = _notes_of_joints([first + start for start in starts[1:]])
    parts = [
        [(tick - known[start]) * time_base for tick in known[start:end]]
        for start, end in zip(starts, [*starts[1:], len(known)], strict=True)
    ]
    duration = sum((part[-1] for part in parts), Fraction(0))
    mean = (len(known) - len(parts)) / duration if duration > 0 else None
    for candidate in (rate, mean):
        if candidate and all(_is_constant(part, time_base, candidate) for part in parts):
            return Timing(float(candidate), None), notes
    if mean is None:
        return Timing(25.0, None), [*notes, "the frame rate is not known; 25 frames per second are assumed"]
    times = _joined(parts, 1 / (rate or mean))
    fps = (len(times) - 1) / times[-1]
    return Timing(float(fps), tuple(map(float, times))), [*notes, "the frame rate is variable; timestamps are kept"]


def notes_of_times(ticks: Sequence[int | None], first: int = 0) -> list[str]:
    """Notes on the timestamps of a source whose frame rate the preparation changes; `first` as in `timing`."""
    known = [tick for tick in ticks if tick is not None]
    return _notes_of_joints([first + start for start in _starts(known)[1:]]) if len(known) == len(ticks) else []


def _starts(ticks: Sequence[int]) -> list[int]:
    """Index 0 and the indices of all ticks earlier than their predecessor, as where recordings were joined."""
    return [0, *(index for index, (before, tick) in enumerate(itertools.pairwise(ticks), 1) if tick < before)]


def _notes_of_joints(frames: Sequence[int]) -> list[str]:
    if not frames:
        return []
    where = f"frame{'s' if len(frames) > 1 else ''} {enumeration([str(frame) for frame in frames], _NAMED_JOINTS)}"
    return [f"times go back at {where}, as in joined recordings; what follows is shown one frame after what was before"]


def _joined(parts: Sequence[Sequence[Fraction]], distance: Fraction) -> list[Fraction]:
    """Concatenate the times of `parts`, each of which begins at 0, with one `distance` between them."""
    times: list[Fraction] = []
    for part in parts:
        start = times[-1] + distance if times else Fraction(0)
        times += [start + time for time in part]
    return times


def _is_constant(times: Sequence[Fraction], time_base: Fraction, rate: Fraction) -> bool:
    # If a tick is about as long as a frame (AVI), a dropped frame must not pass for rounding.
    tolerance = time_base if 4 * rate * time_base <= 1 else Fraction(0)
    return all(abs(time - index / rate) <= tolerance for index, time in enumerate(times))
