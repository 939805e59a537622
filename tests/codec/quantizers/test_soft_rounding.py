"""Soft rounding and its noise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.codec.quantizers.soft_rounding import (
    inverse_soft_round,
    kumaraswamy_noise,
    noisy_codes,
    soft_round,
)

CODES = st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=9).map(torch.tensor)
TEMPERATURES = st.floats(0.1, 2)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(CODES)
def test_a_low_temperature_rounds_and_a_high_one_changes_nothing(x: torch.Tensor) -> None:
    between = (x - torch.floor(x) - 0.5).abs() > 0.01
    torch.testing.assert_close(soft_round(x, 1e-3)[between], torch.round(x)[between])
    torch.testing.assert_close(soft_round(x, 1e3), x, rtol=0, atol=1e-3)


@given(CODES, TEMPERATURES)
def test_the_staircase_rises_and_stays_within_half_a_step(x: torch.Tensor, temperature: float) -> None:
    stairs = soft_round(x.sort().values, temperature)
    assert (stairs.diff() >= -1e-5).all()
    assert ((stairs - x.sort().values).abs() <= 0.5).all()


@given(CODES, TEMPERATURES)
def test_the_inverse_undoes_it(x: torch.Tensor, temperature: float) -> None:
    # Near whole numbers and at low temperatures the staircase is flat and float32 cannot tell codes apart.
    x = torch.floor(x) + 0.2 + 0.6 * (x - torch.floor(x))
    inverse = inverse_soft_round(soft_round(x.double(), temperature), temperature)
    torch.testing.assert_close(inverse, x.double(), rtol=0, atol=1e-4)


def test_the_expected_code_is_the_mean_over_uniform_noise() -> None:
    """r_T(y) is E[x] where s_T(x) + u = y: the mean of codes whose softly rounded value lies within ½ of y."""
    x = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    for temperature, y in ((0.3, 0.2), (0.5, -0.7), (1.0, 0.45)):
        near = (soft_round(x, temperature) - y).abs() <= 0.5
        lowest, highest = x[near][0], x[near][-1]
        ours = inverse_soft_round(torch.tensor([y - 0.5], dtype=torch.float64), temperature) + 0.5
        # The codes lie in an interval of length one, and its middle is their mean.
        torch.testing.assert_close(ours, ((lowest + highest) / 2)[None], rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [1.0, 1.3, 2.0, 3.0])
def test_noise_stays_within_half_a_step_and_gathers_at_zero(shape: float) -> None:
    noise = kumaraswamy_noise(torch.empty(100_000), shape, generator())
    assert noise.abs().max() <= 0.5
    deviation = float(noise.std())
    uniform = 12**-0.5
    assert deviation == pytest.approx(uniform, rel=0.01) if shape == 1 else deviation < 0.99 * uniform
    counts = torch.histc(noise, 5, -0.5, 0.5)
    assert counts[2] >= counts.max() * 0.98


def test_noise_depends_on_the_generator_alone() -> None:
    like = torch.empty(3, 4)
    first, second = (kumaraswamy_noise(like, 2.0, generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, kumaraswamy_noise(like, 2.0, generator(2)))


def test_noisy_codes_have_gradients() -> None:
    x = torch.linspace(-3, 3, 61, requires_grad=True)
    noisy_codes(x, 0.3, kumaraswamy_noise(x, 2.0, generator())).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad > 0).float().mean() > 0.9


@given(CODES)
def test_noisy_codes_stay_within_a_step(x: torch.Tensor) -> None:
    noisy = noisy_codes(x, 0.4, kumaraswamy_noise(x, 1.0, generator()))
    assert ((noisy - x).abs() <= 1.0 + 1e-4).all()
