"""The fused convolutions compute the same values and gradients as the plain ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boostnerv.models import convolution
from boostnerv.models.conditional import TATResidualBlock
from boostnerv.models.convolution import Convolution, fuse
from boostnerv.models.layers import GELU, Activated, Sine, in_place
from tests.models.tiny import ALL, tiny_model


def gradients(block: torch.nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """The output of `block`, and the gradients of a weighted sum of it with respect to inputs and parameters."""
    output = block(*inputs)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), [*inputs, *block.parameters()])]


def same(block: torch.nn.Module, inputs: list[Tensor]) -> None:
    plain = gradients(block, inputs)
    fuse(block)
    assert block.fused
    for one, other in zip(plain, gradients(block, inputs), strict=True):
        assert (one - other).abs().max() <= 1e-11 * max(1.0, float(one.detach().abs().max()))


def noise(*shape: int, channels_last: bool = True) -> Tensor:
    layout = torch.channels_last if channels_last and len(shape) == 4 else torch.contiguous_format
    values = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))
    return values.to(memory_format=layout).requires_grad_()


# One pixel, row or column: everything is border. From 16 channels on, gradients are computed on copies.
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (5, 1), (2, 2), (7, 9)])
@pytest.mark.parametrize("channels", [3, 17])
def test_affine_transforms_are_folded_into_convolutions(channels: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    block = TATResidualBlock(channels, 4).double().to(memory_format=torch.channels_last)
    same(block, [noise(1, channels, height, width), noise(1, 4)])


def test_several_frames_have_separate_affine_transforms() -> None:
    torch.manual_seed(0)
    block = TATResidualBlock(5, 4).double()
    same(block, [noise(3, 5, 6, 7), noise(3, 4)])


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "groups"),
    [(3, 20, 5, 5, 1), (17, 18, 3, 1, 1), (16, 64, 1, 1, 1), (6, 6, 7, 1, 6), (18, 3, 3, 1, 1)],
)
def test_gradients_of_a_convolution(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int, channels_last: bool
) -> None:
    torch.manual_seed(0)
    padding = kernel // 2 if stride == 1 else 0
    layer = Convolution(inputs, outputs, kernel, stride, padding, groups=groups).double()
    same(layer, [noise(2, inputs, 10, 15, channels_last=channels_last)])


@pytest.mark.parametrize(
    "options",
    [
        {"bias": False, "padding": 1},
        {"dilation": 2, "padding": 2},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "replicate"},
    ],
)
def test_gradients_of_convolutions_of_other_kinds(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    same(Convolution(5, 7, 3, **options).double(), [noise(2, 5, 8, 9)])


def test_only_required_gradients_are_computed() -> None:
    layer = Convolution(3, 4, 3, padding=1)
    fuse(layer)
    layer(torch.zeros(1, 3, 5, 5)).sum().backward()
    assert layer.weight.grad is not None
    layer.requires_grad_(False)
    x = torch.zeros(1, 3, 5, 5, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("channels_last", [True, False])
def test_gelu(channels_last: bool) -> None:
    x = noise(2, 5, 3, 4, channels_last=channels_last)
    layer = GELU()
    plain = layer(x)
    fuse(layer)
    assert (layer(x) - plain).abs().max() < 1e-12
    assert layer(x).stride() == x.stride()


@pytest.mark.parametrize("activation", [Sine, GELU, partial(GELU, approximate="tanh")])
def test_activations_overwrite_their_input_only_if_marked_in_place(activation: Activated) -> None:
    x = noise(2, 5, 3, 4).detach()
    with torch.inference_mode():
        plain = activation()(x)
        layer, owner = activation(), in_place(activation())
        fuse(nn.ModuleList([layer, owner]))
        before, overwritten = x.clone(), x.clone()
        assert (layer(x) - plain).abs().max() < 1e-12
        assert torch.equal(x, before)
        assert (owner(overwritten) - plain).abs().max() < 1e-12
        assert (overwritten - plain).abs().max() < 1e-12


@pytest.mark.parametrize(("count", "samples"), [(1, 1), (2, 2), (3, 3), (4, 1)])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (3, 0), (1, 0), (5, 2)])
def test_weight_gradients_in_strips_are_those_of_the_whole(kernel: int, padding: int, count: int, samples: int) -> None:
    x = noise(1, 3, 6 + kernel - 1 - 2 * padding, 7).detach()
    weight = noise(4, 3, kernel, kernel).detach()
    gradient = noise(1, 4, 6, 7 + 2 * padding - kernel + 1).detach()
    rest = (weight, (1, 1))
    strips, parts, strip_padding = convolution._in_strips(gradient, x, (padding, padding), count)
    assert len(strips) == len(parts) == samples  # six rows, which four does not divide
    expected = convolution._gradients(gradient, x, *rest, (padding, padding), 1, (False, True, True))
    actual = convolution._gradients(strips, parts, *rest, strip_padding, 1, (False, True, True))
    for one, other in zip(actual[1:], expected[1:], strict=True):
        assert (one - other).abs().max() <= 1e-12


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["e-nerv-boost", "hnerv-boost"])
def test_a_fused_model_has_the_gradients_of_a_plain_one(name: str, threads: int) -> None:
    model = tiny_model(name, height=10, width=12).double().to(memory_format=torch.channels_last)
    frames = torch.rand(1, 3, 10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        results = []
        for prepare in (lambda: None, lambda: fuse(model)):
            prepare()
            loss = (model(torch.tensor([0.4], dtype=torch.float64), frames) - frames).square().sum()
            results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        assert (one - other).abs().max() <= 1e-9 * max(1.0, float(one.detach().abs().max()))


@pytest.mark.parametrize("name", ALL)
def test_a_fused_decoder_computes_the_frames_of_a_plain_one(name: str) -> None:
    model = tiny_model(name, height=10, width=12).to(memory_format=torch.channels_last)
    frames = torch.rand(3, 3, 10, 12, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([0.2, 0.4, 0.6])
    with torch.inference_mode():
        plain = model(t, frames)
        fuse(model)
        assert all((model(t, frames) - plain).abs().max() <= 2e-6 for _ in range(2))
        assert (model(t[1:2], frames[1:2]) - plain[1:2]).abs().max() <= 2e-6
