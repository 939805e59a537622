"""The common style of all figures, and writing them to files.

Curves have the colours of Okabe and Ito, which are distinct for colour-blind readers, and a marker per codec, so that
they can be told apart in greyscale. Models are solid, anchors dashed, published curves dash-dotted with hollow markers.
Equal figures give equal bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from boostnerv import files

# Without their yellow, which is too light on white. Seven colours and eight markers make 56 pairs.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
FIGURE_SUFFIXES = (".png", ".svg")

AXES = {"psnr_db": "PSNR (dB)", "ms_ssim": "MS-SSIM"}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,  # file names may have a $
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
FIGURE_INCHES = (6.6, 4.6)
DPI = 200
_LEGEND_CHARACTERS = 92
"""Width of a figure in characters of the legend's font."""
_LEGEND_HANDLE_CHARACTERS = 9


@dataclass(frozen=True)
class Look:
    """How one curve is drawn."""

    colour: str
    marker: str
    line: str


def look_of(index: int, line: str) -> Look:
    """The look of curve number `index` with a line of this style."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], line)


def note(text: str) -> str:
    """A note as separate lines, to be appended to the label of an axis."""
    return "\n" + textwrap.fill(text, 92)


def say(figure: Figure, axes: Axes, why: str) -> Figure:
    """Return a figure with nothing to show after writing the reason `why` into its axes."""
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def legend_columns(labels: Iterable[str]) -> int:
    """Number of legend columns that fit the width of a figure, at most four."""
    widest = max(map(len, labels))
    return max(1, min(4, _LEGEND_CHARACTERS // (widest + _LEGEND_HANDLE_CHARACTERS)))


def new_figure() -> tuple[Figure, Axes]:
    """A figure with one pair of axes and a constrained layout."""
    figure = Figure(figsize=FIGURE_INCHES, dpi=DPI, layout="constrained")
    return figure, figure.subplots()


def save(figure: Figure, stem: Path) -> tuple[Path, ...]:
    """Write STEM.svg and STEM.png, without dates; returns their paths."""
    written = tuple(stem.with_name(f"{stem.name}.{suffix}") for suffix in ("svg", "png"))
    for path in written:
        save_as(figure, path)
    return written


def save_as(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix of `path`, one of `FIGURE_SUFFIXES`."""
    FigureCanvasAgg(figure)
    metadata: Any = {".svg": {"Date": None}, ".png": {"Software": None}}[path.suffix]
    with files.final(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=DPI, metadata=metadata)
