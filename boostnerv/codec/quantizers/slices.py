"""PTQ of a tensor slice by slice, as in the pipeline of D-NeRV, and its byte format.

``q = round((x − min)/scale)`` with ``scale = (max − min)/2^bits``, value ``min + scale·q``. Min and max are taken
over the nonzero entries of a slice, one slice for each index of an axis; a one-dimensional tensor is one slice. Codes
are not clamped: the largest is 2^bits, and zeros outside [min, max] have codes beyond that range.

    bits u8
    lowest code i32
    for each tensor: axis i8 (−1 for the whole tensor), its minima, its scales (float32, one per slice)
    the rest: one Huffman code for all codes minus the lowest, tensor by tensor

All numbers are little-endian. The reader knows the shapes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boostnerv.codec.entropy import huffman
from boostnerv.codec.quantizers.min_max import dequantize
from boostnerv.codec.quantizers.side_information import read_sides, tensors_of, write_side
from boostnerv.errors import BitstreamError, UserError

MOST_BITS = 14
LARGEST_CODE = (1 << 15) - 1  # in magnitude; slices whose zeros would exceed it include zero in their range
_SIDE: np.dtype[np.floating] = np.dtype("<f4")
_HEAD = struct.Struct("<Bi")


@dataclass(frozen=True)
class Slices:
    """A quantised tensor: `codes` int32 in its shape; `minimum` and `scale` float32, one per slice of `axis`.

    Both broadcast against the codes; for `axis` None, the whole tensor, they are scalars ``[]``.
    """

    codes: NDArray[np.int32]
    axis: int | None
    minimum: NDArray[np.float32]
    scale: NDArray[np.float32]

    def dequantize(self) -> Tensor:
        """Values ``min + scale·code`` in float32, in the shape of the tensor."""
        return torch.from_numpy(dequantize(self.codes, self.minimum, self.scale))


def quantize(tensor: Tensor, axis: int, bits: int) -> Slices:
    """Quantise to `bits` (1 to 14) bits, one slice for each index of `axis`; tensors of at most one axis are one slice.

    If all nonzero entries are equal, zeros stay zeros. Raises `UserError` if values are not finite or too far apart.
    """
    values = tensor.detach().to("cpu", torch.float32).numpy()
    sliced = axis if values.ndim > 1 else None
    others = tuple(index for index in range(values.ndim) if index != sliced)
    nonzero = values != 0
    with np.errstate(over="ignore", invalid="ignore"):
        low = np.where(nonzero, values, np.inf).min(axis=others, keepdims=True)
        high = np.where(nonzero, values, -np.inf).max(axis=others, keepdims=True)
        low, high = (np.where(nonzero.any(axis=others, keepdims=True), end, 0) for end in (low, high))
        far = (np.abs(low) > LARGEST_CODE * _scale(low, high, bits)) & ~nonzero.all(axis=others, keepdims=True)
        low, high = np.where(far, np.minimum(low, 0), low), np.where(far, np.maximum(high, 0), high)
        scale = _scale(low, high, bits)
        steps = np.divide(values - low, scale, out=np.zeros_like(values), where=scale > 0)
        codes = np.rint(steps).astype(np.int32)
    if not np.isfinite(dequantize(codes, low, scale)).all():
        raise UserError(
            f"a tensor of shape {tuple(tensor.shape)} cannot be quantised: its values are not finite or too far apart; "
            "the training diverged, run it again with a lower learning rate"
        )
    side = () if sliced is None else low.shape
    return Slices(codes, sliced, low.reshape(side), scale.reshape(side))


def encode_slices(quantized: Sequence[Slices], bits: int) -> bytes:
    """Payload of tensors quantised to `bits` (1 to 14) bits; raises `ValueError` for other numbers of bits."""
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"{bits} bits are out of range")
    codes = _all_codes(quantized)
    lowest = int(codes.min(initial=0))
    return _HEAD.pack(bits, lowest) + b"".join(map(_write_side, quantized)) + huffman.encode(codes - lowest)


def decode_slices(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.float32]]:
    """Float32 values of a payload of `encode_slices` in these shapes; raises `BitstreamError` for damaged data."""
    if len(data) < _HEAD.size:
        raise BitstreamError("the number of bits per weight is missing; the file is truncated, get it again")
    bits, lowest = _HEAD.unpack_from(data)
    if not 1 <= bits <= MOST_BITS or not -LARGEST_CODE <= lowest <= 0:
        raise BitstreamError(
            f"{bits} bits per weight, or a lowest code of {lowest}, is impossible; the file is damaged, get it again"
        )
    sides, position = read_sides(data, _HEAD.size, shapes, _stored)
    codes = huffman.decode(data[position:], sum(math.prod(shape) for shape in shapes))
    return tensors_of(codes + lowest, shapes, sides)


def code_bits(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Bits of each tensor's code words in a payload of `encode_slices`; raises `BitstreamError` for damaged data."""
    _, position = read_sides(data, _HEAD.size, shapes, _stored)
    return huffman.run_bits(data[position:], [math.prod(shape) for shape in shapes])


def entropy_efficiency(quantized: Sequence[Slices], bits: int = 8) -> float:
    """Mean length of the Huffman words of all codes divided by `bits`, as D-NeRV reports it."""
    codes = _all_codes(quantized)
    return huffman.coded_bits(codes - codes.min(initial=0)) / (bits * codes.size)


def published_bits(parameters: float, efficiency: float, keyframe_bits: float, bits: int = 8) -> float:
    """Bits as the published pipeline counts them: `parameters` codes of `bits` bits at `efficiency`, plus keyframes.

    The code table, minima and scales are not counted, so that files are larger.
    """
    return parameters * bits * efficiency + keyframe_bits


def _scale(low: NDArray[np.float32], high: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Step of slices; if all entries are equal, their magnitude, so that zeros beside them have a code as well."""
    scale = (high - low) / np.float32(2**bits)
    return np.asarray(np.where(scale == 0, np.abs(low), scale), dtype=np.float32)


def _all_codes(quantized: Sequence[Slices]) -> NDArray[np.int32]:
    return np.concatenate([np.zeros(0, dtype=np.int32), *(tensor.codes.ravel() for tensor in quantized)])


def _write_side(tensor: Slices) -> bytes:
    return write_side(tensor.axis, tensor.minimum.astype(_SIDE), tensor.scale.astype(_SIDE))


def _stored(shape: tuple[int, ...], axis: int | None) -> tuple[np.dtype[np.floating], tuple[int, ...]]:
    return _SIDE, () if axis is None else tuple(size if index == axis else 1 for index, size in enumerate(shape))
