"""Training and fine-tuning of models."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from boostnerv import files, progress
from boostnerv.config import FinetuneJob, Finetuning, Training, TrainJob
from boostnerv.host.machine import Host
from boostnerv.progress import Progress
from boostnerv.steps.common import given_keyframes, prepare_cpu, with_pixels
from boostnerv.steps.job_files import TrainFiles

if TYPE_CHECKING:
    from boostnerv.training.setting import TrainingData, TrainingMachine, TrainingOutputs
    from boostnerv.video.videos import Videos


SMALL_FRAME_PIXELS = 250_000
"""Frames of fewer pixels are trained on by one thread, whatever a job may have."""


def train(job_files: TrainFiles, job: TrainJob, host: Host) -> None:
    """Fit a model to frames; resumes from the state folder where it can.

    A multi-video model takes the description of all videos instead, and the manifest of their keyframes where it needs
    any; its frames are read from copies below the host's scratch folder where there is one.
    """
    from boostnerv.training.distributed import leads
    from boostnerv.training.run import train_video

    files.check_distinct([job_files.model, job_files.log], [*with_pixels(job_files.frames), job_files.keyframes])
    data = _training_data(job_files, job.model.name, host)
    _prepare_training_cpu(host.threads, data.videos)
    total = _training_steps(data.videos, job)
    with progress.track(f"train {job.model.name}", total, "steps") if leads() else nullcontext(progress.silent) as show:
        train_video(data, job, _outputs(job_files), _machine(host, show))


def finetune(job_files: TrainFiles, job: FinetuneJob, host: Host) -> None:
    """Fine-tune the trained checkpoint with consistent entropy minimisation, on the frames and keyframes of its
    training."""
    from boostnerv.training import checkpoint
    from boostnerv.training.run import finetune_video

    trained = job_files.trained
    assert trained is not None, "fine-tuning starts from a trained checkpoint"
    inputs = [*with_pixels(job_files.frames), trained, job_files.keyframes]
    files.check_distinct([job_files.model, job_files.log], inputs)
    about = checkpoint.read_about(trained)
    data = _training_data(job_files, about.architecture, host)
    _prepare_training_cpu(host.threads, data.videos)
    with progress.track("finetune", _steps(about.make_spec().samples, job.finetuning), "steps") as show:
        finetune_video(data, job, trained, _outputs(job_files), _machine(host, show))


def _outputs(job_files: TrainFiles) -> TrainingOutputs:
    from boostnerv.training.setting import TrainingOutputs

    return TrainingOutputs(job_files.model, job_files.log, job_files.state)


def _machine(host: Host, show: Progress) -> TrainingMachine:
    from boostnerv.host.devices import choose_device
    from boostnerv.training.setting import TrainingMachine

    return TrainingMachine(choose_device(host.device), progress=show, tensorboard=host.tensorboard)


def in_processes(count: int, threads: int | None) -> int | None:
    """Go on as one of `count` processes that torchrun starts with this one's command line; returns the `threads` of
    each."""
    from boostnerv.training.distributed import is_started_by_torchrun, run_by_torchrun

    if not is_started_by_torchrun():
        run_by_torchrun(count, sys.argv[1:])
    return threads and max(threads // count, 1)


def _training_data(job_files: TrainFiles, model: str, host: Host) -> TrainingData:
    """The data of a training; of a multi-video model as copies on the host's scratch disk where there is one."""
    from boostnerv.models.architecture import architecture
    from boostnerv.training.distributed import leads
    from boostnerv.training.setting import TrainingData
    from boostnerv.video.collections import open_videos
    from boostnerv.video.staging import staged

    many, frames = architecture(model).multi_video, job_files.frames
    if many and host.scratch:
        with progress.track("copy", None, "videos") if leads() else nullcontext(progress.silent) as show:
            frames = staged(frames, host.scratch, show)
    videos = open_videos(frames, many=many)
    return TrainingData(videos, given_keyframes(job_files.keyframes, videos))


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
