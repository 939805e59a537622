"""Published rate–distortion curves beside those of an experiment: which belong to its videos, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from boostnerv.catalogue import MODELS_OF_MANY
from boostnerv.evaluation.points import Point, Value
from boostnerv.evaluation.published import PublishedCurve, published_average_curves, published_curves

SUFFIX = " (published)"
"""What ends the name of a published curve."""


def curve_name(curve: PublishedCurve) -> str:
    """What tells a published curve from one that was made here."""
    return curve.model + SUFFIX


def of_video(points: Iterable[Point], video: str) -> tuple[PublishedCurve, ...]:
    """Those of a whole video of UVG at full size; none of any other."""
    return published_curves(video, *_shapes(points)[video])


def of_mean(points: Sequence[Point]) -> tuple[PublishedCurve, ...]:
    """Those of the average over UVG, where the experiment has its seven videos, whole, and no others."""
    shapes = _shapes(points)
    return published_average_curves({video: shapes[video] for video in single_videos(points)})


def single_videos(points: Iterable[Point]) -> list[str]:
    """Videos that have models or anchors of their own: what a model of many calls its video is all of them."""
    own = [point for point in points if point["kind"] != "part"]
    names = [str(point["codec"]).removesuffix("-post-training") for point in own]
    return list(
        dict.fromkeys(str(point["video"]) for point, name in zip(own, names, strict=True) if name not in MODELS_OF_MANY)
    )


def _shapes(points: Iterable[Point]) -> dict[str, tuple[Value, Value, Value]]:
    return {str(point["video"]): (point["frames"], point["height"], point["width"]) for point in points}
