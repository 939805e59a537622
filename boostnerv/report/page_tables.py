"""The tables of the page: rate and quality, cost, BD-rates, and published figures."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

from boostnerv.evaluation.bd_rate import METHODS, Delta
from boostnerv.evaluation.points import Point, Value
from boostnerv.evaluation.published import TOLERANCE_DB, Comparison, Published, compare
from boostnerv.report.bd_table import METRICS, BdRow, BesidePublished, bd_rows, beside_published
from boostnerv.report.details import fragment
from boostnerv.report.tables import time_text

MOST_ROWS = 5000


@dataclass(frozen=True)
class Column:
    """A column of a table: `form` is the format of its numbers, empty for text; `style` is a CSS class of its cells."""

    heading: str
    name: str
    form: str = ""
    style: str = ""


@dataclass(frozen=True)
class Cell:
    """The text of a cell and its sorting key, None without a value; `style` is a CSS class of the cell."""

    text: str
    key: Value = None
    link: str = ""
    style: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table; `kind` is a CSS class, e.g. the kind of the row's point, or empty."""

    video: str
    kind: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A sortable table and its number of omitted rows."""

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
    """The tables for which `points` have rows; raises `UserError` if the package for BD-rates is not installed.

    `linked` are the ids of the details on the page; other rows get no link.
    """
    runs = [point for point in points if point["kind"] != "part"]
    parts = [point for point in points if point["kind"] == "part"]
    yield _of_points("quality", "Rate and quality", _QUALITY, runs, linked)
    bd = bd_rows(points)
    bd_rates, published, published_rates = _bd_rates(bd), _published(points), _published_rates(bd, points)
    if bd_rates:
        yield _without_one_video("bd-rate", _BD_TITLE, _BD_RATE, bd_rates)
    if published:
        yield _without_one_video(
            "published", f"Beside published figures, PSNR ± {TOLERANCE_DB:g} dB", _PUBLISHED, published
        )
    if published_rates:
        yield _limited("published-bd-rate", "Published BD-rates over UVG", _PUBLISHED_RATES, published_rates)
    yield _of_points("cost", "Cost", _COST, runs, linked)
    if parts:
        yield _of_points("each", "Each video of a model of many", _EACH, parts, linked)


def _of_points(
    name: str, title: str, columns: Sequence[Column], points: Sequence[Point], linked: Container[str]
) -> Table:
    """A table with one row per point and the columns that are informative."""
    names = [Column("run", "run")]
    if name == "each" or len({point["video"] for point in points}) > 1:
        names.insert(0, Column("video", "video"))
    used = [column for column in columns if _is_informative(column, points)]
    chosen = (*names, *used)
    rows = [
        Row(str(point["video"]), str(point["kind"]), tuple(_cell(point, column, linked) for column in chosen))
        for point in points
    ]
    return _limited(name, title, chosen, rows)


def _is_informative(column: Column, points: Sequence[Point]) -> bool:
    """Whether a column is worth its width: a device that all points share is given at the end of the page, and zero
    roll-backs of training need no column."""
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
    """A table whose first column, the video, is dropped if there is only one."""
    if len({row.video for row in rows}) > 1:
        return _limited(name, title, columns, rows)
    return _limited(name, title, columns[1:], [replace(row, cells=row.cells[1:]) for row in rows])


def _cell(point: Point, column: Column, linked: Container[str]) -> Cell:
    is_link = column.name == "run" and point["kind"] != "part" and fragment(point) in linked
    cell = _value_cell(point[column.name], column.form, fragment(point) if is_link else "")
    return replace(cell, style=column.style)


def _value_cell(value: Value, form: str, link: str = "") -> Cell:
    if value is None:
        return Cell("–")
    if form == "time" and isinstance(value, int | float):
        return Cell(time_text(value), value)
    return Cell(f"{value:{form}}" if form else str(value), value, link)


_BD_TITLE = "BD-rate, negative if the codec needs fewer bits, and BD-PSNR, positive if its quality is better"
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
    yield from _delta_cells(row.difference.rate_percent, "+.2f")
    yield from _delta_cells(row.difference.quality, "+.3f")


def _delta_cells(delta: Delta, form: str) -> Iterator[Cell]:
    """A number per method and the overlap; without numbers the reason takes the place of the first."""
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
    """One row per published figure; results without one are left out."""
    rows = []
    for row in compare(points):
        if row.published is None:
            continue
        names = [Cell(row.video, row.video), Cell(row.run, row.run), _value_cell(row.published.params_m, ".2f")]
        for figure, cells, verdict in _figures(row, row.published):
            ends = [_value_cell(verdict, ""), Cell(row.published.source, row.published.source, style="wrapped")]
            rows.append(Row(row.video, verdict or "", (*names, Cell(figure, figure), *cells, *ends)))
    return rows


def _figures(row: Comparison, psnr: Published) -> Iterator[tuple[str, list[Cell], str | None]]:
    """(name, cells of published, ours and difference, verdict) of PSNR, and of other figures, without a verdict."""
    values = [psnr.psnr_db, row.ours_db, row.difference_db]
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
    known = rate.published
    percents = (known.bd_rate_percent, rate.ours_percent, rate.difference_percent)
    values = (known.test, known.anchor, known.metric, *percents, known.source)
    for value, column in zip(values, _PUBLISHED_RATES, strict=True):
        yield replace(_value_cell(value, column.form), style=column.style)
