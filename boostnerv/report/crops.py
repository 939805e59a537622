"""Crops of frames side by side: source, model and classical codec, and the error maps of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from boostnerv.evaluation.metrics import psnr_db
from boostnerv.report.style import DPI, FIGURE_INCHES, new_figure, say
from boostnerv.video.info import Window

Pixels = NDArray[np.uint8]
Picture = NDArray[Any]
SMALL_SIDE = 96
"""Frames with a side below this many pixels are not cropped."""
_PARTS_A_SIDE = 3
_MAP = "cividis"
_SHOWN_PERCENT = 99.5
"""Errors above this percentile share the brightest colour."""


@dataclass(frozen=True)
class ComparedFrame:
    """A frame and the reason why it was chosen; pixels are uint8 RGB ``[H, W, 3]``, None without an anchor."""

    why: str
    number: int
    source: Pixels
    model: Pixels
    anchor: Pixels | None


@dataclass(frozen=True)
class Crops:
    """Frames of one run and of an anchor, the labels of both, and the reason if there are no frames."""

    model: str = ""
    anchor: str = ""
    frames: tuple[ComparedFrame, ...] = ()
    missing: str = ""


def error_map(source: Pixels, test: Pixels) -> NDArray[np.float64]:
    """Mean absolute difference over the three channels, in 8-bit levels, ``[H, W]``."""
    difference = np.abs(source.astype(np.int16) - test.astype(np.int16))
    return np.asarray(difference.mean(axis=2))


def worst_window(source: Pixels, test: Pixels) -> Window:
    """The window of a third of the frame's height and width with the largest squared error; on ties the top left one.

    Frames with a side below `SMALL_SIDE` are returned as a whole.
    """
    height, width = source.shape[:2]
    if min(height, width) < SMALL_SIDE:
        return Window(0, 0, height, width)
    rows, columns = height // _PARTS_A_SIDE, width // _PARTS_A_SIDE
    squares = np.square(source.astype(np.int64) - test.astype(np.int64)).sum(axis=2)
    sums = np.zeros((height + 1, width + 1), dtype=np.int64)
    sums[1:, 1:] = squares.cumsum(axis=0).cumsum(axis=1)
    errors = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    top, left = np.unravel_index(int(errors.argmax()), errors.shape)
    return Window(int(top), int(left), rows, columns)


def crops_figure(crops: Crops, title: str) -> Figure:
    """One row per frame: source, model, anchor, error of the model, error of the anchor, with all errors on one scale.

    The PSNR of the entire frame is given below the pictures of model and anchor. All frames show the window that is the
    model's worst in the last of them. Without frames the figure gives the reason.
    """
    frames = crops.frames
    if not frames:
        figure, axes = new_figure()
        axes.set_title(title)
        return say(figure, axes, crops.missing)
    window = worst_window(frames[-1].source, frames[-1].model)
    with_anchor = all(frame.anchor is not None for frame in frames)
    columns = ["source", crops.model, *([crops.anchor] if with_anchor else [])]
    columns += ["error of model", *(["error of anchor"] if with_anchor else [])]
    width = FIGURE_INCHES[0] * (1.2 if with_anchor else 1.0)
    picture = (width - 1.2) / len(columns)
    height = len(frames) * (picture * window.height / window.width + 0.25) + 1.3
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(frames), len(columns), squeeze=False)
    rows = [_pictures(frame, window) for frame in frames]
    errors = np.concatenate([picture.ravel() for row in rows for picture in row if picture.ndim == 2])
    # A few pixels at edges have far larger errors than all others.
    brightest = max(float(np.percentile(errors, _SHOWN_PERCENT)), 1.0)
    for axes_row, row, frame in zip(grid, rows, frames, strict=True):
        for axes, pixels in zip(axes_row, row, strict=True):
            drawn = axes.imshow(pixels, cmap=_MAP, vmin=0, vmax=brightest, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
        tests = [test for test in (frame.model, frame.anchor) if test is not None]
        for axes, test in zip(axes_row[1:], tests, strict=False):
            axes.set_xlabel(f"{psnr_db(frame.source[None], test[None])[0]:.2f} dB", fontsize=7.5, labelpad=2)
        axes_row[0].set_ylabel(f"{frame.why}\nframe {frame.number}", fontsize=8)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, fontsize=7.5, loc="center")
    bar = figure.colorbar(drawn, ax=grid, location="bottom", shrink=0.35, aspect=40, pad=0.03, extend="max")
    bar.set_label("absolute error, mean of R, G, B (of 255)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure


def _pictures(frame: ComparedFrame, window: Window) -> list[Picture]:
    """The cropped pictures of a row: frames ``[h, w, 3]``, then error maps ``[h, w]``."""
    tests = [frame.model, *([frame.anchor] if frame.anchor is not None else [])]
    pictures: list[Picture] = [frame.source, *tests, *(error_map(frame.source, test) for test in tests)]
    return [window.of(picture) for picture in pictures]
