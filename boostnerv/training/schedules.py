"""Learning-rate schedules as functions of the progress of a training."""

from __future__ import annotations

import math

from boostnerv.config import LearningRate


def learning_rate(settings: LearningRate, progress: float) -> float:
    """Learning rate at `progress` in [0, 1), the share of all iterations already done.

    Boosting-NeRV's ``cosine_{u}_{p}_{m0}`` and ``hybrid_{u}_{p}_{p2}_{m0}_{m1}``: with e the progress and u
    the warm-up, the factor is ``m0 + (1 − m0)(e/u)^p`` while e < u; then ``(cos(π(e − u)/(1 − u)) + 1)/2`` or
    ``1 − (1 − m1)((e − u)/(1 − u))^p2``.
    """
    return settings.peak * _factor(settings, progress)


def steady_rate(settings: LearningRate, progress: float) -> float:
    """Learning rate of quantisers that follow the rate of the file: the peak, and linearly to 0 in the last fifth."""
    return settings.peak * min(1.0, (1 - progress) / 0.2)


def _factor(settings: LearningRate, progress: float) -> float:
    if progress < settings.warmup:
        return settings.start + (1 - settings.start) * (progress / settings.warmup) ** settings.warmup_power
    rest = (progress - settings.warmup) / (1 - settings.warmup)
    if settings.shape == "cosine":
        return 0.5 * (math.cos(math.pi * rest) + 1)
    if settings.shape == "hybrid":
        return 1 - (1 - settings.end) * rest**settings.decay_power
    return 1.0
