"""Byte format of min–max PTQ: the three-step pipeline of HNeRV (train, quantise, Huffman code).

    bits u8
    for each tensor: axis i8 (−1 for the whole tensor), its minima, its scales (float32, float16 for an axis)
    the rest: one Huffman code for all codes, tensor by tensor

All numbers are little-endian. The reader knows the shapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boostnerv.codec.entropy import huffman
from boostnerv.codec.quantizers.min_max import MinMax, side_dtype, side_shape
from boostnerv.codec.quantizers.side_information import read_sides, tensors_of, write_side
from boostnerv.errors import BitstreamError

NAME = "huffman"
MOST_BITS = 16


@dataclass(frozen=True)
class PostTrainingWeights:
    """A decoded section ``weights``: float32 tensors."""

    tensors: list[NDArray[np.float32]]
    side_bits: int = 0  # minima and scales count as codes

    @property
    def models(self) -> tuple[str, ...]:
        return (NAME,) * len(self.tensors)

    def values(self) -> Iterator[NDArray[np.float32]]:
        """Values of each tensor, in decoder order."""
        yield from self.tensors


@dataclass(frozen=True)
class PostTrainingEmbeddings:
    """A decoded section ``embeddings``: float32 ``[T, e, h, w]``, all frames in one group."""

    tensor: NDArray[np.float32]
    side_bits: int = 0
    model_name: str = NAME

    @property
    def group(self) -> int:
        return len(self.tensor)

    def values(self, number: int) -> NDArray[np.float32]:
        """Embeddings of all frames ``[T, e, h, w]``; `number` is 0."""
        return self.tensor


def encode_tensors(quantized: Sequence[MinMax], bits: int) -> bytes:
    """Payload of tensors whose codes have at most `bits` (1 to 16) bits; raises `ValueError` for larger codes."""
    codes = _all_codes(quantized)
    if not 1 <= bits <= MOST_BITS or codes.max(initial=0) >> bits:
        raise ValueError(f"{bits} bits are out of range, or too few for these codes")
    return bytes([bits]) + b"".join(_write_side(tensor) for tensor in quantized) + huffman.encode(codes)


def decode_tensors(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.float32]]:
    """Float32 values of a payload of `encode_tensors` in these shapes; raises `BitstreamError` for damaged data."""
    if not data or not 1 <= data[0] <= MOST_BITS:
        raise BitstreamError("the number of bits per weight is missing or invalid; the file is damaged, get it again")
    sides, position = read_sides(data, 1, shapes, _stored)
    codes = huffman.decode(data[position:], sum(math.prod(shape) for shape in shapes))
    if codes.max(initial=0) >> data[0]:
        raise BitstreamError(f"a code has more than {data[0]} bits; the file is damaged, get it again")
    return tensors_of(codes, shapes, sides)


def code_bits(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Bits of each tensor's code words in a payload of `encode_tensors`; raises `BitstreamError` for damaged data."""
    _, position = read_sides(data, 1, shapes, _stored)
    return huffman.run_bits(data[position:], [math.prod(shape) for shape in shapes])


def published_bits(quantized: Sequence[MinMax]) -> int:
    """Bits as the published pipeline counts them: the Huffman words of all codes, and minima and scales as stored.

    The code table and the axes are not counted, so that files are larger. How minima and scales were counted is not on
    record; here each has 32 bits, or 16 if it belongs to an axis.
    """
    side_bytes = sum(tensor.minimum.nbytes + tensor.scale.nbytes for tensor in quantized)
    return huffman.coded_bits(_all_codes(quantized)) + 8 * side_bytes


def _all_codes(quantized: Sequence[MinMax]) -> NDArray[np.int32]:
    return np.concatenate([np.zeros(0, dtype=np.int32), *(tensor.codes.ravel() for tensor in quantized)])


def _write_side(tensor: MinMax) -> bytes:
    dtype = side_dtype(tensor.axis)
    return write_side(tensor.axis, tensor.minimum.astype(dtype), tensor.scale.astype(dtype))


def _stored(shape: tuple[int, ...], axis: int | None) -> tuple[np.dtype[np.floating], tuple[int, ...]]:
    return side_dtype(axis), side_shape(shape, axis)
