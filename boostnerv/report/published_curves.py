"""Published rate–distortion curves for the videos of an experiment, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from boostnerv.catalogue import MODELS_OF_MANY
from boostnerv.evaluation.points import Point, Value
from boostnerv.evaluation.published import PublishedCurve, published_average_curves, published_curves

SUFFIX = " (published)"
"""Suffix of the name of a published curve."""


def curve_name(curve: PublishedCurve) -> str:
    """The name of a published curve, distinct from those of our own."""
    return curve.model + SUFFIX


def published_of_video(points: Iterable[Point], video: str) -> tuple[PublishedCurve, ...]:
    """Published curves of a full-length UVG video at full size; empty for any other video."""
    return published_curves(video, *_shapes(points)[video])


def published_mean(points: Sequence[Point]) -> tuple[PublishedCurve, ...]:
    """Published curves of the average over UVG, if the experiment has exactly its seven videos at full length."""
    shapes = _shapes(points)
    return published_average_curves({video: shapes[video] for video in single_videos(points)})


def single_videos(points: Iterable[Point]) -> list[str]:
    """Videos with single-video models or anchors; the video of a multi-video model stands for all of them."""
    own = [point for point in points if point["kind"] != "part"]
    names = [str(point["codec"]).removesuffix("-post-training") for point in own]
    return list(
        dict.fromkeys(str(point["video"]) for point, name in zip(own, names, strict=True) if name not in MODELS_OF_MANY)
    )


def _shapes(points: Iterable[Point]) -> dict[str, tuple[Value, Value, Value]]:
    return {str(point["video"]): (point["frames"], point["height"], point["width"]) for point in points}
