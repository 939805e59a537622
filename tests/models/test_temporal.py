"""Building blocks of clip models, against recorded values and against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from boostnerv.models.temporal import (
    ContentFlow,
    GlobalTemporalMLP,
    InterleavedEncoding,
    KeyframeEncoder,
    SpatialFusion,
    between,
    clip_norm,
    flow_warp,
    stage_widths,
)
from tests.conftest import Golden


def test_positional_encoding_equals_the_original(golden: Golden) -> None:
    recorded = golden.tensors("dnerv")
    encoded = InterleavedEncoding(1.25, 240)(recorded["frame_index"])
    # On some processors, sines differ in the last bit.
    assert (encoded - recorded["embedding"].transpose(1, 2)).abs().max() <= 2**-24


def test_positional_encoding_alternates_sine_and_cosine() -> None:
    t = torch.tensor([[0.25, 1.0]])
    angles = torch.pi * t[..., None] * torch.tensor([1.0, 2.0, 4.0])
    encoded = InterleavedEncoding(2.0, 3)(t)
    assert torch.equal(encoded[..., ::2], angles.sin())
    assert torch.equal(encoded[..., 1::2], angles.cos())


def test_warp_equals_the_original(golden: Golden) -> None:
    recorded = golden.tensors("dnerv")
    warped = flow_warp(recorded["warp.features"][:, :, 0], recorded["warp.flow"].transpose(1, 2))
    assert (warped.transpose(1, 2) - recorded["warp.output"]).abs().max() <= 1e-6


@given(x=st.integers(-7, 7), y=st.integers(-7, 7), height=st.integers(1, 6), width=st.integers(1, 6))
def test_whole_pixels_are_moved_and_the_border_is_repeated(x: int, y: int, height: int, width: int) -> None:
    features = torch.rand(2, 3, height, width)
    flow = torch.tensor([x, y], dtype=torch.float32).view(1, 1, 2, 1, 1).expand(2, 4, 2, height, width)
    rows = (torch.arange(height) + y).clamp(0, height - 1)
    columns = (torch.arange(width) + x).clamp(0, width - 1)
    expected = features[:, None, :, rows[:, None], columns].expand(2, 4, 3, height, width)
    torch.testing.assert_close(flow_warp(features, flow), expected, rtol=0, atol=1e-5)


def test_each_keyframe_appears_at_its_own_time() -> None:
    flow = ContentFlow(5)
    nn.init.zeros_(flow.predict[2].weight)  # no flow
    nn.init.zeros_(flow.predict[2].bias)
    keys, distance = torch.rand(1, 2, 3, 4, 4), torch.tensor([[0.0, 0.25, 1.0]])
    with torch.no_grad():
        blended = flow(torch.rand(3, 5, 4, 4), keys, distance)
    expected = torch.stack([keys[0, 0], 0.75 * keys[0, 0] + 0.25 * keys[0, 1], keys[0, 1]])
    torch.testing.assert_close(blended, expected, rtol=0, atol=1e-5)


def test_a_temporal_map_is_a_grouped_convolution_with_its_rows_in_order() -> None:
    block = GlobalTemporalMLP(3, 4)
    x = torch.randn(2 * 4, 3, 5, 6)
    with torch.no_grad():
        actual = block(x).unflatten(0, (2, 4))
        channels_first = x.unflatten(0, (2, 4)).transpose(1, 2)
        mixed = F.conv2d(channels_first.flatten(1, 2), block.weight[:, :, None, None], block.bias, groups=3)
        expected = (channels_first + mixed.unflatten(1, (3, 4))).transpose(1, 2)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_fusion_with_zero_weights_is_the_identity() -> None:
    fusion = SpatialFusion(3, 5)
    nn.init.zeros_(fusion.conv.weight)
    x = torch.randn(2, 5, 3, 3)
    assert torch.equal(fusion(x, torch.randn(2, 3, 3, 3)), x)


def test_clip_norm_is_instance_normalisation_in_three_dimensions() -> None:
    x = torch.randn(2 * 4, 3, 5, 6) * 3 + 1
    expected = F.instance_norm(x.unflatten(0, (2, 4)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(clip_norm(x, 4), expected, rtol=0, atol=1e-5)


@given(frames=st.integers(1, 12))
def test_features_between_keyframes_are_interpolated_trilinearly(frames: int) -> None:
    keys = torch.randn(2, 2, 3, 4, 5)
    expected = F.interpolate(keys.transpose(1, 2), size=(frames, 4, 5), mode="trilinear", align_corners=False)
    torch.testing.assert_close(between(keys, frames), expected.transpose(1, 2).flatten(0, 1), rtol=0, atol=1e-5)


def test_keyframe_features_are_coarsest_first() -> None:
    features = KeyframeEncoder(6, (4, 2, 3))(torch.rand(2, 3, 24, 48))
    assert [tuple(feature.shape) for feature in features] == [(2, 6, 1, 2), (2, 6, 4, 8), (2, 6, 8, 16)]


@pytest.mark.parametrize(
    ("first", "strides", "lowest", "widths"),
    [(214, (4, 2, 2, 2, 2), 32, (214, 107, 54, 32, 32)), (10, (3,), 32, (10,)), (33, (1, 1, 3), 2, (33, 33, 11))],
)
def test_widths_of_the_stages(first: int, strides: tuple[int, ...], lowest: int, widths: tuple[int, ...]) -> None:
    assert stage_widths(first, strides, lowest) == widths


def test_a_temporal_map_is_initialised_like_a_convolution() -> None:
    torch.manual_seed(0)
    block = GlobalTemporalMLP(500, 4)
    for parameter in (block.weight, block.bias):
        assert 0.49 < parameter.abs().max() <= 1 / math.sqrt(4)
        assert parameter.std().item() == pytest.approx(0.5 / math.sqrt(3), rel=0.05)
