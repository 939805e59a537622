from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.codec.entropy import huffman
from boostnerv.codec.quantizers.min_max import MinMax, quantize
from boostnerv.codec.quantizers.post_training import decode_tensors, encode_tensors, published_bits
from boostnerv.errors import BitstreamError
from tests.codec.damage import count_refused
from tests.codec.quantizers.test_min_max import GOLDEN_BITS
from tests.conftest import Golden

SHAPES = [(24, 4, 3, 3), (40,), (2, 3, 60), (1,), ()]


def tensors(shapes: list[tuple[int, ...]] = SHAPES, *, bits: int = 8, seed: int = 0) -> list[MinMax]:
    """Normal tensors; if the second axis has size 3, its slices have different ranges."""
    noise = torch.Generator().manual_seed(seed)
    values = [torch.randn(shape, generator=noise) for shape in shapes]
    return [quantize(x * 10.0 ** torch.arange(3)[:, None] if x.shape[1:-1] == (3,) else x, bits) for x in values]


def shapes_of(quantized: list[MinMax]) -> list[tuple[int, ...]]:
    return [tensor.codes.shape for tensor in quantized]


def test_the_original_s_tensors_come_back(golden: Golden) -> None:
    recorded = golden.tensors("ptq")
    names = sorted({key.partition(".")[0] for key in recorded})
    quantized = [quantize(recorded[f"{name}.input"], GOLDEN_BITS[name]) for name in names]
    data = encode_tensors(quantized, 8)
    for name, values in zip(names, decode_tensors(data, shapes_of(quantized)), strict=True):
        assert torch.equal(torch.from_numpy(values), recorded[f"{name}.dequant"])


@given(
    st.lists(st.lists(st.sampled_from([1, 2, 5, 51, 64]), max_size=3).map(tuple), max_size=4),
    st.integers(1, 16),
    st.integers(0, 99),
)
def test_any_tensors_come_back(shapes: list[tuple[int, ...]], bits: int, seed: int) -> None:
    quantized = tensors(shapes, bits=bits, seed=seed)
    decoded = decode_tensors(encode_tensors(quantized, bits), shapes)
    assert [values.shape for values in decoded] == shapes
    for values, tensor in zip(decoded, quantized, strict=True):
        assert values.dtype == np.float32
        assert torch.equal(torch.from_numpy(values), tensor.dequantize())


def test_equal_entries_come_back_however_many() -> None:
    quantized = [quantize(torch.full((300, 300), 0.5), 8)]
    (values,) = decode_tensors(encode_tensors(quantized, 8), [(300, 300)])
    assert (values == 0.5).all()


def test_layout() -> None:
    quantized = tensors()
    assert [tensor.axis for tensor in quantized] == [None, None, 2, None, None]
    data = encode_tensors(quantized, 8)
    single_range, by_axis = quantized[0], quantized[2]
    assert data[0] == 8
    assert struct.unpack_from("<bff", data, 1) == (-1, single_range.minimum, single_range.scale)
    assert struct.unpack_from("<b6e6e", data, 1 + 2 * 9) == (2, *by_axis.minimum.ravel(), *by_axis.scale.ravel())
    side_bytes = 4 * 9 + (1 + 2 * 6 * 2)
    assert data[1 + side_bytes :] == huffman.encode(np.concatenate([tensor.codes.ravel() for tensor in quantized]))


def test_the_published_count_leaves_out_the_table() -> None:
    quantized = tensors()
    bits = huffman.coded_bits(np.concatenate([tensor.codes.ravel() for tensor in quantized]))
    assert published_bits(quantized) == bits + 4 * 64 + 6 * 32  # four whole tensors, six pairs along an axis
    largest = max(int(tensor.codes.max()) for tensor in quantized)
    table_bytes = 2 + largest + 1
    assert len(encode_tensors(quantized, 8)) == 1 + 5 + table_bytes + (published_bits(quantized) + 7) // 8
    assert published_bits([]) == 0


def test_codes_of_more_bits_are_a_mistake() -> None:
    assert encode_tensors(tensors(bits=6), 8)
    for bits in (0, 6, 17):
        with pytest.raises(ValueError, match=f"{bits} bits"):
            encode_tensors(tensors(bits=8), bits)


# --- damage ---------------------------------------------------------------------------------------------------


def test_every_truncation_and_every_addition_is_noticed() -> None:
    data = encode_tensors(tensors(), 8)
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            decode_tensors(data[:length], SHAPES)
    with pytest.raises(BitstreamError, match="after the last Huffman code"):
        decode_tensors(data + b"\0", SHAPES)


@pytest.mark.parametrize(
    ("position", "replacement", "sentence"),
    [
        (0, b"\x00", "the number of bits"),
        (0, b"\x11", "the number of bits"),
        (0, b"\x04", "a code has more than 4 bits"),
        (1, b"\x04", "a tensor of 4 axes has no axis 4"),
        (1, b"\xfe", "a tensor of 4 axes has no axis -2"),
        (2, struct.pack("<f", np.nan), "not finite"),
        (6, struct.pack("<f", np.inf), "not finite"),
        (6, struct.pack("<f", -1.0), "a scale is below zero"),
        (6, struct.pack("<f", 3e38), "not finite"),
    ],
)
def test_damage_has_a_sentence(position: int, replacement: bytes, sentence: str) -> None:
    data = bytearray(encode_tensors(tensors(), 8))
    data[position : position + len(replacement)] = replacement
    with pytest.raises(BitstreamError, match=sentence):
        decode_tensors(bytes(data), SHAPES)


def test_shapes_take_no_memory_before_the_bytes_are_there() -> None:
    data = encode_tensors([quantize(torch.zeros(8), 8)], 8)
    with pytest.raises(BitstreamError, match="1 bytes cannot hold 1099511627776 Huffman codes"):
        decode_tensors(data, [(1 << 20, 1 << 20)])
    along = b"\x08\x00" + data[2:]
    with pytest.raises(BitstreamError, match="minima and scales reach to byte"):
        decode_tensors(along, [(1, 1 << 40)])


def test_random_damage_is_refused_or_harmless() -> None:
    refused = count_refused(encode_tensors(tensors(), 8), lambda data: decode_tensors(data, SHAPES), SHAPES)
    assert 200 < refused < 2000
