"""Tables, figures and the page, from results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boostnerv import files
from boostnerv.errors import UserError
from boostnerv.steps.common import prepare_cpu, with_pixels
from boostnerv.steps.job_files import TableFiles


def tabulate(points: Path, tables: TableFiles) -> None:
    """Write the tables of an experiment, for people and for programs."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.report import bd_table
    from boostnerv.report.dvc_metrics import write_metrics
    from boostnerv.report.tables import published_csv, write_tables

    written = [tables.markdown, tables.csv, tables.metrics, tables.bd_markdown, tables.bd_csv, tables.published]
    files.check_distinct(written, [points])
    rows = read_points(points)
    write_tables(rows, tables.markdown, tables.csv)
    if tables.metrics is not None:
        write_metrics(rows, tables.metrics)
    bd_table.write_bd_tables(rows, tables.bd_markdown, tables.bd_csv)
    if tables.published is not None:
        files.write_text(tables.published, published_csv(rows))


def plot(points: Path, folder: Path, logs: dict[str, Path]) -> None:
    """Figures of an experiment: rate–distortion, and the training curves of its runs."""
    from boostnerv.evaluation.points import read_points
    from boostnerv.report.plots import plot_points, plot_training

    plot_points(read_points(points), folder)
    if logs:
        plot_training(logs, folder / "training")


def plot_runs(results: Sequence[Path], frames: Path | None, folder: Path, *, threads: int | None) -> None:
    """Figures of the runs and anchor points of one video, from the files beside their `results`.

    Results are quality.json or model-quality.json of a run, and NAME.json of an anchor. `frames` is the manifest of the
    coded frames; without it, and for multi-video models, no crops are drawn.
    """
    from boostnerv.codec.shares import file_shares
    from boostnerv.evaluation.points import collect as collect_points
    from boostnerv.report.bits import Part
    from boostnerv.report.plots import plot_runs as plot
    from boostnerv.report.runs import read_frames, runs_of

    prepare_cpu(threads)
    points = [point for point in collect_points(results) if point["kind"] != "part"]
    if len({point["video"] for point in points}) != 1:
        raise UserError("these figures are of one video; give results of one, and at least one")
    beside = {str(collect_points([path])[0]["run"]): path for path in results}
    runs = runs_of(points, [read_frames(_frames_beside(beside[str(point["run"])])) for point in points])
    parts = [
        (run.name, [Part(share.kind, share.name, share.bits) for share in file_shares(_coded(beside[run.name]))])
        for run in runs
        if run.is_model and run.file_bytes
    ]
    plot(runs, parts, _crops(runs, beside, frames), str(points[0]["video"]), folder)


def _frames_beside(result: Path) -> Path:
    """The CSV of frame values that belongs to a result."""
    names = {"quality.json": "frames.csv", "model-quality.json": "model-frames.csv"}
    return result.with_name(names.get(result.name, f"{result.stem}.csv"))


def _coded(result: Path) -> Path:
    """The coded file that belongs to a result."""
    return result.with_name("video.bnv") if result.name == "quality.json" else result.with_suffix(".stream")


def _crops(runs: Sequence[Any], beside: dict[str, Path], frames: Path | None) -> Any:
    """Frames of the best run, of the anchor nearest to it in size, and of their source."""
    from boostnerv.codec.decoder import VideoFile
    from boostnerv.config import Anchor
    from boostnerv.evaluation.anchors import decoded_frames
    from boostnerv.evaluation.round_trip import round_trip
    from boostnerv.report.crops import ComparedFrame, Crops
    from boostnerv.report.frame_curves import run_text
    from boostnerv.report.runs import best_run, chosen_frames, nearest_anchor
    from boostnerv.video.frames import open_frames

    best = best_run(runs)
    if best is None or frames is None:
        why = "no run was coded to a file" if best is None else "frames are shown of single videos only"
        return Crops(missing=why)
    # Frames of a stream are decoded here by the colours of those that were made from RGB.
    anchor = nearest_anchor(best, [run for run in runs if run.point["source"] != "yuv420"])
    chosen = chosen_frames(best.psnr_db)
    numbers = list(chosen.values())
    source = open_frames(frames)
    ours = list(VideoFile(_coded(beside[best.name])).frames(numbers))
    others: list[Any] = [None] * len(numbers)
    if anchor is not None:
        point = files.read_json(beside[anchor.name], "anchor")
        size = (int(point["height"]), int(point["width"]))
        settings = Anchor(codec=point["codec"], qualities=(point["quality"],), pixel_format=point["pixel_format"])
        stream, conversion = _coded(beside[anchor.name]), round_trip(source.manifest)
        others = decoded_frames(stream, settings, size, numbers, conversion)
    return Crops(
        model=run_text(best).replace(", ", "\n"),
        anchor=run_text(anchor).replace(", ", "\n") if anchor is not None else "",
        frames=tuple(
            ComparedFrame(why, number, source.pixels[number], model, other)
            for (why, number), model, other in zip(chosen.items(), ours, others, strict=True)
        ),
    )


def preview_source(frames: Path, output: Path, *, many: bool) -> None:
    """Write the first seconds of the frames of a video, or of `many`, as a small video, to be looked at beside decoded
    ones."""
    from boostnerv.video.collections import open_videos
    from boostnerv.video.preview import write_preview

    files.check_distinct([output], with_pixels(frames))
    video = open_videos(frames, many=many)
    write_preview(video.pixels, output, video.manifest.fps)


def page(points: Path, folder: Path, experiment: Path | None, output: Path) -> int:
    """Write all results below `folder` as one page for browsers; returns its size in bytes."""
    from boostnerv.config import load_experiment
    from boostnerv.evaluation.points import read_points
    from boostnerv.report.page import write_page

    files.check_distinct([output], [points, experiment])
    return write_page(read_points(points), folder, None if experiment is None else load_experiment(experiment), output)
