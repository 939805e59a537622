from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from boostnerv.codec.entropy.estimates import coded_bits, frame_moments, gaussian_bits, segment_moments
from tests.conftest import Golden


@pytest.mark.parametrize("name", ["narrow", "wide", "const"])
def test_estimate_and_coded_size_are_those_of_the_original(golden: Golden, name: str) -> None:
    recorded, codes = golden.manifest["entropy"][name], golden.tensors(f"entropy_{name}")["code"]
    mean, sigma = codes.mean(), codes.std()  # of the unrounded codes; bits are counted for the rounded ones
    assert mean.item() == pytest.approx(recorded["mean"], rel=1e-6)
    assert sigma.item() == pytest.approx(recorded["std"], rel=1e-6)
    bits = gaussian_bits(codes.round(), mean, sigma).sum().item()
    assert bits == pytest.approx(recorded["estimated_bits"], rel=1e-6)
    integers = codes.round().numpy().astype(np.int32)
    assert coded_bits(integers, recorded["mean"], recorded["std"]) == recorded["real_bits"]


def test_bits_are_never_negative_and_bounded_far_from_the_mean() -> None:
    codes = torch.tensor([-1e9, -3.0, 0.0, 3.0, 1e9])
    for sigma in (0.0, 1e-3, 1.0, 1e12):
        bits = gaussian_bits(codes, torch.tensor(0.0), torch.tensor(sigma))
        assert (bits >= 0).all()
        assert (bits <= -math.log2(1e-5) + 1e-3).all()


def test_moments_of_segments_are_those_of_each_tensor() -> None:
    parts = [torch.randn(n, dtype=torch.float64) * n + n for n in (2, 7, 40)]
    counts = torch.tensor([len(part) for part in parts])
    segment = torch.repeat_interleave(torch.arange(3), counts)
    mean, sigma = segment_moments(torch.cat(parts), segment, counts)
    torch.testing.assert_close(mean, torch.stack([part.mean() for part in parts]))
    torch.testing.assert_close(sigma, torch.stack([part.std() for part in parts]))

    frames = torch.randn(3, 2, 4, 5)
    mean, sigma = frame_moments(frames)
    torch.testing.assert_close(mean, frames.flatten(1).mean(1))
    torch.testing.assert_close(sigma, frames.flatten(1).std(1))


def test_constant_and_single_codes_have_no_deviation_and_finite_gradients() -> None:
    codes = torch.tensor([4.0, 4.0, 4.0, -7.0], requires_grad=True)
    counts = torch.tensor([3, 1])
    segment = torch.repeat_interleave(torch.arange(2), counts)
    mean, sigma = segment_moments(codes, segment, counts)
    assert mean.tolist() == [4, -7]
    assert sigma.tolist() == [0, 0]
    gaussian_bits(codes + 0.1, mean[segment], sigma[segment]).sum().backward()
    assert codes.grad is not None
    assert torch.isfinite(codes.grad).all()

    mean, sigma = frame_moments(torch.full((2, 1, 1, 1), 5.0))
    assert (mean.tolist(), sigma.tolist()) == ([5, 5], [0, 0])


def test_one_value_only_costs_no_bits_alone() -> None:
    assert coded_bits(np.full(100, 7, np.int32), 7.0, 0.0) == 0
