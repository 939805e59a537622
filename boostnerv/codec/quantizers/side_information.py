"""Side information of PTQ: minima and scales of tensors, one run of bytes per tensor.

    axis i8 (−1 for the whole tensor), minima, scales

The quantiser determines their type and shape, which the reader knows.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from boostnerv.codec.quantizers.min_max import dequantize
from boostnerv.errors import BitstreamError

WHOLE = -1
Side = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Minimum and scale of a tensor, which broadcast against its codes."""
Stored = Callable[[tuple[int, ...], int | None], tuple[np.dtype[np.floating], tuple[int, ...]]]
"""Function from a tensor's shape and axis (None: whole tensor) to the type and shape of minimum and scale."""


def write_side(axis: int | None, minimum: NDArray[np.floating], scale: NDArray[np.floating]) -> bytes:
    """Bytes of a tensor's side information; minimum and scale must already have their stored type."""
    return struct.pack("<b", WHOLE if axis is None else axis) + minimum.tobytes() + scale.tobytes()


def read_sides(data: bytes, position: int, shapes: Sequence[tuple[int, ...]], stored: Stored) -> tuple[list[Side], int]:
    """Minima and scales of tensors of these shapes, and their end position; raises `BitstreamError`."""
    sides = []
    for shape in shapes:
        side, position = _read_side(data, position, shape, stored)
        sides.append(side)
    return sides, position


def tensors_of(
    codes: NDArray[np.int32], shapes: Sequence[tuple[int, ...]], sides: Sequence[Side]
) -> list[NDArray[np.float32]]:
    """Float32 values of flat, concatenated codes; raises `BitstreamError` for values that are not finite."""
    tensors = []
    start = 0
    for shape, (minimum, scale) in zip(shapes, sides, strict=True):
        count = math.prod(shape)
        values = dequantize(codes[start : start + count].reshape(shape), minimum, scale)
        if not np.isfinite(values).all():
            raise BitstreamError("a decoded weight is not finite; the file is damaged, get it again")
        tensors.append(values)
        start += count
    return tensors


def _read_side(data: bytes, position: int, shape: tuple[int, ...], stored: Stored) -> tuple[Side, int]:
    number = struct.unpack_from("<b", data, position)[0] if position < len(data) else WHOLE
    if not WHOLE <= number < len(shape):
        raise BitstreamError(f"a tensor of {len(shape)} axes has no axis {number}; the file is damaged, get it again")
    dtype, side = stored(shape, None if number == WHOLE else number)
    count = math.prod(side)
    end = position + 1 + 2 * count * dtype.itemsize
    if end > len(data):
        raise BitstreamError(
            f"minima and scales reach to byte {end} of {len(data)}; the file is truncated or damaged, get it again"
        )
    numbers = np.frombuffer(data, dtype=dtype, count=2 * count, offset=position + 1).reshape(2, *side)
    if not np.isfinite(numbers).all():
        raise BitstreamError("a minimum or a scale is not finite; the file is damaged, get it again")
    if (numbers[1] < 0).any():
        raise BitstreamError("a scale is below zero; the file is damaged, get it again")
    return (numbers[0], numbers[1]), end
