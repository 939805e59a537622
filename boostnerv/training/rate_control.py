"""How fine-tuning ends at the rate that was asked for: all quantiser steps are scaled until the file has its size.

The published training only takes the rate out of the loss below the target, and ends above or below it as it happens.
Finer steps than needed cost bits and coarser ones quality; one factor for all of them moves the rate by about a bit a
parameter and octave, and keeps what training found out about their proportions. Steps are made coarser while training
can still make up for it, and finer at the end alone: nothing is learned from bits that are not needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

TOLERANCE = 0.005  # of the target
_MOST_TRIALS = 16
_MEASUREMENTS = 10
_MOST_OCTAVES = 6.0


def measurement_due(epoch: int, epochs: int) -> bool:
    """Whether the file is made and measured after this epoch: ten times, and at the end."""
    return epoch % math.ceil(epochs / _MEASUREMENTS) == 0 or epoch == epochs


def coarsening_due(epoch: int, epochs: int) -> bool:
    """Whether a file that is too large is mended after this epoch: half way, and after three quarters."""
    return epoch in (epochs // 2, 3 * epochs // 4)


def step_scale(file_bits: Callable[[float], int], target_bits: float, parameters: int) -> float:
    """Factor in [1/64, 64] on all steps whose `file_bits` are at most `target_bits`, and nearest to them.

    Where no factor brings the file up to the target the smallest is taken, and where none brings it down the largest.
    """
    margin = TOLERANCE / 2 * target_bits
    low, high = -_MOST_OCTAVES, _MOST_OCTAVES
    over: float | None = None  # excess at `low`
    under: float | None = None  # excess at `high`
    octaves = move = 0.0
    for _ in range(_MOST_TRIALS):
        excess = file_bits(2.0**octaves) - target_bits
        if excess <= 0:
            high, under = octaves, excess
        else:
            low, over = octaves, excess
        if -TOLERANCE * target_bits <= excess <= 0:
            break
        if over is None or under is None:
            # A step twice as wide takes a bit from every code; where it takes less, the next move is longer.
            wanted = (excess + margin) / parameters
            move = math.copysign(max(abs(wanted), 2 * abs(move)), wanted)
            aimed = min(max(octaves + move, -_MOST_OCTAVES), _MOST_OCTAVES)
        else:
            share = (over + margin) / (over - under)
            aimed = low + min(max(share, 0.1), 0.9) * (high - low)
        if aimed == octaves:
            break
        octaves = aimed
    return float(2.0**high)
