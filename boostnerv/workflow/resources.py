"""Resources that a job asks for, from its pixels, frames, model and epochs; more at every attempt.

None of them changes a result. Functions that Snakemake calls take `wildcards` and `attempt` by these names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boostnerv.config import Run
from boostnerv.steps import SMALL_FRAME_PIXELS, planned_shape
from boostnerv.workflow.plan import Job, Plan

Shape = tuple[int, int, int]
Seconds = Callable[[Job], float]
Resource = Callable[[Any, int], int]

UNKNOWN_SHAPE: Shape = (600, 1080, 1920)
"""A guess where only extraction will tell: full HD."""

_TRAININGS = ("train", "finetune")


@dataclass(frozen=True)
class _RunOfVideo:
    video: str
    run: str


class JobResources:
    """Resources of the jobs of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._cluster = plan, plan.cluster
        self._shapes: dict[str, Shape] = {}

    # --- sizes ----------------------------------------------------------------------------------------------------

    def shape_of(self, video: str) -> Shape:
        """Frames, height and width of a video: as planned, or as its frames say once they are there."""
        if video not in self._shapes:
            shape = planned_shape(self._plan.experiment.preparation, self._plan.videos[video])
            manifest = Path(self._plan.frames.format(video=video) + ".json")
            if shape is None and manifest.exists():
                described = json.loads(manifest.read_text())
                shape = described["frames"], described["height"], described["width"]
            if shape is None:
                return UNKNOWN_SHAPE
            self._shapes[video] = shape
        return self._shapes[video]

    def is_known(self, video: str) -> bool:
        """Whether the size of a video, or of all of them, is known."""
        videos = self._plan.videos if video == self._plan.all_videos else [video]
        return all(self.shape_of(name) is not UNKNOWN_SHAPE for name in videos)

    def shape(self, wildcards: Job) -> Shape:
        """Frames, height and width of a job: of a video, or of all of them together."""
        if wildcards.video != self._plan.all_videos:
            return self.shape_of(wildcards.video)
        shapes = [self.shape_of(video) for video in self._plan.videos]
        frames = sum(count for count, _, _ in shapes)
        height, width = max(shape[1:] for shape in shapes)
        return frames, height, width

    def pixels(self, wildcards: Job) -> int:
        """Pixels of all frames."""
        return math.prod(self.shape(wildcards))

    def frames_mb(self, wildcards: Job) -> int:
        """Size of the uint8 frames in MB."""
        return 3 * self.pixels(wildcards) // 10**6 + 1

    def _picture(self, wildcards: Job) -> tuple[int, int]:
        """Height and width of what a model makes at once: a frame, or a patch."""
        grid = self._plan.grid
        if wildcards.video == self._plan.all_videos and grid:
            return grid.height, grid.width
        return self.shape(wildcards)[1:]

    def _size_m(self, wildcards: Job) -> float:
        """Million parameters of a run's model, about."""
        model = self._plan.run_of(wildcards).train.model
        return model.total_m or model.modelsize_m or 10

    # --- memory ---------------------------------------------------------------------------------------------------

    def memory(self, mem_mb: int | Callable[[Job], int]) -> Resource:
        """So much memory, times the number of the attempt, and never more than the cluster allows."""

        def resource(wildcards: Any, attempt: int) -> int:
            wanted_mb = attempt * (mem_mb(wildcards) if callable(mem_mb) else mem_mb)
            return min(wanted_mb, self._cluster.max_mem_mb or wanted_mb)

        return resource

    def training_memory(self, step: str) -> Resource:
        """Frames in memory twice while loading, activations by pixels, the optimiser's copies of the model, and PyTorch
        itself; clips are read as needed."""

        def mem_mb(wildcards: Job) -> int:
            height, width = self._picture(wildcards)
            model_mb = int(30 * self._size_m(wildcards))
            if wildcards.video != self._plan.all_videos:
                return 1500 + model_mb + 2 * self.frames_mb(wildcards) + height * width * 3 // 400
            recipe = self._recipe(self._plan.run_of(wildcards), step)
            clip_frames = self._plan.experiment.clips.frames
            return 2500 + model_mb + int(recipe.batch_size) * clip_frames * height * width * 3 // 4000

        return self.memory(mem_mb)

    def coding_memory(self) -> Resource:
        """PyTorch, a batch of frames and several copies of the model."""

        def mem_mb(wildcards: Job) -> int:
            height, width = self._picture(wildcards)
            return int(1500 + 60 * self._size_m(wildcards) + height * width * 3 // 2000)

        return self.memory(mem_mb)

    # --- time -----------------------------------------------------------------------------------------------------

    def minutes(self, seconds: Seconds, least: int = 15) -> Resource:
        """Minutes of so many seconds, at least `least`, times the number of the attempt, and never more than the
        cluster allows."""

        def resource(wildcards: Any, attempt: int) -> int:
            wanted = _grown_minutes(seconds(wildcards), attempt, least)
            return min(wanted, self._cluster.max_runtime_min or wanted)

        return resource

    def share(self, step: str) -> Resource:
        """Minutes of a step of a run. Steps that follow from one training may be one job, whose time is their sum:
        together they get no more than the cluster allows, and trainings, which can resume, give way first."""

        def resource(wildcards: Any, attempt: int) -> int:
            run = self._plan.run_of(wildcards)
            trained = run.trained_as or run.name
            trainings: dict[tuple[str, str], int] = {}
            others: dict[tuple[str, str], int] = {}
            for related in self._plan.runs[wildcards.video].values():
                if trained in (related.name, related.trained_as):
                    job = _RunOfVideo(wildcards.video, related.name)
                    for name, seconds in self._steps_of(related).items():
                        minutes = trainings if name in _TRAININGS else others
                        minutes[related.name, name] = _grown_minutes(seconds(job), attempt)
            own, whole = (trainings | others)[run.name, step], sum(trainings.values()) + sum(others.values())
            most = self._cluster.max_runtime_min or whole
            if whole <= most:
                return own
            for_others = min(sum(others.values()), most // 2)
            if step in _TRAININGS:
                return max(own * (most - for_others) // sum(trainings.values()), 1)
            return max(own * for_others // sum(others.values()), 1)

        return resource

    def _steps_of(self, run: Run) -> dict[str, Seconds]:
        """Seconds of each step of a run, as functions of the step's job."""
        steps: dict[str, Seconds] = {} if run.trained_as else {"train": self.training_seconds("train")}
        if run.finetune:
            steps |= {"finetune": self.training_seconds("finetune")}
        if run.coded:
            steps |= {"encode": self.coding_seconds, "decode": self.coding_seconds}
        return {**steps, "evaluate": self.evaluation_seconds}

    def training_seconds(self, step: str) -> Seconds:
        """A third of a second for a step of 720p and 1.5 M on one GPU; without one, thirty times that."""

        def seconds(wildcards: Job) -> float:
            run = self._plan.run_of(wildcards)
            halved = 2 if run.train.training.task == "interpolation" else 1
            slower = 30 if self._cluster.gpu_style == "none" else 1
            epochs = int(self._recipe(run, step).epochs)
            return slower * epochs * self.pixels(wildcards) / halved * 2e-7 * (1 + self._size_m(wildcards) / 3)

        return seconds

    def coding_seconds(self, wildcards: Job) -> float:
        """Twenty seconds per full-HD frame on one thread."""
        return self.pixels(wildcards) * 1e-5

    def evaluation_seconds(self, wildcards: Job) -> float:
        """Ten seconds per full-HD frame, of its patches as well."""
        passes = 2 if wildcards.video == self._plan.all_videos and self._plan.grid else 1
        return passes * self.pixels(wildcards) * 5e-6

    def extraction_seconds(self, wildcards: Job) -> float:
        """A second per full-HD frame."""
        return self.pixels(wildcards) * 5e-7

    def seconds_of_all(self, seconds_per_pixel: float) -> Seconds:
        """So many seconds for each pixel of all videos."""

        def seconds(wildcards: Job) -> float:
            return seconds_per_pixel * sum(math.prod(self.shape_of(video)) for video in self._plan.videos)

        return seconds

    @staticmethod
    def _recipe(run: Run, step: str) -> Any:
        return run.train.training if step == "train" else run.finetune and run.finetune.finetuning

    # --- threads and GPUs -----------------------------------------------------------------------------------------

    def training_threads(self, wildcards: Job) -> int:
        """Small frames gain nothing from a second thread (seen: two single-thread trainings side by side finish as soon
        as one after the other on two threads, and bear a busy machine better)."""
        height, width = self._picture(wildcards)
        return (1 if height * width < SMALL_FRAME_PIXELS else 4) * self.gpus_of_training(wildcards)

    def gpus_of_training(self, wildcards: Job) -> int:
        """Processes of a training, each on its own GPU."""
        return self._plan.run_of(wildcards).gpu

    def gpus(self, count: Callable[[Job], int]) -> Mapping[str, Any]:
        """Resources that ask for as many GPUs as `count` says, on one node, in the cluster's way."""
        resources = dict(self.beside_gpus())
        if self._cluster.gpu_style == "gpus":
            resources |= {"gpu": count}
        shared = any(run.gpu > 1 for run in self._plan.all_runs)
        return resources | ({"nodes": 1} if shared and self._cluster.gpu_style != "none" else {})

    def beside_gpus(self) -> Mapping[str, Any]:
        """Resources of a step that needs no GPU and may be one job with steps that do: all must say what is a text."""
        model = self._cluster.gpu_model
        if self._cluster.gpu_style == "gres":
            prefix = f"gpu:{model}:" if model else "gpu:"
            return {"gres": lambda wildcards: f"{prefix}{self.gpus_of_training(wildcards)}"}
        return {"gpu_model": model} if self._cluster.gpu_style == "gpus" and model else {}


def one_gpu(wildcards: Job) -> int:
    """A single GPU."""
    return 1


def no_time(wildcards: Job) -> float:
    """Of jobs that take seconds."""
    return 0


def _grown_minutes(seconds: float, attempt: int, least: int = 15) -> int:
    return attempt * max(least, math.ceil(seconds / 60))
