"""The figure of files compared with one reference."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from boostnerv.report.curves import RATE, empty, scale_axis
from boostnerv.report.labels import Label, write_labels
from boostnerv.report.style import AXES, legend_columns, look_of, new_figure, note

if TYPE_CHECKING:
    from boostnerv.evaluation.compare import Row


def comparison_figure(rows: Sequence[Row], title: str) -> Figure:
    """PSNR over bits per pixel: one labelled point per file, with a colour and marker per codec.

    Points are not joined, as files share no more than their codec. Files without a rate are named below.
    """
    figure, axes = new_figure()
    places = {row.name: (row.bpp, row.measured.psnr_db) for row in rows if row.bpp is not None}
    left_out = [row.name for row in rows if row.bpp is None]
    axes.set_title(textwrap.fill(title, 80))
    axes.set_xlabel(f"{RATE.name} ({RATE.unit_name})")
    axes.set_ylabel(AXES["psnr_db"])
    if not places:
        return empty(figure, axes, "psnr_db", RATE, rows)
    drawn = [row for row in rows if row.name in places]
    codecs = sorted({(row.kind != "bnv", row.codec) for row in drawn})
    looks = {codec: look_of(index, "") for index, (_, codec) in enumerate(codecs)}
    for codec, look in looks.items():
        xs, ys = zip(*(places[row.name] for row in drawn if row.codec == codec), strict=True)
        axes.plot(xs, ys, look.marker, color=look.colour, label=codec, gid=f"curve-{codec}")
    scale_axis(axes, RATE, [rate for rate, _ in places.values()])
    if left_out:
        axes.set_xlabel(axes.get_xlabel() + note(f"not shown, without {RATE.name}: {', '.join(left_out)}"))
    axes.margins(x=0.15, y=0.15)
    figure.legend(loc="outside upper right", ncols=legend_columns(looks))
    labels = [Label(row.name, places[row.name], looks[row.codec].colour) for row in drawn]
    write_labels(figure, axes, sorted(labels, key=lambda label: label.point), [], "file-name")
    return figure
