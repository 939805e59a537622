"""A tiny clip and jobs of a second; the two steps as the command line runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from boostnerv.config import FinetuneJob, Finetuning, ModelSettings, Training, TrainJob
from boostnerv.progress import Progress, silent
from boostnerv.training.run import finetune_video, train_video
from boostnerv.training.setting import TrainingData, TrainingMachine, TrainingOutputs
from boostnerv.video.frames import manifest_path, open_frames, write_frames
from tests.models.tiny import OPTIONS

FRAMES = 4
SMALLEST_M = {"e-nerv": 0.012, "e-nerv-boost": 0.012}  # their transformers alone have 0.009


def write_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write random frames of an odd size; returns their manifest."""
    pixels = np.random.default_rng(seed).integers(0, 256, (FRAMES, 7, 9, 3), dtype=np.uint8)
    write_frames(pixels, folder / "clip.npy", dataset="own", video="clip", fps=12.5)
    return manifest_path(folder / "clip.npy")


def _smallest_m(name: str) -> float:
    return SMALLEST_M.get(name, 0.0013 if name in OPTIONS else 0.02)


def train_job(name: str = "hnerv-boost", *, epochs: int = 3, seed: int = 1, **training: Any) -> TrainJob:
    return TrainJob(
        model=ModelSettings(name=name, strides=(2, 2), total_m=_smallest_m(name), options=OPTIONS.get(name, {})),
        training=Training(epochs=epochs, **{"loss": {"l1": 1.0}, "eval_every_epochs": 2, **training}),
        seed=seed,
    )


def finetune_job(*, epochs: int = 2, seed: int = 1, **finetuning: Any) -> FinetuneJob:
    return FinetuneJob(finetuning=Finetuning(epochs=epochs, **{"loss": {"l1": 1.0}, **finetuning}), seed=seed)


@dataclass(frozen=True)
class Result:
    """What a step left behind."""

    checkpoint: Path
    log: Path
    state: Path

    @property
    def outputs(self) -> TrainingOutputs:
        return TrainingOutputs(self.checkpoint, self.log, self.state)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def records(self) -> list[dict[str, Any]]:
        """All lines of the log but for what depends on the machine's load."""
        passing = ("wall_s", "peak_memory_mib")
        return [{key: value for key, value in line.items() if key not in passing} for line in self.lines()]

    def is_kept(self) -> bool:
        """Whether the state folder has the result, and nothing else any more."""
        kept = {"finished.json", "finished.jsonl", "finished.safetensors"}
        return {path.name for path in self.state.iterdir()} == kept


def place(folder: Path, name: str) -> Result:
    return Result(folder / f"{name}.safetensors", folder / f"{name}.jsonl", folder / "state" / name)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


Train = Callable[..., Result]


@pytest.fixture
def train(clip: Path, tmp_path: Path) -> Train:
    """Train, keyword `folder` apart from the test's, `save_every_s` and `progress` as the library takes them."""

    def run(
        job: TrainJob | None = None,
        *,
        folder: Path | None = None,
        frames: Path = clip,
        save_every_s: float = 1e9,
        progress: Progress = silent,
    ) -> Result:
        result = place(folder or tmp_path, "train")
        machine = TrainingMachine(torch.device("cpu"), save_every_s, progress)
        train_video(TrainingData(open_frames(frames)), job or train_job(), result.outputs, machine)
        return result

    return run


@pytest.fixture
def finetune(clip: Path, tmp_path: Path) -> Train:
    """Fine-tune the checkpoint `trained`."""

    def run(
        trained: Path,
        job: FinetuneJob | None = None,
        *,
        folder: Path | None = None,
        frames: Path = clip,
        save_every_s: float = 1e9,
        progress: Progress = silent,
    ) -> Result:
        result = place(folder or tmp_path, "finetune")
        machine = TrainingMachine(torch.device("cpu"), save_every_s, progress)
        finetune_video(TrainingData(open_frames(frames)), job or finetune_job(), trained, result.outputs, machine)
        return result

    return run


@pytest.fixture(scope="session")
def uninterrupted_results() -> dict[str, Result]:
    """What `uninterrupted` and `uninterrupted_finetuning` have made, by what they made it from."""
    return {}


@pytest.fixture
def uninterrupted(
    train: Train, uninterrupted_results: dict[str, Result], tmp_path_factory: pytest.TempPathFactory
) -> Train:
    """Train in one go, once for each job; what it returns is shared, and only to be read."""

    def run(job: TrainJob | None = None) -> Result:
        settings = (job or train_job()).model_dump_json()
        if settings not in uninterrupted_results:
            uninterrupted_results[settings] = train(job, folder=tmp_path_factory.mktemp("whole"))
        return uninterrupted_results[settings]

    return run


@pytest.fixture
def uninterrupted_finetuning(
    finetune: Train, uninterrupted_results: dict[str, Result], tmp_path_factory: pytest.TempPathFactory
) -> Train:
    """Fine-tune in one go, once for each checkpoint of `uninterrupted`; what it returns is only to be read."""

    def run(trained: Path) -> Result:
        if str(trained) not in uninterrupted_results:
            uninterrupted_results[str(trained)] = finetune(trained, folder=tmp_path_factory.mktemp("whole"))
        return uninterrupted_results[str(trained)]

    return run
