"""A page's trial data on disk: made points, the logs of their runs, and real small videos of noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boostnerv.evaluation.points import Point
from boostnerv.report.previews import SOURCE, preview_path
from boostnerv.video.preview import write_preview


def write_results(points: Sequence[Point], folder: Path, *, previews: bool = True) -> None:
    """Logs of all models among `points` and, where wanted, previews of everything, 8 frames of 36x64 each."""
    for video in {str(point["video"]) for point in points}:
        if previews:
            write_preview(noise(0), preview_path(folder, video, SOURCE), 25.0)
    for number, point in enumerate(points, start=1):
        video, run = str(point["video"]), str(point["run"])
        if previews and point["kind"] != "part":
            write_preview(noise(number), preview_path(folder, video, run), 25.0)
        if point["kind"] == "model":
            write_log(folder / video / run)


def write_log(run: Path) -> None:
    (run / "logs").mkdir(parents=True, exist_ok=True)
    lines = [{"epoch": epoch, "step": epoch, "loss": 1 / epoch, "psnr_db": 20.0 + epoch} for epoch in range(1, 31)]
    (run / "train.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (run / "logs/train.log").write_text("".join(f"line {number} of <the> log\n" for number in range(100)))


def noise(seed: int) -> np.ndarray:
    """Uint8 [8, 36, 64, 3] that moves, a hue a seed."""
    frames = np.random.default_rng(seed).integers(0, 100, (8, 36, 64, 3), dtype=np.uint8)
    frames[..., seed % 3] += 100
    return frames
