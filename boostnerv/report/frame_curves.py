"""PSNR of every frame: one line per codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from boostnerv.report.runs import Run, runs_by_curve
from boostnerv.report.style import AXES, Look, legend_columns, new_figure, note, say
from boostnerv.report.summaries import context_of, size_text

_MARKERS_A_LINE = 12


def frames_figure(runs: Sequence[Run], looks: Mapping[str, Look]) -> Figure:
    """PSNR over frame numbers for one run per curve (see `runs_by_curve`); the legend has the sizes of the files.

    Runs without PSNR of their frames are named below. Without any run to draw the figure gives the reason.
    """
    figure, axes = new_figure()
    selected = runs_by_curve(runs)
    drawn = [run for run in selected if run.psnr_db]
    left_out = [run.name for run in selected if not run.psnr_db]
    axes.set_title(f"{context_of(runs[0].point)}: every frame" if runs else "Every frame")
    axes.set_xlabel("frame")
    axes.set_ylabel(AXES["psnr_db"])
    if not drawn:
        return say(figure, axes, "no run has the PSNR of its frames")
    for run in drawn:
        look = looks[run.curve]
        axes.plot(
            range(len(run.psnr_db)),
            run.psnr_db,
            look.line,
            color=look.colour,
            marker=look.marker,
            markevery=max(1, len(run.psnr_db) // _MARKERS_A_LINE),
            label=run_text(run),
            gid=f"frames-{run.name}",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if left_out:
        axes.set_xlabel(axes.get_xlabel() + note(f"not shown, without PSNR of frames: {', '.join(left_out)}"))
    figure.legend(loc="outside upper right", ncols=legend_columns([run_text(run) for run in drawn]))
    return figure


def run_text(run: Run) -> str:
    """Name of a run and, if it was coded, the size of its file: ``x265-q28, 12.7 kB``."""
    return f"{run.name}, {size_text(run.file_bytes)}" if run.file_bytes else run.name
