"""How fine-tuning ends at the rate that was asked for: all quantiser steps are scaled until the file has its size.

The published training only takes the rate out of the loss below the target, and ends above or below it as it happens.
One factor on all steps moves the rate by about a bit a parameter and octave, and keeps what training found out about
their proportions. But training fits weights to how they are rounded, and every scaling undoes some of that (0.2 dB,
seen at the end of a short training). So the size is brought down in small parts over the first six tenths, kept near
the target after, and at the end steps are left alone where the file is at most three per cent too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable

TOLERANCE = 0.03  # of the target, below it; nothing is tolerated above
_AIM = 1 - TOLERANCE / 2
_NEAR = 0.005  # of the target, where a search ends
_SHRUNK = 0.8  # of the size with the steps as they are
_MOST_TRIALS = 16
_MEASUREMENTS = 10
_MOST_OCTAVES = 6.0
_DESCENT = 0.6  # part of the epochs


def measurement_due(epoch: int, epochs: int) -> bool:
    """Whether the file is made and measured after this epoch: ten times, and at the end."""
    return epoch % math.ceil(epochs / _MEASUREMENTS) == 0 or epoch == epochs


def wanted_bits(file_bits: float, target_bits: float, epoch: int, epochs: int) -> float | None:
    """What the file should have when the next epoch begins, given what it has; None where steps stay as they are."""
    excess = file_bits - target_bits
    left = sum(measurement_due(later, epochs) for later in range(epoch + 1, int(_DESCENT * epochs) + 1))
    if left and epoch < epochs:
        return target_bits + excess * left / (left + 1) if excess > 0 else None
    near = -TOLERANCE * target_bits <= excess <= 0
    return None if near else _AIM * target_bits


def step_scale(file_bits: Callable[[float], float], target_bits: float, parameters: int) -> float:
    """Factor in [1/64, 64] on all steps whose `file_bits` are at most `target_bits`, by half a per cent or less.

    Where no factor brings the file up to the target the smallest is taken; where none brings it down, the one of the
    smallest file, or 1 where the file hardly shrinks: then it is what it holds besides codes that is too large.
    `file_bits` is infinite where codes cannot be.
    """
    margin = _NEAR / 2 * target_bits
    low, high = -_MOST_OCTAVES, _MOST_OCTAVES
    over: float | None = None  # excess at `low`
    under: float | None = None  # excess at `high`
    octaves = move = 0.0
    tried: dict[float, float] = {}
    for _ in range(_MOST_TRIALS):
        tried[octaves] = file_bits(2.0**octaves)
        excess = min(tried[octaves] - target_bits, _MOST_OCTAVES * parameters)
        if excess <= 0:
            high, under = octaves, excess
        else:
            low, over = octaves, excess
        if -_NEAR * target_bits <= excess <= 0:
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
    if under is not None:
        return float(2.0**high)
    best = min(tried, key=lambda octaves: (tried[octaves], octaves))
    return float(2.0**best) if tried[best] < _SHRUNK * tried[0.0] else 1.0
