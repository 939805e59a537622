"""The Gaussian entropy model: the rate that training sees and the coder that writes it.

Zhang et al., CVPR 2024, section 3.4. Mean μ and deviation σ are those of a tensor's own unrounded codes (of
each frame's own, for embeddings); the same two numbers serve training, evaluation and coding, which is the
consistency in "consistent entropy minimisation".

In a file μ and σ lie on integer grids (`GaussianGrid`), and the coder reads them from there: both ends compute
with the same numbers on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boostnerv.errors import BitstreamError

_TINY_PROBABILITY = 1e-5
_SMALLEST_SIGMA = 1e-5
_LARGEST_SIGMA = 1e10
LARGEST_CODE = 1 << 19  # codes lie in ±this; the coder divides 2^24 among them


# --- the rate as training sees it --------------------------------------------------------------------------


def segment_moments(codes: Tensor, segment: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (N − 1) of the codes of each segment: codes ``[P]`` → μ ``[S]``, σ ``[S]``."""
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
    # The square root has an infinite slope at zero, and a tensor of equal codes has no variance.
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)


# --- numbers on grids ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SmallFloat:
    """Positive numbers ``(1 + m/2^mantissa_bits)·2^(e − bias)`` as integers ``e·2^mantissa_bits + m``.

    Exact in float32 and the same everywhere, unlike a logarithmic grid.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int

    @property
    def levels(self) -> int:
        return 1 << (self.exponent_bits + self.mantissa_bits)

    def decode(self, index: NDArray[np.integer]) -> NDArray[np.float64]:
        """Values of indices in [0, levels − 1]."""
        exponent, mantissa = np.divmod(np.asarray(index, dtype=np.int64), 1 << self.mantissa_bits)
        return np.ldexp(1 + mantissa / (1 << self.mantissa_bits), exponent - self.bias)

    def encode(self, value: NDArray[np.floating], *, at_least: bool = False) -> NDArray[np.int64]:
        """Index of the nearest value (or, with `at_least`, the nearest that is not below); ends are sticky."""
        table = self.decode(np.arange(self.levels))
        value = np.clip(np.asarray(value, dtype=np.float64), table[0], table[-1])
        above = np.searchsorted(table, value)
        if at_least:
            return above
        below = np.maximum(above - 1, 0)
        return np.where(table[above] - value <= value - table[below], above, below)


STEP_GRID = SmallFloat(exponent_bits=6, mantissa_bits=6, bias=48)  # δ: 3.6e-15 … 6.5e4, 12 bits
SIGMA_GRID = SmallFloat(exponent_bits=5, mantissa_bits=3, bias=5)  # σ: 0.03 … 1.3e8 codes, 8 bits
MEAN_UNITS_PER_SIGMA = 16  # μ lies on multiples of σ/16


@dataclass(frozen=True)
class GaussianGrid:
    """μ and σ of S segments as the integers that a file holds.

    `sigma_index` in [0, 255]; `mean_index` counts sixteenths of σ from `origin` and fits `mean_bits` bits,
    signed. `reach` bounds all codes: ``|code − μ| ≤ reach·σ``, one number for all segments.
    """

    sigma_index: NDArray[np.int64]
    mean_index: NDArray[np.int64]
    origin: int
    reach: int

    @property
    def sigma(self) -> NDArray[np.float64]:
        return SIGMA_GRID.decode(self.sigma_index)

    @property
    def mean(self) -> NDArray[np.float64]:
        return self.origin + self.mean_index * (self.sigma / MEAN_UNITS_PER_SIGMA)

    def support(self, index: int) -> tuple[int, int]:
        """Least and largest code of a segment, inclusive. Always at least two codes, as the coder wants."""
        mean, sigma = float(self.mean[index]), float(self.sigma[index])
        low = max(mean - self.reach * sigma, -LARGEST_CODE)
        high = min(mean + self.reach * sigma, LARGEST_CODE)
        if low > high:
            raise BitstreamError(f"a mean code of {mean:.0f} cannot be; the file is damaged, get it again")
        return math.floor(low), math.ceil(high) + 1

    @staticmethod
    def empty() -> GaussianGrid:
        """A grid of no segments."""
        none = np.zeros(0, dtype=np.int64)
        return GaussianGrid(none, none, 0, 0)

    @staticmethod
    def fit(
        codes: Sequence[NDArray[np.int32]],
        mean: NDArray[np.floating],
        sigma: NDArray[np.floating],
        *,
        origin: int,
        mean_bits: int,
    ) -> GaussianGrid:
        """Snap μ and σ to the grid; σ grows where the grid could not hold μ or a code far from it."""
        largest_mean_index = (1 << (mean_bits - 1)) - 1
        offset = np.abs(np.asarray(mean, dtype=np.float64) - origin)
        needed = offset * MEAN_UNITS_PER_SIGMA / (largest_mean_index - 0.5)
        sigma_index = SIGMA_GRID.encode(sigma)
        sigma_index = np.maximum(sigma_index, SIGMA_GRID.encode(needed, at_least=True))
        farthest = np.array([np.abs(c - m).max() for c, m in zip(codes, mean, strict=True)])
        # One step of σ in hand: snapping μ moves it by up to σ/32.
        sigma_index = np.maximum(sigma_index, SIGMA_GRID.encode(farthest / 254, at_least=True))
        grid_sigma = SIGMA_GRID.decode(sigma_index)
        mean_index = np.rint((mean - origin) * MEAN_UNITS_PER_SIGMA / grid_sigma).astype(np.int64)
        reach = int(np.ceil((farthest / grid_sigma).max())) + 1
        return GaussianGrid(sigma_index, mean_index, origin, min(reach, 255))


# --- the coder ---------------------------------------------------------------------------------------------


def encode_segments(codes: Sequence[NDArray[np.int32]], grid: GaussianGrid) -> bytes:
    """Code all segments into one ANS stream of little-endian 32-bit words, to be read from the first on."""
    coder = constriction.stream.stack.AnsCoder()
    for index in reversed(range(len(codes))):
        coder.encode_reverse(codes[index], _coder_model(grid, index))
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def decode_segments(data: bytes, counts: Sequence[int], grid: GaussianGrid) -> list[NDArray[np.int32]]:
    """Inverse of `encode_segments`; raises `BitstreamError` where the stream does not end with the last code."""
    if len(data) % 4:
        raise BitstreamError(f"entropy-coded section of {len(data)} bytes is not a whole number of words")
    words = np.frombuffer(data, dtype="<u4").astype(np.uint32)
    if len(words) and words[-1] == 0:
        raise BitstreamError("entropy-coded section ends in an empty word; the file is damaged, get it again")
    coder = constriction.stream.stack.AnsCoder(words)
    codes = [coder.decode(_coder_model(grid, index), count) for index, count in enumerate(counts)]
    if not coder.is_empty():
        raise BitstreamError("entropy-coded section has data behind its last code; the file is damaged, get it again")
    return codes


def coded_bits(codes: NDArray[np.int32], mean: float, sigma: float) -> int:
    """Bits of one tensor coded alone with float μ, σ over [min, max], as the paper counts them."""
    low, high = int(codes.min()), int(codes.max())
    if low == high:
        return 0
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(codes, constriction.stream.model.QuantizedGaussian(low, high, mean, sigma))
    return 32 * len(coder.get_compressed())


def _coder_model(grid: GaussianGrid, index: int) -> constriction.stream.model.QuantizedGaussian:
    low, high = grid.support(index)
    mean, sigma = float(grid.mean[index]), float(grid.sigma[index])
    return constriction.stream.model.QuantizedGaussian(low, high, mean, sigma)
