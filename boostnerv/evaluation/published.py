"""Published figures, and how the points of an experiment compare with them.

The tables in `published` hold the facts, each line with its source: ``uvg_regression.csv`` PSNR in dB of the
unquantised model and its GMAC, for whole UVG videos at full size; ``dnerv.csv`` PSNR, MS-SSIM, rate, size and entropy
efficiency of models of all videos of UVG or UCF101 after their quantisation to 8 bits; ``uvg_rate_distortion.csv``
rate–distortion points of whole UVG videos; ``bd_rate.csv`` BD-rates. A point is set beside the figure of its model, its
video and the nearest parameter count; what was not published stays empty.
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
"""What the mean over the seven videos is called where a video's name would stand."""

TOLERANCE_DB = 0.2
"""A PSNR that differs by more than this from the published one is marked in tables."""

PARAMETERS_WITHIN = 0.1
"""Parameter counts that differ by more than this share are of different models."""

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
# What the tables call the models that are built here; no other is compared, however alike its name.
_OF_ONE = {"NeRV": "nerv", "E-NeRV": "e-nerv", "HNeRV": "hnerv", "HNeRV-Boost": "hnerv-boost"}
# Models of all videos: what D-NeRV's table calls a model, and frames, height and width of its data sets.
_OF_MANY = {"D-NeRV": "d-nerv-post-training", "NeRV": "d-nerv-baseline-post-training"}
_DATASETS = {"uvg": (3900, 1024, 1920), "ucf101-train": (138_041, 256, 320)}
_ALSO_CALLED = {"readysteadygo": "readysetgo"}
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
"""What is published of some models beside PSNR, by the columns of points.csv: its name and the form of its numbers."""

_OTHER_HEADINGS = ("video", "run", "figure", "ours", "published", "difference")


@dataclass(frozen=True)
class Published:
    """PSNR in dB of `model` at `params_m` million parameters, as `source` has it.

    `column` of a point has what it is compared with, PSNR before quantisation or after it; `shape` are frames, height
    and width of what was measured, None for an average. `others` are figures by columns of points.csv.
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
    """What was published of `column` of points.csv, and ours."""

    column: str
    published: float
    ours: float

    @property
    def difference(self) -> float:
        """Ours less theirs."""
        return self.ours - self.published

    def texts(self) -> tuple[str, str, str, str]:
        """Name, ours, published and difference, to read."""
        name, form = OTHERS[self.column]
        return name, number(self.ours, form), number(self.published, form), number(self.difference, f"+{form}")


@dataclass(frozen=True)
class PublishedPoint:
    """A point of a rate–distortion curve; `size` is what the source calls the model's size, which may be empty."""

    bpp: float
    psnr_db: float
    ms_ssim: float
    size: str = ""


@dataclass(frozen=True)
class PublishedCurve:
    """The points of `model` on one video, or on their average, by rising rate, as `source` has them."""

    model: str
    video: str
    points: tuple[PublishedPoint, ...]
    source: str


@dataclass(frozen=True)
class PublishedBdRate:
    """BD-rate of `test` over `anchor` in percent, negative where `test` needs fewer bits, as `source` has it."""

    test: str
    anchor: str
    dataset: str
    metric: str
    bd_rate_percent: float
    source: str


@dataclass(frozen=True)
class Comparison:
    """A run on one video (or their average), mean over seeds, beside what was published of it.

    `run` is without its seed. `ours_db` is PSNR before quantisation, None where there is no result. `others` are what
    else was published of it.
    """

    video: str
    run: str
    params_m: float | None = None
    ours_db: float | None = None
    published: Published | None = None
    others: tuple[Figure, ...] = ()

    @property
    def difference_db(self) -> float | None:
        """Ours less theirs, None where either is missing."""
        if self.ours_db is None or self.published is None:
            return None
        return self.ours_db - self.published.psnr_db

    def verdict(self, tolerance_db: float) -> str:
        """``within``, ``outside`` (on either side), or why there is nothing to compare."""
        if self.difference_db is None:
            return "no result" if self.ours_db is None else "not published"
        # Published figures have two decimals; a difference equal to the tolerance must not fail by its last bit.
        return "within" if abs(self.difference_db) <= tolerance_db + 1e-9 else "outside"

    def record(self) -> dict[str, Any]:
        """The row for programs, as JSON has it."""
        return {**asdict(self), "difference_db": self.difference_db}


@functools.cache
def published_figures() -> tuple[Published, ...]:
    """All published figures: one a model, size and video, one a size for the average, and those of models of many."""
    shapes = {video: (frames, _HEIGHT, _WIDTH) for video, frames in _FRAMES.items()}
    of_one = [
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
    of_many = [
        Published(
            _OF_MANY[line["model"]],
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
    return (*of_one, *of_many)


def _others(line: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    values = {name: float(line[name]) for name in ("bpp", "ms_ssim", "entropy_efficiency")}
    values["file_bytes"] = float(line["total_mbit"]) * 1e6 / 8
    return tuple((name, values[name]) for name in OTHERS)


def beside(published: Published | None, ours: Mapping[str, float | None]) -> tuple[Figure, ...]:
    """What was published beside PSNR, and ours of the same columns, where we have it."""
    others = () if published is None else published.others
    return tuple(Figure(column, value, known) for column, value in others if (known := ours[column]) is not None)


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
    """Published rate–distortion curves of a video: none but where it is a whole video of UVG at full size.

    Names of videos count without case and hyphens, as in `published_for`.
    """
    return tuple(
        curve
        for curve in _all_curves()
        if curve.video != AVERAGE
        and _plain(curve.video) == _plain(video)
        and (frames, height, width) == (_FRAMES[curve.video], _HEIGHT, _WIDTH)
    )


def published_average_curves(shapes: Mapping[str, tuple[Value, Value, Value]]) -> tuple[PublishedCurve, ...]:
    """Published curves of the average over UVG, where `shapes` has its seven videos, whole, and no others.

    `shapes` are frames, height and width of each video by its name.
    """
    whole = {(_plain(video), (frames, _HEIGHT, _WIDTH)) for video, frames in _FRAMES.items()}
    if {(_plain(video), shape) for video, shape in shapes.items()} != whole:
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
    """The figure of the point's model and video at the nearest parameter count, within `PARAMETERS_WITHIN`.

    None as well where the point is of another task, of a part of the video or of another frame size: that was
    not published.
    """
    params = point["params_total"]
    if not isinstance(params, int | float) or point["task"] not in (None, "regression"):
        return None
    same = [
        figure
        for figure in published_figures()
        if _codec(figure) == point["codec"] and _plain(figure.video) == _plain(point["video"])
    ]
    nearest = min(same, key=lambda figure: abs(figure.params_m - params / 1e6), default=None)
    if nearest is None or abs(nearest.params_m - params / 1e6) > PARAMETERS_WITHIN * nearest.params_m:
        return None
    return nearest if (point["frames"], point["height"], point["width"]) == nearest.shape else None


def published_average(figures: Iterable[Published | None]) -> Published | None:
    """The average that goes with these figures: all seven videos, each once, of one model at one size."""
    known = [figure for figure in figures if figure is not None]
    if sorted(figure.video for figure in known) != sorted(_FRAMES):
        return None
    if len({(figure.model, figure.params_m) for figure in known}) > 1:
        return None
    of_model = (known[0].model, known[0].params_m, AVERAGE)
    return next(figure for figure in published_figures() if (figure.model, figure.params_m, figure.video) == of_model)


def compare(points: Sequence[Point], planned: Iterable[tuple[str, str]] = ()) -> list[Comparison]:
    """Set every model run beside its published figure, and the average of the seven videos where all are there.

    `planned` are the (video, run without its seed) that should have a result. Raises `UserError` where there
    are no points.
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
    """The comparison to read: a line a row, then what was compared, then what was published beside PSNR."""
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
    """One run on one video: the seeds are averaged, and one without a value leaves no mean."""
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
    theirs = row.published
    return (
        row.video,
        row.run,
        number(row.params_m, ".2f"),
        number(None if theirs is None else theirs.params_m, ".2f"),
        number(row.ours_db, ".2f"),
        number(None if theirs is None else theirs.psnr_db, ".2f"),
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
    """What the published model is called here, None where it is not built here."""
    return figure.model if figure.model in _OF_MANY.values() else _OF_ONE.get(figure.model)


def _plain(name: Value) -> str:
    """A name of a video without case and hyphens: shake-n-dry is ShakeNDry."""
    plain = "".join(letter for letter in str(name).lower() if letter.isalnum())
    return _ALSO_CALLED.get(plain, plain)
