from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from boostnerv.codec.quantizers.grids import STEP_GRID, offset_value, snap_offset, snap_steps, step_values
from boostnerv.codec.quantizers.trained import (
    EmbeddingQuantizer,
    WeightQuantizers,
    initial_step,
    round_straight_through,
)
from tests.conftest import Golden
from tests.models.tiny import tiny_model


def test_weights_are_quantised_as_in_the_original(golden: Golden) -> None:
    recorded = golden.tensors("quantizers")
    x = recorded["scale.input"].clone().requires_grad_()
    quantizers = WeightQuantizers([("x", x)], bits=8)
    assert torch.equal(quantizers.steps.detach(), recorded["scale.param.scale"])

    codes = quantizers.codes(quantizers.flatten([x]))
    rounded = round_straight_through(codes)
    value = quantizers.dequantize(rounded)["x"]
    value.square().sum().backward()

    assert torch.equal(codes.view_as(x), recorded["scale.code"])
    assert torch.equal(rounded.view_as(x).round(), recorded["scale.quant"])
    torch.testing.assert_close(value, recorded["scale.dequant"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(x.grad, recorded["scale.grad_input"], rtol=1e-6, atol=1e-6)
    # The gradient of the step is the difference of two sums near 9728, which float32 resolves to 1e-5.
    torch.testing.assert_close(quantizers.steps.grad, recorded["scale.grad.scale"], rtol=0, atol=1e-5 * 9728)


def test_embeddings_are_quantised_as_in_the_original(golden: Golden) -> None:
    recorded = golden.tensors("quantizers")
    x = recorded["scalebeta.input"].clone().requires_grad_()
    quantizer = EmbeddingQuantizer(x, bits=8)
    assert quantizer.step.item() == recorded["scalebeta.param.scale"].item()
    assert quantizer.offset.item() == recorded["scalebeta.param.beta"].item()

    codes = quantizer.codes(x)
    rounded = round_straight_through(codes)
    value = quantizer.dequantize(rounded)
    value.square().sum().backward()

    assert torch.equal(codes, recorded["scalebeta.code"])
    assert torch.equal(rounded.round(), recorded["scalebeta.quant"])
    torch.testing.assert_close(value, recorded["scalebeta.dequant"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x.grad, recorded["scalebeta.grad_input"], rtol=1e-6, atol=1e-6)
    assert quantizer.step.grad is not None
    assert quantizer.offset.grad is not None
    assert quantizer.step.grad.item() == pytest.approx(recorded["scalebeta.grad.scale"].item(), rel=1e-5)
    assert quantizer.offset.grad.item() == pytest.approx(recorded["scalebeta.grad.beta"].item(), rel=1e-5)


def test_clamped_weights_are_quantised_as_in_the_original(golden: Golden) -> None:
    recorded = golden.tensors("quantizers")
    if "lsq.input" not in recorded:
        pytest.skip("lsq is in the full golden set only")
    x = recorded["lsq.input"].clone().requires_grad_()
    quantizers = WeightQuantizers([("x", x)], bits=8, kind="lsq")
    assert torch.equal(quantizers.steps.detach(), recorded["lsq.param.scale"])
    codes = quantizers.codes(quantizers.flatten([x]))
    rounded = round_straight_through(codes)
    value = quantizers.dequantize(rounded)["x"]
    value.square().sum().backward()
    assert torch.equal(codes.view_as(x), recorded["lsq.code"])
    assert torch.equal(rounded.view_as(x).round(), recorded["lsq.quant"])
    torch.testing.assert_close(value, recorded["lsq.dequant"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(x.grad, recorded["lsq.grad_input"], rtol=1e-6, atol=1e-6)
    # Again a difference of two sums near 9728, times the gradient factor.
    factor = (x.numel() * 127) ** -0.5
    torch.testing.assert_close(quantizers.steps.grad, recorded["lsq.grad.scale"], rtol=0, atol=1e-5 * 9728 * factor)


def test_clamped_embeddings_are_quantised_as_in_the_original(golden: Golden) -> None:
    recorded = golden.tensors("quantizers")
    if "lsqv2.input" not in recorded:
        pytest.skip("lsqv2 is in the full golden set only")
    x = recorded["lsqv2.input"].clone().requires_grad_()
    quantizer = EmbeddingQuantizer(x, bits=8, kind="lsqv2")
    assert quantizer.step.item() == recorded["lsqv2.param.scale"].item()
    assert quantizer.offset.item() == recorded["lsqv2.param.beta"].item()
    codes = quantizer.codes(x)
    rounded = round_straight_through(codes)
    value = quantizer.dequantize(rounded)
    value.square().sum().backward()
    assert torch.equal(codes, recorded["lsqv2.code"])
    assert torch.equal(rounded.round(), recorded["lsqv2.quant"])
    torch.testing.assert_close(value, recorded["lsqv2.dequant"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x.grad, recorded["lsqv2.grad_input"], rtol=1e-6, atol=1e-6)
    assert quantizer.step.grad is not None
    assert quantizer.offset.grad is not None
    # A sum in which large terms cancel: the precision of float32 times the gradient factor.
    terms = float((2 * value * codes).abs().sum().detach()) * (x.numel() * 255) ** -0.5
    assert quantizer.step.grad.item() == pytest.approx(recorded["lsqv2.grad.scale"].item(), abs=1e-7 * terms)
    assert quantizer.offset.grad.item() == pytest.approx(recorded["lsqv2.grad.beta"].item(), abs=1e-5)


def test_clamped_codes_stay_in_their_range() -> None:
    x = torch.tensor([-3.0, 0.0, 5.0], requires_grad=True)
    quantizers = WeightQuantizers([("x", x.detach())], bits=3, kind="lsq")
    with torch.no_grad():
        quantizers.steps.fill_(1.0)
    codes = quantizers.codes(x)
    assert codes.tolist() == [-3.0, 0.0, 3.0]
    codes.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 0.0]  # clamped values get no gradient


def test_all_tensors_at_once_are_each_on_its_own() -> None:
    named = list(tiny_model("hnerv-boost").decoder.named_parameters())
    together = WeightQuantizers(named, bits=6)
    codes = together.codes(together.flatten(tensor for _, tensor in named)).round()
    values = together.dequantize(codes)
    assert list(values) == [name for name, _ in named]
    for name, tensor in named:
        alone = WeightQuantizers([(name, tensor)], bits=6)
        expected = alone.dequantize(alone.codes(alone.flatten([tensor])).round())[name]
        assert torch.equal(values[name], expected), name
        assert values[name].shape == tensor.shape


def test_rounding_passes_gradients_straight_through() -> None:
    x = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.4], requires_grad=True)
    rounded = round_straight_through(x)
    rounded.backward(torch.arange(5.0))
    assert rounded.tolist() == [-2, 0, 0, 2, 2]  # half to even
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 2, 3, 4]


def test_the_first_step_divides_the_range() -> None:
    assert initial_step(torch.tensor([-1.0, 0.0, 2.0]), 2).item() == 1.0
    assert initial_step(torch.tensor([-1.0, 2.0]), 8).item() == pytest.approx(3 / 255)


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0, 1e-12])
@pytest.mark.parametrize("count", [1, 4])
def test_a_tensor_without_a_range_has_a_step_that_can_code_it(value: float, count: int) -> None:
    tensor = torch.full((count,), value)
    step = initial_step(tensor, 8)
    assert step > 0
    assert (tensor / step).abs().max() <= 1 << 19


def test_steps_are_pushed_out_of_the_band_around_zero_and_keep_their_sign() -> None:
    quantizers = WeightQuantizers([(str(n), torch.tensor([0.0, 255.0])) for n in range(5)], bits=8)
    assert quantizers.steps.tolist() == [1.0] * 5
    with torch.no_grad():
        quantizers.steps.copy_(torch.tensor([1e-9, -1e-9, 0.5, -0.5, 0.0]))
    quantizers.keep_away_from_zero()
    assert quantizers.steps.tolist() == [1 / 16, -1 / 16, 0.5, -0.5, 1 / 16]

    embedding = EmbeddingQuantizer(torch.tensor([0.0, 255.0]), bits=8)
    with torch.no_grad():
        embedding.step.fill_(-1e-9)
    embedding.keep_away_from_zero()
    assert embedding.step.item() == -1 / 16


def test_only_steps_and_offsets_are_stored() -> None:
    named = list(tiny_model("nerv-boost").decoder.named_parameters())
    assert set(WeightQuantizers(named, 8).state_dict()) == {"steps"}
    assert set(EmbeddingQuantizer(torch.rand(3), 8).state_dict()) == {"step", "offset"}


@pytest.mark.parametrize("kind", ["scale", "lsq"])
def test_steps_on_the_grid_are_those_that_a_file_stores(kind: Literal["scale", "lsq"]) -> None:
    generator = torch.Generator().manual_seed(0)
    named = [(str(n), torch.rand(7, generator=generator) * 10.0 ** (n - 4) - 0.3) for n in range(9)]
    quantizers = WeightQuantizers(named, bits=6, kind=kind, on_grid=True)
    with torch.no_grad():
        quantizers.steps[::2] *= -1
    used = quantizers.used_steps().detach()
    stored = STEP_GRID.decode(snap_steps(quantizers.steps.detach().abs().numpy()))
    assert used.abs().tolist() == stored.tolist()
    assert torch.equal(used.sign(), quantizers.steps.sign())
    assert not torch.equal(used, quantizers.steps)
    assert torch.equal(quantizers.dequantize(torch.ones(63))["0"], used[0].expand(7))


def test_an_offset_on_the_grid_is_what_a_file_stores() -> None:
    quantizer = EmbeddingQuantizer(torch.linspace(-3.3, 7.1, 50), bits=6, on_grid=True)
    step, offset = (float(value) for value in quantizer.used())
    index = snap_offset(float(quantizer.offset.detach()), step)
    assert offset == float(offset_value(index, np.float32(step))) != float(quantizer.offset.detach())
    assert step == float(step_values(snap_steps(np.array([float(quantizer.step.detach())])))[0])


def test_gradients_pass_the_grid_straight() -> None:
    x = torch.rand(20, generator=torch.Generator().manual_seed(1))
    quantizer = EmbeddingQuantizer(x, bits=5, on_grid=True)
    quantizer.dequantize(torch.full((4,), 3.0)).sum().backward()
    assert (float(quantizer.step.grad), float(quantizer.offset.grad)) == (12.0, 4.0)  # type: ignore[arg-type]
