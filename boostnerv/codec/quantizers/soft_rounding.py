"""Differentiable stand-ins for rounding, for training only.

Soft rounding (Agustsson and Theis, NeurIPS 2020) with noise whose spread shrinks over the training, as in C3 (Kim et
al., CVPR 2024): a code x is replaced by ``r_T(s_T(x) + u)``. s_T is a smooth staircase: rounding for T → 0, the
identity for T → ∞. r_T is the expected code given its noisy value, with u uniform. The noise u lies in [−½, ½].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_INSIDE = 1e-6  # the inverse functions are infinite at the ends of their ranges


def soft_round(x: Tensor, temperature: float) -> Tensor:
    """``s_T(x) = ⌊x⌋ + ½ + tanh((x − ⌊x⌋ − ½)/T) / (2·tanh(1/(2T)))`` with T = `temperature` > 0, shape unchanged."""
    low = torch.floor(x)
    return low + 0.5 + torch.tanh((x - low - 0.5) / temperature) / (2 * math.tanh(0.5 / temperature))


def inverse_soft_round(y: Tensor, temperature: float) -> Tensor:
    """The inverse ``s_T⁻¹`` of `soft_round`, shape unchanged."""
    low = torch.floor(y)
    slope = (2 * math.tanh(0.5 / temperature) * (y - low - 0.5)).clamp(_INSIDE - 1, 1 - _INSIDE)
    return low + 0.5 + temperature * torch.atanh(slope)


def noisy_codes(x: Tensor, temperature: float, noise: Tensor) -> Tensor:
    """``r_T(s_T(x) + u)`` with ``r_T(y) = s_T⁻¹(y − ½) + ½`` and u = `noise` in [−½, ½]; all of one shape."""
    return inverse_soft_round(soft_round(x, temperature) + noise - 0.5, temperature) + 0.5


def kumaraswamy_noise(like: Tensor, shape: float, generator: torch.Generator) -> Tensor:
    """Noise in [−½, ½] of the shape, dtype and device of `like`, with its mode at 0; uniform for `shape` 1.

    ``u = (1 − (1 − v)^(1/b))^(1/a) − ½`` with v uniform, a = `shape` ≥ 1 and ``b = (2^a·(a − 1) + 1)/a``: larger a
    concentrates the noise around 0.
    """
    uniform = torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    if shape == 1:
        return uniform - 0.5
    b = (2**shape * (shape - 1) + 1) / shape
    return (1 - (1 - uniform) ** (1 / b)) ** (1 / shape) - 0.5
