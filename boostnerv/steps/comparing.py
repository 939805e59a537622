"""Comparing videos with each other, and results with published figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boostnerv import files, progress
from boostnerv.config import Experiment, Preparation, RawVideo, name_of_all
from boostnerv.errors import UserError
from boostnerv.host.machine import Host
from boostnerv.steps.common import check_suffix, prepare_cpu, vmaf_meter
from boostnerv.steps.job_files import ComparisonFiles


@dataclass(frozen=True, kw_only=True)
class ComparisonChoice:
    """How files are compared: by VMAF too where `vmaf`; by the colour profile `colour` where no file names one; videos
    and folders of images as `preparation` says, or as they are; headerless videos with the layout `raw`."""

    vmaf: bool = False
    colour: str | None = None
    preparation: Preparation | None = None
    raw: RawVideo | None = None


def compare(
    reference: Path, tests: Sequence[Path], written: ComparisonFiles, choice: ComparisonChoice, host: Host
) -> list[Any]:
    """Measure `tests` against `reference` from the files alone.

    Everything that can be checked without decoding all frames is checked first.
    """
    from boostnerv.evaluation import compare as comparison
    from boostnerv.host.devices import choose_device
    from boostnerv.video.options import check_layout

    output, figure, frames_csv = written.output, written.figure, written.frames_csv
    files.check_distinct([output, figure, frames_csv], [reference, *tests])
    if output is not None:
        check_suffix(output, comparison.OUTPUT_SUFFIXES, f"{output} is a table")
    if frames_csv is not None:
        check_suffix(frames_csv, (".csv",), f"{frames_csv} is a table of frames")
    plots = None if figure is None else _plots_for(figure)
    prepare_cpu(host.threads)
    device = str(choose_device(host.device))
    names = comparison.short_names(tests)
    check_layout([reference, *tests], choice.raw)
    asked = choice.preparation or comparison.AS_THEY_ARE
    profile = comparison.colour_of([reference, *tests], comparison.asked_colour(choice.colour, asked))
    prepared = asked.model_copy(update={"colour": profile})
    video = comparison.open_video(reference, device, prepared, choice.raw)
    opened = [comparison.open_video(test, device, prepared, choice.raw) for test in tests]
    for test in opened:
        comparison.check_fit(video, test)
    rows = []
    for name, test in zip(names, opened, strict=True):
        total = video.expected or test.expected
        with progress.track(f"compare {name}", total, "frames") as show, vmaf_meter(choice.vmaf, host.threads) as meter:
            rows.append(comparison.compare(video, test, name, device=device, vmaf=meter, progress=show))
    if output is not None:
        comparison.write_rows(rows, output)
    if frames_csv is not None:
        comparison.write_frame_values(rows, frames_csv)
    if plots is not None and figure is not None:
        first = rows[0]
        plots.plot_comparison(rows, f"{reference.name}: {first.frames} frames of {first.height}×{first.width}", figure)
    return rows


def _plots_for(figure: Path) -> Any:
    """The plotting module; `UserError` if it is not installed or cannot write `figure`."""
    try:
        from boostnerv.report import plots, style
    except ImportError as error:
        raise UserError("figures need matplotlib: run pip install 'boostnerv[report]'") from error
    check_suffix(figure, style.FIGURE_SUFFIXES, f"{figure} is a figure")
    return plots


def check_published(experiment: Experiment, points: Path, output: Path | None) -> list[Any]:
    """Compare the results of a finished experiment with published figures; the results must be its own."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.evaluation.published import compare

    files.check_distinct([output], [points])
    measured = read_points(points)
    for name in {str(point["experiment"]) for point in measured} - {experiment.name}:
        raise UserError(f"{points} has results of experiment '{name}', not of '{experiment.name}'; give its own")
    runs = {run.name.removesuffix(f"-s{run.train.seed}"): run.of_many for run in experiment.runs()}
    videos, dataset = [video.name for video in experiment.video_specs()], experiment.dataset_spec().name
    together = [name_of_all(dataset, videos)]
    planned = [(video, run) for run, of_many in runs.items() for video in (together if of_many else videos)]
    rows = compare(measured, planned)
    if output is not None:
        files.write_json(output, [row.record() for row in rows])
    return rows
