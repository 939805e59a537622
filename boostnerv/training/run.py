"""The two training steps as functions of files: ``train`` and ``finetune``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch

from boostnerv import files
from boostnerv.codec.container.bitstream import check_storable
from boostnerv.codec.container.limits import machine_memory_bytes
from boostnerv.config import Closed, FinetuneJob, Memory, TrainJob
from boostnerv.models.architecture import Spec, VideoModel, build_model, to_device
from boostnerv.models.clips import ClipSpec
from boostnerv.training import checkpoint
from boostnerv.training.board import Board
from boostnerv.training.clip_reader import ClipReader
from boostnerv.training.clip_tasks import ClipRegression
from boostnerv.training.computing import Computation, prepare
from boostnerv.training.distributed import Group, check_shared, joined, leads, only_alone
from boostnerv.training.entropy_minimisation import EntropyMinimisation
from boostnerv.training.log import LiveLog, write_log
from boostnerv.training.loop import ALONE, LoopSettings, Session, fit
from boostnerv.training.losses import check_frame_size
from boostnerv.training.planning import planned_model
from boostnerv.training.provenance_checks import check_keyframes, check_trained_with, finetuned_about
from boostnerv.training.rate_distortion import RateDistortion
from boostnerv.training.setting import Record, TrainingData, TrainingMachine, TrainingOutputs
from boostnerv.training.state import StateFolder
from boostnerv.training.tasks import FrameObjective, Objective, ResidentVideo, training_objective
from boostnerv.versions import STEP_VERSIONS
from boostnerv.video.videos import Videos


def train_video(data: TrainingData, job: TrainJob, outputs: TrainingOutputs, machine: TrainingMachine) -> None:
    """Fit a model to one or several videos.

    Resumes from the state folder, and restores the result from there if this training was finished before. Raises
    `UserError` if keyframes are missing or belong to other videos, and if another process took over.
    """
    about, spec = _planned(data, job)
    upstream = about.frames_sha256
    if spec.multi_video:
        # The normalisation of pixels is part of the spec only.
        upstream = files.sha256_of_value([about.spec, about.frames_sha256, about.keyframes_sha256])
    check_shared(job.training.batch_size)
    device = machine.device
    state = StateFolder(outputs.state, _identity("train", job, upstream))
    # The first process may have to wait for another training; the others wait for it to join.
    with state.locked() if leads() else nullcontext(), joined(device) as group:
        if group.largest(int(group.leads and state.take_finished(outputs.model, outputs.log)), device):
            return
        model = to_device(build_model(job.model.name, spec, job.seed), device, job.model.name)
        objective: Objective
        if spec.multi_video:
            objective = clip_objective(model, data, job.training.loss, device)
        else:
            objective = training_objective(model, resident(data.videos, device, job.training.memory), job.training)
        settings = LoopSettings(job.seed, machine.save_every_s, job.training.eval_every_epochs)
        computation = prepare(objective, job.training, device)
        log = fit(objective, job.training, settings, _session(state, outputs, machine, computation, group))
        if group.leads:
            state.check()
            checkpoint.save(outputs.model, about, model)
            write_log(outputs.log, log, job, device, computation, processes=group.size)
            state.finish(outputs.model, outputs.log)


def _planned(data: TrainingData, job: TrainJob) -> tuple[checkpoint.About, Spec]:
    """Metadata of the checkpoint, and the spec of the model."""
    manifest, keyframes, spec = data.videos.manifest, data.keyframes, planned_model(job, data.videos)
    about = checkpoint.About(
        kind="trained",
        architecture=job.model.name,
        spec=checkpoint.spec_fields(spec),
        frames_sha256=manifest.pixels_sha256,
        fps=manifest.fps,
        colour=manifest.colour,
        keyframes_sha256=None if keyframes is None else keyframes.manifest.payload_sha256,
        train=job,
    )
    return about, spec


def resident(frames: Videos, device: torch.device, memory: Memory) -> ResidentVideo:
    """The frames of a video, stored as `memory` says."""
    pixels, in_file = frames.array(), memory.frames == "file"
    if memory.frames == "auto":
        in_file = pixels.nbytes > _free_bytes(device) // 4
    return ResidentVideo(pixels, device, in_file=in_file)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return machine_memory_bytes()


def clip_objective(
    model: VideoModel, data: TrainingData, terms: Mapping[str, float], device: torch.device
) -> ClipRegression:
    """The objective of a multi-video model."""
    assert isinstance(model.spec, ClipSpec)
    check_keyframes(model.spec, data.keyframes, data.videos)
    reader = ClipReader(data.videos, model.spec, data.keyframes.pixels if data.keyframes else None)
    return ClipRegression(model, reader, device, terms).to(device)


def finetune_video(
    data: TrainingData, job: FinetuneJob, trained: Path, outputs: TrainingOutputs, machine: TrainingMachine
) -> None:
    """Fine-tune the checkpoint `trained` with consistent entropy minimisation, on the data of its training.

    State and errors are as in `train_video`.
    """
    only_alone("finetune")
    about, model = checkpoint.restore_any(trained)
    check_storable(model.architecture, model.spec)
    finetuned = finetuned_about(about, job, data.videos, trained, data.keyframes)
    check_trained_with(finetuned, data.keyframes, trained)
    check_frame_size(job.finetuning.loss, *model.spec.decoded_size)
    device = machine.device
    state = StateFolder(outputs.state, _identity("finetune", job, files.sha256_of_file(trained)))
    with state.locked():
        if state.take_finished(outputs.model, outputs.log):
            return
        model = to_device(model, device, model.architecture.name)
        task: Objective
        if model.spec.multi_video:
            task = clip_objective(model, data, job.finetuning.loss, device)
        else:
            task = FrameObjective(model, resident(data.videos, device, job.finetuning.memory))
        kind = EntropyMinimisation if job.finetuning.rate_distortion is None else RateDistortion
        objective = kind(task, job.finetuning).to(device)
        settings = LoopSettings(job.seed, machine.save_every_s)
        computation = prepare(objective, job.finetuning, device)
        log = fit(objective, job.finetuning, settings, _session(state, outputs, machine, computation))
        state.check()
        checkpoint.save(outputs.model, finetuned, model, objective.quantized())
        write_log(outputs.log, log, job, device, computation)
        state.finish(outputs.model, outputs.log)


def _session(
    state: StateFolder,
    outputs: TrainingOutputs,
    machine: TrainingMachine,
    computation: Computation,
    group: Group = ALONE,
) -> Session:
    """The session of a training; only its first process writes records and shows progress."""
    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(machine.device)
    if not group.leads:
        return Session(state, machine.device, computation, group)
    listeners: list[Callable[[list[Record]], None]] = [LiveLog(outputs.state / "log.jsonl")]
    board = _board(machine.tensorboard, outputs.model)
    if board is not None:
        listeners.append(Board(board))

    def on_record(records: list[Record]) -> None:
        state.check()
        for listener in listeners:
            listener(records)

    return Session(state, machine.device, computation, group, machine.progress, on_record)


def _board(folder: Path | None, model_path: Path) -> Path | None:
    """A separate folder for each run: all jobs of a workflow may be given the same `folder`."""
    return None if folder is None else folder.joinpath(*model_path.parent.parts[-2:], model_path.stem)


def _identity(step: str, job: Closed, upstream_sha256: str) -> str:
    """Identity of a state and its result: settings, training data and declared version of the step."""
    return files.sha256_of_value([step, STEP_VERSIONS[step], job.model_dump(mode="json"), upstream_sha256])
