"""Conversion between YUV and RGB by explicit arithmetic, a float32 matrix, independent of any converter's version.

Planes hold codes of 8 to 16 bits. Limited range (``tv``) has black at 16, white at 235 and chroma from 16 to 240
around 128, all times 2^(bits - 8); full range (``pc``) uses all codes. RGB is full-range uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from boostnerv.config import Closed
from boostnerv.errors import UserError
from boostnerv.video import ffmpeg
from boostnerv.video.info import SourceInfo

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]

MATRICES: Mapping[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}
"""The weights (Kr, Kb) of red and blue in Y, by name of the matrix."""

_PROFILES = {"bt709-float": "bt709", "bt601-float": "bt601"}
# ffmpeg's tag -> matrix, for those that swscale knows; it uses BT.601 for all others.
_TAGGED = {"bt709": "bt709", "bt2020nc": "bt2020", "smpte240m": "smpte240m", "fcc": "fcc"}
# Tags that mean BT.601 or default to it. With any other tag swscale refuses to scale or convert the pictures.
_TAGGED_BT601 = ("unknown", "reserved", "gbr", "bt470bg", "smpte170m")
# matrix -> ffmpeg's tag, where the names differ.
_TAGS = {"bt601": "smpte170m", "bt2020": "bt2020nc"}
_YUV_FORMATS = ("yuv", "yuyv", "yvyu", "uyvy", "uyyvyy", "nv", "p0", "p2", "p4", "y2", "xv", "vuy", "vyu", "ayuv")
_LOCATIONS = ("left", "center", "topleft")


class Conversion(Closed):
    """How the planes of a source became RGB, as far as it is known."""

    matrix: str = Field(description="Colour matrix that was applied, e.g. bt709.")
    range: str = Field(description="Assumed range of the source: tv (limited) or pc (full).")
    chroma_location: str = Field(description="Assumed position of U and V samples relative to the pixels.")
    chroma_filter: str = Field(description="How U and V were interpolated to the size of Y.")
    scaler_flags: str = Field(description="Flags of swscale.")
    arithmetic: str = Field(description="Number type in which the matrix was applied.")


def is_yuv(info: SourceInfo) -> bool:
    """Whether a source is YUV; RGB, grey and palettes are not, and ffmpeg converts them."""
    return info.pixel_format.startswith(_YUV_FORMATS)


def is_float(profile: str) -> bool:
    """Whether a colour profile is converted by this module, in float32, instead of by swscale."""
    return profile in _PROFILES


def check_matrix(info: SourceInfo, where: str | Path) -> None:
    """Raise `UserError` for a source whose matrix ffmpeg cannot convert under any profile, e.g. YCgCo."""
    if is_yuv(info) and info.matrix not in (*_TAGGED, *_TAGGED_BT601):
        raise UserError(
            f"{where} has the colour matrix {info.matrix}, which ffmpeg does not convert to RGB here: convert it "
            f"to BT.709 first, e.g. with `ffmpeg -i {Path(where).name} -vf zscale=matrix=709 -c:v ffv1 new.mkv`, "
            "or correct the tag if it is wrong"
        )


def conversion(info: SourceInfo, profile: str) -> Conversion | None:
    """How `profile` converts a source to RGB; None for a source that is not YUV.

    The range is limited unless the source is tagged as full. With swscale's defaults two pixels of a row share one
    value of U and V, centred between them whatever the tag says; float profiles follow the tag, by default ``left``.
    """
    if not is_yuv(info):
        return None
    values_range = "pc" if info.range == "pc" or info.pixel_format.startswith("yuvj") else "tv"
    if is_float(profile):
        return Conversion(
            matrix=_PROFILES[profile],
            range=values_range,
            chroma_location=info.chroma_location if info.chroma_location in _LOCATIONS else "left",
            chroma_filter="bicubic",
            scaler_flags=ffmpeg.SCALER_FLAGS,
            arithmetic="float32, rounded to the nearest level",
        )
    return Conversion(
        matrix=_TAGGED.get(info.matrix, "bt601"),
        range=values_range,
        chroma_location="center",
        chroma_filter="swscale's default: one value for two pixels of a row",
        scaler_flags="bicubic",
        arithmetic="swscale, integers",
    )


def stream_tags(matrix: str, values_range: str) -> dict[str, str]:
    """Options of ffmpeg's encoders that tag a stream with the matrix and range of its planes."""
    return {"colorspace": _TAGS.get(matrix, matrix), "color_range": values_range}


def planar_format(subsampling: str, bits: int) -> str:
    """ffmpeg's name of planar YUV: yuv444p or, above 8 `bits`, e.g. yuv420p10le; `subsampling` is 420 or 444."""
    return f"yuv{subsampling}p" + ("" if bits == 8 else f"{bits}le")


def sample_type(bits: int) -> np.dtype[Any]:
    """The type that stores codes of `bits` bits: uint8, or little-endian uint16."""
    return np.dtype(np.uint8 if bits == 8 else "<u2")


def split_420(codes: npt.NDArray[Any]) -> tuple[Samples, Samples, Samples]:
    """Split a stored 4:2:0 frame [H · 3/2, W] into Y [H, W], U and V [H/2, W/2]; H and W are even."""
    rows, width = codes.shape
    height = rows * 2 // 3
    u, v = codes[height:].reshape(2, height // 2, width // 2)
    return codes[:height], u, v


def yuv_to_rgb(planes: Sequence[Samples], matrix: str, values_range: str, bits: int) -> npt.NDArray[np.uint8]:
    """Convert the codes Y, U and V, each [H, W], to uint8 RGB [H, W, 3], rounded to the nearest level and clipped."""
    kr, kb = (np.float32(weight) for weight in MATRICES[matrix])
    black, luma, middle, chroma = _levels(values_range, bits)
    y = (planes[0].astype(np.float32) - black) / luma
    u, v = ((plane.astype(np.float32) - middle) / chroma for plane in planes[1:])
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.rint(np.clip(np.stack([red, green, blue], axis=-1), 0, 1) * np.float32(255)).astype(np.uint8)


def rgb_to_yuv(pixels: npt.NDArray[np.uint8], matrix: str, values_range: str, bits: int) -> Floats:
    """Convert uint8 RGB [H, W, 3] to YUV codes of `bits` bits, float32 [3, H, W], not rounded."""
    kr, kb = (np.float32(weight) for weight in MATRICES[matrix])
    black, luma, middle, chroma = _levels(values_range, bits)
    red, green, blue = np.moveaxis(pixels.astype(np.float32) / np.float32(255), -1, 0)
    y = kr * red + (1 - kr - kb) * green + kb * blue
    u, v = (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))
    return np.stack([y * luma + black, u * chroma + middle, v * chroma + middle])


def subsampled(planes: Floats, location: str, bits: int) -> tuple[Samples, Samples, Samples]:
    """Subsample YUV codes, float32 [3, H, W] with even H and W, to 4:2:0, rounded to codes of `bits` bits.

    A chroma sample is the mean of 2×2 pixels (``center``). With ``left`` it is co-sited with the left pixels, and is a
    mean over three columns with weights 1, 2, 1; with ``topleft`` rows are weighted in the same way.
    """
    chroma = _halved(_halved(planes[1:], -2, location == "topleft"), -1, location != "center")
    y, u, v = (_rounded(plane, bits) for plane in (planes[0], *chroma))
    return y, u, v


def _levels(values_range: str, bits: int) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """(offset of Y, scale of Y, offset of U and V, scale of U and V), in codes."""
    unit = 2 ** (bits - 8)
    if values_range == "pc":
        return np.float32(0), np.float32(2**bits - 1), np.float32(128 * unit), np.float32(2**bits - 1)
    return np.float32(16 * unit), np.float32(219 * unit), np.float32(128 * unit), np.float32(224 * unit)


def _halved(planes: Floats, axis: int, on_first: bool) -> Floats:
    """Halve the samples along `axis`: co-sited with the first of each pair (`on_first`), or between the two."""
    moved = np.moveaxis(planes, axis, -1)
    first, second = moved[..., 0::2], moved[..., 1::2]
    halved: Floats
    if on_first:
        before = np.concatenate([first[..., :1], second[..., :-1]], axis=-1)
        halved = (before + 2 * first + second) * np.float32(0.25)
    else:
        halved = (first + second) * np.float32(0.5)
    return np.moveaxis(halved, -1, axis)


def _rounded(plane: Floats, bits: int) -> Samples:
    codes: Samples = np.rint(np.clip(plane, 0, 2**bits - 1)).astype(sample_type(bits))
    return codes
