"""The summary of an experiment as nested JSON, for programs that compare one state of it with another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boostnerv import files
from boostnerv.evaluation.points import Point, Value

METRICS = ("file_bytes", "bpp", "psnr_db", "ms_ssim")
"""Columns of points.csv that it has."""


def write_metrics(points: Sequence[Point], path: str | Path) -> None:
    """Write ``{video: {run: {metric: value}}}`` of models and anchors; what was not measured is left out."""
    found: dict[str, dict[str, dict[str, Value]]] = {}
    for point in points:
        if point["kind"] != "part":  # it may be of thousands of videos, and is no rate–distortion point
            values = {name: point[name] for name in METRICS if point[name] is not None}
            found.setdefault(str(point["video"]), {})[str(point["run"])] = values
    files.write_json(path, found)
