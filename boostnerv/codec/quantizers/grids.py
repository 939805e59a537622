"""Grids of numbers that a file stores as integers, so that encoder and decoder use identical values everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LARGEST_CODE = 1 << 19  # in magnitude; the coder divides 2^24 among all codes


@dataclass(frozen=True)
class SmallFloat:
    """Positive numbers ``(1 + m/2^mantissa_bits)·2^(e − bias)`` as integers ``e·2^mantissa_bits + m``.

    Exact in float32 and identical on every machine, unlike a logarithmic grid.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int

    @property
    def levels(self) -> int:
        return 1 << (self.exponent_bits + self.mantissa_bits)

    @property
    def spacing(self) -> float:
        """The largest relative distance between neighbours."""
        return 1 / (1 << self.mantissa_bits)

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        return self.decode(np.arange(self.levels))

    def decode(self, index: NDArray[np.integer]) -> NDArray[np.float64]:
        """Values of indices in [0, levels − 1], shape unchanged."""
        exponent, mantissa = np.divmod(np.asarray(index, dtype=np.int64), 1 << self.mantissa_bits)
        return np.ldexp(1 + mantissa / (1 << self.mantissa_bits), exponent - self.bias)

    def encode(self, value: NDArray[np.floating], *, at_least: bool = False) -> NDArray[np.int64]:
        """Index of the nearest value (with `at_least`, the nearest one not below); values are clamped to the grid."""
        table = self._values
        value = np.clip(np.asarray(value, dtype=np.float64), table[0], table[-1])
        above = np.searchsorted(table, value)
        if at_least:
            return above
        below = np.maximum(above - 1, 0)
        return np.where(table[above] - value <= value - table[below], above, below)


STEP_GRID = SmallFloat(exponent_bits=6, mantissa_bits=6, bias=48)  # δ: 3.6e-15 … 6.5e4, 12 bits
SIGMA_GRID = SmallFloat(exponent_bits=5, mantissa_bits=3, bias=5)  # scales: 0.03 … 1.3e8 codes, 8 bits
COARSE_SIGMA_GRID = SmallFloat(exponent_bits=5, mantissa_bits=2, bias=5)  # the same range, 7 bits
OFFSET_UNITS_PER_STEP = 64  # β is a multiple of δ/64


def snap_steps(steps: NDArray[np.floating]) -> NDArray[np.int64]:
    """Grid indices of quantiser steps δ ``[S]``."""
    return STEP_GRID.encode(steps)


def step_values(index: NDArray[np.integer]) -> NDArray[np.float32]:
    """Quantiser steps δ of grid indices."""
    return STEP_GRID.decode(index).astype(np.float32)


def snap_offset(offset: float, step: float) -> int:
    """β in 64ths of the (already snapped) step, clamped to 32 bits."""
    return int(np.clip(round(offset / step * OFFSET_UNITS_PER_STEP), -(2**31), 2**31 - 1))


def offset_value(index: int, step: np.float32) -> np.float32:
    """β from its index and the snapped step δ."""
    return np.float32(index * (float(step) / OFFSET_UNITS_PER_STEP))
