"""Names of the files of a report, known before anything is drawn: a workflow is planned without plotting packages."""

from __future__ import annotations

from collections.abc import Sequence

MEAN_NAME = "mean-over-videos"
"""File name part of the figures that average over videos."""

FILE_PARTS = {"psnr_db": "psnr", "ms_ssim": "ms-ssim"}
"""File name part of a figure, by the metric it shows."""

TRAINING_FILES = ("training.svg", "training.png")
"""Names of the files that `boostnerv.report.plots.plot_training` writes for an experiment."""


def figure_files(videos: Sequence[str]) -> tuple[str, ...]:
    """Names of all files that `boostnerv.report.plots.plot_points` writes for these videos."""
    names = [*videos, MEAN_NAME] if len(videos) > 1 else list(videos)
    return tuple(
        f"{part}-{name}.{suffix}" for name in names for part in FILE_PARTS.values() for suffix in ("svg", "png")
    )
