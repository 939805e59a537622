"""BD-rate and BD-PSNR of two rate–distortion curves, as computed by the package `bjontegaard`.

A curve consists of points of rate (bit/pixel) and quality (dB, or VMAF points). BD-rate is the mean difference of log
rate over the common range of quality, in percent (negative: fewer bits); BD-PSNR is the mean difference of quality over
the common range of log rate, in the unit of quality. Both are computed with three interpolations: if these differ much,
there are too few points.

The overlap is the intersection of the two ranges over their union. Relative to the shorter range alone, a short curve
within a long one would have 100 %, although the number says nothing about most of the long one.
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
"""Interpolations: one cubic polynomial fitted to all points (the original), piecewise cubic (PCHIP), and Akima's."""

LEAST_POINTS = 4
"""Least number of points of a curve: a cubic polynomial has four coefficients."""

LEAST_OVERLAP_PERCENT = 50.0
"""Least overlap for which a number is given."""


@dataclass(frozen=True)
class Curve:
    """(rate in bit/pixel, quality) pairs of one codec, in any order; `name` identifies it in messages."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Delta:
    """A mean difference by each of `METHODS`, or the `reason` why there is none, a short sentence.

    `overlap_percent` is the overlap of the ranges over which the mean is taken, None if a curve has no range.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    overlap_percent: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Difference:
    """Bjøntegaard deltas of a curve relative to an anchor: of rate, in percent, and of quality, in its unit."""

    rate_percent: Delta
    quality: Delta


def ms_ssim_db(ms_ssim: float) -> float:
    """MS-SSIM in [0, 1] as a quality in dB, ``-10 log10(1 - MS-SSIM)``; infinite for 1."""
    return -10.0 * math.log10(1.0 - ms_ssim) if ms_ssim < 1.0 else math.inf


def difference(curve: Curve, anchor: Curve) -> Difference:
    """Bjøntegaard deltas of `curve` relative to `anchor`, if both have four points, rise, and overlap by half.

    Raises `UserError` for a curve without points, for a rate that is not above zero, and if `bjontegaard` is not
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
        raise UserError(f"curve {curve.name} has no points and thus no BD-rate; measure it first")
    for rate, _ in curve.points:
        if not (0.0 < rate < math.inf):
            raise UserError(f"curve {curve.name} has a rate of {rate} bit/pixel, which must be above zero; correct it")
    return sorted(curve.points)


def _unfit(name: str, points: Sequence[tuple[float, float]]) -> str:
    """Why points, sorted by rate, do not form a valid curve; empty if they do."""
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
    """The intersection of the ranges of two sequences over their union."""
    intersection = min(max(one), max(other)) - max(min(one), min(other))
    union = max(max(one), max(other)) - min(min(one), min(other))
    return 100.0 * max(intersection, 0.0) / union


def _delta(
    function: Callable[..., float],
    values: tuple[Sequence[float], ...],
    overlap_percent: float,
    ranges: str,
) -> Delta:
    if overlap_percent == 0:
        return Delta(overlap_percent=0.0, reason=f"The {ranges} do not overlap.")
    # An overlap of exactly half must not fail by rounding.
    if overlap_percent < LEAST_OVERLAP_PERCENT - 1e-9:
        share = f"{math.floor(overlap_percent)} %, {LEAST_OVERLAP_PERCENT:.0f} % are needed"
        return Delta(overlap_percent=overlap_percent, reason=f"The {ranges} overlap by {share}.")
    try:
        deltas = {method: _value(function, values, method) for method in METHODS}
    except (ArithmeticError, ValueError, np.exceptions.RankWarning):
        return Delta(overlap_percent=overlap_percent, reason="The points lie too close to be interpolated.")
    return Delta(deltas, overlap_percent)


def _value(function: Callable[..., float], values: tuple[Sequence[float], ...], method: str) -> float:
    """One number of the package; raises if the package would warn about it, or if it is not finite."""
    # min_overlap=0, as the overlap is already checked: the package itself would only warn.
    with warnings.catch_warnings(), np.errstate(divide="raise", over="raise", invalid="raise"):
        warnings.simplefilter("error", np.exceptions.RankWarning)
        value = float(function(*values, method=method, require_matching_points=False, min_overlap=0.0))
    if not math.isfinite(value):
        raise ArithmeticError(method)
    return value
