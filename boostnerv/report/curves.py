"""Quality over rate, model size or time: one curve per codec, with a label at every point."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from boostnerv.evaluation.metrics import MS_SSIM_SMALLEST_SIDE
from boostnerv.evaluation.published import PublishedCurve
from boostnerv.report.labels import Label, write_labels
from boostnerv.report.published_curves import curve_name
from boostnerv.report.style import AXES, Look, legend_columns, look_of, new_figure, note, say
from boostnerv.report.summaries import Summary, count_text, curves, size_text

LOG_ABOVE_RATIO = 8.0
"""Rates, sizes or times that span more than this are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Across:
    """The horizontal axis: the `value` of a summary, shown in units of `unit`, and the `label` of a point.

    `gid` is the id of the labels in an SVG.
    """

    name: str
    unit: float
    unit_name: str
    value: Callable[[Summary], float | None]
    label: Callable[[Summary], str]
    gid: str

    def known(self, summary: Summary) -> bool:
        """Whether the summary has a value on this axis."""
        return self.value(summary) is not None

    def of(self, summary: Summary) -> float:
        """Position of the summary on this axis, in units of `unit`; it must be `known`."""
        value = self.value(summary)
        assert value is not None, self.name
        return value / self.unit


def _file_text(summary: Summary) -> str:
    return size_text(summary.value("file_bytes"))


def _parameters_text(summary: Summary) -> str:
    return count_text(summary.value("params_total"))


def _size_label(summary: Summary) -> str:
    """The size of the file, or of the model if nothing was coded."""
    if summary.mean["file_bytes"] is None:
        return summary.size_label
    return _file_text(summary)


def spent_s(summary: Summary) -> float | None:
    """Seconds for training, fine-tuning and coding of a model, or for encoding by an anchor.

    None if the time of training, or of the anchor's encoding, is unknown.
    """
    if summary.kind == "anchor":
        return summary.mean["encode_s"]
    if summary.mean["train_s"] is None:
        return None
    return sum(summary.mean[name] or 0.0 for name in ("train_s", "finetune_s", "encode_s"))


RATE = Across("rate", 1.0, "bits per pixel", lambda summary: summary.mean["bpp"], _file_text, "file-size")
PARAMETERS = Across(
    "parameters", 1e6, "millions", lambda summary: summary.mean["params_total"], _parameters_text, "parameters"
)
TIME = Across("time of training and encoding", 1.0, "seconds", spent_s, _size_label, "file-size")


_LINES = {"model": "-", "anchor": "--", "published": "-."}


def curve_looks(summaries: Sequence[Summary], published: Iterable[PublishedCurve] = ()) -> dict[str, Look]:
    """Name of every curve -> its look, the same in all figures of an experiment; published curves come last."""
    kinds = {name: group[0].kind for name, group in curves(summaries).items()}
    kinds |= {curve_name(curve): "published" for curve in published}
    order = list(_LINES)
    return {
        name: look_of(index, _LINES[kinds[name]])
        for index, name in enumerate(sorted(kinds, key=lambda name: (order.index(kinds[name]), name)))
    }


def quality_figure(
    summaries: Sequence[Summary],
    metric: str,
    looks: Mapping[str, Look],
    across: Across | None = None,
    published: Sequence[PublishedCurve] = (),
) -> Figure:
    """Quality over `across`; by default over bits per pixel, or over parameters if no model was coded.

    There is one curve per codec, with a label at every point, and over the rate also the `published` ones, unlabelled.
    Curves without a value on the axis are named below it. Error bars are the standard deviation over seeds. Without
    points the figure gives the reason.
    """
    figure, axes = new_figure()
    across = across or across_of(summaries)
    measured = [summary for summary in summaries if summary.mean[metric] is not None]
    drawn = [summary for summary in measured if across.known(summary)]
    left_out = sorted({summary.curve for summary in measured if not across.known(summary)})
    axes.set_title(textwrap.fill(_title(summaries), 80))
    axes.set_xlabel(f"{across.name} ({across.unit_name})")
    axes.set_ylabel(AXES[metric])
    if not drawn:
        return empty(figure, axes, metric, across, measured)
    for name, group in curves(drawn).items():
        _draw_curve(axes, name, group, metric, across, looks[name])
    published_drawn = published if across is RATE else ()
    for curve in published_drawn:
        _draw_published(axes, curve, metric, looks[curve_name(curve)])
    places = [across.of(summary) for summary in drawn]
    scale_axis(axes, across, [*places, *(point.bpp for curve in published_drawn for point in curve.points)])
    if published_drawn:
        sources = dict.fromkeys(f"{curve.model} in {curve.source}" for curve in published_drawn)
        axes.set_xlabel(axes.get_xlabel() + note(f"published: {'; '.join(sources)}"))
    if left_out:
        axes.set_xlabel(axes.get_xlabel() + note(f"not shown, without {across.name}: {', '.join(left_out)}"))
    axes.margins(x=0.09, y=0.1)
    names = [*curves(drawn), *map(curve_name, published_drawn)]
    figure.legend(loc="outside upper right", ncols=legend_columns(names))
    _label_points(figure, axes, drawn, metric, across, looks)
    return figure


def _title(summaries: Sequence[Summary]) -> str:
    """The video, and the task of the models if they share one other than regression."""
    if not summaries:
        return "No size was run on every video"
    tasks = {summary.task for summary in summaries if summary.kind == "model"}
    task = tasks.pop() if len(tasks) == 1 else ""
    return summaries[0].context + (f", {task}" if task not in ("", "regression") else "")


def across_of(summaries: Sequence[Summary]) -> Across:
    """Parameters if there are models and none of them was coded, else the rate."""
    models = [summary for summary in summaries if summary.kind == "model"]
    return PARAMETERS if models and not any(map(RATE.known, models)) else RATE


def _draw_curve(axes: Axes, name: str, group: Sequence[Summary], metric: str, across: Across, look: Look) -> None:
    places = [across.of(summary) for summary in group]
    values = [summary.value(metric) for summary in group]
    spreads = [summary.std[metric] or 0.0 for summary in group]
    axes.plot(places, values, look.line, color=look.colour, marker=look.marker, label=name, gid=f"curve-{name}")
    if any(spreads):
        axes.errorbar(places, values, yerr=spreads, fmt="none", ecolor=look.colour, elinewidth=1, capsize=2.5)


def _draw_published(axes: Axes, curve: PublishedCurve, metric: str, look: Look) -> None:
    name = curve_name(curve)
    rates, values = [point.bpp for point in curve.points], [getattr(point, metric) for point in curve.points]
    style: Any = {"color": look.colour, "marker": look.marker, "markerfacecolor": "none"}
    axes.plot(rates, values, look.line, label=name, gid=f"curve-{name}", **style)


def scale_axis(axes: Axes, across: Across, places: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic, and say so, if `places` span more than `LOG_ABOVE_RATIO`."""
    if min(places) > 0 and max(places) / min(places) > LOG_ABOVE_RATIO:
        axes.set_xscale("log")
        axes.set_xlabel(f"{across.name} ({across.unit_name}, logarithmic)")
        decades = math.log10(max(places) / min(places))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())


def empty(figure: Figure, axes: Axes, metric: str, across: Across, measured: Sequence[object]) -> Figure:
    """The figure with the reason for being empty: no point has the metric, or none `measured` has a value `across`."""
    reason = f"no point has {across.name if measured else AXES[metric]}"
    if metric == "ms_ssim" and not measured:
        reason += f":\nit needs {MS_SSIM_SMALLEST_SIDE} pixels or more on both sides"
    return say(figure, axes, reason)


def _label_points(
    figure: Figure,
    axes: Axes,
    summaries: Sequence[Summary],
    metric: str,
    across: Across,
    looks: Mapping[str, Look],
) -> None:
    """Write a label beside every point, if possible clear of the curves."""
    labels = [
        Label(
            across.label(summary),
            (across.of(summary), summary.value(metric)),
            looks[summary.curve].colour,
            summary.std[metric],
        )
        for summary in sorted(summaries, key=lambda summary: (across.of(summary), summary.curve))
    ]
    lines = [[(across.of(summary), summary.value(metric)) for summary in group] for group in curves(summaries).values()]
    write_labels(figure, axes, labels, lines, across.gid)
