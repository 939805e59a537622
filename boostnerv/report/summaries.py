"""Summaries of points.csv for tables and figures: means over seeds, and means over videos."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from boostnerv.catalogue import MODELS_OF_MANY
from boostnerv.errors import UserError
from boostnerv.evaluation.points import AVERAGED, Point, Value, check_sources, without_seed
from boostnerv.evaluation.published import Published, published_average, published_for


@dataclass(frozen=True)
class Summary:
    """One size of one codec on one video (or on several): values averaged over `seeds` runs.

    `curve` names the line of the point: the codec with settings that distinguish it; a curve has one `task`. `mean` has
    a value for every name in `AVERAGED`, None if a run lacks it; `std` is the sample standard deviation over seeds,
    None for one seed. `published` is the published figure for the same model. `returns` counts, over all runs, how
    often a training was rolled back to an earlier state; `device` lists the devices of the runs.
    """

    video: str
    context: str
    kind: str
    codec: str
    curve: str
    size_label: str
    seeds: int
    mean: dict[str, float | None]
    std: dict[str, float | None]
    task: str = ""
    published: Published | None = None
    returns: int = 0
    device: str = ""
    run: str = ""

    def value(self, name: str) -> float:
        """A mean that must not be missing."""
        value = self.mean[name]
        assert value is not None, name
        return value


def over_seeds(points: Sequence[Point], *, parts: bool = False) -> list[Summary]:
    """Average the runs that differ only in their seed; sorted by video, curve (models first) and size.

    With `parts` only the rows of the single videos of multi-video models, which have no rate, else all others. If there
    are several tasks, the names of curves include theirs. Raises `UserError` if there are no points, or if points of
    one video were compared with different frames.
    """
    if not points:
        raise UserError("there are no points to show; run at least one model or anchor of the experiment first")
    check_sources(points, ("video",))
    groups: dict[tuple[Value, ...], list[Point]] = {}
    for point in points:
        if (point["kind"] == "part") != parts:
            continue
        run = (point["video"], point["kind"], point["codec"], point["task"], without_seed(point))
        groups.setdefault(run, []).append(point)
    several_tasks = _several_tasks(points)
    return sorted((_summary(group, several_tasks) for group in groups.values()), key=_order)


def over_videos(summaries: Sequence[Summary]) -> list[Summary]:
    """Average, over videos, the sizes that every video has; empty for a single video.

    Multi-video models are left out, as their values already cover all videos.
    """
    summaries = [summary for summary in summaries if summary.codec.removesuffix("-post-training") not in MODELS_OF_MANY]
    videos = list(dict.fromkeys(summary.video for summary in summaries))
    if len(videos) < 2:
        return []
    groups: dict[tuple[str, ...], list[Summary]] = {}
    for summary in summaries:
        key = (summary.kind, summary.codec, summary.task, summary.curve, summary.size_label)
        groups.setdefault(key, []).append(summary)
    complete = [group for group in groups.values() if len({summary.video for summary in group}) == len(videos)]
    context = f"Mean of {len(videos)} videos: {', '.join(videos)}"
    averaged = [
        Summary(
            video=f"mean of {len(videos)} videos",
            context=context,
            kind=group[0].kind,
            codec=group[0].codec,
            curve=group[0].curve,
            size_label=group[0].size_label,
            seeds=min(summary.seeds for summary in group),
            mean={name: _mean(summary.mean[name] for summary in group) for name in AVERAGED},
            std=dict.fromkeys(AVERAGED),
            task=group[0].task,
            published=published_average(summary.published for summary in group),
            returns=sum(summary.returns for summary in group),
            device=_devices(summary.device for summary in group),
            run=group[0].run,
        )
        for group in complete
    ]
    return sorted(averaged, key=_order)


def by_video(summaries: Iterable[Summary]) -> dict[str, list[Summary]]:
    """The summaries of each video, in their order."""
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        groups.setdefault(summary.video, []).append(summary)
    return groups


def curves(summaries: Iterable[Summary]) -> dict[str, list[Summary]]:
    """The summaries of each curve by rising rate, or by size if nothing was coded; models before anchors."""
    groups: dict[str, list[Summary]] = {}
    for summary in sorted(summaries, key=_order):
        groups.setdefault(summary.curve, []).append(summary)
    return groups


def run_curves(points: Sequence[Point]) -> dict[str, str]:
    """Name of every run of a model or anchor -> the curve that it belongs to."""
    runs = [point for point in points if point["kind"] != "part"]
    several_tasks = _several_tasks(runs)
    return {str(point["run"]): _curve(point, several_tasks) for point in runs}


def size_text(file_bytes: float) -> str:
    """A file size with three digits: ``850 B``, ``41.3 kB``, ``1.24 MB`` (1 kB = 1000 bytes)."""
    return _three_digits(file_bytes, ("B", "kB", "MB", "GB"))


def count_text(count: float) -> str:
    """A number of parameters with three digits: ``850``, ``118 k``, ``3.05 M``."""
    return _three_digits(count, ("", "k", "M", "G")).rstrip()


def _three_digits(value: float, units: Sequence[str]) -> str:
    """The value in the largest unit in which it is at least one; `units` are a factor of 1000 apart."""
    scales = [1000.0**power for power in range(len(units))]
    # 999.5 would round to 1000.
    unit, scale = next(
        ((unit, scale) for unit, scale in zip(units, scales, strict=True) if value < 999.5 * scale),
        (units[-1], scales[-1]),
    )
    number = value / scale
    decimals = 0 if scale == 1.0 or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{decimals}f} {unit}"


def context_of(point: Point) -> str:
    """A title of the video with its size, e.g. ``bunny: 16 frames of 180×320``."""
    count = point["frames"]
    rate = f", {point['fps']:g} fps" if point["fps"] is not None else ""
    frames = "1 frame" if count == 1 else f"{count} frames"
    return f"{point['video']}: {frames} of {point['height']}×{point['width']}{rate}"


def _summary(group: Sequence[Point], several_tasks: bool) -> Summary:
    first = group[0]
    values = {name: [_number(point[name]) for point in group] for name in AVERAGED}
    return Summary(
        video=str(first["video"]),
        context=context_of(first),
        kind=str(first["kind"]),
        codec=str(first["codec"]),
        curve=_curve(first, several_tasks),
        size_label=str(first["size_label"] or ""),
        seeds=len(group),
        mean={name: _mean(values[name]) for name in AVERAGED},
        std={name: _std(values[name]) for name in AVERAGED},
        task=str(first["task"] or ""),
        published=published_for(first) if first["kind"] == "model" else None,
        returns=sum(int(point["returns"] or 0) for point in group),
        device=_devices(str(point["device"] or "") for point in group),
        run=without_seed(first),
    )


def _devices(names: Iterable[str]) -> str:
    """The distinct devices of several runs."""
    return ", ".join(sorted(set(names) - {""}))


def _several_tasks(points: Sequence[Point]) -> bool:
    return len({point["task"] for point in points if point["kind"] == "model"}) > 1


def _curve(point: Point, several_tasks: bool) -> str:
    """The run's name without size and seed: hnerv-boost for hnerv-boost-1.5M-s2, x265 for x265-q28.

    If there are several tasks it includes the run's: hnerv-boost-inpainting-center.
    """
    run = without_seed(point)
    label = str(point["size_label"] or "")
    size = f"q{label.split()[-1]}" if point["kind"] == "anchor" and label else label
    curve = re.sub(rf"-{re.escape(size)}(?=-|$)", "", run, count=1) if size else run
    curve = curve if curve.startswith(str(point["codec"])) else str(point["codec"])
    task = f"-{point['task']}" if several_tasks and point["task"] else ""
    return curve if curve.endswith(task) else curve + task


def _order(summary: Summary) -> tuple[str, bool, list[tuple[int, str]], float, float, str]:
    return (
        summary.video,
        summary.kind != "model",
        _natural(summary.curve),
        summary.mean["file_bytes"] or 0.0,
        summary.mean["params_total"] or 0.0,
        summary.size_label,
    )


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts e300 before e1200."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _number(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean, or None if any value is missing: a mean over some of the runs would not be comparable."""
    known = list(values)
    numbers = [value for value in known if value is not None]
    return statistics.fmean(numbers) if numbers and len(numbers) == len(known) else None


def _std(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return statistics.stdev(numbers) if len(numbers) == len(values) > 1 else None
