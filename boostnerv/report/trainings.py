"""Training curves from train.jsonl, over epochs or wall time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from boostnerv.errors import UserError
from boostnerv.report.style import AXES, COLOURS, DPI, FIGURE_INCHES, MARKERS, legend_columns

_LOSS_LOG_ABOVE_RATIO = 100.0
_TIME_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


@dataclass(frozen=True)
class History:
    """Values of a train.jsonl by epoch: mean loss over steps, PSNR if measured, seconds since the start."""

    loss: dict[float, float]
    psnr_db: dict[float, float]
    wall_s: dict[float, float] = field(default_factory=dict)


def read_history(path: str | Path) -> History:
    """Read a train.jsonl; lines without the keys are skipped, and so is a truncated last line.

    Raises `UserError` if the file is missing or a line before the last is not JSON.
    """
    losses: dict[float, dict[float, float]] = {}
    psnr_db: dict[float, float] = {}
    wall_s: dict[float, float] = {}
    for line in _json_lines(Path(path)):
        epoch = line.get("epoch")
        if not isinstance(epoch, int | float):
            continue
        if _finite(line.get("loss")):
            # A step repeated after an interruption counts once.
            losses.setdefault(epoch, {})[line.get("step", 0)] = float(line["loss"])
        if _finite(line.get("psnr_db")):
            psnr_db[epoch] = float(line["psnr_db"])
        if _finite(line.get("wall_s")):
            wall_s[epoch] = float(line["wall_s"])
    return History(
        loss={epoch: float(np.mean(list(steps.values()))) for epoch, steps in sorted(losses.items())},
        psnr_db=dict(sorted(psnr_db.items())),
        wall_s=dict(sorted(wall_s.items())),
    )


def training_curves(histories: Mapping[str, History], *, over_time: bool = False) -> Figure:
    """PSNR above and loss below, over epochs or wall time, with a colour and a marker per run."""
    figure = Figure(figsize=FIGURE_INCHES, dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    unit_s, unit = _time_unit(histories.values())
    for index, (label, history) in enumerate(histories.items()):
        psnr_db, loss = history.psnr_db, history.loss
        if over_time:
            psnr_db, loss = (_over_time(values, history.wall_s, unit_s) for values in (psnr_db, loss))
        _draw_run(upper, lower, label, psnr_db, loss, index)
    if not any(history.psnr_db for history in histories.values()):
        upper.text(0.5, 0.5, "PSNR was not measured yet", ha="center", transform=upper.transAxes)
    elif over_time and not any(history.wall_s for history in histories.values()):
        upper.text(0.5, 0.5, "no log has times", ha="center", transform=upper.transAxes)
    upper.set_title("Training")
    upper.set_ylabel(AXES["psnr_db"])
    lower.set_ylabel("loss, mean of epoch")
    lower.set_xlabel(f"wall time of training ({unit})" if over_time else "epoch")
    if not over_time:
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses = [value for history in histories.values() for value in history.loss.values()]
    # Runs of one experiment may minimise different losses.
    if losses and min(losses) > 0 and max(losses) / min(losses) > _LOSS_LOG_ABOVE_RATIO:
        lower.set_yscale("log")
    figure.legend(loc="outside lower center", ncols=legend_columns(histories))
    return figure


def _draw_run(
    upper: Axes, lower: Axes, label: str, psnr_db: Mapping[float, float], loss: Mapping[float, float], index: int
) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    # The line style changes once all colours are used.
    line = ("-", "--", ":", "-.")[index // len(COLOURS) % 4]
    upper.plot(list(psnr_db), list(psnr_db.values()), line, color=colour, marker=marker, ms=4, label=label)
    loss_marker = marker if len(loss) == 1 else ""  # a single epoch draws no line
    lower.plot(list(loss), list(loss.values()), line, color=colour, marker=loss_marker, ms=4)


def _over_time(values: Mapping[float, float], wall_s: Mapping[float, float], unit_s: float) -> dict[float, float]:
    """Convert values by epoch to values by time, in units of `unit_s`; epochs without a time are left out."""
    return {wall_s[epoch] / unit_s: value for epoch, value in values.items() if epoch in wall_s}


def _time_unit(histories: Iterable[History]) -> tuple[float, str]:
    """(seconds, name) of the largest unit of which the longest training has at least three."""
    longest_s = max((max(history.wall_s.values(), default=0.0) for history in histories), default=0.0)
    return next((unit for unit in _TIME_UNITS if longest_s >= 3 * unit[0]), _TIME_UNITS[-1])


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
