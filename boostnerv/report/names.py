"""File names of a report, in a module of their own so that a workflow is planned without plotting packages."""

from __future__ import annotations

from collections.abc import Sequence

MEAN_NAME = "mean-over-videos"
"""Stands for the video in the file names of figures that average over videos."""

FILE_PARTS = ("psnr", "ms-ssim", "size", "time")
"""Prefixes of the figures of points: PSNR and MS-SSIM over rate, PSNR over model size and over time."""

RUN_PARTS = ("frames", "bits", "crops")
"""Prefixes of the figures of one video's runs: PSNR of every frame, bits of files, frames side by side."""

TRAINING_FILES = ("training.svg", "training.png", "training-time.svg", "training-time.png")
"""Names of the files that `boostnerv.report.plots.plot_training` writes for an experiment."""


def figure_files(videos: Sequence[str]) -> tuple[str, ...]:
    """Names of all files that `boostnerv.report.plots.plot_points` writes for these videos."""
    names = [*videos, MEAN_NAME] if len(videos) > 1 else list(videos)
    return _files(names, FILE_PARTS)


def run_figure_files(videos: Sequence[str]) -> tuple[str, ...]:
    """Names of all files that `boostnerv.report.plots.plot_runs` writes for these videos."""
    return _files(videos, RUN_PARTS)


def _files(names: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{part}-{name}.{suffix}" for name in names for part in parts for suffix in ("svg", "png"))
