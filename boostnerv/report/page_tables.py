"""The tables of the page: rate and quality, cost, BD-rates, and what was published."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

from boostnerv.evaluation.bd_rate import METHODS, Delta
from boostnerv.evaluation.points import Point, Value
from boostnerv.evaluation.published import TOLERANCE_DB, Comparison, Published, compare
from boostnerv.report.bd_table import METRICS, BesidePublished, bd_rows, beside_published
from boostnerv.report.bd_table import Row as BdRow
from boostnerv.report.details import fragment
from boostnerv.report.tables import time_text

MOST_ROWS = 5000


@dataclass(frozen=True)
class Column:
    """A column of a table: `form` is the format of its numbers, empty for text; `style` is a class of its cells."""

    heading: str
    name: str
    form: str = ""
    style: str = ""


@dataclass(frozen=True)
class Cell:
    """What is shown, and by what it is sorted: nothing where there is no value. `style` is a class of the cell."""

    text: str
    key: Value = None
    link: str = ""
    style: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table; `kind` is that of the point it is of, or empty."""

    video: str
    kind: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table that sorts, and how many rows it has not."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: int = 0


_QUALITY = (
    Column("codec", "codec"),
    Column("size", "size_label"),
    Column("file (bytes)", "file_bytes", ",d"),
    Column("bpp", "bpp", ".4f"),
    Column("PSNR (dB)", "psnr_db", ".2f"),
    Column("MS-SSIM", "ms_ssim", ".4f"),
    Column("PSNR Y (dB)", "psnr_y_db", ".2f"),
    Column("PSNR U (dB)", "psnr_u_db", ".2f"),
    Column("PSNR V (dB)", "psnr_v_db", ".2f"),
    Column("PSNR YUV (dB)", "psnr_yuv_db", ".2f"),
    Column("VMAF", "vmaf", ".1f"),
    Column("seen (dB)", "psnr_seen_db", ".2f"),
    Column("unseen (dB)", "psnr_unseen_db", ".2f"),
    Column("hidden (dB)", "psnr_hidden_db", ".2f"),
    Column("float (dB)", "psnr_float_db", ".2f"),
    Column("quantised (dB)", "psnr_quantized_db", ".2f"),
)
_COST = (
    Column("parameters", "params_total", ",d"),
    Column("kMAC/pixel", "kmac_per_pixel", ".2f"),
    Column("training", "train_s", "time"),
    Column("fine-tuning", "finetune_s", "time"),
    Column("encoding", "encode_s", "time"),
    Column("decoding (fps)", "decode_fps", ".1f"),
    Column("warm (fps)", "decode_warm_fps", ".1f"),
    Column("without transfer (fps)", "decode_compute_fps", ".1f"),
    Column("memory (MiB)", "peak_memory_mib", ",.0f"),
    Column("returns", "returns", "d"),
    Column("device", "device", style="wrapped"),
    Column("decoded on", "decode_device", style="wrapped"),
    Column("threads", "decode_threads", "d"),
)
_EACH = (
    Column("codec", "codec"),
    Column("size", "size_label"),
    Column("frames", "frames", ",d"),
    Column("PSNR (dB)", "psnr_db", ".2f"),
    Column("MS-SSIM", "ms_ssim", ".4f"),
)


def tables(points: Sequence[Point], linked: Container[str]) -> Iterator[Table]:
    """Those that `points` have rows for; raises `UserError` where the package that BD-rates need is not installed.

    `linked` are the ids of the details that the page has: rows of others have no link.
    """
    shown = [point for point in points if point["kind"] != "part"]
    parts = [point for point in points if point["kind"] == "part"]
    yield _of_points("quality", "Rate and quality", _QUALITY, shown, linked)
    found = bd_rows(points)
    bd_rates, published, published_rates = _bd_rates(found), _published(points), _published_rates(found, points)
    if bd_rates:
        yield _without_one_video("bd-rate", _BD_TITLE, _BD_RATE, bd_rates)
    if published:
        yield _without_one_video(
            "published", f"Beside published figures, PSNR ± {TOLERANCE_DB:g} dB", _PUBLISHED, published
        )
    if published_rates:
        yield _limited("published-bd-rate", "Published BD-rates over UVG", _PUBLISHED_RATES, published_rates)
    yield _of_points("cost", "Cost", _COST, shown, linked)
    if parts:
        yield _of_points("each", "Each video of a model of many", _EACH, parts, linked)


def _of_points(
    name: str, title: str, columns: Sequence[Column], points: Sequence[Point], linked: Container[str]
) -> Table:
    """One row a point; a column stands where a point has a value for it."""
    names = [Column("run", "run")]
    if name == "each" or len({point["video"] for point in points}) > 1:
        names.insert(0, Column("video", "video"))
    used = [column for column in columns if _tells(column, points)]
    chosen = (*names, *used)
    rows = [
        Row(str(point["video"]), str(point["kind"]), tuple(_cell(point, column, linked) for column in chosen))
        for point in points
    ]
    return _limited(name, title, chosen, rows)


def _tells(column: Column, points: Sequence[Point]) -> bool:
    """Whether a column has a value, and one worth its width: the page says at its end what device all points share, and
    of trainings that never went back there is nothing to tell."""
    if column.name == "returns":
        return any(point["returns"] for point in points)
    if column.name == "device":
        return len({point["device"] for point in points} - {None}) > 1
    if column.name == "decode_device":
        return any(point["decode_device"] not in (None, point["device"]) for point in points)
    return any(point[column.name] is not None for point in points)


def _limited(name: str, title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    return Table(name, title, tuple(columns), tuple(rows[:MOST_ROWS]), max(0, len(rows) - MOST_ROWS))


def _without_one_video(name: str, title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """A table whose first column is the video, which stands there only where there are several."""
    if len({row.video for row in rows}) > 1:
        return _limited(name, title, columns, rows)
    return _limited(name, title, columns[1:], [replace(row, cells=row.cells[1:]) for row in rows])


def _cell(point: Point, column: Column, linked: Container[str]) -> Cell:
    of_run = column.name == "run" and point["kind"] != "part" and fragment(point) in linked
    cell = _value_cell(point[column.name], column.form, fragment(point) if of_run else "")
    return replace(cell, style=column.style)


def _value_cell(value: Value, form: str, link: str = "") -> Cell:
    if value is None:
        return Cell("–")
    if form == "time" and isinstance(value, int | float):
        return Cell(time_text(value), value)
    return Cell(f"{value:{form}}" if form else str(value), value, link)


_BD_TITLE = "BD-rate, negative where the codec needs fewer bits, and BD-PSNR, positive where its quality is better"
_BD_RATE = (
    Column("video", "video"),
    Column("codec", "curve"),
    Column("against", "anchor"),
    Column("quality", "metric"),
    *(Column(f"BD-rate {method} (%)", f"rate-{method}", "+.2f") for method in METHODS),
    Column("overlap (%)", "rate-overlap", ".0f"),
    *(Column(f"BD-PSNR {method}", f"quality-{method}", "+.3f") for method in METHODS),
    Column("overlap (%)", "quality-overlap", ".0f"),
)


def _bd_rates(rows: Sequence[BdRow]) -> list[Row]:
    return [Row(row.video, "", tuple(_bd_cells(row))) for row in rows]


def _bd_cells(row: BdRow) -> Iterator[Cell]:
    metric = METRICS[row.metric]
    names = (row.video, row.curve, row.anchor, f"{metric.name} ({metric.unit})")
    yield from (Cell(name, name) for name in names)
    yield from _delta_cells(row.found.rate_percent, "+.2f")
    yield from _delta_cells(row.found.quality, "+.3f")


def _delta_cells(delta: Delta, form: str) -> Iterator[Cell]:
    """A number a method and the overlap; the reason stands in place of the first where there are none."""
    values = [_value_cell(delta.values.get(method), form) for method in METHODS]
    yield Cell(delta.reason, style="wrapped reason") if delta.reason else values[0]
    yield from values[1:]
    yield _value_cell(delta.overlap_percent, ".0f")


_PUBLISHED = (
    Column("video", "video"),
    Column("run", "run"),
    Column("published at (M)", "params_m", ".2f"),
    Column("figure", "figure"),
    Column("published", "published", "figure"),
    Column("ours", "ours", "figure"),
    Column("difference", "difference", "figure"),
    Column("verdict", "verdict"),
    Column("source", "source"),
)


def _published(points: Sequence[Point]) -> list[Row]:
    """A row a figure. Only what was published: nothing stands in for the rest."""
    rows = []
    for row in compare(points):
        if row.published is None:
            continue
        names = [Cell(row.video, row.video), Cell(row.run, row.run), _value_cell(row.published.params_m, ".2f")]
        for figure, cells, verdict in _figures(row, row.published):
            ends = [_value_cell(verdict, ""), Cell(row.published.source, row.published.source, style="wrapped")]
            rows.append(Row(row.video, verdict or "", (*names, Cell(figure, figure), *cells, *ends)))
    return rows


def _figures(row: Comparison, of: Published) -> Iterator[tuple[str, list[Cell], str | None]]:
    """Name, published, ours and difference, and the verdict: PSNR, then the others, which have no tolerance."""
    values = [of.psnr_db, row.ours_db, row.difference_db]
    cells = [_value_cell(value, form) for value, form in zip(values, (".2f", ".2f", "+.2f"), strict=True)]
    yield "PSNR (dB)", cells, row.verdict(TOLERANCE_DB)
    for figure in row.others:
        name, ours, published, difference = figure.texts()
        cells = [Cell(published, figure.published), Cell(ours, figure.ours), Cell(difference, figure.difference)]
        yield name, cells, None


_PUBLISHED_RATES = (
    Column("codec", "test"),
    Column("against", "anchor"),
    Column("quality", "metric"),
    Column("published (%)", "published", "+.2f"),
    Column("ours (%)", "ours", "+.2f"),
    Column("difference", "difference", "+.2f"),
    Column("source", "source", style="wrapped"),
)


def _published_rates(rows: Sequence[BdRow], points: Sequence[Point]) -> list[Row]:
    return [Row("", "", tuple(_rate_cells(rate))) for rate in beside_published(rows, points)]


def _rate_cells(rate: BesidePublished) -> Iterator[Cell]:
    of = rate.published
    values = (of.test, of.anchor, of.metric, of.bd_rate_percent, rate.ours_percent, rate.difference_percent, of.source)
    for value, column in zip(values, _PUBLISHED_RATES, strict=True):
        yield replace(_value_cell(value, column.form), style=column.style)
