"""BD-rates of an experiment from points.csv, as Markdown and CSV.

The curve of every model is compared with that of every anchor, and a boosted model's with its plain one; for
full-length UVG videos published curves are included on both sides. As in papers, the mean over videos is the mean of
the videos' own numbers; there is none if a video has no number.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boostnerv import files
from boostnerv.evaluation.bd_rate import LEAST_POINTS, METHODS, Curve, Delta, Difference, difference, ms_ssim_db
from boostnerv.evaluation.points import Point, cell_text
from boostnerv.evaluation.published import PublishedBdRate, PublishedCurve, published_bd_rates
from boostnerv.report.published_curves import SUFFIX, curve_name, published_mean, published_of_video, single_videos
from boostnerv.report.summaries import Summary, by_video, curves, over_seeds


@dataclass(frozen=True)
class Metric:
    """A column of points.csv as the quality of a curve: its name, and its unit after `scaled`."""

    name: str
    unit: str
    scaled: Callable[[float], float] = float


METRICS = {
    "psnr_db": Metric("PSNR", "dB"),
    "ms_ssim": Metric("MS-SSIM", "dB", ms_ssim_db),
    "psnr_yuv_db": Metric("PSNR YUV", "dB"),
    "vmaf": Metric("VMAF", "points"),
}
"""Columns of points.csv that measure the quality of a curve."""

_PUBLISHED_METRICS = ("psnr_db", "ms_ssim")
_BOOST = "-boost"
_MEAN = "mean of "
_NONE = "–"


@dataclass(frozen=True)
class BdRow:
    """Bjøntegaard deltas of `curve` relative to `anchor` on a video, or averaged over several.

    `metric` is a key of `METRICS`; `points` and `anchor_points` are the numbers of points of the curves.
    """

    video: str
    metric: str
    curve: str
    anchor: str
    points: int
    anchor_points: int
    difference: Difference


@dataclass(frozen=True)
class BesidePublished:
    """A published BD-rate, and ours for the same pair, None if this experiment has none."""

    published: PublishedBdRate
    ours_percent: float | None

    @property
    def difference_percent(self) -> float | None:
        """Our BD-rate minus the published one, in percentage points."""
        return None if self.ours_percent is None else self.ours_percent - self.published.bd_rate_percent


def write_bd_tables(points: Sequence[Point], markdown_path: str | Path | None, csv_path: str | Path | None) -> None:
    """Write the tables that have a path; raises `UserError` if there are no points or a curve is invalid."""
    if markdown_path is None and csv_path is None:
        return  # without them the package bjontegaard is not needed
    rows = bd_rows(points)
    if markdown_path is not None:
        files.write_text(markdown_path, markdown(rows, beside_published(rows, points)))
    if csv_path is not None:
        files.write_text(csv_path, rows_csv(rows))


def bd_rows(points: Sequence[Point]) -> list[BdRow]:
    """The deltas of all pairs of curves, video by video, and then averaged over videos if there are several."""
    rows: list[BdRow] = []
    for video, group in by_video(over_seeds(points)).items():
        published = published_of_video(points, video)
        for metric in METRICS:
            ours = {name: curve for name, curve in _curves(group, metric) if curve.points}
            known = published if metric in _PUBLISHED_METRICS else ()
            theirs = {curve.name: curve for curve in (_published(curve, metric) for curve in known)}
            every = ours | theirs
            for name, anchor in _pairs(group, ours, theirs):
                counts = (len(every[name].points), len(every[anchor].points))
                rows.append(BdRow(video, metric, name, anchor, *counts, difference(every[name], every[anchor])))
    return [*rows, *_means(rows, single_videos(points))]


def rows_csv(rows: Sequence[BdRow]) -> str:
    """The rows as CSV: for rate and for quality three numbers and an overlap, or the reason why there are none."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    identity = ("video", "metric", "curve", "anchor", "points", "anchor_points")
    rate = [f"bd_rate_{method}_percent" for method in METHODS]
    quality = [f"bd_quality_{method}" for method in METHODS]
    table.writerow(
        (
            *(*identity, *rate, "quality_overlap_percent", "bd_rate_reason"),
            *(*quality, "quality_unit", "rate_overlap_percent", "bd_quality_reason"),
        )
    )
    for row in rows:
        *numbers, overlap, reason = _values(row.difference.quality)
        cells = (*_values(row.difference.rate_percent), *numbers, METRICS[row.metric].unit, overlap, reason)
        table.writerow((*(getattr(row, name) for name in identity), *cells))
    return text.getvalue()


def markdown(rows: Sequence[BdRow], published: Sequence[BesidePublished] = ()) -> str:
    """The rows as Markdown: an explanation, a table per video and metric, and published BD-rates."""
    if not rows:
        text = "There are no curves to compare: no video was coded by both a model and a classical codec."
        return "\n".join(["## BD-rate", "", text, *_published_section(published)]) + "\n"
    lines = ["## BD-rate", "", _MEANING]
    for video in dict.fromkeys(row.video for row in rows):
        for key, metric in METRICS.items():
            group = [row for row in rows if (row.video, row.metric) == (video, key)]
            if group:
                lines += ["", f"## {video}: {metric.name}", "", *_table(group, metric)]
    return "\n".join([*lines, *_published_section(published)]) + "\n"


_MEANING = (
    "BD-rate is the mean difference of the rate at equal quality, negative if the codec needs fewer bits than the one "
    "it is compared with; BD-PSNR is the mean difference of quality at equal rate. Each is computed with a cubic "
    "polynomial, piecewise (PCHIP) and with Akima's interpolation: if these differ much, rely on none. Overlap is the "
    "intersection of both ranges over their union. Quality by MS-SSIM is −10 log10(1 − MS-SSIM) in dB. Means "
    "over videos are means of the videos' numbers."
)


# --- curves and pairs -----------------------------------------------------------------------------------------


def _curves(group: Sequence[Summary], metric: str) -> Iterator[tuple[str, Curve]]:
    """(name, curve) pairs of one video, without points that lack a rate or this metric."""
    for name, summaries in curves(group).items():
        pairs = [(summary.mean["bpp"], summary.mean[metric]) for summary in summaries]
        known = [(rate, value) for rate, value in pairs if rate is not None and value is not None]
        yield name, Curve(name, tuple((rate, METRICS[metric].scaled(value)) for rate, value in known))


def _published(curve: PublishedCurve, metric: str) -> Curve:
    points = tuple((point.bpp, METRICS[metric].scaled(getattr(point, metric))) for point in curve.points)
    return Curve(curve_name(curve), points)


def _pairs(
    group: Sequence[Summary], ours: Mapping[str, Curve], theirs: Mapping[str, Curve]
) -> Iterator[tuple[str, str]]:
    """(curve, anchor) pairs of names to compare."""
    kinds = {summary.curve: summary.kind for summary in group}
    models = [name for name in ours if kinds[name] == "model"]
    anchors = [name for name in ours if kinds[name] == "anchor"]
    for name in models:
        yield from ((name, anchor) for anchor in (*anchors, *theirs))
        plain = name.replace(_BOOST, "", 1)
        comparable = plain in ours and min(len(ours[plain].points), len(ours[name].points)) >= LEAST_POINTS
        if _BOOST in name and comparable:
            yield name, plain
    yield from ((name, anchor) for name in theirs for anchor in anchors)
    yield from ((name, anchor) for name in anchors for anchor in anchors if name != anchor)


def _means(rows: Sequence[BdRow], videos: Sequence[str]) -> list[BdRow]:
    """The mean of every pair over all videos; empty for a single video."""
    if len(videos) < 2:
        return []
    pairs: dict[tuple[str, str, str], list[BdRow]] = {}
    for row in rows:
        if row.video in videos:
            pairs.setdefault((row.metric, row.curve, row.anchor), []).append(row)
    return [
        BdRow(
            f"{_MEAN}{len(videos)} videos",
            *pair,
            points=min(row.points for row in group),
            anchor_points=min(row.anchor_points for row in group),
            difference=Difference(
                _mean([row.difference.rate_percent for row in group], len(videos)),
                _mean([row.difference.quality for row in group], len(videos)),
            ),
        )
        for pair, group in pairs.items()
    ]


def _mean(deltas: Sequence[Delta], videos: int) -> Delta:
    """The mean per method, with the smallest overlap."""
    known = [delta for delta in deltas if not delta.reason]
    if len(known) < videos:
        return Delta(reason=f"{len(known)} of {videos} videos have a number.")
    values = {method: statistics.fmean(delta.values[method] for delta in known) for method in METHODS}
    return Delta(values, min(delta.overlap_percent or 0.0 for delta in known))


def beside_published(rows: Sequence[BdRow], points: Sequence[Point]) -> list[BesidePublished]:
    """Published BD-rates over UVG and ours for the same pairs, if the experiment has all its videos at full length."""
    if not published_mean(points):
        return []
    ours = {(row.curve, row.anchor): row for row in rows if _is_mean(row) and row.metric == "psnr_db"}
    return [
        BesidePublished(rate, _percent(ours.get((_curve_for(rate.test, ours), _curve_for(rate.anchor, ours)))))
        for rate in published_bd_rates()
        if rate.dataset == "UVG"
    ]


def _curve_for(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Our name of a published codec, else its own with `SUFFIX`: experiments run x265 with the preset veryslow."""
    ours = {"x265 veryslow": "x265"}.get(name, name.lower())
    return ours if any(ours in pair for pair in pairs) else name + SUFFIX


def _is_mean(row: BdRow) -> bool:
    return row.video.startswith(_MEAN)


def _percent(row: BdRow | None) -> float | None:
    """Our BD-rate by a cubic polynomial, the method of the published ones."""
    return None if row is None else row.difference.rate_percent.values.get("cubic")


# --- text -----------------------------------------------------------------------------------------------------


def _values(delta: Delta) -> tuple[str, ...]:
    """CSV cells: a number per method, the overlap, the reason."""
    numbers = (delta.values[method] if delta.values else None for method in METHODS)
    return (*map(cell_text, (*numbers, delta.overlap_percent)), delta.reason)


def _table(rows: Sequence[BdRow], metric: Metric) -> list[str]:
    headings = ["codec", "against"]
    headings += ["BD-rate (%), cubic", "PCHIP", "Akima", "overlap of qualities (%)"]
    headings += [f"BD-{metric.name} ({metric.unit}), cubic"]
    headings += ["PCHIP", "Akima", "overlap of rates (%)"]
    lines = ["| " + " | ".join(headings) + " |", "|---|---" + "|--:" * (len(headings) - 2) + "|"]
    for row in rows:
        cells = (*_cells(row.difference.rate_percent, "+.2f"), *_cells(row.difference.quality, "+.3f"))
        lines.append(f"| {row.curve} | {row.anchor} | {' | '.join(cells)} |")
    return lines


def _cells(delta: Delta, form: str) -> tuple[str, ...]:
    """Three numbers and the overlap; without numbers the reason takes the place of the first."""
    overlap = _NONE if delta.overlap_percent is None else f"{delta.overlap_percent:.0f}"
    if delta.reason:
        return (delta.reason, _NONE, _NONE, overlap)
    return (*(_signed(delta.values[method], form) for method in METHODS), overlap)


def _signed(value: float, form: str) -> str:
    """A number with its sign; one that rounds to zero has none."""
    text = f"{value:{form}}"
    return text if float(text) else text[1:]


def _published_section(rates: Sequence[BesidePublished]) -> list[str]:
    if not rates:
        return []
    lines = ["", "## Published BD-rates", "", _OURS_BESIDE, ""]
    lines += ["| codec | against | quality | published (%) | ours (%) | difference | source |"]
    lines += ["|---|---|---|--:|--:|--:|---|"]
    for rate in rates:
        published, values = rate.published, (rate.ours_percent, rate.difference_percent)
        ours, difference = (_NONE if value is None else _signed(value, "+.2f") for value in values)
        numbers = f"{published.bd_rate_percent:+.2f} | {ours} | {difference}"
        lines.append(f"| {published.test} | {published.anchor} | {published.metric} | {numbers} | {published.source} |")
    return lines


_OURS_BESIDE = "Over UVG; ours is the cubic BD-rate of the same pair, if this experiment has both curves."
