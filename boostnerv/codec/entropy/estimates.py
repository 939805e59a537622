"""The published entropy model: its rate estimate for training, and its bit count.

Zhang et al., CVPR 2024, section 3.4. Mean μ and deviation σ are computed from a tensor's unrounded codes
(for embeddings, from each frame's); training, evaluation and coding use the same two numbers, which is the consistency
in "consistent entropy minimisation".

The stored parameters and the other entropy models are in `boostnerv.codec.entropy.entropy_models`.
"""

from __future__ import annotations

import math

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TINY_PROBABILITY = 1e-5
_SMALLEST_SIGMA = 1e-5
_LARGEST_SIGMA = 1e10


# --- the rate estimate for training ------------------------------------------------------------------------


def segment_moments(codes: Tensor, segment: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (N − 1) of the codes of each tensor: codes ``[P]`` → μ ``[S]``, σ ``[S]``.

    `segment` ``[P]`` int64 is the tensor number of each code, `counts` ``[S]`` the codes per tensor.
    """
    zeros = torch.zeros(len(counts), dtype=codes.dtype, device=codes.device)
    mean = zeros.index_add(0, segment, codes) / counts
    squares = zeros.index_add(0, segment, (codes - mean[segment]).square())
    return mean, _safe_sqrt(squares / (counts - 1).clamp_min(1))


def frame_moments(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (N − 1) of each frame's codes: ``[N, …]`` → μ ``[N]``, σ ``[N]``."""
    flat = codes.flatten(1)
    mean = flat.mean(1)
    squares = (flat - mean[:, None]).square().sum(1)
    return mean, _safe_sqrt(squares / max(flat.shape[1] - 1, 1))


def gaussian_bits(codes: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """Bits of each code under a Gaussian integrated over ±½; shapes broadcast.

    ``−log2(Φ((x + ½ − μ)/σ) − Φ((x − ½ − μ)/σ) + 1e-5)``, at least 0, σ kept in [1e-5, 1e10].
    """
    scale = sigma.clamp(_SMALLEST_SIGMA, _LARGEST_SIGMA).reciprocal()
    probability = _normal_cdf((codes + 0.5 - mean) * scale) - _normal_cdf((codes - 0.5 - mean) * scale)
    return (-torch.log2(probability + _TINY_PROBABILITY)).clamp_min(0)


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def _safe_sqrt(variance: Tensor) -> Tensor:
    # The square root has an infinite slope at zero, and the variance of equal codes is zero.
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)


# --- the published count ------------------------------------------------------------------------------------


def coded_bits(codes: NDArray[np.int32], mean: float, sigma: float) -> int:
    """Bits of a tensor coded alone with float μ, σ over [min, max], as the paper counts them; whole words."""
    low, high = int(codes.min()), int(codes.max())
    if low == high:
        return 0
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(codes, constriction.stream.model.QuantizedGaussian(low, high, mean, sigma))
    return 32 * len(coder.get_compressed())
