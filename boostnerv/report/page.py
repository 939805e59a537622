"""All results of an experiment as one HTML page, made from points.csv, logs and previews.

The page is a single file that opens from disk and loads nothing: styles, scripts, plotly and the videos are embedded,
and its content security policy forbids requests. `templates/page.html.j2` is its template; `page.css` and `page.js`
beside it are inlined.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import files
from boostnerv.config import Experiment
from boostnerv.evaluation.points import Point
from boostnerv.evaluation.published import PublishedCurve
from boostnerv.report.details import details_of, train_log
from boostnerv.report.page_tables import tables
from boostnerv.report.previews import SOURCE, Preview, choose, found_previews, nearest
from boostnerv.report.published_curves import curve_name, published_mean, published_of_video
from boostnerv.report.runs import rank
from boostnerv.report.summaries import Summary, by_video, context_of, curves, over_seeds, over_videos, size_text
from boostnerv.report.tables import time_text

if TYPE_CHECKING:
    from boostnerv.report.curves import Across

MOST_BYTES = 30_000_000
"""Size limit of a page: videos get what everything else leaves of it."""
_MARKUP_BYTES = 1_000  # per video: its element, and its entry among the player's choices
MOST_DETAILS = 400
"""Number of runs and anchor points whose settings and logs a page includes."""
MOST_TRAININGS = 200
_METRICS = ("psnr_db", "ms_ssim")
_MOST_EPOCHS = 300
"""Number of values of a training curve; longer ones are thinned."""

_MADE_WITH = {
    "version": "boostnerv",
    "commit": "commit",
    "device": "trained or encoded on",
    "encoder_version": "classical codecs",
    "colour": "colours",
}


def write_page(points: Sequence[Point], folder: Path, experiment: Experiment | None, output: Path) -> int:
    """Write the page of `points`, whose logs and previews are in `folder`; returns its size in bytes.

    Without `experiment` it is titled by the points and has no settings. Raises `UserError` if there are no points.
    """
    text = page_html(points, folder, experiment)
    files.write_text(output, text)
    return len(text.encode())


def page_html(points: Sequence[Point], folder: Path, experiment: Experiment | None) -> str:
    """The HTML of the page, with as many previews as fit into `MOST_BYTES`."""
    previews = found_previews(points, folder)
    runs = [point for point in points if point["kind"] != "part"]
    values = _values(points, runs, folder, experiment)
    without_videos = _rendered(values, runs, [], previews)
    kept, left_out = choose(previews, MOST_BYTES - len(without_videos.encode()) - _MARKUP_BYTES * len(previews))
    return _rendered(values, runs, kept, left_out) if previews else without_videos


def _values(
    points: Sequence[Point], runs: Sequence[Point], folder: Path, experiment: Experiment | None
) -> dict[str, Any]:
    """Values for the template of the page, except videos."""
    from plotly.offline import get_plotlyjs

    quality = _quality_data(points)  # raises where there are no points
    name = str(points[0]["experiment"])
    details = details_of(runs[:MOST_DETAILS], folder, experiment)
    return {
        "quality": quality,
        "training": _training_data(runs, folder, experiment),
        "title": (experiment.title if experiment is not None else "") or name,
        "name": name,
        "sentence": _sentence(runs),
        "facts": list(_facts(runs)),
        "videos": list(dict.fromkeys(str(point["video"]) for point in runs)),
        "made_with": list(_made_with(points)),
        "tables": list(tables(points, {each.anchor for each in details})),
        "details": details,
        "left_out_details": max(0, len(runs) - MOST_DETAILS),
        "css": _beside("page.css"),
        "js": _beside("page.js"),
        "plotly": get_plotlyjs(),
    }


def _rendered(
    values: Mapping[str, Any], points: Sequence[Point], kept: Sequence[Preview], left_out: Sequence[Preview]
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("boostnerv.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    data = {"quality": values["quality"], "training": values["training"], "players": _players(kept, points)}
    return environment.get_template("page.html.j2").render(
        values,
        previews=kept,
        left_out=left_out,
        left_out_bytes=sum(preview.embedded_bytes for preview in left_out),
        data=_inline_json(data),
    )


def _beside(name: str) -> str:
    return resources.files("boostnerv.report").joinpath("templates", name).read_text(encoding="utf-8")


def _inline_json(value: Any) -> str:
    """JSON that cannot close the element that contains it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# --- lead -----------------------------------------------------------------------------------------------------


def _sentence(points: Sequence[Point]) -> str:
    """One line on what was measured."""
    models = [point for point in points if point["kind"] == "model"]
    anchors = [point for point in points if point["kind"] == "anchor"]
    contexts = list(dict.fromkeys(map(context_of, points)))
    parts = [_count(len(models), "run of a model", "runs of models")] if models else []
    parts += [_count(len(anchors), "file of a classical codec", "files of classical codecs")] if anchors else []
    subjects = " and ".join(parts)
    coded = any(point["bpp"] is not None for point in models)
    sentences = [f"{subjects} on {contexts[0] if len(contexts) == 1 else f'{len(contexts)} videos'}."]
    if coded or not models:
        sentences.append("Rate is the size of the file that was decoded; quality is of its frames at full size.")
    else:
        sentences.append("Nothing was coded: models are measured as trained, and have no rate.")
    return " ".join(sentences)


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _facts(points: Sequence[Point]) -> Iterator[tuple[str, str, str]]:
    """The main results: (heading, value, run or number of runs)."""
    models = [point for point in points if point["kind"] == "model"]
    anchors = [point for point in points if point["kind"] == "anchor"]
    for heading, group in (("best model", models), ("best classical codec", anchors)):
        if group:
            best = min(group, key=rank)
            yield heading, f"{best['psnr_db']:.2f} dB", _named(best, points)
    similar = [point for point in models if point["ms_ssim"] is not None]
    if similar:
        best = max(similar, key=lambda point: float(point["ms_ssim"] or 0))
        yield "best MS-SSIM of a model", f"{best['ms_ssim']:.4f}", _named(best, points)
    coded = [point for point in models if point["file_bytes"]]
    if coded:
        smallest = min(coded, key=lambda point: float(point["file_bytes"] or 0))
        yield "smallest model", size_text(float(smallest["file_bytes"] or 0)), _named(smallest, points)
    trained_s = sum(float(point[name] or 0) for point in models for name in ("train_s", "finetune_s"))
    if trained_s:
        yield "training in all", time_text(trained_s), _count(len(models), "run", "runs")


def _named(point: Point, points: Sequence[Point]) -> str:
    several = len({other["video"] for other in points}) > 1
    size = f", {size_text(float(point['file_bytes']))}" if point["file_bytes"] else ""
    return f"{point['video']} {point['run']}{size}" if several else f"{point['run']}{size}"


def _made_with(points: Sequence[Point]) -> Iterator[tuple[str, list[str]]]:
    for column, name in _MADE_WITH.items():
        values = sorted({str(point[column]) for point in points if point[column]})
        if values:
            yield name, values


# --- curves -------------------------------------------------------------------------------------------------


def _quality_data(points: Sequence[Point]) -> list[dict[str, Any]]:
    """For every video, and for their mean, the curves of codecs and the published ones."""
    summaries = over_seeds(points)
    by_name = [
        _video_curves(video, group, published_of_video(points, video)) for video, group in by_video(summaries).items()
    ]
    means = by_video(over_videos(summaries))
    return [*by_name, *(_video_curves(video, group, published_mean(points)) for video, group in means.items())]


def _video_curves(video: str, group: Sequence[Summary], published: Sequence[PublishedCurve]) -> dict[str, Any]:
    from boostnerv.report.curves import RATE, across_of

    across = across_of(group)
    known = [summary for summary in group if across.known(summary)]
    theirs = published if across is RATE else ()
    return {
        "video": video,
        "title": group[0].context,
        "x": f"{across.name} ({across.unit_name})",
        "coded": across is RATE,
        "curves": [
            *(_curve(name, points, across) for name, points in curves(known).items()),
            *map(_published_curve, theirs),
        ],
    }


def _curve(name: str, points: Sequence[Summary], across: Across) -> dict[str, Any]:
    return {
        "name": name,
        "kind": points[0].kind,
        "points": [
            {
                "x": across.of(point),
                "size": across.label(point),
                "bytes": point.mean["file_bytes"],
                "run": point.run,
                "label": point.size_label,
                "seeds": point.seeds,
                **{metric: point.mean[metric] for metric in _METRICS},
                **{f"{metric}_std": point.std[metric] for metric in _METRICS},
            }
            for point in points
        ],
    }


def _published_curve(curve: PublishedCurve) -> dict[str, Any]:
    return {
        "name": curve_name(curve),
        "kind": "published",
        "source": curve.source,
        "points": [
            {
                "x": point.bpp,
                "run": curve_name(curve),
                "label": point.size,
                "seeds": 1,
                **{metric: getattr(point, metric) for metric in _METRICS},
                **{f"{metric}_std": None for metric in _METRICS},
            }
            for point in curve.points
        ],
    }


def _training_data(points: Sequence[Point], folder: Path, experiment: Experiment | None) -> list[dict[str, Any]]:
    """The curves of all trainings whose logs exist, without duplicates."""
    from boostnerv.report.trainings import read_history

    runs = {} if experiment is None else {run.name: run for run in experiment.runs()}
    models = [point for point in points if point["kind"] == "model"]
    logs = {train_log(point, folder, runs.get(str(point["run"]))): str(point["video"]) for point in models}
    existing = [(path, video) for path, video in logs.items() if path.is_file()]
    return [
        {"video": video, "run": path.parent.name, "loss": _thinned(history.loss), "psnr_db": _thinned(history.psnr_db)}
        for path, video in existing[:MOST_TRAININGS]
        if (history := read_history(path)).loss
    ]


def _thinned(values: Mapping[float, float]) -> list[tuple[float, float]]:
    """(epoch, value) pairs, thinned to `_MOST_EPOCHS`, including the last one."""
    pairs = list(values.items())
    step = -(-len(pairs) // _MOST_EPOCHS) or 1
    return pairs[len(pairs) - 1 :: -step][::-1] if pairs else []


# --- videos and details -------------------------------------------------------------------------------------


def _players(kept: Sequence[Preview], points: Sequence[Point]) -> list[dict[str, Any]]:
    """For every video with a preview: the choices of its player, and the initial pair, matched in size."""
    by_name = {(str(point["video"]), str(point["run"])): point for point in points}
    groups: dict[str, list[Preview]] = {}
    for preview in kept:
        groups.setdefault(preview.video, []).append(preview)
    players = []
    for video, group in groups.items():
        first_point = next(point for point in points if point["video"] == video)
        first, second = _first_pair(group, by_name)
        players.append(
            {
                "video": video,
                "fps": first_point["fps"] or 25.0,
                "frames": first_point["frames"],
                "height": first_point["height"],
                "width": first_point["width"],
                "left": first.name,
                "right": second.name,
                "choices": [_choice(preview, kept.index(preview), by_name) for preview in group],
            }
        )
    return players


def _choice(preview: Preview, index: int, points: Mapping[tuple[str, str], Point]) -> dict[str, Any]:
    point = points.get((preview.video, preview.name), {})
    return {
        "name": preview.name,
        "kind": preview.kind,
        "element": f"video-{index}",
        "bytes": point.get("file_bytes"),
        "psnr_db": point.get("psnr_db"),
    }


def _first_pair(group: Sequence[Preview], points: Mapping[tuple[str, str], Point]) -> tuple[Preview, Preview]:
    """The best model and the anchor nearest to it in size; without these, the source and another preview."""
    models = [preview for preview in group if preview.kind == "model"]
    if not models:
        return group[0], group[-1]
    best = min(models, key=lambda preview: rank(points[preview.video, preview.name]))
    match = nearest(best, group)
    if match is not None:
        return best, match
    return (group[0], best) if group[0].kind == SOURCE else (best, group[-1])
