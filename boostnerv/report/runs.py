"""Runs of one video with the PSNR of their frames, and the choice of runs and frames to show."""

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
    """A run or anchor point of a video: its row, its curve, and the PSNR of every frame in dB (empty if not kept)."""

    point: Point
    curve: str
    psnr_db: tuple[float, ...]

    @property
    def name(self) -> str:
        return str(self.point["run"])

    @property
    def file_bytes(self) -> int:
        """Size of the file, 0 if nothing was coded."""
        return int(self.point["file_bytes"] or 0)

    @property
    def is_model(self) -> bool:
        """Whether this is a run of a model, not an anchor."""
        return self.point["kind"] == "model"


def runs_of(points: Sequence[Point], psnr_db: Sequence[tuple[float, ...]]) -> list[Run]:
    """The runs of one video's points, in their order; `psnr_db` has the PSNR of the frames of each."""
    named = run_curves(points)
    return [Run(point, named[str(point["run"])], frames) for point, frames in zip(points, psnr_db, strict=True)]


def read_frames(path: str | Path) -> tuple[float, ...]:
    """Read the PSNR of every frame in dB from a CSV of frames; raises `UserError` if it is missing or invalid."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return tuple(float(row["psnr_db"]) for row in csv.DictReader(file))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; run the step that measures the frames again") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a table of frames and PSNR; run the step that wrote it again") from error


def chosen_frames(psnr_db: Sequence[float]) -> dict[str, int]:
    """Numbers of the frames with the best, median and worst PSNR; on ties the first, of two medians the lower."""
    rising = sorted(range(len(psnr_db)), key=lambda index: (psnr_db[index], index))
    best = max(range(len(psnr_db)), key=lambda index: (psnr_db[index], -index))
    return {"best": best, "median": rising[(len(rising) - 1) // 2], "worst": rising[0]}


def rank(point: Point) -> tuple[float, float, str]:
    """Sort key that puts the best point first: by mean PSNR, then file size, then name."""
    return (-float(point["psnr_db"] or 0), float(point["file_bytes"] or 0), str(point["run"]))


def apart(size: float, other: float) -> float:
    """Distance of two sizes above 0: the absolute logarithm of their ratio."""
    return abs(math.log(size / other))


def best_run(runs: Sequence[Run]) -> Run | None:
    """The best coded model run by `rank`, if any."""
    coded = [run for run in runs if run.is_model and run.file_bytes]
    return min(coded, key=lambda run: rank(run.point), default=None)


def nearest_anchor(run: Run, runs: Sequence[Run]) -> Run | None:
    """The anchor point whose file size is nearest to that of `run` by ratio, on ties the first by name, if any."""
    anchors = [other for other in runs if not other.is_model and other.file_bytes]
    return min(anchors, key=lambda other: (apart(other.file_bytes, run.file_bytes), other.name), default=None)


def runs_by_curve(runs: Sequence[Run]) -> list[Run]:
    """One run per curve: the best for models; for anchors the one nearest in size to the best model, else the best."""
    best = best_run(runs)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.curve, []).append(run)
    selected = []
    for group in groups.values():
        nearest = None if best is None else nearest_anchor(best, group)
        selected.append(nearest or min(group, key=lambda run: rank(run.point)))
    return selected
