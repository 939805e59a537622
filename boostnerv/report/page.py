"""All results of an experiment as one page for browsers, made from points.csv, logs and previews.

The page is one file that opens from disk and loads nothing: styles, scripts, plotly and the videos stand inside, and
its policy allows no request. `templates/page.html.j2` is its frame; `page.css` and `page.js` beside it are inlined.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from boostnerv import files
from boostnerv.config import Experiment
from boostnerv.evaluation.points import Point, Value
from boostnerv.report.details import Details, details_of, fragment, train_log
from boostnerv.report.previews import SOURCE, Preview, choose, found_previews, nearest
from boostnerv.report.summaries import Summary, by_video, context_of, curves, over_seeds, over_videos, size_text
from boostnerv.report.tables import time_text

MOST_DETAILS = 400
"""Runs and anchor points whose settings and logs a page has."""
MOST_TRAININGS = 200
MOST_ROWS = 5000
_MOST_EPOCHS = 300
"""Values of a training's curve; of longer ones a part is shown."""

_MADE_WITH = {
    "version": "boostnerv",
    "commit": "commit",
    "device": "trained or encoded on",
    "encoder_version": "classical codecs",
    "colour": "colours",
}


@dataclass(frozen=True)
class Column:
    """A column of a table: `form` is the format of its numbers, empty for text."""

    heading: str
    name: str
    form: str = ""


@dataclass(frozen=True)
class Cell:
    """What is shown, and by what it is sorted: nothing where there is no value."""

    text: str
    key: Value = None
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts; `rows` are of one video each, by its name."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]
    left_out: int = 0


_QUALITY = (
    Column("codec", "codec"),
    Column("size", "size_label"),
    Column("file (bytes)", "file_bytes", ",d"),
    Column("bpp", "bpp", ".4f"),
    Column("PSNR (dB)", "psnr_db", ".2f"),
    Column("MS-SSIM", "ms_ssim", ".4f"),
    Column("PSNR Y (dB)", "psnr_y_db", ".2f"),
    Column("PSNR YUV (dB)", "psnr_yuv_db", ".2f"),
    Column("VMAF", "vmaf", ".1f"),
    Column("seen (dB)", "psnr_seen_db", ".2f"),
    Column("unseen (dB)", "psnr_unseen_db", ".2f"),
    Column("hidden (dB)", "psnr_hidden_db", ".2f"),
    Column("float (dB)", "psnr_float_db", ".2f"),
    Column("quantised (dB)", "psnr_quantized_db", ".2f"),
)
_COST = (
    Column("codec", "codec"),
    Column("parameters", "params_total", ",d"),
    Column("kMAC/pixel", "kmac_per_pixel", ".2f"),
    Column("training", "train_s", "time"),
    Column("fine-tuning", "finetune_s", "time"),
    Column("encoding", "encode_s", "time"),
    Column("decoding (fps)", "decode_fps", ".1f"),
    Column("warm (fps)", "decode_warm_fps", ".1f"),
    Column("memory (MiB)", "peak_memory_mib", ",.0f"),
    Column("returns", "returns", "d"),
    Column("device", "device"),
)
_EACH = (
    Column("codec", "codec"),
    Column("size", "size_label"),
    Column("frames", "frames", ",d"),
    Column("PSNR (dB)", "psnr_db", ".2f"),
    Column("MS-SSIM", "ms_ssim", ".4f"),
)


def write_page(points: Sequence[Point], folder: Path, experiment: Experiment | None, output: Path) -> int:
    """Write the page of `points`, whose logs and previews lie below `folder`; returns its size in bytes.

    Without `experiment` it has the name of the points, and no settings. Raises `UserError` where there are no points.
    """
    text = page_html(points, folder, experiment)
    files.write_text(output, text)
    return len(text.encode())


def page_html(points: Sequence[Point], folder: Path, experiment: Experiment | None) -> str:
    """The page's text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    summaries = over_seeds(points)
    shown = [point for point in points if point["kind"] != "part"]
    kept, left_out = choose(found_previews(points, folder))
    environment = Environment(
        loader=PackageLoader("boostnerv.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    data = {
        "quality": _quality_data(summaries),
        "training": _training_data(shown, folder, experiment),
        "players": _players(kept, shown),
    }
    name = str(points[0]["experiment"])
    return environment.get_template("page.html.j2").render(
        title=(experiment.title if experiment is not None else "") or name,
        name=name,
        sentence=_sentence(shown),
        facts=list(_facts(shown)),
        videos=list(dict.fromkeys(str(point["video"]) for point in shown)),
        made_with=list(_made_with(points)),
        tables=list(_tables(points)),
        details=_details(shown, folder, experiment),
        left_out_details=max(0, len(shown) - MOST_DETAILS),
        previews=kept,
        left_out=left_out,
        left_out_bytes=sum(preview.embedded_bytes for preview in left_out),
        has_training=bool(data["training"]),
        data=_inline_json(data),
        css=_beside("page.css"),
        js=_beside("page.js"),
        plotly=get_plotlyjs(),
    )


def _beside(name: str) -> str:
    return resources.files("boostnerv.report").joinpath("templates", name).read_text(encoding="utf-8")


def _inline_json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# --- what stands first --------------------------------------------------------------------------------------


def _sentence(points: Sequence[Point]) -> str:
    """What was measured, in a line."""
    models = [point for point in points if point["kind"] == "model"]
    anchors = [point for point in points if point["kind"] == "anchor"]
    contexts = list(dict.fromkeys(map(context_of, points)))
    parts = [_count(len(models), "run of a model", "runs of models")] if models else []
    parts += [_count(len(anchors), "file of a classical codec", "files of classical codecs")] if anchors else []
    what = " and ".join(parts)
    coded = any(point["bpp"] is not None for point in models)
    sentences = [f"{what} on {contexts[0] if len(contexts) == 1 else f'{len(contexts)} videos'}."]
    if coded or not models:
        sentences.append("Rate is the size of the file that was decoded; quality is of its frames at full size.")
    else:
        sentences.append("Nothing was coded: models are measured as trained, and have no rate.")
    return " ".join(sentences)


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _facts(points: Sequence[Point]) -> Iterator[tuple[str, str, str]]:
    """What to know first: (heading, value, what it is of)."""
    models = [point for point in points if point["kind"] == "model"]
    anchors = [point for point in points if point["kind"] == "anchor"]
    for heading, group in (("best model", models), ("best classical codec", anchors)):
        if group:
            best = max(group, key=lambda point: float(point["psnr_db"] or 0))
            yield heading, f"{best['psnr_db']:.2f} dB", _named(best, points)
    similar = [point for point in models if point["ms_ssim"] is not None]
    if similar:
        best = max(similar, key=lambda point: float(point["ms_ssim"] or 0))
        yield "best MS-SSIM of a model", f"{best['ms_ssim']:.4f}", _named(best, points)
    coded = [point for point in models if point["file_bytes"]]
    if coded:
        least = min(coded, key=lambda point: float(point["file_bytes"] or 0))
        yield "smallest model", size_text(float(least["file_bytes"] or 0)), _named(least, points)
    trained_s = sum(float(point[name] or 0) for point in models for name in ("train_s", "finetune_s"))
    if trained_s:
        yield "training in all", time_text(trained_s), _count(len(models), "run", "runs")


def _named(point: Point, points: Sequence[Point]) -> str:
    several = len({other["video"] for other in points}) > 1
    size = f", {size_text(float(point['file_bytes']))}" if point["file_bytes"] else ""
    return f"{point['video']} {point['run']}{size}" if several else f"{point['run']}{size}"


def _made_with(points: Sequence[Point]) -> Iterator[tuple[str, list[str]]]:
    for column, name in _MADE_WITH.items():
        found = sorted({str(point[column]) for point in points if point[column]})
        if found:
            yield name, found


# --- tables -------------------------------------------------------------------------------------------------


def _tables(points: Sequence[Point]) -> Iterator[Table]:
    shown = [point for point in points if point["kind"] != "part"]
    parts = [point for point in points if point["kind"] == "part"]
    for name, title, columns, group in (
        ("quality", "Rate and quality", _QUALITY, shown),
        ("cost", "Cost", _COST, shown),
        ("each", "Each video of a model of many", _EACH, parts),
    ):
        if group:
            yield _table(name, title, columns, group)


def _table(name: str, title: str, columns: Sequence[Column], points: Sequence[Point]) -> Table:
    """One row a point; a column stands where a point has a value for it."""
    names = [Column("run", "run")]
    if name == "each" or len({point["video"] for point in points}) > 1:
        names.insert(0, Column("video", "video"))
    used = [column for column in columns if any(point[column.name] is not None for point in points)]
    chosen = (*names, *used)
    rows = tuple(
        (str(point["video"]), str(point["kind"]), tuple(_cell(point, column) for column in chosen))
        for point in points[:MOST_ROWS]
    )
    return Table(name, title, chosen, rows, max(0, len(points) - MOST_ROWS))


def _cell(point: Point, column: Column) -> Cell:
    value = point[column.name]
    if value is None:
        return Cell("–")
    if column.name == "run":
        return Cell(str(value), value, fragment(point) if point["kind"] != "part" else "")
    if column.form == "time" and isinstance(value, int | float):
        return Cell(time_text(value), value)
    return Cell(f"{value:{column.form}}" if column.form else str(value), value)


# --- curves -------------------------------------------------------------------------------------------------


def _quality_data(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Of each video, and of their mean, the curves of its codecs."""
    groups = by_video([*summaries, *over_videos(summaries)])
    return [_video_curves(video, group) for video, group in groups.items()]


def _video_curves(video: str, group: Sequence[Summary]) -> dict[str, Any]:
    from boostnerv.report.curves import RATE, across_of

    across = across_of(group)
    known = [summary for summary in group if across.known(summary)]
    return {
        "video": video,
        "title": group[0].context,
        "x": f"{across.name} ({across.unit_name})",
        "coded": across is RATE,
        "curves": [
            {
                "name": name,
                "kind": points[0].kind,
                "points": [
                    {
                        "x": across.of(point),
                        "size": across.label(point),
                        "bytes": point.mean["file_bytes"],
                        "label": point.size_label,
                        "seeds": point.seeds,
                        **{metric: point.mean[metric] for metric in ("psnr_db", "ms_ssim")},
                        **{f"{metric}_std": point.std[metric] for metric in ("psnr_db", "ms_ssim")},
                    }
                    for point in points
                ],
            }
            for name, points in curves(known).items()
        ],
    }


def _training_data(points: Sequence[Point], folder: Path, experiment: Experiment | None) -> list[dict[str, Any]]:
    """The curves of the trainings whose logs are there, each once."""
    from boostnerv.report.trainings import read_history

    runs = {} if experiment is None else {run.name: run for run in experiment.runs()}
    models = [point for point in points if point["kind"] == "model"]
    logs = {train_log(point, folder, runs.get(str(point["run"]))): str(point["video"]) for point in models}
    found = [(path, video) for path, video in logs.items() if path.is_file()]
    return [
        {"video": video, "run": path.parent.name, "loss": _thinned(history.loss), "psnr_db": _thinned(history.psnr_db)}
        for path, video in found[:MOST_TRAININGS]
        if (history := read_history(path)).loss
    ]


def _thinned(values: Mapping[float, float]) -> list[tuple[float, float]]:
    """Pairs of epoch and value, no more than are seen, the last one among them."""
    pairs = list(values.items())
    step = -(-len(pairs) // _MOST_EPOCHS) or 1
    return pairs[len(pairs) - 1 :: -step][::-1] if pairs else []


# --- videos and details -------------------------------------------------------------------------------------


def _players(kept: Sequence[Preview], points: Sequence[Point]) -> list[dict[str, Any]]:
    """Of each video with a preview, what can be chosen, and what is shown at first: a pair of matched size."""
    by_name = {(str(point["video"]), str(point["run"])): point for point in points}
    found: dict[str, list[Preview]] = {}
    for preview in kept:
        found.setdefault(preview.video, []).append(preview)
    players = []
    for video, group in found.items():
        of_video = next(point for point in points if point["video"] == video)
        first, second = _first_pair(group, by_name)
        players.append(
            {
                "video": video,
                "fps": of_video["fps"] or 25.0,
                "frames": of_video["frames"],
                "height": of_video["height"],
                "width": of_video["width"],
                "left": first.name,
                "right": second.name,
                "choices": [_choice(each, kept.index(each), by_name) for each in group],
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
    """The best model and the anchor nearest to it in size; else the source and what there is."""
    models = [preview for preview in group if preview.kind == "model"]
    if not models:
        return group[0], group[-1]
    best = max(models, key=lambda preview: float(points[preview.video, preview.name]["psnr_db"] or 0))
    match = nearest(best, group)
    if match is not None:
        return best, match
    return (group[0], best) if group[0].kind == SOURCE else (best, group[-1])


def _details(points: Sequence[Point], folder: Path, experiment: Experiment | None) -> list[Details]:
    return details_of(points[:MOST_DETAILS], folder, experiment)
