"""Tiny videos of unequal lengths as the data set of one model, and every step on them as a function."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boostnerv import steps
from boostnerv.config import FinetuneJob, KeyframeJob, PostTraining, TrainJob, parse
from boostnerv.host.machine import Host
from boostnerv.video.frames import Pixels, write_frames
from tests.models.tiny import CLIP_OPTIONS

CLIP = 4
# The last clip of the first video has one frame, that of the second two; the third ends with its clip.
LENGTHS = {"nine": 9, "six": 6, "four": 4}
SIZE = (12, 16)
PATCH = (6, 8)


def write_videos(
    folder: Path, lengths: Mapping[str, int] = LENGTHS, size: tuple[int, int] = SIZE, *, seed: int = 1
) -> dict[str, Pixels]:
    """Frames files ``NAME.npy`` of smooth videos that move, and their manifests; returns the frames."""
    rng = np.random.default_rng(seed)
    videos = {}
    for number, (name, count) in enumerate(lengths.items()):
        t, y, x = np.mgrid[:count, : size[0], : size[1]]
        waves = [120 + 90 * np.sin(x / 4 + t / 2 + number), 120 + 90 * np.cos(y / 3 - t / 3), 20 * number + 5 * t]
        noise = rng.normal(0, 3, (count, *size, 3))
        videos[name] = np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)
        write_frames(videos[name], folder / f"{name}.npy", dataset="set", video=name, fps=10.0 + number)
    return videos


def gather(folder: Path, names: Sequence[str] = tuple(LENGTHS), patch: tuple[int, int] | None = PATCH) -> Path:
    """The description ``set.json`` of these videos, cut into patches unless `patch` is None."""
    manifests = [folder / f"{name}.json" for name in names]
    if patch is not None:
        for name, manifest in zip(names, manifests, strict=True):
            steps.split_patches(manifest, *patch, folder / f"{name}-patches.npy")
        manifests = [folder / f"{name}-patches.json" for name in names]
    steps.gather_videos(manifests, None, folder / "set.json")
    return folder / "set.json"


def code_keyframes(videos: Path, output: Path, **settings: Any) -> Path:
    """The manifest of keyframes."""
    steps.code_keyframes(videos, KeyframeJob(**{"clip_frames": CLIP, **settings}), output, threads=1)
    return output


def train_job(name: str, *, epochs: int = 2, clip_frames: int = CLIP, **settings: Any) -> dict[str, Any]:
    model = {
        "name": name,
        "strides": [2, 2],
        "fc_dim": 3,
        "options": {**CLIP_OPTIONS[name], "clip_frames": clip_frames},
    }
    training = {"epochs": epochs, "batch_size": 4, "loss": {"l1": 1.0}, "optimizer": "adamw"}
    return {"model": model, "training": training, **settings}


FINETUNE = {"finetuning": {"epochs": 1, "batch_size": 4, "loss": {"l1": 1.0}}}


@dataclass(frozen=True)
class Chain:
    """A model of many videos and its files: `model` codes as `pipeline` says, ``finetuned`` or ``slices``."""

    folder: Path
    model: str
    pipeline: str
    patch: tuple[int, int] | None
    pixels: dict[str, Pixels]

    @property
    def videos(self) -> Path:
        return self.folder / "set.json"

    @property
    def keyframes(self) -> Path | None:
        return self.folder / "keyframes.json" if self.model == "d-nerv" else None

    @property
    def file(self) -> Path:
        return self.folder / "x.bnv"

    def coding_files(self, model: Path, name: str = "encode", file: Path | None = None) -> steps.CodingFiles:
        return steps.CodingFiles(
            frames=self.videos,
            keyframes=self.keyframes,
            model=model,
            output=file or self.file,
            report=self.folder / f"{name}.json",
        )

    def report(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return found

    def last(self, log: str) -> dict[str, Any]:
        """The summary that ends a log."""
        found: dict[str, Any] = json.loads((self.folder / f"{log}.jsonl").read_text().splitlines()[-1])
        return found

    @property
    def identity(self) -> dict[str, Any]:
        codec = self.model if self.pipeline == "finetuned" else f"{self.model}-post-training"
        return {"experiment": "x", "run": f"{codec}-S", "codec": codec, "size_label": "S", "seed": 1}


def made(folder: Path, model: str, pipeline: str, patch: tuple[int, int] | None) -> Chain:
    """Everything up to the file."""
    chain = Chain(folder, model, pipeline, patch, write_videos(folder))
    gather(folder, patch=patch)
    if chain.keyframes is not None:
        code_keyframes(chain.videos, chain.keyframes)
    host = Host("cpu", threads=1)
    trained, tuned = folder / "model.safetensors", folder / "finetuned.safetensors"
    job = parse(TrainJob, train_job(model), "job")
    outputs = {"model": trained, "log": folder / "train.jsonl", "state": folder / "state"}
    steps.train(steps.TrainFiles(frames=chain.videos, keyframes=chain.keyframes, **outputs), job, host)
    if pipeline == "slices":
        coding = PostTraining(quantizer="slices")
        steps.encode_after_training(chain.coding_files(trained), coding, threads=1)
    else:
        tuning = parse(FinetuneJob, FINETUNE, "job")
        outputs = {"model": tuned, "log": folder / "finetune.jsonl", "state": folder / "finetune-state"}
        inputs = {"frames": chain.videos, "keyframes": chain.keyframes, "trained": trained}
        steps.finetune(steps.TrainFiles(**inputs, **outputs), tuning, host)
        steps.encode(chain.coding_files(tuned), threads=1)
    return chain
