"""The spec of a model to be trained, from its settings and the sizes of its videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from boostnerv.config import TrainJob
from boostnerv.errors import UserError
from boostnerv.models.architecture import Spec, architecture
from boostnerv.models.budget import resolve
from boostnerv.models.clips import ClipSpec, ten_thousandths
from boostnerv.training.losses import check_frame_size
from boostnerv.training.tasks import (
    interpolated_frames,
)
from boostnerv.video.masks import check_mask
from boostnerv.video.videos import Videos


def planned_model(job: TrainJob, videos: Videos) -> Spec:
    """The spec of a model of these videos; raises `UserError` if there is none."""
    if architecture(job.model.name).multi_video:
        return planned_clips(job, videos)
    manifest = videos.manifest
    return planned_spec(job, manifest.frames, manifest.height, manifest.width)


def planned_spec(job: TrainJob, frames: int, height: int, width: int) -> Spec:
    """The spec of a model of a video of this size; raises `UserError` if its task is impossible on it."""
    check_frame_size(job.training.loss, height, width)
    if job.training.mask is not None:
        check_mask(job.training.mask, height, width)
    if job.training.task == "interpolation":
        used = interpolated_frames(frames)
        return resolve(job.model, used, height, width, embedded_frames=(used + 1) // 2)
    return resolve(job.model, frames, height, width)


def planned_clips(job: TrainJob, videos: Videos) -> ClipSpec:
    """The spec of a model of these videos, which normalises pixels by their statistics."""
    lengths = {member.name: len(member.frames) for member in videos.members}
    spec = planned_clip_spec(job, lengths, videos.manifest.height, videos.manifest.width, videos.grid)
    if videos.statistics is None:
        return spec
    mean, deviation = videos.statistics
    return dataclasses.replace(spec, mean_e4=ten_thousandths(mean), deviation_e4=ten_thousandths(deviation))


def planned_clip_spec(
    job: TrainJob, lengths: Mapping[str, int], height: int, width: int, grid: tuple[int, int]
) -> ClipSpec:
    """The spec of a multi-video model, from the lengths of its videos by name and their grid of patches.

    Raises `UserError` for videos that are too short and settings that give no model.
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
