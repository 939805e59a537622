"""Figures from points.csv and train.jsonl: quality over rate, size or time, and training curves, as SVG and PNG.

A comparison of files is drawn in the same style, with one point per file.

If none of a video's models was coded, quality is drawn over their parameters. Anchors have none and are left out, which
the figure notes. A horizontal line at an anchor's quality would be meaningless, as any quality can be had at some rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

from boostnerv import files
from boostnerv.errors import UserError
from boostnerv.evaluation.points import Point
from boostnerv.report.bits import Part, bits_figure, by_layer
from boostnerv.report.comparison_figure import comparison_figure
from boostnerv.report.crops import Crops, crops_figure
from boostnerv.report.curves import PARAMETERS, TIME, Across, curve_looks, quality_figure
from boostnerv.report.frame_curves import frames_figure
from boostnerv.report.names import MEAN_NAME, RUN_PARTS
from boostnerv.report.published_curves import published_mean, published_of_video
from boostnerv.report.runs import Run
from boostnerv.report.style import STYLE, save, save_as
from boostnerv.report.summaries import by_video, context_of, over_seeds, over_videos
from boostnerv.report.trainings import read_history, training_curves

if TYPE_CHECKING:
    from boostnerv.evaluation.compare import Row

_QUALITY: dict[str, tuple[str, Across | None]] = {
    "psnr": ("psnr_db", None),
    "ms-ssim": ("ms_ssim", None),
    "size": ("psnr_db", PARAMETERS),
    "time": ("psnr_db", TIME),
}
"""Prefix of a figure's name -> its metric and horizontal axis, in the order of `FILE_PARTS`."""


def plot_points(points: Sequence[Point], folder: str | Path) -> tuple[Path, ...]:
    """Write PSNR and MS-SSIM over rate or size, and PSNR over size and over time, for every video and, if there are
    several, for their mean; figures over rate include published curves of the same videos.

    Returns the paths of the files, whose names are `figure_files`. Raises `UserError` if there are no points.
    """
    summaries = over_seeds(points)
    groups = by_video(summaries)
    published = {name: published_of_video(points, name) for name in groups}
    if len(groups) > 1:
        groups[MEAN_NAME], published[MEAN_NAME] = over_videos(summaries), published_mean(points)
    looks = curve_looks(summaries, [curve for curves in published.values() for curve in curves])
    written: list[Path] = []
    for name, group in groups.items():
        for part, (metric, across) in _QUALITY.items():
            with matplotlib.rc_context(STYLE):
                figure = quality_figure(group, metric, looks, across, published[name])
                written += save(figure, Path(folder) / f"{part}-{name}")
    return tuple(written)


def plot_training(logs: Mapping[str, str | Path], path: str | Path) -> tuple[Path, ...]:
    """Write PSNR and loss of the runs in `logs` (label -> train.jsonl) over epochs, as `path` .svg and .png, and over
    wall time, as `path`-time .svg and .png.

    Raises `UserError` if a log is missing or no log contains a training step.
    """
    histories = {label: read_history(log) for label, log in logs.items()}
    if not any(history.loss for history in histories.values()):
        raise UserError("there are no training steps to draw; give the train.jsonl of a run that has started")
    with matplotlib.rc_context(STYLE):
        stem = Path(path).with_suffix("")
        over_time = training_curves(histories, over_time=True)
        return (
            *save(training_curves(histories), stem),
            *save(over_time, stem.with_name(f"{stem.name}-time")),
        )


def plot_runs(
    runs: Sequence[Run],
    parts: Sequence[tuple[str, Sequence[Part]]],
    crops: Crops,
    name: str,
    folder: str | Path,
) -> tuple[Path, ...]:
    """Write the figures of one video's runs: PSNR of frames, bits of files, crops.

    `parts` are pairs of a run's name and the parts of its file. Returns the paths of the files, whose names are
    `run_figure_files` of the video `name`. Raises `UserError` if there are no runs.
    """
    looks = curve_looks(over_seeds([run.point for run in runs]))
    title = context_of(runs[0].point)
    with matplotlib.rc_context(STYLE):
        figures = {
            "frames": frames_figure(runs, looks),
            "bits": bits_figure([(run, by_layer(file)) for run, file in parts], f"{title}: bits of files"),
            "crops": crops_figure(crops, f"{title}: best model, and nearest anchor in size"),
        }
        return tuple(path for part in RUN_PARTS for path in save(figures[part], Path(folder) / f"{part}-{name}"))


def plot_comparison(rows: Sequence[Row], title: str, path: str | Path) -> None:
    """Write PSNR over rate, with one labelled point per row, as SVG or PNG depending on the suffix of `path`."""
    rows, title = [replace(row, name=files.readable(row.name)) for row in rows], files.readable(title)
    with matplotlib.rc_context(STYLE):
        save_as(comparison_figure(rows, title), Path(path))
