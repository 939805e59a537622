"""Placing labels beside points, clear of each other, of markers and, if possible, of curves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

_LABEL_POINTS = 7.0
# Directions around a point in the order of preference; x to the right, y up.
_DIRECTIONS = ((0, 1), (0, -1), (1, -1), (-1, 1), (1, 1), (-1, -1), (1, 0), (-1, 0))
_DISTANCES = (7.0, 11.0, 15.0, 22.0, 30.0)
_LEADER_FROM = 15.0
"""Labels at this distance (in typographic points) or more get a thin line to their data point."""


@dataclass(frozen=True)
class _Scene:
    """Everything that a label must keep clear of, in pixels of the canvas."""

    frame: Bbox
    markers: list[Bbox]
    lines: list[tuple[float, float]]
    labels: list[Bbox]


@dataclass(frozen=True)
class Label:
    """A text beside a point of the axes; `spread` is the standard deviation of the point's value, if it is a mean."""

    text: str
    point: tuple[float, float]
    colour: str
    spread: float | None = None


def write_labels(
    figure: Figure,
    axes: Axes,
    labels: Sequence[Label],
    lines: Sequence[Sequence[tuple[float, float]]],
    gid: str,
) -> None:
    """Write labels clear of markers and each other and, if possible, of `lines` (points of the axes).

    Positions are chosen greedily, in the order of `labels`. `gid` is the id of the labels in an SVG.
    """
    figure.draw_without_rendering()  # fixes the layout in which positions are measured
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
    """Position of a point on the canvas, in pixels."""
    x, y = axes.transData.transform(point)
    return float(x), float(y)


def _marker_boxes(axes: Axes, point: tuple[float, float], spread: float | None, pixels_per_point: float) -> list[Bbox]:
    """Boxes of the marker, with some room around it, and of its error bar, if any."""
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
    """A darker shade for small text, as the light colours of the palette are too weak on white."""
    red, green, blue = to_rgb(colour)
    return to_hex((0.75 * red, 0.75 * green, 0.75 * blue))


def _line_samples(ends: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points on a polyline through `ends`, about three pixels apart."""
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
            # On a diagonal both components of the distance are shorter.
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
