"""The tables of the page: rate and quality, cost, BD-rates, and what was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from boostnerv.evaluation.bd_rate import METHODS, Delta
from boostnerv.evaluation.points import Point, Value
from boostnerv.evaluation.published import TOLERANCE_DB, compare
from boostnerv.report.bd_table import METRICS, bd_rows
from boostnerv.report.details import fragment
from boostnerv.report.tables import time_text

MOST_ROWS = 5000


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
    Column("codec", "codec"),
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
    Column("device", "device"),
    Column("decoded on", "decode_device"),
    Column("threads", "decode_threads", "d"),
)
_EACH = (
    Column("codec", "codec"),
    Column("size", "size_label"),
    Column("frames", "frames", ",d"),
    Column("PSNR (dB)", "psnr_db", ".2f"),
    Column("MS-SSIM", "ms_ssim", ".4f"),
)


def tables(points: Sequence[Point]) -> Iterator[Table]:
    """Those that `points` have rows for; raises `UserError` where the package that BD-rates need is not installed."""
    shown = [point for point in points if point["kind"] != "part"]
    parts = [point for point in points if point["kind"] == "part"]
    yield _of_points("quality", "Rate and quality", _QUALITY, shown)
    bd_rates, published = list(_bd_rates(points)), list(_published(points))
    if bd_rates:
        yield _limited("bd-rate", "BD-rate: negative where the codec needs fewer bits", _BD_RATE, bd_rates)
    if published:
        yield _limited("published", f"Beside published figures, ± {TOLERANCE_DB:g} dB", _PUBLISHED, published)
    yield _of_points("cost", "Cost", _COST, shown)
    if parts:
        yield _of_points("each", "Each video of a model of many", _EACH, parts)


def _of_points(name: str, title: str, columns: Sequence[Column], points: Sequence[Point]) -> Table:
    """One row a point; a column stands where a point has a value for it."""
    names = [Column("run", "run")]
    if name == "each" or len({point["video"] for point in points}) > 1:
        names.insert(0, Column("video", "video"))
    used = [column for column in columns if any(point[column.name] is not None for point in points)]
    chosen = (*names, *used)
    rows = [
        Row(str(point["video"]), str(point["kind"]), tuple(_cell(point, column) for column in chosen))
        for point in points
    ]
    return _limited(name, title, chosen, rows)


def _limited(name: str, title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    return Table(name, title, tuple(columns), tuple(rows[:MOST_ROWS]), max(0, len(rows) - MOST_ROWS))


def _cell(point: Point, column: Column) -> Cell:
    link = fragment(point) if column.name == "run" and point["kind"] != "part" else ""
    return _value_cell(point[column.name], column.form, link)


def _value_cell(value: Value, form: str, link: str = "") -> Cell:
    if value is None:
        return Cell("–")
    if form == "time" and isinstance(value, int | float):
        return Cell(time_text(value), value)
    return Cell(f"{value:{form}}" if form else str(value), value, link)


_BD_RATE = (
    Column("video", "video"),
    Column("codec", "curve"),
    Column("against", "anchor"),
    Column("quality", "metric"),
    *(Column(f"BD-rate, {method} (%)", method, "+.2f") for method in METHODS),
    Column("overlap (%)", "overlap", ".0f"),
    Column("why none", "reason"),
)


def _bd_rates(points: Sequence[Point]) -> Iterator[Row]:
    for row in bd_rows(points):
        names = (row.video, row.curve, row.anchor, METRICS[row.metric].name)
        yield Row(row.video, "", (*(Cell(name, name) for name in names), *_delta_cells(row.found.rate_percent)))


def _delta_cells(delta: Delta) -> Iterator[Cell]:
    for method in METHODS:
        yield _value_cell(delta.values.get(method), "+.2f")
    yield _value_cell(delta.overlap_percent, ".0f")
    yield Cell(delta.reason, delta.reason or None)


_PUBLISHED = (
    Column("video", "video"),
    Column("run", "run"),
    Column("published (M parameters)", "params_m", ".2f"),
    Column("published (dB)", "published", ".2f"),
    Column("ours (dB)", "ours", ".2f"),
    Column("difference (dB)", "difference", "+.2f"),
    Column("verdict", "verdict"),
    Column("source", "source"),
)


def _published(points: Sequence[Point]) -> Iterator[Row]:
    """Only what was published: nothing stands in for the rest."""
    for row in compare(points):
        if row.published is None:
            continue
        of, verdict = row.published, row.verdict(TOLERANCE_DB)
        values = (row.video, row.run, of.params_m, of.psnr_db, row.ours_db, row.difference_db, verdict, of.source)
        cells = (_value_cell(value, column.form) for value, column in zip(values, _PUBLISHED, strict=True))
        yield Row(row.video, verdict, tuple(cells))
