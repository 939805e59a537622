"""Published figures, and the comparison of an experiment's points with them.

The tables in `published` contain the figures, every line with its source: ``uvg_regression.csv`` has PSNR in dB and
GMAC of unquantised models, for full-length, full-size UVG videos; ``dnerv.csv`` has PSNR, MS-SSIM, rate, size and
entropy efficiency of multi-video models of UVG or UCF101, quantised to 8 bits; ``uvg_rate_distortion.csv`` has
rate–distortion points of full-length UVG videos; ``bd_rate.csv`` has BD-rates. A point is compared with the figure for
its model, video and the nearest parameter count; figures that were not published stay empty.
"""

from __future__ import annotations

import csv
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boostnerv.errors import UserError
from boostnerv.evaluation.points import Point, Value, without_seed
from boostnerv.evaluation.text import aligned, number

AVERAGE = "Average"
"""Stands for the mean over the seven videos in place of a video's name."""

TOLERANCE_DB = 0.2
"""Tables mark a PSNR that differs by more than this from the published one."""

PARAMETERS_WITHIN = 0.1
"""Largest relative difference of parameter counts for which models are compared."""

_FOLDER = Path(__file__).parent / "published"
_FRAMES = {
    "Beauty": 600,
    "Bosphorus": 600,
    "HoneyBee": 600,
    "Jockey": 600,
    "ReadySetGo": 600,
    "ShakeNDry": 300,
    "YachtRide": 600,
}
_HEIGHT, _WIDTH = 1080, 1920
# Published name -> codec here, for single-video models; no other model is compared, however similar its name.
_SINGLE_VIDEO_CODECS = {"NeRV": "nerv", "E-NeRV": "e-nerv", "HNeRV": "hnerv", "HNeRV-Boost": "hnerv-boost"}
# The same for multi-video models (D-NeRV's table); and (frames, height, width) of their data sets.
_MULTI_VIDEO_CODECS = {"D-NeRV": "d-nerv-post-training", "NeRV": "d-nerv-baseline-post-training"}
_DATASETS = {"uvg": (3900, 1024, 1920), "ucf101-train": (138_041, 256, 320)}
_VIDEO_ALIASES = {"readysteadygo": "readysetgo"}
_MEASURED = {"psnr_float_db": "unquantised model", "psnr_db": "decoded file"}
_HEADINGS = (
    *("video", "run", "parameters (M)", "published at (M)"),
    *("ours (dB)", "published (dB)", "difference (dB)", ""),
)


OTHERS = {
    "bpp": ("bpp", ".4f"),
    "ms_ssim": ("MS-SSIM", ".4f"),
    "file_bytes": ("file (bytes)", ",.0f"),
    "entropy_efficiency": ("entropy efficiency", ".3f"),
}
"""Figures published besides PSNR for some models: column of points.csv -> (name, number format)."""

_OTHER_HEADINGS = ("video", "run", "figure", "ours", "published", "difference")


@dataclass(frozen=True)
class Published:
    """PSNR in dB of `model` at `params_m` million parameters, published in `source`.

    It is compared with `column` of a point, the PSNR before or after quantisation. `shape` is (frames, height, width)
    of the measured video, None for an average. `others` are (column of points.csv, value) of further figures.
    """

    model: str
    params_m: float
    video: str
    psnr_db: float
    source: str
    column: str = "psnr_float_db"
    shape: tuple[int, int, int] | None = None
    macs_g: float | None = None
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Figure:
    """The published value and ours for `column` of points.csv."""

    column: str
    published: float
    ours: float

    @property
    def difference(self) -> float:
        """Our value minus the published one."""
        return self.ours - self.published

    def texts(self) -> tuple[str, str, str, str]:
        """Name, our value, published value and difference, formatted."""
        name, form = OTHERS[self.column]
        return name, number(self.ours, form), number(self.published, form), number(self.difference, f"+{form}")


@dataclass(frozen=True)
class PublishedPoint:
    """A point of a rate–distortion curve; `size` is the source's name of the model size, which may be empty."""

    bpp: float
    psnr_db: float
    ms_ssim: float
    size: str = ""


@dataclass(frozen=True)
class PublishedCurve:
    """The points of `model` on one video, or averaged over all, by rising rate, published in `source`."""

    model: str
    video: str
    points: tuple[PublishedPoint, ...]
    source: str


@dataclass(frozen=True)
class PublishedBdRate:
    """BD-rate of `test` over `anchor` in percent, negative if `test` needs fewer bits, published in `source`."""

    test: str
    anchor: str
    dataset: str
    metric: str
    bd_rate_percent: float
    source: str


@dataclass(frozen=True)
class Comparison:
    """A run on one video (or averaged over all), as the mean over seeds, and the published figures for it.

    `run` is its name without the seed. `ours_db` is the PSNR to be compared, None if there is no result. `others` are
    the figures besides PSNR.
    """

    video: str
    run: str
    params_m: float | None = None
    ours_db: float | None = None
    published: Published | None = None
    others: tuple[Figure, ...] = ()

    @property
    def difference_db(self) -> float | None:
        """Our PSNR minus the published one, None if either is missing."""
        if self.ours_db is None or self.published is None:
            return None
        return self.ours_db - self.published.psnr_db

    def verdict(self, tolerance_db: float) -> str:
        """``within`` or ``outside`` the tolerance (on either side), or why there is nothing to compare."""
        if self.difference_db is None:
            return "no result" if self.ours_db is None else "not published"
        # Published figures have two decimals; a difference equal to the tolerance must not fail by rounding.
        return "within" if abs(self.difference_db) <= tolerance_db + 1e-9 else "outside"

    def record(self) -> dict[str, Any]:
        """The row as a mapping, for JSON."""
        return {**asdict(self), "difference_db": self.difference_db}


@functools.cache
def published_figures() -> tuple[Published, ...]:
    """All published figures: per model, size and video, their averages per model and size, and multi-video models."""
    shapes = {video: (frames, _HEIGHT, _WIDTH) for video, frames in _FRAMES.items()}
    single_video = [
        Published(
            line["model"],
            float(line["params_m"]),
            video,
            float(line[video]),
            line["source"],
            shape=shapes.get(video),
            macs_g=float(line["macs_g"]),
        )
        for line in _lines("uvg_regression.csv")
        for video in (*_FRAMES, AVERAGE)
    ]
    multi_video = [
        Published(
            _MULTI_VIDEO_CODECS[line["model"]],
            float(line["params_m"]),
            line["dataset"],
            float(line["psnr_db"]),
            line["source"],
            column="psnr_db",
            shape=_DATASETS[line["dataset"]],
            others=_others(line),
        )
        for line in _lines("dnerv.csv")
    ]
    return (*single_video, *multi_video)


def _others(line: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    values = {name: float(line[name]) for name in ("bpp", "ms_ssim", "entropy_efficiency")}
    values["file_bytes"] = float(line["total_mbit"]) * 1e6 / 8
    return tuple((name, values[name]) for name in OTHERS)


def beside(published: Published | None, ours: Mapping[str, float | None]) -> tuple[Figure, ...]:
    """The figures published besides PSNR, for the columns in which we have a value."""
    others = () if published is None else published.others
    return tuple(Figure(column, value, our) for column, value in others if (our := ours[column]) is not None)


@functools.cache
def published_bd_rates() -> tuple[PublishedBdRate, ...]:
    """All published BD-rates."""
    return tuple(
        PublishedBdRate(
            line["test"],
            line["anchor"],
            line["dataset"],
            line["metric"],
            float(line["bd_rate_percent"]),
            line["source"],
        )
        for line in _lines("bd_rate.csv")
    )


def published_curves(video: Value, frames: Value, height: Value, width: Value) -> tuple[PublishedCurve, ...]:
    """Published rate–distortion curves of a video, which must be a full-length UVG video at full size.

    Names of videos are compared without case and hyphens, as in `published_for`.
    """
    return tuple(
        curve
        for curve in _all_curves()
        if curve.video != AVERAGE
        and _plain(curve.video) == _plain(video)
        and (frames, height, width) == (_FRAMES[curve.video], _HEIGHT, _WIDTH)
    )


def published_average_curves(shapes: Mapping[str, tuple[Value, Value, Value]]) -> tuple[PublishedCurve, ...]:
    """Published curves of the average over UVG, if `shapes` has exactly its seven videos at full length and size.

    `shapes` maps names of videos to (frames, height, width).
    """
    full = {(_plain(video), (frames, _HEIGHT, _WIDTH)) for video, frames in _FRAMES.items()}
    if {(_plain(video), shape) for video, shape in shapes.items()} != full:
        return ()
    return tuple(curve for curve in _all_curves() if curve.video == AVERAGE)


@functools.cache
def _all_curves() -> tuple[PublishedCurve, ...]:
    groups: dict[tuple[str, str, str], list[PublishedPoint]] = {}
    for line in _lines("uvg_rate_distortion.csv"):
        point = PublishedPoint(float(line["bpp"]), float(line["psnr_db"]), float(line["ms_ssim"]), line["size"])
        groups.setdefault((line["model"], line["video"], line["source"]), []).append(point)
    return tuple(
        PublishedCurve(model, video, tuple(sorted(points, key=lambda point: point.bpp)), source)
        for (model, video, source), points in groups.items()
    )


def _lines(name: str) -> list[dict[str, str]]:
    with open(_FOLDER / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def published_for(point: Point) -> Published | None:
    """The published figure for the point's model and video at the nearest parameter count, within `PARAMETERS_WITHIN`.

    None if there is none, and for other tasks, parts of a video and other frame sizes, which were not published.
    """
    params = point["params_total"]
    if not isinstance(params, int | float) or point["task"] not in (None, "regression"):
        return None
    candidates = [
        figure
        for figure in published_figures()
        if _codec(figure) == point["codec"] and _plain(figure.video) == _plain(point["video"])
    ]
    nearest = min(candidates, key=lambda figure: abs(figure.params_m - params / 1e6), default=None)
    if nearest is None or abs(nearest.params_m - params / 1e6) > PARAMETERS_WITHIN * nearest.params_m:
        return None
    return nearest if (point["frames"], point["height"], point["width"]) == nearest.shape else None


def published_average(figures: Iterable[Published | None]) -> Published | None:
    """The published average for these figures, if they are all seven videos, once each, of one model at one size."""
    known = [figure for figure in figures if figure is not None]
    if sorted(figure.video for figure in known) != sorted(_FRAMES):
        return None
    if len({(figure.model, figure.params_m) for figure in known}) > 1:
        return None
    key = (known[0].model, known[0].params_m, AVERAGE)
    return next(figure for figure in published_figures() if (figure.model, figure.params_m, figure.video) == key)


def compare(points: Sequence[Point], planned: Iterable[tuple[str, str]] = ()) -> list[Comparison]:
    """Compare every model run with its published figure, and the average over the seven videos if all are present.

    `planned` are (video, run without seed) pairs that should have a result. Raises `UserError` if there are no points.
    """
    if not points:
        raise UserError("there are no points to compare; run the experiment first")
    groups: dict[tuple[Value, ...], list[Point]] = {}
    for point in points:
        if point["kind"] == "model":
            groups.setdefault((point["video"], without_seed(point), point["task"]), []).append(point)
    rows = [_comparison(group) for group in groups.values()]
    known = {(row.video, row.run) for row in rows}
    rows += [Comparison(*pair) for pair in dict.fromkeys(planned) if pair not in known]
    runs = list(dict.fromkeys(row.run for row in rows))
    return sorted([*rows, *_averages(rows)], key=lambda row: (runs.index(row.run), row.video == AVERAGE, row.video))


def comparison_text(rows: Sequence[Comparison], tolerance_db: float) -> str:
    """The comparison as text: one line per row, a conclusion, and the figures published besides PSNR."""
    lines = [_HEADINGS, *(_cells(row, tolerance_db) for row in rows)]
    others = [(row.video, row.run, *figure.texts()) for row in rows for figure in row.others]
    return "\n".join(
        [
            *aligned(lines, (0, 1, 7)),
            _conclusion(rows, tolerance_db),
            *(aligned([_OTHER_HEADINGS, *others], (0, 1, 2)) if others else ()),
        ]
    )


def _comparison(group: Sequence[Point]) -> Comparison:
    """One run on one video, averaged over seeds; if a seed has no value there is no mean."""
    first = group[0]
    published = published_for(first)
    params = first["params_total"]
    return Comparison(
        video=str(first["video"]),
        run=without_seed(first),
        params_m=params / 1e6 if isinstance(params, int | float) else None,
        ours_db=_mean_of(group, published.column if published else "psnr_float_db"),
        published=published,
        others=beside(published, {column: _mean_of(group, column) for column in OTHERS}),
    )


def _mean_of(group: Sequence[Point], column: str) -> float | None:
    values = [point[column] for point in group]
    known = [float(value) for value in values if isinstance(value, int | float)]
    return statistics.fmean(known) if len(known) == len(values) else None


def _averages(rows: Sequence[Comparison]) -> list[Comparison]:
    averages = []
    for run in dict.fromkeys(row.run for row in rows):
        compared = [row for row in rows if row.run == run and row.published is not None]
        average = published_average(row.published for row in compared)
        ours = [row.ours_db for row in compared if row.ours_db is not None]
        if average is not None and len(ours) == len(compared):
            params_m = statistics.fmean(row.params_m for row in compared if row.params_m is not None)
            averages.append(Comparison(AVERAGE, run, params_m, statistics.fmean(ours), average))
    return averages


def _cells(row: Comparison, tolerance_db: float) -> tuple[str, ...]:
    published = row.published
    return (
        row.video,
        row.run,
        number(row.params_m, ".2f"),
        number(None if published is None else published.params_m, ".2f"),
        number(row.ours_db, ".2f"),
        number(None if published is None else published.psnr_db, ".2f"),
        number(row.difference_db, "+.2f"),
        row.verdict(tolerance_db),
    )


def _conclusion(rows: Sequence[Comparison], tolerance_db: float) -> str:
    compared = [row for row in rows if row.difference_db is not None]
    if not compared:
        return "There is nothing to compare: no result of this experiment has a published figure."
    outside = sum(row.verdict(tolerance_db) == "outside" for row in compared)
    figures = [row.published for row in compared if row.published is not None]
    sources = dict.fromkeys(figure.source for figure in figures)
    measured = dict.fromkeys(_MEASURED[figure.column] for figure in figures)
    return (
        f"{len(compared)} of {len(rows)} rows compared, {outside} outside {tolerance_db:g} dB. "
        f"PSNR is that of the {' or the '.join(measured)}; published in {', '.join(sources)}."
    )


def _codec(figure: Published) -> str | None:
    """Name of the published model in points.csv, None if it is not implemented here."""
    return figure.model if figure.model in _MULTI_VIDEO_CODECS.values() else _SINGLE_VIDEO_CODECS.get(figure.model)


def _plain(name: Value) -> str:
    """A video's name without case and hyphens: shake-n-dry is ShakeNDry."""
    plain = "".join(letter for letter in str(name).lower() if letter.isalnum())
    return _VIDEO_ALIASES.get(plain, plain)
