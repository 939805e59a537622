"""How fine-tuning ends at the rate that was asked for: all quantiser steps are scaled until the file has its size.

The published training only takes the rate out of the loss below the target, and ends above or below it as it happens.
Finer steps than needed cost bits and coarser ones quality; one factor for all of them moves the rate by about a bit a
parameter and octave, and keeps what training found out about their proportions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from boostnerv.codec.encoder import Quantized

TOLERANCE = 0.005  # of the target
_MOST_TRIALS = 12
_LARGEST_SCALE = 64.0


def correction_due(epoch: int, epochs: int) -> bool:
    """Whether steps are scaled after this epoch: half way, after three quarters, where training can still make up for
    it, and at the end."""
    return epoch in (epochs // 2, 3 * epochs // 4, epochs)


def step_scale(
    quantized: Quantized, target_bits: float, file_bits: Callable[[Quantized], int], *, smallest: float, parameters: int
) -> float:
    """Factor in [smallest, 64] on all steps with which `file_bits` is at most `target_bits`, and nearest to it.

    Where even the smallest factor leaves the file below the target, it is the one; where the largest leaves it above,
    that.
    """
    finest, coarsest = math.log2(smallest), math.log2(_LARGEST_SCALE)
    too_fine, fits = -math.inf, math.inf
    octaves = min(max(0.0, finest), coarsest)
    for _ in range(_MOST_TRIALS):
        excess = file_bits(scaled(quantized, 2.0**octaves)) - target_bits
        if excess <= 0:
            fits = octaves
        else:
            too_fine = octaves
        if -TOLERANCE * target_bits <= excess <= 0:
            break
        # A step twice as wide takes a bit from every code, or less: then the next trial goes on from there.
        aimed = octaves + (excess + TOLERANCE / 2 * target_bits) / parameters
        if not too_fine < aimed < fits:
            aimed = (too_fine + fits) / 2
        aimed = min(max(aimed, finest), coarsest)
        if aimed in (too_fine, fits):
            break
        octaves = aimed
    return float(2.0 ** (fits if fits < math.inf else coarsest))


def scaled(quantized: Quantized, factor: float) -> Quantized:
    """The same tensors with all steps multiplied."""
    return dataclasses.replace(
        quantized,
        steps=[step * factor for step in quantized.steps],
        embedding_step=quantized.embedding_step * factor,
    )
