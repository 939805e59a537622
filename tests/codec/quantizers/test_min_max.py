from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from boostnerv.codec.quantizers.min_max import MinMax, quantize
from boostnerv.errors import UserError
from tests.conftest import Golden

GOLDEN_BITS = {"0": 8, "1": 8, "2": 6}  # weights, weights, embeddings
LARGEST = torch.finfo(torch.float32).max


@pytest.mark.parametrize(("name", "bits"), GOLDEN_BITS.items())
def test_tensors_are_quantised_as_in_the_original(golden: Golden, name: str, bits: int) -> None:
    recorded = {key.partition(".")[2]: value for key, value in golden.tensors("ptq").items() if key.startswith(name)}
    if not recorded:
        pytest.skip(f"tensor {name} is in the full golden set only")
    quantized = quantize(recorded["input"], bits)
    assert quantized.axis is None
    assert (quantized.minimum, quantized.scale) == (recorded["min"].numpy(), recorded["scale"].numpy())
    assert (quantized.minimum.dtype, quantized.scale.dtype, quantized.codes.dtype) == (np.float32, np.float32, np.int32)
    assert torch.equal(torch.from_numpy(quantized.codes), recorded["quant"].to(torch.int32))
    assert torch.equal(quantized.dequantize(), recorded["dequant"])


def channels(length: int, *, channels: int = 3) -> Tensor:
    """``[channels, length]`` with a different range per channel, so that scales along axis 1 are much better."""
    noise = torch.rand(channels, length, generator=torch.Generator().manual_seed(0))
    return noise * 10.0 ** torch.arange(channels)[:, None] - 1


def along(x: Tensor, axis: int, bits: int) -> Tensor:
    """A tensor quantised with float16 pairs along an axis."""
    low, high = x.amin(axis, keepdim=True), x.amax(axis, keepdim=True)
    minimum, scale = low.half().float(), ((high - low) / (2**bits - 1)).half().float()
    return minimum + scale * ((x - minimum) / scale).round().clamp(0, 2**bits - 1)


def test_an_axis_wins_where_its_pairs_are_few_and_its_error_is_least() -> None:
    x = channels(51)
    quantized = quantize(x, 8)
    assert (quantized.axis, quantized.minimum.shape, quantized.scale.shape) == (1, (3, 1), (3, 1))
    assert (quantized.minimum.dtype, quantized.scale.dtype) == (np.float16, np.float16)
    assert torch.equal(quantized.dequantize(), along(x, 1, 8))
    assert torch.equal(quantize(x.T, 8).dequantize(), along(x, 1, 8).T)
    assert quantize(x.T, 8).axis == 0
    assert quantize(channels(50), 8).axis is None  # 2 % of the entries, not less

    even = torch.rand(60, 60, 2, generator=torch.Generator().manual_seed(1))
    errors = {axis: (along(even, axis, 6) - even).abs().mean() for axis in (0, 1)}
    assert quantize(even, 6).axis == min(errors, key=lambda axis: errors[axis])


def test_the_whole_tensor_wins_where_float16_is_too_coarse_or_too_small() -> None:
    line = torch.linspace(1000.2, 1000.3, 100)
    assert quantize(line, 8).axis is None  # float16 has steps of one half there
    assert quantize(channels(100) + 1e6, 8).axis is None


@pytest.mark.parametrize("value", [0.0, -3.7, 1e-45, LARGEST, -LARGEST])
@pytest.mark.parametrize("shape", [(), (1,), (4, 3), (200,), (2, 70)])
def test_equal_values_have_code_zero_and_come_back(value: float, shape: tuple[int, ...]) -> None:
    x = torch.full(shape, value)
    quantized = quantize(x, 8)
    assert quantized.axis is None
    assert quantized.codes.shape == shape
    assert not quantized.codes.any()
    assert torch.equal(quantized.dequantize(), x)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, LARGEST])
@pytest.mark.parametrize("shape", [(3,), (2, 100)])
def test_values_that_are_not_finite_or_too_far_apart_are_refused(bad: float, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    x.view(-1)[0] = bad
    x.view(-1)[1] = -LARGEST
    with pytest.raises(UserError, match="cannot be quantised: its values are not finite or too far apart; the train"):
        quantize(x, 8)


def test_gradients_and_other_types_are_no_obstacle() -> None:
    x = channels(60)
    expected = quantize(x, 8)
    same(quantize(x.clone().requires_grad_(), 8), expected)
    same(quantize(x.double(), 8), expected)
    same(quantize(x.T.contiguous().T, 8), expected)


def same(actual: MinMax, expected: MinMax) -> None:
    assert actual.axis == expected.axis
    assert (actual.codes == expected.codes).all()
    assert (actual.minimum == expected.minimum).all()
    assert (actual.scale == expected.scale).all()


@given(
    shape=st.lists(st.sampled_from([1, 2, 3, 51, 64]), max_size=3).map(tuple),
    bits=st.integers(1, 16),
    low=st.floats(-1e6, 1e6),
    span=st.sampled_from([0.0, 1e-40, 1e-9, 1e-3, 1.0, 3e4, 1e7]),
    seed=st.integers(0, 99),
)
@example(shape=(51,), bits=8, low=70000.0, span=1.0, seed=0)  # beyond the range of float16
def test_any_tensor_comes_back_within_half_a_step(
    shape: tuple[int, ...], bits: int, low: float, span: float, seed: int
) -> None:
    x = low + span * torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    quantized = quantize(x, bits)
    assert quantized.codes.shape == shape
    assert quantized.codes.min() >= 0
    assert quantized.codes.max() < 2**bits
    error = (quantized.dequantize() - x).abs()
    scale = float((x.max() - x.min()) / (2**bits - 1))
    # Rounding errors of float32, and the granularity of its smallest scales.
    rounding = 4 * torch.finfo(torch.float32).eps * (abs(low) + span) + 2**bits * 1.5e-45
    assert error.mean() <= scale / 2 + rounding
    if quantized.axis is None:
        assert error.max() <= scale / 2 + rounding
