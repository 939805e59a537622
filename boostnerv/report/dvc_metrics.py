"""The summary of an experiment as nested JSON, for programs that compare its states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boostnerv import files
from boostnerv.evaluation.points import Point, Value

METRICS = ("file_bytes", "bpp", "psnr_db", "ms_ssim")
"""Columns of points.csv that are included."""


def write_metrics(points: Sequence[Point], path: str | Path) -> None:
    """Write ``{video: {run: {metric: value}}}`` of models and anchors, without values that were not measured."""
    by_video: dict[str, dict[str, dict[str, Value]]] = {}
    for point in points:
        if point["kind"] != "part":  # there may be thousands, which are no rate–distortion points
            values = {name: point[name] for name in METRICS if point[name] is not None}
            by_video.setdefault(str(point["video"]), {})[str(point["run"])] = values
    files.write_json(path, by_video)
