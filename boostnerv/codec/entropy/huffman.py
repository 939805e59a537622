"""A Huffman coder for integers in [0, 65535], with one canonical code.

    largest symbol u16, little-endian
    length of the code word of each symbol from 0 to the largest, u8, 0 if it does not occur
    code words, most significant bit first, zero-padded to a byte

Words are assigned by length, then by symbol, so that the lengths define the code. They have at most 32 bits. A single
symbol has the one-bit word 0, so that the size of a file always bounds its number of codes. No codes take no bytes. The
reader knows the number of codes; there is no end symbol.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dahuffman import HuffmanCodec
from numpy.typing import NDArray

from boostnerv.errors import BitstreamError

LARGEST_LENGTH = 32
_LARGEST_SYMBOL = 0xFFFF
_HEAD = struct.Struct("<H")
# Codes are written, and bytes read, in blocks of this size, so that memory does not grow with the data.
_BLOCK = 1 << 12


@dataclass(frozen=True)
class _Table:
    """The S symbols that occur, in the order of their words; `words` are left-aligned in 32 bits."""

    symbols: NDArray[np.int32]
    lengths: NDArray[np.int64]
    words: NDArray[np.int64]

    @staticmethod
    def of(lengths: NDArray[np.integer]) -> _Table:
        """The canonical code for word lengths by symbol ``[L]``; raises `BitstreamError` for impossible lengths."""
        if lengths.max() > LARGEST_LENGTH:
            raise BitstreamError(
                f"a Huffman code word of {lengths.max()} bits is impossible; the file is damaged, get it again"
            )
        symbols = np.flatnonzero(lengths)
        symbols = symbols[np.argsort(lengths[symbols], kind="stable")]
        widths = np.int64(1) << (LARGEST_LENGTH - lengths[symbols].astype(np.int64))
        single = len(symbols) == 1 and lengths[symbols[0]] == 1
        if widths.sum() != 1 << LARGEST_LENGTH and not single:
            raise BitstreamError(
                "the Huffman word lengths do not form a complete code; the file is damaged, get it again"
            )
        return _Table(symbols.astype(np.int32), lengths[symbols].astype(np.int64), np.cumsum(widths) - widths)


def code_lengths(frequencies: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Bits of each symbol's word from its frequency ``[L]``; 0 for symbols that do not occur.

    Optimal, unless words would exceed 32 bits; then frequencies are halved, rounding up, until they fit.
    """
    frequencies = np.asarray(frequencies, dtype=np.int64)
    lengths = np.zeros(len(frequencies), dtype=np.uint8)
    symbols = np.flatnonzero(frequencies)
    if not len(symbols):
        return lengths
    # Reuse a symbol as the end symbol, so that none is added.
    codec = HuffmanCodec.from_frequencies(
        dict(zip(symbols.tolist(), frequencies[symbols].tolist(), strict=True)), eof=int(symbols[0])
    )
    bits = [length for _, (length, _) in sorted(codec.get_code_table().items())]
    if max(bits) > LARGEST_LENGTH:
        return code_lengths((frequencies + 1) // 2)
    lengths[symbols] = np.maximum(bits, 1)
    return lengths


def coded_bits(codes: NDArray[np.int32]) -> int:
    """Total bits of the code words of codes of any shape, without the table."""
    frequencies = np.bincount(codes.ravel())
    return int(frequencies @ code_lengths(frequencies).astype(np.int64))


def run_bits(data: bytes, counts: Sequence[int]) -> list[int]:
    """Bits of the code words of consecutive runs of `counts` codes in data written by `encode`.

    Raises `BitstreamError` as `decode` does.
    """
    codes = decode(data, sum(counts))
    if not len(codes):
        return [0] * len(counts)
    lengths = np.frombuffer(data, dtype=np.uint8, offset=_HEAD.size).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths[codes])])
    bounds = np.cumsum([0, *counts])
    return np.diff(ends[bounds]).tolist()


def encode(codes: NDArray[np.int32]) -> bytes:
    """Encode integers in [0, 65535] of any shape in C order; raises `ValueError` outside that range."""
    flat = codes.ravel()
    if not flat.size:
        return b""
    if flat.min() < 0 or flat.max() > _LARGEST_SYMBOL:
        raise ValueError(f"codes from {flat.min()} to {flat.max()} exceed 0 to {_LARGEST_SYMBOL}")
    lengths = code_lengths(np.bincount(flat))
    return _HEAD.pack(len(lengths) - 1) + lengths.tobytes() + _write_words(flat, _Table.of(lengths))


def decode(data: bytes, count: int) -> NDArray[np.int32]:
    """Decode `count` codes, flat; raises `BitstreamError` unless `data` holds exactly these."""
    if count == 0:
        if data:
            raise BitstreamError("there is data although there are no Huffman codes; the file is damaged, get it again")
        return np.zeros(0, dtype=np.int32)
    if len(data) < _HEAD.size:
        raise BitstreamError("the Huffman table is missing; the file is truncated, get it again")
    start = _HEAD.size + _HEAD.unpack_from(data)[0] + 1
    if len(data) < start:
        raise BitstreamError(
            f"the Huffman table needs {start} bytes, {len(data)} are left; the file is truncated, get it again"
        )
    table = _Table.of(np.frombuffer(data, dtype=np.uint8, count=start - _HEAD.size, offset=_HEAD.size))
    words = data[start:]
    if count * int(table.lengths[0]) > 8 * len(words):
        raise BitstreamError(
            f"{len(words)} bytes cannot hold {count} Huffman codes; the file is truncated or damaged, get it again"
        )
    codes, used_bits = _read_words(words, count, table)
    if (used_bits + 7) // 8 != len(words) or (used_bits % 8 and words[-1] & (0xFF >> used_bits % 8)):
        raise BitstreamError("there is data after the last Huffman code; the file is damaged, get it again")
    if len(table.symbols) == 1 and any(words):
        raise BitstreamError("a Huffman code word is not in the table; the file is damaged, get it again")
    return codes


def _write_words(codes: NDArray[np.int32], table: _Table) -> bytes:
    longest = int(table.lengths.max())
    digits = np.zeros((int(codes.max()) + 1, longest), dtype=np.uint8)
    used = np.zeros(digits.shape, dtype=np.bool_)
    digits[table.symbols] = (table.words[:, None] >> (LARGEST_LENGTH - 1 - np.arange(longest))) & 1
    used[table.symbols] = np.arange(longest) < table.lengths[:, None]
    packed = []
    rest = np.zeros(0, dtype=np.uint8)
    for start in range(0, len(codes), _BLOCK):
        block = codes[start : start + _BLOCK]
        bits = np.concatenate([rest, digits[block][used[block]]])
        full_bits = len(bits) // 8 * 8
        packed.append(np.packbits(bits[:full_bits]).tobytes())
        rest = bits[full_bits:]
    return b"".join(packed) + np.packbits(rest).tobytes()


def _read_words(data: bytes, count: int, table: _Table) -> tuple[NDArray[np.int32], int]:
    """The first `count` codes and their total bits."""
    codes = np.empty(count, dtype=np.int32)
    done, position = 0, 0
    while done < count:
        first_byte = position // 8
        if first_byte >= len(data):
            raise BitstreamError(
                f"the Huffman code words end after {done} of {count} codes; the file is damaged, get it again"
            )
        # Find the word at every bit of the block, then keep those that follow one another.
        windows = _windows(data[first_byte : first_byte + _BLOCK + 4], min(_BLOCK, len(data) - first_byte))
        words = np.searchsorted(table.words, windows, side="right") - 1
        steps = table.lengths[words].tolist()
        starts: list[int] = []
        bit = position % 8
        while bit < len(steps) and len(starts) < count - done:
            starts.append(bit)
            bit += steps[bit]
        codes[done : done + len(starts)] = table.symbols[words[starts]]
        done += len(starts)
        position = 8 * first_byte + bit
    if position > 8 * len(data):
        raise BitstreamError("the last Huffman code word is cut off; the file is truncated, get it again")
    return codes, position


def _windows(data: bytes, length: int) -> NDArray[np.int64]:
    """The 32 bits starting at each bit of the first `length` bytes ``[8·length]``; the data is zero-padded."""
    padded = np.frombuffer(data.ljust(length + 4, b"\0"), dtype=np.uint8).astype(np.int64)
    forty = np.lib.stride_tricks.sliding_window_view(padded, 5)[:length] @ (1 << np.arange(32, -1, -8))
    return np.asarray((forty[:, None] >> (8 - np.arange(8))) & 0xFFFFFFFF).reshape(-1)
