from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from boostnerv.codec.container.bitstream import OneOfMany, read
from boostnerv.codec.decoder import SegmentDecoder
from boostnerv.codec.encoder import encode_slices_after_training
from boostnerv.codec.entropy import huffman
from boostnerv.codec.quantizers.slices import (
    Slices,
    decode_slices,
    encode_slices,
    entropy_efficiency,
    published_bits,
    quantize,
)
from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import architecture
from tests.codec.damage import count_refused
from tests.codec.tiny import file_of
from tests.conftest import Golden
from tests.models.tiny import MANY, tiny_clip_spec

SHAPES: list[tuple[int, ...]] = [(24, 4, 3, 3), (40,), (2, 3), (1,), ()]


def tensors(shapes: list[tuple[int, ...]] = SHAPES, *, axis: int = 1, bits: int = 8, seed: int = 0) -> list[Slices]:
    """Normal tensors with some zeros."""
    noise = torch.Generator().manual_seed(seed)
    values = [torch.randn(shape, generator=noise) for shape in shapes]
    return [quantize(x * (torch.rand(x.shape, generator=noise) > 0.1), axis, bits) for x in values]


# --- the quantiser --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_tensors_are_quantised_as_in_the_original(golden: Golden, number: int) -> None:
    described = golden.manifest["dnerv_quantize"]
    recorded = golden.tensors("dnerv_quantize")
    values, axis = recorded[f"{number}.input"], described["axes"][number]
    quantized = quantize(values, max(axis, 0), described["bits"])
    assert quantized.axis == (None if axis < 0 else axis)
    assert torch.equal(torch.from_numpy(quantized.codes).float(), recorded[f"{number}.quant"])
    assert torch.equal(quantized.dequantize(), recorded[f"{number}.dequant"])
    assert quantized.codes.max() == 256
    # Our tensors lack the axis of a single frame, which makes no difference.
    if values.ndim == 5:
        flat = quantize(values[:, :, 0], axis, described["bits"])
        assert torch.equal(flat.dequantize(), recorded[f"{number}.dequant"][:, :, 0])


@given(
    shape=st.lists(st.integers(1, 5), max_size=4),
    axis=st.sampled_from([0, 1]),
    bits=st.integers(1, 14),
    seed=st.integers(0, 99),
)
def test_values_are_nearly_kept_and_minima_exactly(shape: list[int], axis: int, bits: int, seed: int) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    quantized = quantize(x, axis, bits)
    step = torch.from_numpy(np.broadcast_to(quantized.scale, shape).copy())
    assert ((quantized.dequantize() - x).abs() <= 0.5001 * step + 1e-6).all()
    assert quantized.dequantize().min() == x.min()
    assert 0 <= quantized.codes.min() <= quantized.codes.max() <= 2**bits
    assert (quantized.minimum.dtype, quantized.scale.dtype, quantized.codes.dtype) == (np.float32, np.float32, np.int32)


def test_each_slice_has_a_range_of_its_own() -> None:
    x = torch.randn(6, 3, 2, 2) * 10.0 ** torch.arange(3)[:, None, None]
    quantized = quantize(x, 1, 8)
    assert quantized.minimum.shape == quantized.scale.shape == (1, 3, 1, 1)
    for slice_ in range(3):
        alone = quantize(x[:, slice_].flatten(), 0, 8)
        assert np.array_equal(quantized.codes[:, slice_].ravel(), alone.codes)
        assert (quantized.minimum[0, slice_], quantized.scale[0, slice_]) == (alone.minimum, alone.scale)


def test_zeros_do_not_count_and_have_codes_outside_of_the_range() -> None:
    positive = quantize(torch.tensor([1.0, 0.0, 2.0]), 0, 8)
    assert positive.codes.tolist() == [0, -256, 256]
    assert positive.dequantize().tolist() == [1.0, 0.0, 2.0]
    negative = quantize(torch.tensor([-1.0, 0.0, -2.0]), 0, 8)
    assert negative.codes.tolist() == [256, 512, 0]
    assert negative.dequantize().tolist() == [-1.0, 0.0, -2.0]


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.5, 3.5], [-2.5], [0.0, 1.5, 1.5], [0.0, -(2.0**-140)], [-0.0, 0.0]])
def test_slices_of_one_value_come_back(values: list[float]) -> None:
    assert quantize(torch.tensor(values), 0, 8).dequantize().tolist() == values
    stacked = torch.tensor([values, [1.0] * len(values)])
    assert torch.equal(quantize(stacked, 0, 8).dequantize(), stacked)


def test_zeros_far_from_a_narrow_range_are_taken_into_it() -> None:
    x = torch.tensor([1.0, 1.0 + 1e-6, 0.0])
    quantized = quantize(x, 0, 8)
    assert quantized.codes.tolist() == [256, 256, 0]
    torch.testing.assert_close(quantized.dequantize(), x, rtol=0, atol=2e-6)
    (values,) = decode_slices(encode_slices([quantized], 8), [(3,)])
    assert torch.equal(torch.from_numpy(values), quantized.dequantize())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite(value: float) -> None:
    for x in (torch.tensor([1.0, value]), torch.tensor([[1.0, 2.0], [3.0, value]])):
        with pytest.raises(UserError, match="are not finite or too far apart; the training diverged"):
            quantize(x, 0, 8)
    with pytest.raises(UserError, match="too far apart"):
        quantize(torch.tensor([-3e38, 3e38]), 0, 8)


# --- bytes ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.sampled_from([1, 2, 5, 51]), max_size=3).map(tuple), max_size=4),
    st.sampled_from([0, 1]),
    st.integers(1, 14),
    st.integers(0, 99),
)
def test_any_tensors_come_back(shapes: list[tuple[int, ...]], axis: int, bits: int, seed: int) -> None:
    quantized = tensors(shapes, axis=axis, bits=bits, seed=seed)
    decoded = decode_slices(encode_slices(quantized, bits), shapes)
    assert [values.shape for values in decoded] == shapes
    for values, tensor in zip(decoded, quantized, strict=True):
        assert values.dtype == np.float32
        assert torch.equal(torch.from_numpy(values), tensor.dequantize())


def test_layout() -> None:
    quantized = [quantize(torch.tensor([[1.0, -3.0], [2.0, -1.0], [0.0, 5.0]]), 1, 8)]
    data = encode_slices(quantized, 8)
    assert struct.unpack_from("<Bib", data) == (8, -256, 1)
    assert struct.unpack_from("<4f", data, 6) == (1.0, -3.0, 1 / 256, 8 / 256)
    assert data[22:] == huffman.encode(quantized[0].codes + 256)
    with pytest.raises(ValueError, match="0 bits"):
        encode_slices(quantized, 0)


def test_the_published_count() -> None:
    # Four codes of equal frequency: words of two bits.
    x = Slices(np.array([-1, 0, 1, 2], np.int32).repeat(5), None, np.array(0, np.float32), np.array(1, np.float32))
    assert entropy_efficiency([x]) == 2 / 8
    assert entropy_efficiency([x, x], bits=4) == 2 / 4
    assert published_bits(1000, 0.25, 77) == 1000 * 2 + 77


@pytest.mark.parametrize("name", MANY)
def test_a_segment_of_slices_gives_the_weights_back(name: str) -> None:
    entry, spec = architecture(name), tiny_clip_spec(name, lengths=(8,))
    weights: dict[str, Tensor] = dict(entry.decoder(spec).named_parameters())
    segment, efficiency = encode_slices_after_training(entry, spec, weights, bits=7)
    assert 0 < efficiency < 1.3
    segment = dataclasses.replace(segment, videos=(OneOfMany("v", 8, 25.0),))
    data = file_of([segment])
    read_segment = read(data).segments[0]
    assert read_segment.quantizer == "slices"
    decoder = SegmentDecoder(read_segment, torch.device("cpu"), 1, "x.bnv")
    for values, tensor in zip(decoder.weights.values(), weights.values(), strict=True):
        expected = quantize(tensor, 1 if name == "d-nerv" else 0, 7)
        assert torch.equal(torch.from_numpy(values), expected.dequantize())


# --- damage ---------------------------------------------------------------------------------------------------


def test_every_truncation_and_every_addition_is_noticed() -> None:
    data = encode_slices(tensors(), 8)
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            decode_slices(data[:length], SHAPES)
    with pytest.raises(BitstreamError, match="after the last Huffman code"):
        decode_slices(data + b"\0", SHAPES)


@pytest.mark.parametrize(
    ("position", "replacement", "sentence"),
    [
        (0, b"\x00", "0 bits per weight"),
        (0, b"\x0f", "15 bits per weight"),
        (1, struct.pack("<i", 1), "a lowest code of 1,"),
        (1, struct.pack("<i", -(1 << 31)), "a lowest code of -2147483648,"),
        (5, b"\x04", "a tensor of 4 axes has no axis 4"),
        (5, b"\xfe", "a tensor of 4 axes has no axis -2"),
        (6, struct.pack("<f", np.nan), "not finite"),
        (22, struct.pack("<f", np.inf), "not finite"),
        (22, struct.pack("<f", -1.0), "a scale is below zero"),
        (22, struct.pack("<f", 3e38), "not finite"),
    ],
)
def test_damage_has_a_sentence(position: int, replacement: bytes, sentence: str) -> None:
    data = bytearray(encode_slices(tensors(), 8))
    data[position : position + len(replacement)] = replacement
    with pytest.raises(BitstreamError, match=sentence):
        decode_slices(bytes(data), SHAPES)


def test_shapes_take_no_memory_before_the_bytes_are_there() -> None:
    data = encode_slices([quantize(torch.zeros(8), 0, 8)], 8)
    with pytest.raises(BitstreamError, match="1 bytes cannot hold 1099511627776 Huffman codes"):
        decode_slices(data, [(1 << 20, 1 << 20)])
    along = data[:5] + b"\x01" + data[6:]
    with pytest.raises(BitstreamError, match="minima and scales reach to byte"):
        decode_slices(along, [(1, 1 << 40)])


def test_random_damage_is_refused_or_harmless() -> None:
    refused = count_refused(encode_slices(tensors(), 8), lambda data: decode_slices(data, SHAPES), SHAPES)
    assert 200 < refused < 2000
