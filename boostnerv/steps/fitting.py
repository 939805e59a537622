"""Training and fine-tuning of models."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from boostnerv import files, progress
from boostnerv.config import FinetuneJob, Finetuning, Training, TrainJob
from boostnerv.steps.common import given_keyframes, prepare_cpu, with_pixels

if TYPE_CHECKING:
    from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
    from boostnerv.video.videos import Videos


SMALL_FRAME_PIXELS = 250_000
"""Frames of fewer pixels are trained on by one thread, whatever a job may have."""


def train(
    frames: Path,
    job: TrainJob,
    model: Path,
    log: Path,
    state: Path,
    *,
    device: str,
    threads: int | None,
    tensorboard: Path | None = None,
    keyframes: Path | None = None,
    scratch: str | None = None,
) -> None:
    """Fit a model to the frames of the manifest `frames`; goes on from `state` where it can.

    A model of many videos takes the description of all of them instead, and the manifest of their `keyframes` where
    it needs any; its frames are read from copies below the folder `scratch` where that is given.
    """
    from boostnerv.host.devices import choose_device
    from boostnerv.training.distributed import leads
    from boostnerv.training.run import train_video

    files.check_distinct([model, log], [*with_pixels(frames), keyframes])
    video, shown = _trained_on(frames, job.model.name, keyframes, scratch)
    _prepare_training_cpu(threads, video)
    total = _training_steps(video, job)
    with progress.shown(f"train {job.model.name}", total, "steps") if leads() else nullcontext(progress.silent) as show:
        train_video(
            video,
            job,
            model,
            log,
            state,
            device=choose_device(device),
            save_every_s=30.0,
            progress=show,
            tensorboard=tensorboard,
            keyframes=shown,
        )


def finetune(
    frames: Path,
    trained: Path,
    job: FinetuneJob,
    model: Path,
    log: Path,
    state: Path,
    *,
    device: str,
    threads: int | None,
    tensorboard: Path | None = None,
    keyframes: Path | None = None,
    scratch: str | None = None,
) -> None:
    """Fine-tune the checkpoint `trained` with consistent entropy minimisation; `frames` and `keyframes` are those of
    its training, `scratch` is as for `train`."""
    from boostnerv.host.devices import choose_device
    from boostnerv.training import checkpoint
    from boostnerv.training.run import finetune_video

    files.check_distinct([model, log], [*with_pixels(frames), trained, keyframes])
    about = checkpoint.read_about(trained)
    video, shown = _trained_on(frames, about.architecture, keyframes, scratch)
    _prepare_training_cpu(threads, video)
    with progress.shown("finetune", _steps(about.make_spec().samples, job.finetuning), "steps") as show:
        finetune_video(
            video,
            job,
            trained,
            model,
            log,
            state,
            device=choose_device(device),
            save_every_s=30.0,
            progress=show,
            tensorboard=tensorboard,
            keyframes=shown,
        )


def in_processes(count: int, threads: int | None) -> int | None:
    """Go on as one of `count` processes that torchrun starts with this one's command line; returns the `threads` of
    each."""
    from boostnerv.training.distributed import is_started_by_torchrun, run_by_torchrun

    if not is_started_by_torchrun():
        run_by_torchrun(count, sys.argv[1:])
    return threads and max(threads // count, 1)


def _trained_on(
    frames: Path, model: str, keyframes: Path | None, scratch: str | None
) -> tuple[Videos, KeyframeFile | None]:
    """What a model is trained on; where it is of many videos and `scratch` is given, their copies on that near disk."""
    from boostnerv.models.architecture import architecture
    from boostnerv.training.distributed import leads
    from boostnerv.video.collections import open_videos
    from boostnerv.video.staging import staged

    many = architecture(model).multi_video
    if many and scratch:
        with progress.shown("copy", None, "videos") if leads() else nullcontext(progress.silent) as show:
            frames = staged(frames, scratch, show)
    video = open_videos(frames, many=many)
    return video, given_keyframes(keyframes, video)


def _prepare_training_cpu(threads: int | None, video: Videos) -> None:
    """Threads of a training that may have `threads`: two small trainings side by side finish as soon as one after
    the other on two threads, and threads that wait for each other suffer on a busy machine."""
    small = video.manifest.height * video.manifest.width < SMALL_FRAME_PIXELS
    prepare_cpu(1 if small and threads is not None else threads)


def _training_steps(video: Videos, job: TrainJob) -> int:
    from boostnerv.training.planning import planned_clips

    if video.members:
        return _steps(planned_clips(job, video).samples, job.training)
    count = video.manifest.frames
    return _steps((count + 1) // 2 if job.training.task == "interpolation" else count, job.training)


def _steps(samples: int, recipe: Training | Finetuning) -> int:
    return recipe.epochs * -(-samples // recipe.batch_size)
