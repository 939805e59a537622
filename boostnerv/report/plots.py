"""Figures from points.csv and train.jsonl: quality over rate or size, and training curves, as SVG and PNG.

A comparison of files is drawn alike, a point a file.

Where nothing of a video's models was coded, quality stands over their parameters. Anchors have none: they are left
out, and the figure says so. A line across at an anchor's quality would say nothing, as any quality can be had at
some rate.

One style for all: the colours of Okabe and Ito, which people who see red and green alike can tell apart, and
a marker of its own for every codec, so that a print in grey still reads. Models are solid, anchors dashed.
Equal points give equal bytes.
"""

from __future__ import annotations

import itertools
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from boostnerv import files
from boostnerv.errors import UserError
from boostnerv.evaluation.metrics import MS_SSIM_SMALLEST_SIDE
from boostnerv.evaluation.points import Point
from boostnerv.report.names import FILE_PARTS, MEAN_NAME
from boostnerv.report.summaries import Summary, by_video, count_text, curves, over_seeds, over_videos, size_text

if TYPE_CHECKING:
    from boostnerv.evaluation.compare import Row

# Without their yellow, which white paper swallows. Seven colours and eight markers make 56 pairs.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
FIGURE_SUFFIXES = (".png", ".svg")
LOG_ABOVE_RATIO = 8.0
"""Rates, or sizes, that span more than this are drawn on a logarithmic axis."""

_AXES = {"psnr_db": "PSNR (dB)", "ms_ssim": "MS-SSIM"}
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "savefig.facecolor": "white",
    # Element ids of an SVG are random without a salt.
    "svg.hashsalt": "boostnerv",
    "svg.fonttype": "path",
}
_FIGURE_INCHES = (6.6, 4.6)
_DPI = 200
_LEGEND_CHARACTERS = 92
"""Characters of the legend's font that the width of a figure holds."""
_LEGEND_HANDLE_CHARACTERS = 9
_LOSS_LOG_ABOVE_RATIO = 100.0
_LABEL_POINTS = 7.0


@dataclass(frozen=True)
class Look:
    """How one curve is drawn."""

    colour: str
    marker: str
    line: str


@dataclass(frozen=True)
class Across:
    """The horizontal axis: the averaged column that it shows in units of `unit`, and what points are labelled with."""

    column: str
    name: str
    unit: float
    unit_name: str
    label_column: str
    label_text: Callable[[float], str]

    def known(self, summary: Summary) -> bool:
        return summary.mean[self.column] is not None

    def of(self, summary: Summary) -> float:
        """Where the summary stands on the axis."""
        return summary.value(self.column) / self.unit

    def label(self, summary: Summary) -> str:
        """What is written beside its point."""
        return self.label_text(summary.value(self.label_column))


RATE = Across("bpp", "rate", 1.0, "bits per pixel", "file_bytes", size_text)
PARAMETERS = Across("params_total", "parameters", 1e6, "millions", "params_total", count_text)


def plot_points(points: Sequence[Point], folder: str | Path) -> tuple[Path, ...]:
    """Write PSNR and MS-SSIM over rate or size for each video, and for their mean where there are several.

    Returns the files, those of `figure_files`. Raises `UserError` where there are no points.
    """
    summaries = over_seeds(points)
    looks = curve_looks(summaries)
    groups = by_video(summaries)
    if len(groups) > 1:
        groups[MEAN_NAME] = over_videos(summaries)
    written: list[Path] = []
    for name, group in groups.items():
        for metric, part in FILE_PARTS.items():
            with matplotlib.rc_context(_STYLE):
                written += _save(quality_figure(group, metric, looks), Path(folder) / f"{part}-{name}")
    return tuple(written)


def plot_training(logs: Mapping[str, str | Path], path: str | Path) -> tuple[Path, ...]:
    """Write PSNR and loss over epochs of the runs in `logs` (label -> train.jsonl) as `path` .svg and .png.

    Raises `UserError` where there is no log or none has a step in it.
    """
    histories = {label: read_history(log) for label, log in logs.items()}
    if not any(history.loss for history in histories.values()):
        raise UserError("there are no training steps to draw; give the train.jsonl of a run that has begun")
    with matplotlib.rc_context(_STYLE):
        return _save(training_curves(histories), Path(path).with_suffix(""))


def plot_comparison(rows: Sequence[Row], title: str, path: str | Path) -> None:
    """Write PSNR over rate, one labelled point a row, as `path`: SVG or PNG by its suffix."""
    with matplotlib.rc_context(_STYLE):
        _save_as(comparison_figure(rows, title), Path(path))


def curve_looks(summaries: Sequence[Summary]) -> dict[str, Look]:
    """Colour, marker and line of every curve, the same in all figures of an experiment."""
    kinds = {name: group[0].kind for name, group in curves(summaries).items()}
    return {
        name: _look(index, "-" if kinds[name] == "model" else "--")
        for index, name in enumerate(sorted(kinds, key=lambda name: (kinds[name] != "model", name)))
    }


def _look(index: int, line: str) -> Look:
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], line)


# --- quality over rate or size ------------------------------------------------------------------------------


def quality_figure(summaries: Sequence[Summary], metric: str, looks: Mapping[str, Look]) -> Figure:
    """Quality over bits per pixel, or over parameters where no model was coded.

    A curve a codec, every point with the size of its file, or its parameters. What has no place on the axis is named
    below it. Bars are the standard deviation over seeds. Where there is no point to draw the figure says why.
    """
    figure, axes = _new_figure()
    across = across_of(summaries)
    measured = [summary for summary in summaries if summary.mean[metric] is not None]
    shown = [summary for summary in measured if across.known(summary)]
    left_out = sorted({summary.curve for summary in measured if not across.known(summary)})
    note = _note(f"not shown, without {across.name}: {', '.join(left_out)}") if left_out else ""
    axes.set_title(textwrap.fill(_title(summaries), 80))
    axes.set_xlabel(f"{across.name} ({across.unit_name})")
    axes.set_ylabel(_AXES[metric])
    if not shown:
        return _empty(figure, axes, metric, across, measured)
    for name, group in curves(shown).items():
        _draw_curve(axes, name, group, metric, across, looks[name])
    _scale(axes, across, [across.of(summary) for summary in shown])
    axes.set_xlabel(axes.get_xlabel() + note)
    axes.margins(x=0.09, y=0.1)
    figure.legend(loc="outside upper right", ncols=_legend_columns(curves(shown)))
    _label_points(figure, axes, shown, metric, across, looks)
    return figure


def _title(summaries: Sequence[Summary]) -> str:
    """What was measured, and for which task where it is one and not to repeat the video."""
    if not summaries:
        return "No size was run on every video"
    tasks = {summary.task for summary in summaries if summary.kind == "model"}
    task = tasks.pop() if len(tasks) == 1 else ""
    return summaries[0].context + (f", {task}" if task not in ("", "regression") else "")


def _note(text: str) -> str:
    """Lines of their own below the name of the axis."""
    return "\n" + textwrap.fill(text, 100)


def across_of(summaries: Sequence[Summary]) -> Across:
    """Parameters where there are models and none of them was coded, else the rate."""
    models = [summary for summary in summaries if summary.kind == "model"]
    return PARAMETERS if models and not any(map(RATE.known, models)) else RATE


def _draw_curve(axes: Axes, name: str, group: Sequence[Summary], metric: str, across: Across, look: Look) -> None:
    places = [across.of(summary) for summary in group]
    values = [summary.value(metric) for summary in group]
    spreads = [summary.std[metric] or 0.0 for summary in group]
    axes.plot(places, values, look.line, color=look.colour, marker=look.marker, label=name, gid=f"curve-{name}")
    if any(spreads):
        axes.errorbar(places, values, yerr=spreads, fmt="none", ecolor=look.colour, elinewidth=1, capsize=2.5)


def _scale(axes: Axes, across: Across, places: Sequence[float]) -> None:
    if min(places) > 0 and max(places) / min(places) > LOG_ABOVE_RATIO:
        axes.set_xscale("log")
        axes.set_xlabel(f"{across.name} ({across.unit_name}, logarithmic)")
        decades = math.log10(max(places) / min(places))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())


def _empty(figure: Figure, axes: Axes, metric: str, across: Across, measured: Sequence[object]) -> Figure:
    why = f"no point has {across.name if measured else _AXES[metric]}"
    if metric == "ms_ssim" and not measured:
        why += f":\nit needs {MS_SSIM_SMALLEST_SIDE} pixels or more on both sides"
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


# --- labels that do not overlap -----------------------------------------------------------------------------

# Directions around a point in the order of preference; x to the right, y up.
_DIRECTIONS = ((0, 1), (0, -1), (1, -1), (-1, 1), (1, 1), (-1, -1), (1, 0), (-1, 0))
_DISTANCES = (7.0, 11.0, 15.0, 22.0, 30.0)
_LEADER_FROM = 15.0
"""Labels at this distance (in points) or more get a thin line to their point."""


@dataclass(frozen=True)
class _Scene:
    """What a label must keep clear of, in pixels of the canvas."""

    frame: Bbox
    markers: list[Bbox]
    lines: list[tuple[float, float]]
    labels: list[Bbox]


@dataclass(frozen=True)
class _Label:
    """What is written beside a point of the axes, whose value has a standard deviation where it is a mean."""

    text: str
    point: tuple[float, float]
    colour: str
    spread: float | None = None


def _label_points(
    figure: Figure,
    axes: Axes,
    summaries: Sequence[Summary],
    metric: str,
    across: Across,
    looks: Mapping[str, Look],
) -> None:
    """Write each point's label beside it, clear of its curves as well where possible."""
    labels = [
        _Label(
            across.label(summary),
            (across.of(summary), summary.value(metric)),
            looks[summary.curve].colour,
            summary.std[metric],
        )
        for summary in sorted(summaries, key=lambda summary: (across.of(summary), summary.curve))
    ]
    lines = [[(across.of(summary), summary.value(metric)) for summary in group] for group in curves(summaries).values()]
    _write_labels(figure, axes, labels, lines, "file-size" if across is RATE else "parameters")


def _write_labels(
    figure: Figure,
    axes: Axes,
    labels: Sequence[_Label],
    lines: Sequence[Sequence[tuple[float, float]]],
    gid: str,
) -> None:
    """Write labels clear of markers and each other, and of `lines` (points of the axes) where possible.

    Places are chosen one after the other in the order given, each the cheapest of those that are left.
    """
    figure.draw_without_rendering()  # fixes the layout, in which places are measured
    figure.set_layout_engine("none")
    pixels_per_point = figure.dpi / 72.0
    scene = _Scene(
        frame=axes.get_window_extent(),
        markers=[box for label in labels for box in _marker_boxes(axes, label.point, label.spread, pixels_per_point)],
        lines=[sample for line in lines for sample in _line_samples([_place(axes, point) for point in line])],
        labels=[],
    )
    for label in labels:
        place, size = _place(axes, label.point), _text_size(figure, label.text)
        offset, distance = _best_offset(place, size, scene, pixels_per_point)
        scene.labels.append(_label_box(place, offset, size))
        colour = _darker(label.colour)
        leader = {"arrowstyle": "-", "lw": 0.5, "color": colour, "shrinkA": 0.0, "shrinkB": 3.0}
        axes.annotate(
            label.text,
            label.point,
            xytext=(offset[0] / pixels_per_point, offset[1] / pixels_per_point),
            textcoords="offset points",
            fontsize=_LABEL_POINTS,
            color=colour,
            ha="center",
            va="center",
            arrowprops=leader if distance >= _LEADER_FROM else None,
            gid=gid,
        )


def _place(axes: Axes, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point lies on the canvas, in pixels."""
    x, y = axes.transData.transform(point)
    return float(x), float(y)


def _marker_boxes(axes: Axes, point: tuple[float, float], spread: float | None, pixels_per_point: float) -> list[Bbox]:
    """The marker with some room around it, and its bar where there is one."""
    x, y = _place(axes, point)
    radius = 5.5 * pixels_per_point
    boxes = [Bbox([(x - radius, y - radius), (x + radius, y + radius)])]
    if spread:
        ends = [(point[0], point[1] + side * spread) for side in (-1, 1)]
        (_, low), (_, high) = axes.transData.transform(ends)
        cap = 3.5 * pixels_per_point
        boxes.append(Bbox([(x - cap, low - cap), (x + cap, high + cap)]))
    return boxes


def _darker(colour: str) -> str:
    """The colour for small text: on white, the light ones of the palette are too weak for it."""
    red, green, blue = to_rgb(colour)
    return to_hex((0.75 * red, 0.75 * green, 0.75 * blue))


def _line_samples(ends: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points on a line through `ends`, three pixels or so apart."""
    samples: list[tuple[float, float]] = []
    for start, end in itertools.pairwise(ends):
        steps = max(2, round(math.dist(start, end) / 3.0))
        xs, ys = np.linspace(start[0], end[0], steps), np.linspace(start[1], end[1], steps)
        samples += list(zip(xs.tolist(), ys.tolist(), strict=True))
    return samples


def _text_size(figure: Figure, text: str) -> tuple[float, float]:
    probe = figure.text(0, 0, text, fontsize=_LABEL_POINTS)
    extent = probe.get_window_extent()
    probe.remove()
    return extent.width, extent.height


def _best_offset(
    place: tuple[float, float], size: tuple[float, float], scene: _Scene, pixels_per_point: float
) -> tuple[tuple[float, float], float]:
    """The cheapest (offset of the label's centre in pixels, distance in points)."""
    best: tuple[float, tuple[float, float], float] | None = None
    for distance in _DISTANCES:
        for rank, (right, up) in enumerate(_DIRECTIONS):
            # On a diagonal both shares of the distance are shorter.
            reach = distance * pixels_per_point * (0.6 if right and up else 1.0)
            offset = (right * (reach + size[0] / 2), up * (reach + size[1] / 2))
            cost = _cost(_label_box(place, offset, size), scene) + 0.3 * distance + 0.1 * rank
            if best is None or cost < best[0]:
                best = (cost, offset, distance)
    assert best is not None
    return best[1], best[2]


def _cost(box: Bbox, scene: _Scene) -> float:
    outside = box.x0 < scene.frame.x0 or box.y0 < scene.frame.y0 or box.x1 > scene.frame.x1 or box.y1 > scene.frame.y1
    on_labels = sum(box.overlaps(other) for other in scene.labels)
    on_markers = sum(box.overlaps(other) for other in scene.markers)
    on_lines = sum(box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1 for x, y in scene.lines)
    return float(500.0 * outside + 300.0 * on_labels + 100.0 * on_markers + 1.5 * on_lines)


def _label_box(place: tuple[float, float], offset: tuple[float, float], size: tuple[float, float]) -> Bbox:
    x, y = place[0] + offset[0], place[1] + offset[1]
    return Bbox([(x - size[0] / 2 - 1, y - size[1] / 2 - 1), (x + size[0] / 2 + 1, y + size[1] / 2 + 1)])


# --- comparison of files ------------------------------------------------------------------------------------


def comparison_figure(rows: Sequence[Row], title: str) -> Figure:
    """PSNR over bits per pixel: a point a file with its name, a colour and a marker a codec.

    Files have nothing in common but their codec, so that no line joins them. Those without a rate are named below.
    """
    figure, axes = _new_figure()
    places = {row.name: (row.bpp, row.measured.psnr_db) for row in rows if row.bpp is not None}
    left_out = [row.name for row in rows if row.bpp is None]
    axes.set_title(textwrap.fill(title, 80))
    axes.set_xlabel(f"{RATE.name} ({RATE.unit_name})")
    axes.set_ylabel(_AXES["psnr_db"])
    if not places:
        return _empty(figure, axes, "psnr_db", RATE, rows)
    shown = [row for row in rows if row.name in places]
    codecs = sorted({(row.kind != "bnv", row.codec) for row in shown})
    looks = {codec: _look(index, "") for index, (_, codec) in enumerate(codecs)}
    for codec, look in looks.items():
        xs, ys = zip(*(places[row.name] for row in shown if row.codec == codec), strict=True)
        axes.plot(xs, ys, look.marker, color=look.colour, label=codec, gid=f"curve-{codec}")
    _scale(axes, RATE, [rate for rate, _ in places.values()])
    if left_out:
        axes.set_xlabel(axes.get_xlabel() + _note(f"not shown, without {RATE.name}: {', '.join(left_out)}"))
    axes.margins(x=0.15, y=0.15)
    figure.legend(loc="outside upper right", ncols=_legend_columns(looks))
    labels = [_Label(row.name, places[row.name], looks[row.codec].colour) for row in shown]
    _write_labels(figure, axes, sorted(labels, key=lambda label: label.point), [], "file-name")
    return figure


# --- training -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """What a train.jsonl says by epoch: mean loss of its steps, and PSNR where it was measured."""

    loss: dict[float, float]
    psnr_db: dict[float, float]


def read_history(path: str | Path) -> History:
    """Read a train.jsonl; lines without the keys are passed over, and so is a last line cut in writing.

    Raises `UserError` where the file is missing or a line before the last is not JSON.
    """
    losses: dict[float, dict[float, float]] = {}
    psnr_db: dict[float, float] = {}
    for line in _json_lines(Path(path)):
        epoch = line.get("epoch")
        if not isinstance(epoch, int | float):
            continue
        if _finite(line.get("loss")):
            # A step that was repeated after an interruption counts once.
            losses.setdefault(epoch, {})[line.get("step", 0)] = float(line["loss"])
        if _finite(line.get("psnr_db")):
            psnr_db[epoch] = float(line["psnr_db"])
    return History(
        loss={epoch: float(np.mean(list(steps.values()))) for epoch, steps in sorted(losses.items())},
        psnr_db=dict(sorted(psnr_db.items())),
    )


def training_curves(histories: Mapping[str, History]) -> Figure:
    """PSNR above, loss below, over the same epochs; a colour and a marker for each run."""
    figure = Figure(figsize=_FIGURE_INCHES, dpi=_DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for index, (label, history) in enumerate(histories.items()):
        colour = COLOURS[index % len(COLOURS)]
        # After all colours are used, the line changes.
        line = ("-", "--", ":", "-.")[index // len(COLOURS) % 4]
        marker = MARKERS[index % len(MARKERS)]
        upper.plot(
            list(history.psnr_db),
            list(history.psnr_db.values()),
            line,
            color=colour,
            marker=marker,
            ms=4,
            label=label,
        )
        alone = marker if len(history.loss) == 1 else ""  # one epoch is no line
        lower.plot(list(history.loss), list(history.loss.values()), line, color=colour, marker=alone, ms=4)
    if not any(history.psnr_db for history in histories.values()):
        upper.text(0.5, 0.5, "PSNR was not measured yet", ha="center", transform=upper.transAxes)
    upper.set_title("Training")
    upper.set_ylabel(_AXES["psnr_db"])
    lower.set_ylabel("loss, mean of epoch")
    lower.set_xlabel("epoch")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses = [value for history in histories.values() for value in history.loss.values()]
    # Runs of one experiment may minimise different losses.
    if losses and min(losses) > 0 and max(losses) / min(losses) > _LOSS_LOG_ABOVE_RATIO:
        lower.set_yscale("log")
    figure.legend(loc="outside lower center", ncols=_legend_columns(histories))
    return figure


def _legend_columns(labels: Iterable[str]) -> int:
    """As many columns, up to four, as the figure is wide enough for."""
    widest = max(map(len, labels))
    return max(1, min(4, _LEGEND_CHARACTERS // (widest + _LEGEND_HANDLE_CHARACTERS)))


def _json_lines(path: Path) -> Iterable[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"training log {path} does not exist; run the step 'train' first") from error
    for number, text in enumerate(lines, start=1):
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            if number == len(lines):
                return
            raise UserError(f"training log {path}, line {number} is not JSON; run the step again") from error
        if isinstance(value, dict):
            yield value


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


# --- writing ------------------------------------------------------------------------------------------------


def _new_figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_FIGURE_INCHES, dpi=_DPI, layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, stem: Path) -> tuple[Path, ...]:
    """Write STEM.svg and STEM.png; neither has the date in it."""
    written = tuple(stem.with_name(f"{stem.name}.{suffix}") for suffix in ("svg", "png"))
    for path in written:
        _save_as(figure, path)
    return written


def _save_as(figure: Figure, path: Path) -> None:
    """Write the format that the suffix of `path` names, one of `FIGURE_SUFFIXES`."""
    FigureCanvasAgg(figure)
    metadata: Any = {".svg": {"Date": None}, ".png": {"Software": None}}[path.suffix]
    with files.final(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=_DPI, metadata=metadata)
