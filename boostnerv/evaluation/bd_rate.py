"""BD-rate and BD-PSNR: what a rate–distortion curve has over another, as the package `bjontegaard` computes it.

A curve is points of rate (bit/pixel) and quality (dB, or the points of VMAF). BD-rate is the mean difference of log
rate over the qualities that both have, in percent (negative: fewer bits); BD-PSNR the mean difference of quality over
the log rates that both have, in the unit of quality. Three interpolations stand beside each other: where they differ
much, the points are too few.

The overlap is the part that both ranges share, over the range that they cover together. Over the shorter range alone it
would be 100 % for a short curve within a long one, and the number would hide that it says nothing of most of it.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from boostnerv.errors import UserError

METHODS = ("cubic", "pchip", "akima")
"""Interpolations: one cubic polynomial fitted to all points (the original), piecewise cubic, and Akima's."""

LEAST_POINTS = 4
"""Fewer points make no curve: a cubic polynomial has four coefficients."""

LEAST_OVERLAP_PERCENT = 50.0
"""Under this overlap there is no number."""


@dataclass(frozen=True)
class Curve:
    """Rates in bit/pixel and qualities of one codec, pairs in any order; `name` is what sentences call it."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Delta:
    """A mean difference under each of `METHODS`, or none and the `reason`, a short sentence.

    `overlap_percent` is that of the ranges over which the mean is taken, None where a curve has no range.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    overlap_percent: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Difference:
    """What a curve has over an anchor: BD-rate in percent, over qualities, and the gain of quality, over rates."""

    rate_percent: Delta
    quality: Delta


def ms_ssim_db(ms_ssim: float) -> float:
    """MS-SSIM in [0, 1] as a quality in dB, ``-10 log10(1 - MS-SSIM)``: infinite where it is 1."""
    return -10.0 * math.log10(1.0 - ms_ssim) if ms_ssim < 1.0 else math.inf


def difference(curve: Curve, anchor: Curve) -> Difference:
    """What `curve` has over `anchor`; numbers only where both have four points, rise, and overlap by half.

    Raises `UserError` for a curve without points, for a rate that is not above zero, and where `bjontegaard` is not
    installed.
    """
    points, anchor_points = _sorted(curve), _sorted(anchor)
    reason = _unfit(curve.name, points) or _unfit(anchor.name, anchor_points)
    if reason:
        return Difference(Delta(reason=reason), Delta(reason=reason))
    rates, qualities = zip(*points, strict=True)
    anchor_rates, anchor_qualities = zip(*anchor_points, strict=True)
    values = (anchor_rates, anchor_qualities, rates, qualities)
    package = _package()
    log_rates, anchor_log_rates = ([math.log10(rate) for rate in side] for side in (rates, anchor_rates))
    return Difference(
        rate_percent=_delta(package.bd_rate, values, _overlap_percent(qualities, anchor_qualities), "qualities"),
        quality=_delta(package.bd_psnr, values, _overlap_percent(log_rates, anchor_log_rates), "rates"),
    )


def _package() -> Any:
    try:
        import bjontegaard
    except ImportError as error:
        raise UserError("BD-rates need the package bjontegaard: run pip install 'boostnerv[report]'") from error
    return bjontegaard


def _sorted(curve: Curve) -> list[tuple[float, float]]:
    if not curve.points:
        raise UserError(f"curve {curve.name} has no points, so that it has no BD-rate; measure it first")
    for rate, _ in curve.points:
        if not (0.0 < rate < math.inf):
            raise UserError(f"curve {curve.name} has a rate of {rate} bit/pixel, which must be above zero; correct it")
    return sorted(curve.points)


def _unfit(name: str, points: Sequence[tuple[float, float]]) -> str:
    """Why points of rising rate are no curve; empty where they are one."""
    count = len(points)
    if count < LEAST_POINTS:
        return f"{name} has {count} point{'' if count == 1 else 's'}, {LEAST_POINTS} are needed."
    if not all(math.isfinite(quality) for _, quality in points):
        return f"{name} has a point of infinite quality."
    if any(rate >= next_rate for (rate, _), (next_rate, _) in itertools.pairwise(points)):
        return f"{name} has two points at one rate."
    if any(quality >= next_quality for (_, quality), (_, next_quality) in itertools.pairwise(points)):
        return f"{name} does not rise: more bits give no more quality."
    return ""


def _overlap_percent(one: Sequence[float], other: Sequence[float]) -> float:
    """What two ranges share, over what they cover together."""
    shared = min(max(one), max(other)) - max(min(one), min(other))
    together = max(max(one), max(other)) - min(min(one), min(other))
    return 100.0 * max(shared, 0.0) / together


def _delta(
    function: Callable[..., float],
    values: tuple[Sequence[float], ...],
    overlap_percent: float,
    ranges: str,
) -> Delta:
    if overlap_percent == 0:
        return Delta(overlap_percent=0.0, reason=f"The {ranges} do not overlap.")
    # Half must not fail by its last bit.
    if overlap_percent < LEAST_OVERLAP_PERCENT - 1e-9:
        share = f"{math.floor(overlap_percent)} %, {LEAST_OVERLAP_PERCENT:.0f} % are needed"
        return Delta(overlap_percent=overlap_percent, reason=f"The {ranges} overlap by {share}.")
    try:
        found = {method: _value(function, values, method) for method in METHODS}
    except (ArithmeticError, ValueError, np.exceptions.RankWarning):
        return Delta(overlap_percent=overlap_percent, reason="The points lie too close to be interpolated.")
    return Delta(found, overlap_percent)


def _value(function: Callable[..., float], values: tuple[Sequence[float], ...], method: str) -> float:
    """One number of the package; raises where it would warn of it, or where it is not finite."""
    # Overlap is judged here, by one rule: the package's own would only warn.
    with warnings.catch_warnings(), np.errstate(divide="raise", over="raise", invalid="raise"):
        warnings.simplefilter("error", np.exceptions.RankWarning)
        value = float(function(*values, method=method, require_matching_points=False, min_overlap=0.0))
    if not math.isfinite(value):
        raise ArithmeticError(method)
    return value
