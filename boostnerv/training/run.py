"""The two training steps as functions of files: ``train`` and ``finetune``."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from boostnerv import files, provenance
from boostnerv.codec.container.bitstream import check_storable
from boostnerv.codec.container.limits import machine_memory_bytes
from boostnerv.codec.decoder import render_clip, to_uint8
from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
from boostnerv.config import Closed, FinetuneJob, Memory, Training, TrainJob, config_hash
from boostnerv.errors import UserError, nearest
from boostnerv.models.architecture import Spec, VideoModel, build_model, to_device
from boostnerv.models.budget import resolve
from boostnerv.models.clips import Clip, ClipSpec, ten_thousandths
from boostnerv.progress import Progress, silent
from boostnerv.training import checkpoint
from boostnerv.training.board import Board
from boostnerv.training.checkpoint import About, Imported
from boostnerv.training.clip_reader import ClipReader
from boostnerv.training.clip_tasks import ClipRegression
from boostnerv.training.computing import Way, prepare
from boostnerv.training.distributed import Group, check_shared, joined, leads, local_device, only_alone
from boostnerv.training.loop import ALONE, LoopSettings, Recipe, Record, fit
from boostnerv.training.losses import check_frame_size
from boostnerv.training.state import StateFolder
from boostnerv.training.tasks import (
    EntropyMinimisation,
    FrameObjective,
    Objective,
    ResidentVideo,
    interpolated_frames,
    training_objective,
)
from boostnerv.versions import STEP_VERSIONS
from boostnerv.video.collections import OpenCollection
from boostnerv.video.frames import Frames
from boostnerv.video.masks import check_mask
from boostnerv.video.patches import merge


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU when there is one; raises `UserError` for a device that is not there."""
    name = local_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device '{name}' is not available here: {nearest(name, ['auto', 'cpu', 'cuda'])}") from error
    if device.type == "cuda":
        _check_gpu(device)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' is not available here; give --device auto, cpu or cuda") from error
    return device


def _check_gpu(device: torch.device) -> None:
    """Raise `UserError` where PyTorch has no such GPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        reason = "sees no GPU" if torch.version.cuda else "is a build without CUDA"
        raise UserError(
            f"device '{device}' is not available here: PyTorch {torch.__version__} {reason}; give --device cpu or "
            "auto, or see what `boostnerv doctor` says of the GPU"
        )
    if device.index is not None and device.index >= count:
        named = "'cuda:0' is the only GPU" if count == 1 else f"the GPUs are 'cuda:0' to 'cuda:{count - 1}'"
        raise UserError(f"device '{device}' is not available here: {named}; give one that is there, or --device auto")


def planned_spec(job: TrainJob, frames: int, height: int, width: int) -> Spec:
    """The spec of a training on a video of this size; raises `UserError` where its task cannot be done on it."""
    check_frame_size(job.training.loss, height, width)
    if job.training.mask is not None:
        check_mask(job.training.mask, height, width)
    if job.training.task == "interpolation":
        used = interpolated_frames(frames)
        return resolve(job.model, used, height, width, embedded_frames=(used + 1) // 2)
    return resolve(job.model, frames, height, width)


def train_video(
    frames: Frames | OpenCollection,
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
    spec = (
        planned_clips(job, frames)
        if isinstance(frames, OpenCollection)
        else planned_spec(job, manifest.frames, manifest.height, manifest.width)
    )
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
    if isinstance(frames, OpenCollection):
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
        if isinstance(frames, OpenCollection):
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
            _write_log(log_path, log, job, device, way, processes=group.size)
            state.finish(model_path, log_path)


def resident(frames: Frames, device: torch.device, memory: Memory) -> ResidentVideo:
    """The frames of a video where `memory` wants them."""
    in_file = memory.frames == "file"
    if memory.frames == "auto":
        in_file = frames.pixels.nbytes > _free_bytes(device) // 4
    return ResidentVideo(frames.pixels, device, in_file=in_file)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return machine_memory_bytes()


def clip_objective(
    model: VideoModel,
    videos: OpenCollection,
    keyframes: KeyframeFile | None,
    terms: Mapping[str, float],
    device: torch.device,
) -> ClipRegression:
    """The objective of a model of many videos."""
    assert isinstance(model.spec, ClipSpec)
    check_keyframes(model.spec, keyframes, videos)
    reader = ClipReader(videos, model.spec, keyframes.pixels if keyframes else None)
    return ClipRegression(model, reader, device, terms).to(device)


def planned_clips(job: TrainJob, videos: OpenCollection) -> ClipSpec:
    """The spec of a model of these videos."""
    described = videos.manifest
    lengths = {video.name: video.frames for video in described.videos}
    spec = planned_clip_spec(job, lengths, videos.height, videos.width, (videos.rows, videos.columns))
    return dataclasses.replace(
        spec, mean_e4=ten_thousandths(described.mean), deviation_e4=ten_thousandths(described.std)
    )


def planned_clip_spec(
    job: TrainJob, lengths: Mapping[str, int], height: int, width: int, grid: tuple[int, int]
) -> ClipSpec:
    """The spec of a training on videos of these names and lengths, in a grid of patches.

    Raises `UserError` where it cannot be.
    """
    rows, columns = grid
    fields = {"lengths": tuple(lengths.values()), "patch_rows": rows, "patch_columns": columns}
    spec = resolve(job.model, sum(lengths.values()), height, width, shape_fields=fields)
    assert isinstance(spec, ClipSpec)
    check_frame_size(job.training.loss, *spec.decoded_size)
    for name, length in lengths.items():
        if length < spec.clip_frames and job.short_videos == "refuse":
            raise UserError(
                f"a clip of {spec.clip_frames} frames is longer than video '{name}', which has {length}; leave the "
                "video out, lower clips.frames, or set clips.short_videos: pad"
            )
    return spec


def check_keyframes(spec: Spec, keyframes: KeyframeFile | None, videos: Frames | OpenCollection) -> None:
    """Raise `UserError` where keyframes are missing, not needed, or not those of these videos."""
    if not isinstance(spec, ClipSpec) or not spec.uses_keyframes:
        if keyframes is not None:
            raise UserError("this model needs no keyframes; leave them out")
        return
    if keyframes is None:
        raise UserError("this model needs keyframes: run `boostnerv code-keyframes`, and give its manifest")
    described = keyframes.manifest
    if described.videos_sha256 != videos.manifest.pixels_sha256 or described.job.clip_frames != spec.clip_frames:
        raise UserError(
            f"keyframes {keyframes.path} are of other videos or of clips of {described.job.clip_frames} frames, not of "
            f"{spec.clip_frames}; run `boostnerv code-keyframes` on these videos"
        )


def check_trained_with(about: About, keyframes: KeyframeFile | None, path: Path) -> None:
    """Raise `UserError` where keyframes are not those of the training of the checkpoint `path`."""
    if (keyframes and keyframes.manifest.payload_sha256) != about.keyframes_sha256:
        raise UserError(f"checkpoint {path} was trained with other keyframes; give those of its training")


def finetune_video(
    frames: Frames | OpenCollection,
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
    finetuned = _finetuned(about, job, frames, trained_path, keyframes)
    check_trained_with(finetuned, keyframes, trained_path)
    check_frame_size(job.finetuning.loss, *model.spec.decoded_size)
    state = StateFolder(state_folder, _identity("finetune", job, files.sha256_of_file(trained_path)))
    with state.locked():
        if state.take_finished(model_path, log_path):
            return
        model = to_device(model, device, model.architecture.name)
        task: Objective
        if isinstance(frames, OpenCollection):
            task = clip_objective(model, frames, keyframes, job.finetuning.loss, device)
        else:
            task = FrameObjective(model, resident(frames, device, job.finetuning.memory))
        objective = EntropyMinimisation(task, job.finetuning).to(device)
        settings, board = LoopSettings(job.seed, save_every_s), _board(tensorboard, model_path)
        way = prepare(objective, job.finetuning, device)
        log = _fit(objective, job.finetuning, settings, state, state_folder, progress, device, way, board)
        state.check()
        checkpoint.save(model_path, finetuned, model, objective.quantized())
        _write_log(log_path, log, job, device, way)
        state.finish(model_path, log_path)


def trained_on(
    about: About | Imported, frames: Frames | OpenCollection, path: Path, keyframes: KeyframeFile | None = None
) -> About:
    """What is known of the trained checkpoint at `path`; of an imported one, that it is of the frames given for it.

    Raises `UserError` where it is fine-tuned, or it and the frames do not go together.
    """
    manifest = frames.manifest
    if isinstance(about, Imported):
        _check_imported(about, frames, path)
        return About(
            kind="trained",
            architecture=about.architecture,
            spec=about.spec,
            frames_sha256=manifest.pixels_sha256,
            fps=manifest.fps,
            colour=manifest.colour,
            keyframes_sha256=None if keyframes is None else keyframes.manifest.payload_sha256,
            train=None,
        )
    if about.kind != "trained":
        raise UserError(f"checkpoint {path} is fine-tuned already; give the one that `boostnerv train` wrote")
    if about.frames_sha256 != manifest.pixels_sha256:
        raise UserError(
            f"checkpoint {path} was trained on other frames than {frames.path}; "
            "train on these frames, or give the frames it was trained on"
        )
    return about


def _check_imported(about: Imported, frames: Frames | OpenCollection, path: Path) -> None:
    manifest, spec = frames.manifest, about.make_spec()
    if (spec.frames, spec.height, spec.width) != (manifest.frames, manifest.height, manifest.width):
        raise UserError(
            f"checkpoint {path} is of {spec.frames} frames of {spec.height}×{spec.width}, {frames.path} has "
            f"{manifest.frames} of {manifest.height}×{manifest.width}; give the frames it was trained on"
        )
    if isinstance(spec, ClipSpec) and isinstance(frames, OpenCollection):
        there = (frames.lengths, frames.rows, frames.columns)
        if there != (spec.lengths, spec.patch_rows, spec.patch_columns):
            raise UserError(
                f"checkpoint {path} is of {len(spec.lengths)} videos, {spec.patch_rows}×{spec.patch_columns} patches; "
                f"{frames.path} has other lengths or patches; give the videos it was trained on, in its order"
            )


def _finetuned(
    about: About | Imported,
    job: FinetuneJob,
    frames: Frames | OpenCollection,
    path: Path,
    keyframes: KeyframeFile | None,
) -> About:
    """What the checkpoint at `path` becomes; raises `UserError` where it cannot be fine-tuned on the frames."""
    found = trained_on(about, frames, path, keyframes)
    if found.train is not None and found.train.training.task != "regression":
        raise UserError(
            f"checkpoint {path} was trained for {found.train.training.task}, and only regression is coded; "
            "measure it with `boostnerv evaluate-model`"
        )
    return found.model_copy(update={"kind": "finetuned", "finetune": job})


class Reconstruction:
    """The frames of a trained model as an array: uint8 ``[T, H, W, 3]``, computed when a slice is taken."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, model: VideoModel, pixels: npt.NDArray[np.uint8], training: Training, device: torch.device
    ) -> None:
        video = ResidentVideo(pixels, device)
        self._objective = training_objective(to_device(model, device, model.architecture.name), video, training).to(
            device
        )
        self._device = device
        self.shape: tuple[int, ...] = (model.spec.frames, model.spec.height, model.spec.width, 3)
        self.size = math.prod(self.shape)

    @property
    def unseen_frames(self) -> tuple[int, ...]:
        """Frame numbers that training did not see."""
        return self._objective.unseen_frames

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> npt.NDArray[np.uint8]:
        # One frame at a time, as a decoder makes them.
        made = [self._objective.reconstruct(torch.tensor([k], device=self._device)) for k in range(len(self))[part]]
        return np.concatenate([to_uint8(frame) for frame in made])


class ClipReconstruction:
    """The whole frames of all videos of a trained model as an array: uint8 ``[T, H, W, 3]``, computed when a slice is
    taken; raises `UserError` where the keyframes are not those of the videos."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, model: VideoModel, videos: OpenCollection, keyframes: KeyframeFile | None, device: torch.device
    ) -> None:
        assert isinstance(model.spec, ClipSpec)
        check_keyframes(model.spec, keyframes, videos)
        self._decoder = to_device(model.decoder, device, model.architecture.name).eval()
        self._spec, self._keyframes = model.spec, keyframes
        self.shape: tuple[int, ...] = (self._spec.frames, self._spec.height, self._spec.width, 3)
        self.size = math.prod(self.shape)
        self._made: tuple[range, npt.NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> npt.NDArray[np.uint8]:
        return np.stack([self._frame(number) for number in range(len(self))[part]])

    def _frame(self, number: int) -> npt.NDArray[np.uint8]:
        if self._made is None or number not in self._made[0]:
            clip = self._spec.clip_of(number)
            frames = render_clip(self._decoder, self._spec, clip, self._around(clip))
            self._made = (self._spec.computed_with(number, 1), frames)
        frames_of_clip, made = self._made
        return made[number - frames_of_clip.start]

    def _around(self, clip: Clip) -> list[npt.NDArray[np.uint8]] | None:
        if self._keyframes is None:
            return None
        grid = (self._spec.patch_rows, self._spec.patch_columns)
        stored = (self._keyframes.pixels[number] for number in self._spec.keyframes_around(clip))
        return [merge(patches[:, None], *grid)[0] for patches in stored]


def last_record(log_path: Path) -> dict[str, Any]:
    """The summary that ends the log of a finished training; raises `UserError` where there is none."""
    try:
        record: dict[str, Any] = json.loads(log_path.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, IndexError, json.JSONDecodeError) as error:
        raise UserError(f"log {log_path} cannot be read; run the training step again") from error
    if not record.get("finished"):
        raise UserError(f"log {log_path} is of an unfinished training; run the training step again")
    return record


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
    listeners: list[Callable[[list[Record]], None]] = [_LiveLog(state_folder / "log.jsonl")]
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


def _write_log(
    path: Path, log: list[Record], job: Closed, device: torch.device, way: Way, *, processes: int = 1
) -> None:
    """Write the records and the summary of a finished training."""
    last = log[-1]
    summary = {
        "finished": True,
        "psnr_db": last["psnr_db"],
        "psnr_rounded_db": last["psnr_rounded_db"],
        **{key: value for key, value in last.items() if key.startswith("estimated_")},
        "wall_s": last["wall_s"],
        "config_sha256": config_hash(job),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "returns": sum("event" in record for record in log),
        "deterministic": way.deterministic,
        "computing": way.label,
        "memory": way.memory_label,
        "peak_memory_mib": round(_peak_memory_mib(device), 1),
        "version": provenance.package_version(),
        "commit": provenance.commit(),
        "torch": torch.__version__,
    }
    files.write_text(path, "".join(json.dumps(record) + "\n" for record in [*log, summary]))


class _LiveLog:
    """Records of a running training as JSON lines, for whoever wants to look on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0
        path.unlink(missing_ok=True)

    def __call__(self, records: list[Record]) -> None:
        # A training that went back has fewer records than before.
        fresh = self._written == 0 or len(records) <= self._written
        with open(self._path, "w" if fresh else "a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records[0 if fresh else self._written :])
        self._written = len(records)


def _identity(step: str, job: Closed, upstream_sha256: str) -> str:
    """What a state and a result belong to: the settings, what is trained on, and the declared version of the step."""
    return files.sha256_of_value([step, STEP_VERSIONS[step], job.model_dump(mode="json"), upstream_sha256])


def device_name(device: torch.device) -> str:
    """Name of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else provenance.processor()


def _peak_memory_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return provenance.peak_memory_mib()
