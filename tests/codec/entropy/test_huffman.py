from __future__ import annotations

import heapq
import struct
from itertools import islice

import numpy as np
import pytest
from dahuffman import HuffmanCodec
from dahuffman.huffmancodec import PrefixCodec
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from boostnerv.codec.entropy.huffman import code_lengths, coded_bits, decode, encode
from boostnerv.errors import BitstreamError

Codes = NDArray[np.int32]


def normal_codes(count: int, *, bits: int = 8, seed: int = 0) -> Codes:
    """Codes distributed like those of weights."""
    middle = 2 ** (bits - 1)
    values = np.random.default_rng(seed).normal(middle, middle / 4, count)
    return np.rint(values).clip(0, 2**bits - 1).astype(np.int32)


def least_bits(codes: Codes) -> int:
    """Bits of an optimal prefix code: the sum of all inner nodes of Huffman's tree."""
    heap = np.unique(codes, return_counts=True)[1].tolist()
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        total += (node := heapq.heappop(heap) + heapq.heappop(heap))
        heapq.heappush(heap, node)
    return total


def dahuffman_codec(codes: Codes) -> HuffmanCodec:
    """The code of the dahuffman package without an end symbol."""
    symbols, counts = np.unique(codes, return_counts=True)
    return HuffmanCodec.from_frequencies(dict(zip(symbols.tolist(), counts.tolist(), strict=True)), eof=int(symbols[0]))


def canonical(lengths: NDArray[np.uint8]) -> dict[int, tuple[int, int]]:
    """Length and word of each symbol, assigned as in RFC 1951."""
    words, word, before = {}, 0, 0
    for length, symbol in sorted((int(length), symbol) for symbol, length in enumerate(lengths) if length):
        word <<= length - before
        words[symbol] = (length, word)
        word, before = word + 1, length
    return words


# --- round trips ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3) | st.integers(0, 255) | st.integers(0, 65535), max_size=60))
@example([7])
@example([65535] * 50)
@example([0] * 9)
def test_any_codes_come_back(values: list[int]) -> None:
    codes = np.array(values, dtype=np.int32)
    decoded = decode(encode(codes), len(codes))
    assert decoded.dtype == np.int32
    assert decoded.tolist() == values


@pytest.mark.parametrize("count", [1, 8, 4095, 4096, 4097, 40_003])
def test_blocks_do_not_show(count: int) -> None:
    codes = normal_codes(count)
    data = encode(codes)
    assert (decode(data, count) == codes).all()
    assert len(data) == 2 + (codes.max() + 1) + (coded_bits(codes) + 7) // 8


def test_every_symbol_once() -> None:
    codes = np.random.default_rng(0).permutation(65536).astype(np.int32)
    data = encode(codes)
    assert len(data) == 2 + 65536 + 2 * 65536  # all words have 16 bits
    assert (decode(data, len(codes)) == codes).all()


def test_a_single_symbol_takes_a_bit() -> None:
    codes = np.full(1000, 7, np.int32)
    assert encode(codes) == b"\x07\x00" + bytes(7) + b"\x01" + bytes(125)
    assert coded_bits(codes) == 1000


def test_no_codes_are_no_bytes() -> None:
    none = np.zeros(0, np.int32)
    assert encode(none) == b""
    assert decode(b"", 0).tolist() == []
    assert coded_bits(none) == 0


def test_other_codes_are_a_mistake() -> None:
    for wrong in (-1, 65536):
        with pytest.raises(ValueError, match=str(wrong)):
            encode(np.array([wrong, 5], np.int32))


# --- the code -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5) | st.integers(0, 255), min_size=2, max_size=300).filter(lambda v: len(set(v)) > 1))
def test_no_prefix_code_is_shorter(values: list[int]) -> None:
    codes = np.array(values, dtype=np.int32)
    table = dahuffman_codec(codes).get_code_table()
    assert coded_bits(codes) == least_bits(codes) == sum(table[value][0] for value in values)


@pytest.mark.parametrize("bits", [2, 6, 8])
def test_as_long_as_what_dahuffman_writes(bits: int) -> None:
    codes = normal_codes(5001, bits=bits)
    words = dahuffman_codec(codes).encode(codes.tolist())
    assert len(encode(codes)) == 2 + (codes.max() + 1) + len(words)
    with_end = HuffmanCodec.from_data(codes.tolist())
    assert coded_bits(codes) <= sum(with_end.get_code_table()[value][0] for value in codes.tolist())


def test_the_words_are_canonical() -> None:
    codes = normal_codes(3000)
    data = encode(codes)
    (largest,) = struct.unpack_from("<H", data)
    assert largest == codes.max()
    lengths = np.frombuffer(data, np.uint8, largest + 1, 2)
    assert (lengths == code_lengths(np.bincount(codes))).all()
    reader = PrefixCodec(canonical(lengths), eof=None)
    assert list(islice(reader.decode_streaming(data[3 + largest :]), len(codes))) == codes.tolist()


def test_words_are_never_over_32_bits() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    assert code_lengths(np.array(fibonacci[:33])).max() == 32  # the longest that fits
    lengths = code_lengths(np.array(fibonacci)).astype(np.int64)
    assert lengths.max() <= 32
    assert (2.0**-lengths).sum() == 1
    unbounded = np.array([39, *range(39, 0, -1)])
    assert lengths @ fibonacci <= 1.001 * (unbounded @ fibonacci)

    # A table with the longest words, and codes that use them.
    lengths = np.array([*range(1, 33), 32], np.uint8)
    words = canonical(lengths)
    symbols = [31, 0, 32, 5, 30, 31]
    bits = "".join(f"{words[symbol][1]:0{words[symbol][0]}b}" for symbol in symbols)
    bits += "0" * (-len(bits) % 8)
    data = b"\x20\x00" + lengths.tobytes() + int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert decode(data, len(symbols)).tolist() == symbols


# --- damage ---------------------------------------------------------------------------------------------------


def table(*lengths: int) -> bytes:
    return struct.pack("<H", len(lengths) - 1) + bytes(lengths)


@pytest.mark.parametrize(
    ("data", "count", "sentence"),
    [
        (b"", 1, "the Huffman table is missing"),
        (b"\x00", 1, "the Huffman table is missing"),
        (b"\xff\xff\x01\x01", 1, "the Huffman table needs 65538 bytes, 4 are left"),
        (table(0), 1, "the Huffman word lengths do not form a complete code"),
        (table(2), 1, "the Huffman word lengths do not form a complete code"),
        (table(1, 2), 1, "the Huffman word lengths do not form a complete code"),
        (table(1, 1, 1), 1, "the Huffman word lengths do not form a complete code"),
        (table(33, 1), 1, "a Huffman code word of 33 bits is impossible"),
        (table(255, 1), 1, "a Huffman code word of 255 bits is impossible"),
        (table(1, 1), 1, "0 bytes cannot hold 1 Huffman codes"),
        (table(1, 1) + b"\x00", 9, "1 bytes cannot hold 9 Huffman codes"),
        (table(0, 1) + b"\x00", 10**30, "1 bytes cannot hold 10+ Huffman codes"),
        (table(1, 2, 2) + b"\xff", 5, "the Huffman code words end after 4 of 5 codes"),
        (table(1, 2, 3, 3) + b"\xff", 3, "the last Huffman code word is cut off"),
        (table(1, 1) + b"\x00\x00", 8, "there is data after the last Huffman code"),
        (table(1, 1) + b"\x01", 7, "there is data after the last Huffman code"),
        (table(0, 1) + b"\x40", 8, "a Huffman code word is not in the table"),
        (table(1, 1), 0, "there is data although there are no Huffman codes"),
    ],
)
def test_damage_has_a_sentence(data: bytes, count: int, sentence: str) -> None:
    with pytest.raises(BitstreamError, match=sentence):
        decode(data, count)


def test_truncation_and_other_counts_are_noticed() -> None:
    codes = normal_codes(200, bits=4)
    data = encode(codes)
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            decode(data[:length], len(codes))
    with pytest.raises(BitstreamError):
        decode(data + b"\0", len(codes))
    for count in (0, 1, 100, 250, 10**9):
        with pytest.raises(BitstreamError):
            decode(data, count)


@given(st.binary(max_size=80), st.integers(0, 300))
def test_any_bytes_decode_or_are_refused(data: bytes, count: int) -> None:
    for attempt in (data, table(1, 2, 3, 3) + data):
        try:
            codes = decode(attempt, count)
        except BitstreamError:
            continue
        assert codes.shape == (count,)
