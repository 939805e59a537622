"""The two training steps as functions of files: ``train`` and ``finetune``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch

from boostnerv import files
from boostnerv.codec.container.bitstream import check_storable
from boostnerv.codec.container.limits import machine_memory_bytes
from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
from boostnerv.config import Closed, FinetuneJob, Memory, TrainJob
from boostnerv.models.architecture import VideoModel, build_model, to_device
from boostnerv.models.clips import ClipSpec
from boostnerv.progress import Progress, silent
from boostnerv.training import checkpoint
from boostnerv.training.board import Board
from boostnerv.training.clip_reader import ClipReader
from boostnerv.training.clip_tasks import ClipRegression
from boostnerv.training.computing import Way, prepare
from boostnerv.training.distributed import Group, check_shared, joined, leads, only_alone
from boostnerv.training.entropy_minimisation import EntropyMinimisation
from boostnerv.training.log import LiveLog, write_log
from boostnerv.training.loop import ALONE, LoopSettings, Recipe, Record, fit
from boostnerv.training.losses import check_frame_size
from boostnerv.training.planning import planned_model
from boostnerv.training.provenance_checks import check_keyframes, check_trained_with, finetuned_about
from boostnerv.training.state import StateFolder
from boostnerv.training.tasks import FrameObjective, Objective, ResidentVideo, training_objective
from boostnerv.versions import STEP_VERSIONS
from boostnerv.video.videos import Videos


def train_video(
    frames: Videos,
    job: TrainJob,
    model_path: Path,
    log_path: Path,
    state_folder: Path,
    *,
    device: torch.device,
    save_every_s: float,
    progress: Progress,
    tensorboard: Path | None = None,
    keyframes: KeyframeFile | None = None,
) -> None:
    """Fit a model to a video, or to many; writes the checkpoint `model_path` and the log `log_path`.

    Goes on from `state_folder`, and takes the result from there where this training was finished before. Raises
    `UserError` where keyframes are missing, or not those of these videos, and where another process took it over.
    """
    manifest = frames.manifest
    spec = planned_model(job, frames)
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
    upstream = manifest.pixels_sha256
    if spec.multi_video:
        # The normalisation of the pixels is a part of the spec, and of nothing else.
        upstream = files.sha256_of_value([about.spec, about.frames_sha256, about.keyframes_sha256])
    check_shared(job.training.batch_size)
    state = StateFolder(state_folder, _identity("train", job, upstream))
    # The first process may have to wait for another training; the others wait for it to join.
    with state.locked() if leads() else nullcontext(), joined(device) as group:
        if group.largest(int(group.leads and state.take_finished(model_path, log_path)), device):
            return
        model = to_device(build_model(job.model.name, spec, job.seed), device, job.model.name)
        objective: Objective
        if spec.multi_video:
            objective = clip_objective(model, frames, keyframes, job.training.loss, device)
        else:
            video = resident(frames, device, job.training.memory)
            objective = training_objective(model, video, job.training)
        settings = LoopSettings(job.seed, save_every_s, job.training.eval_every_epochs)
        board = _board(tensorboard, model_path)
        way = prepare(objective, job.training, device)
        log = _fit(objective, job.training, settings, state, state_folder, progress, device, way, board, group)
        if group.leads:
            state.check()
            checkpoint.save(model_path, about, model)
            write_log(log_path, log, job, device, way, processes=group.size)
            state.finish(model_path, log_path)


def resident(frames: Videos, device: torch.device, memory: Memory) -> ResidentVideo:
    """The frames of a video where `memory` wants them."""
    pixels, in_file = frames.array(), memory.frames == "file"
    if memory.frames == "auto":
        in_file = pixels.nbytes > _free_bytes(device) // 4
    return ResidentVideo(pixels, device, in_file=in_file)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return machine_memory_bytes()


def clip_objective(
    model: VideoModel,
    videos: Videos,
    keyframes: KeyframeFile | None,
    terms: Mapping[str, float],
    device: torch.device,
) -> ClipRegression:
    """The objective of a model of many videos."""
    assert isinstance(model.spec, ClipSpec)
    check_keyframes(model.spec, keyframes, videos)
    reader = ClipReader(videos, model.spec, keyframes.pixels if keyframes else None)
    return ClipRegression(model, reader, device, terms).to(device)


def finetune_video(
    frames: Videos,
    job: FinetuneJob,
    trained_path: Path,
    model_path: Path,
    log_path: Path,
    state_folder: Path,
    *,
    device: torch.device,
    save_every_s: float,
    progress: Progress,
    tensorboard: Path | None = None,
    keyframes: KeyframeFile | None = None,
) -> None:
    """Fine-tune the checkpoint `trained_path` with consistent entropy minimisation; `frames` and `keyframes` are those
    of its training. `state_folder` is as in `train_video`."""
    only_alone("finetune")
    about, model = checkpoint.restore_any(trained_path)
    check_storable(model.architecture, model.spec)
    finetuned = finetuned_about(about, job, frames, trained_path, keyframes)
    check_trained_with(finetuned, keyframes, trained_path)
    check_frame_size(job.finetuning.loss, *model.spec.decoded_size)
    state = StateFolder(state_folder, _identity("finetune", job, files.sha256_of_file(trained_path)))
    with state.locked():
        if state.take_finished(model_path, log_path):
            return
        model = to_device(model, device, model.architecture.name)
        task: Objective
        if model.spec.multi_video:
            task = clip_objective(model, frames, keyframes, job.finetuning.loss, device)
        else:
            task = FrameObjective(model, resident(frames, device, job.finetuning.memory))
        objective = EntropyMinimisation(task, job.finetuning).to(device)
        settings, board = LoopSettings(job.seed, save_every_s), _board(tensorboard, model_path)
        way = prepare(objective, job.finetuning, device)
        log = _fit(objective, job.finetuning, settings, state, state_folder, progress, device, way, board)
        state.check()
        checkpoint.save(model_path, finetuned, model, objective.quantized())
        write_log(log_path, log, job, device, way)
        state.finish(model_path, log_path)


def _fit(
    objective: Objective,
    recipe: Recipe,
    settings: LoopSettings,
    state: StateFolder,
    state_folder: Path,
    progress: Progress,
    device: torch.device,
    way: Way,
    board: Path | None,
    group: Group = ALONE,
) -> list[Record]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if not group.leads:
        return fit(objective, recipe, settings, state, lambda records: None, silent, device, way, group)
    listeners: list[Callable[[list[Record]], None]] = [LiveLog(state_folder / "log.jsonl")]
    if board is not None:
        listeners.append(Board(board))

    def tell(records: list[Record]) -> None:
        state.check()
        for listener in listeners:
            listener(records)

    return fit(objective, recipe, settings, state, tell, progress, device, way, group)


def _board(folder: Path | None, model_path: Path) -> Path | None:
    """A folder of the run's own: all jobs of a workflow may be given the same."""
    return None if folder is None else folder.joinpath(*model_path.parent.parts[-2:], model_path.stem)


def _identity(step: str, job: Closed, upstream_sha256: str) -> str:
    """What a state and a result belong to: the settings, what is trained on, and the declared version of the step."""
    return files.sha256_of_value([step, STEP_VERSIONS[step], job.model_dump(mode="json"), upstream_sha256])
