"""Rate control of fine-tuning: all quantiser steps are scaled until the file has the target size.

The published training only removes the rate from the loss below the target, and ends somewhat above or below it. A
common factor on all steps changes the rate by about one bit per parameter and octave, and keeps the proportions that
training found. But training fits weights to their rounding, and every scaling undoes some of that (0.2 dB at the end of
a short training). So the size is reduced in small parts over the first 60 % of the epochs and kept near the target
afterwards; at the end the steps stay as they are if the file is at most 3 % too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable

TOLERANCE = 0.03  # of the target, below it; none above
_AIM = 1 - TOLERANCE / 2
_NEAR = 0.005  # of the target, where the search ends
_SHRUNK = 0.8  # of the size with the steps as they are
_MOST_TRIALS = 16
_MEASUREMENTS = 10
_MOST_OCTAVES = 6.0
_DESCENT = 0.6  # part of the epochs


def measurement_due(epoch: int, epochs: int) -> bool:
    """Whether the file is coded and measured after this epoch: ten times per training, and at the end."""
    return epoch % math.ceil(epochs / _MEASUREMENTS) == 0 or epoch == epochs


def wanted_bits(file_bits: float, target_bits: float, epoch: int, epochs: int) -> float | None:
    """Bits the file should have when the next epoch begins; None if the steps stay as they are."""
    excess = file_bits - target_bits
    left = sum(measurement_due(later, epochs) for later in range(epoch + 1, int(_DESCENT * epochs) + 1))
    if left and epoch < epochs:
        return target_bits + excess * left / (left + 1) if excess > 0 else None
    near = -TOLERANCE * target_bits <= excess <= 0
    return None if near else _AIM * target_bits


def step_scale(file_bits: Callable[[float], float], target_bits: float, parameters: int) -> float:
    """Factor in [1/64, 64] on all steps for which `file_bits` is at most `target_bits`, and at most 0.5 % below it.

    If every factor gives a smaller file, the smallest factor is returned. If every factor gives a larger one, the
    factor of the smallest file, or 1 if the file hardly shrinks: then something other than codes is too large.
    `file_bits` is infinite where codes exceed their range.
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
            # Doubling the steps saves a bit per code; where it saves less, the next move is longer.
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
