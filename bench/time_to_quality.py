"""How long the fast recipe takes to the PSNR at which the published one ends.

``python -m bench.time_to_quality [--json] [--video DATASET:NAME ...] [--epochs N] [--fast-epochs N] [--fast KEY=VALUE
...]``. Both train the same model from the same weights on the same frames, side by side, one thread each, so that both
have the same machine; PSNR over all frames is taken as they go. The time that counts is when the fast one first has the
published one's last PSNR. ``--fast`` tries other settings than those of ``recipe: fast``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.timing import machine, tell
from boostnerv import steps
from boostnerv.config import ExtractJob, ModelSettings, Preparation, Training, TrainJob, load_dataset
from boostnerv.evaluation.text import aligned
from boostnerv.training.run import train_video
from boostnerv.training.setting import TrainingData, TrainingMachine, TrainingOutputs
from boostnerv.video.frames import open_frames

VIDEOS = ("bunny:bunny", "clips:bikes-a")
PREPARATION = Preparation(fit="crop-resize", height=180, width=320, frame_count=16)
STRIDES = (5, 2, 2)


@dataclass(frozen=True)
class Curve:
    """PSNR in dB over wall time in seconds, where it was taken, and over epochs."""

    recipe: str
    epochs: list[int]
    wall_s: list[float]
    psnr_db: list[float]

    def reaches_s(self, psnr_db: float) -> float | None:
        """When it first has this PSNR; None where it never has."""
        return next((at for at, value in zip(self.wall_s, self.psnr_db, strict=True) if value >= psnr_db), None)


def frames_of(video: str, folder: Path) -> Path:
    """Fetch and prepare a registered video ``DATASET:NAME``; its frames."""
    dataset, name = video.split(":")
    described = load_dataset(dataset)
    source, frames = folder / f"{name}.mp4", folder / f"{name}.npy"
    steps.fetch_source(described, described.video(name), source)
    job = ExtractJob(dataset=dataset, video=described.video(name), preparation=PREPARATION)
    steps.extract_frames(source, job, frames)
    return frames.with_suffix(".json")


def train(frames: Path, model: ModelSettings, training: Training, folder: Path) -> Curve:
    """One training from its beginning."""
    torch.set_num_threads(1)
    log = folder / "train.jsonl"
    outputs = TrainingOutputs(folder / "model.safetensors", log, folder / "state")
    machine = TrainingMachine(torch.device("cpu"), save_every_s=1e9)
    train_video(TrainingData(open_frames(frames)), TrainJob(model=model, training=training), outputs, machine)
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    taken = [record for record in records if "psnr_db" in record and "epoch" in record]
    return Curve(
        training.recipe,
        [record["epoch"] for record in taken],
        [record["wall_s"] for record in taken],
        [record["psnr_db"] for record in taken],
    )


def compared(pool: Pool, frames: Path, model: ModelSettings, recipes: Sequence[Training], folder: Path) -> list[Curve]:
    """Both trainings, side by side."""
    jobs = []
    for training in recipes:
        own = folder / f"{frames.stem}-{training.recipe}"
        own.mkdir()
        jobs.append((frames, model, training, own))
    return pool.starmap(train, jobs, chunksize=1)


def row(video: str, curves: Sequence[Curve]) -> tuple[str, ...]:
    """A line of the table."""
    published, fast = curves
    wanted_db, whole_s = published.psnr_db[-1], published.wall_s[-1]
    reached_s = fast.reaches_s(wanted_db)
    return (
        video,
        f"{wanted_db:.2f} dB after {whole_s:.0f} s",
        f"{fast.psnr_db[-1]:.2f} dB after {fast.wall_s[-1]:.0f} s",
        "never" if reached_s is None else f"{reached_s:.0f} s",
        "–" if reached_s is None else f"{reached_s / whole_s:.2f}",
    )


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.time_to_quality", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--video", nargs="+", default=list(VIDEOS), help="DATASET:NAME, one or more")
    parser.add_argument("--model", default="hnerv-boost")
    parser.add_argument("--total-m", type=float, default=0.12, help="million parameters, embeddings included")
    parser.add_argument("--epochs", type=int, default=120, help="of the published recipe")
    parser.add_argument("--fast-epochs", type=int, default=40, help="of the fast one")
    parser.add_argument("--fast", nargs="*", default=[], metavar="KEY=VALUE", help="settings of training, as YAML")
    given = parser.parse_args()
    changes: dict[str, Any] = {
        key: yaml.safe_load(value) for key, _, value in (each.partition("=") for each in given.fast)
    }
    model = ModelSettings(name=given.model, strides=STRIDES, total_m=given.total_m)
    recipes = [
        Training(epochs=given.epochs, eval_every_epochs=max(given.epochs // 20, 1)),
        Training(**{"recipe": "fast", "epochs": given.fast_epochs, "eval_every_epochs": 1, **changes}),
    ]
    with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("spawn").Pool(2) as pool:
        folder = Path(name)
        found = {video: compared(pool, frames_of(video, folder), model, recipes, folder) for video in given.video}
    facts = machine("torch", "pytorch_optimizer")
    told = {video: [dataclasses.asdict(curve) for curve in pair] for video, pair in found.items()}
    heads = ("", "published", "fast", "reaches it after", "of the time")
    lines = aligned([heads, *(row(video, curves) for video, curves in found.items())], {0})
    tell(given.json, facts, {"videos": told}, lines)


if __name__ == "__main__":
    main()
