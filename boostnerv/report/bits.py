"""Bit allocation of coded files: weights by layer, embeddings, keyframes, side information, header."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from boostnerv.report.style import COLOURS, DPI, FIGURE_INCHES, say
from boostnerv.report.summaries import size_text

KINDS = {
    "weights": "weights, by layer",
    "embeddings": "embeddings",
    "keyframes": "keyframes",
    "side": "side information",
    "header": "header",
}
"""Kinds of parts in the order of a bar -> their names."""

_COLOURS = {
    "weights": COLOURS[0],
    "embeddings": COLOURS[4],
    "keyframes": COLOURS[2],
    "side": COLOURS[3],
    "header": COLOURS[6],
}
_LIGHTEST = 0.72
_BAR_INCHES = 0.42
_CHARACTER_SHARE = 0.0105
"""Width of a character of a layer's name, as a fraction of the axes."""


@dataclass(frozen=True)
class Part:
    """Bits of a part of a file: of the layer `name` if `kind` is weights, else of everything of that kind, unnamed."""

    kind: str
    name: str
    bits: int


def layer_name(tensor: str) -> str:
    """The layer of a decoder tensor: ``stage 2`` for ``stages.1.conv.weight``, else the first part of its name."""
    first, *rest = tensor.split(".")
    if first == "stages" and rest and rest[0].isdigit():
        return f"stage {int(rest[0]) + 1}"
    return first.replace("_", " ")


def by_layer(parts: Iterable[Part]) -> list[Part]:
    """Sum parts of tensors by layer, in order of first appearance; other kinds follow in the order of `KINDS`."""
    totals: dict[tuple[str, str], int] = {}
    for part in parts:
        key = (part.kind, layer_name(part.name) if part.kind == "weights" else "")
        totals[key] = totals.get(key, 0) + part.bits
    order = list(KINDS)
    return [Part(*key, bits) for key, bits in sorted(totals.items(), key=lambda item: order.index(item[0][0]))]


def bits_figure(runs: Sequence[tuple[str, Sequence[Part]]], title: str) -> Figure:
    """One bar per run (name, parts of its file by layer), as long as its file in kB, labelled with the size.

    Layers are shades of one colour, the first one darkest, and named if there is room. Without runs the figure says so.
    """
    width = FIGURE_INCHES[0]
    figure = Figure(figsize=(width, max(2.0, 1.5 + _BAR_INCHES * len(runs))), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel("kB (1000 bytes)")
    if not runs:
        return say(figure, axes, "no run was coded to a file")
    longest = max(sum(part.bits for part in parts) for _, parts in runs)
    for row, (_, parts) in enumerate(runs):
        _draw_bar(axes, row, parts, longest)
    axes.set_yticks(range(len(runs)), [name for name, _ in runs])
    axes.set_ylim(len(runs) - 0.4, -0.6)
    axes.set_xlim(0, longest / 8000 * 1.12)
    axes.grid(False, axis="y")
    kinds = [kind for kind in KINDS if any(part.kind == kind and part.bits for _, parts in runs for part in parts)]
    handles = [Patch(color=_COLOURS[kind], label=KINDS[kind]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.2)
    return figure


def _draw_bar(axes: Axes, row: int, parts: Sequence[Part], longest: int) -> None:
    layers = [part for part in parts if part.kind == "weights"]
    start = 0.0
    for part in parts:
        width = part.bits / 8000
        shade = layers.index(part) / max(len(layers) - 1, 1) if part in layers else 0.0
        axes.barh(
            row,
            width,
            left=start,
            height=0.62,
            color=_lighter(_COLOURS[part.kind], _LIGHTEST * shade),
            edgecolor="white",
            linewidth=0.5,
            gid=f"bits-{part.kind}-{part.name}" if part.name else f"bits-{part.kind}",
        )
        if part.name and part.bits > longest * _CHARACTER_SHARE * (len(part.name) + 1):
            colour = "black" if shade > 0.5 else "white"
            axes.text(start + width / 2, row, part.name, ha="center", va="center", fontsize=6.5, color=colour)
        start += width
    axes.text(start, row, f" {size_text(1000 * start)}", va="center", fontsize=7)


def _lighter(colour: str, share: float) -> str:
    """Mix a colour with a share of white."""
    red, green, blue = (value + share * (1 - value) for value in to_rgb(colour))
    return to_hex((red, green, blue))
