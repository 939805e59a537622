"""Runs of one video beside what was kept of them: which are shown, and which of their frames."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boostnerv.errors import UserError
from boostnerv.evaluation.points import Point
from boostnerv.report.summaries import run_curves


@dataclass(frozen=True)
class Run:
    """A run or anchor point of a video: its row, the curve it belongs to, the PSNR of each frame in dB.

    No frames where these were not kept.
    """

    point: Point
    curve: str
    psnr_db: tuple[float, ...]

    @property
    def name(self) -> str:
        return str(self.point["run"])

    @property
    def file_bytes(self) -> int:
        """Size of the file, 0 where nothing was coded."""
        return int(self.point["file_bytes"] or 0)

    @property
    def is_model(self) -> bool:
        """Whether it is of a model, not of an anchor."""
        return self.point["kind"] == "model"


def runs_of(points: Sequence[Point], psnr_db: Sequence[tuple[float, ...]]) -> list[Run]:
    """Runs of points of one video, with the PSNR of each one's frames, in the order of the points."""
    named = run_curves(points)
    return [Run(point, named[str(point["run"])], frames) for point, frames in zip(points, psnr_db, strict=True)]


def read_frames(path: str | Path) -> tuple[float, ...]:
    """PSNR of each frame in dB from a CSV of frames; raises `UserError` where it is missing or no such table."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return tuple(float(row["psnr_db"]) for row in csv.DictReader(file))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; run the step that measures the frames again") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no table of frames with their PSNR; run the step that wrote it again") from error


def chosen_frames(psnr_db: Sequence[float]) -> dict[str, int]:
    """Numbers of the frames of best, median and worst PSNR; of equal ones the first, of two medians the lower."""
    rising = sorted(range(len(psnr_db)), key=lambda index: (psnr_db[index], index))
    best = max(range(len(psnr_db)), key=lambda index: (psnr_db[index], -index))
    return {"best": best, "median": rising[(len(rising) - 1) // 2], "worst": rising[0]}


def rank(point: Point) -> tuple[float, float, str]:
    """Sorts points from the best: by mean PSNR, then by the size of the file, then by name."""
    return (-float(point["psnr_db"] or 0), float(point["file_bytes"] or 0), str(point["run"]))


def apart(size: float, other: float) -> float:
    """How far two sizes above 0 are from each other: the logarithm of their ratio, at least 0."""
    return abs(math.log(size / other))


def best_run(runs: Sequence[Run]) -> Run | None:
    """The coded model run that `rank` has first."""
    coded = [run for run in runs if run.is_model and run.file_bytes]
    return min(coded, key=lambda run: rank(run.point), default=None)


def nearest_anchor(run: Run, runs: Sequence[Run]) -> Run | None:
    """The anchor point whose file is nearest in size to that of `run`, as a ratio; of equal ones the first name."""
    anchors = [other for other in runs if not other.is_model and other.file_bytes]
    return min(anchors, key=lambda other: (apart(other.file_bytes, run.file_bytes), other.name), default=None)


def shown_runs(runs: Sequence[Run]) -> list[Run]:
    """One run a curve: of models the best, of anchors the one nearest in size to the best of all, or the best."""
    best = best_run(runs)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.curve, []).append(run)
    shown = []
    for group in groups.values():
        nearest = None if best is None else nearest_anchor(best, group)
        shown.append(nearest or min(group, key=lambda run: rank(run.point)))
    return shown
