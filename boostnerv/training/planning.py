"""The spec of a model that is to be trained, from its settings and the sizes of its videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from boostnerv.config import TrainJob
from boostnerv.errors import UserError
from boostnerv.models.architecture import Spec
from boostnerv.models.budget import resolve
from boostnerv.models.clips import ClipSpec, ten_thousandths
from boostnerv.training.losses import check_frame_size
from boostnerv.training.tasks import (
    interpolated_frames,
)
from boostnerv.video.collections import OpenCollection
from boostnerv.video.masks import check_mask


def planned_spec(job: TrainJob, frames: int, height: int, width: int) -> Spec:
    """The spec of a training on a video of this size; raises `UserError` where its task cannot be done on it."""
    check_frame_size(job.training.loss, height, width)
    if job.training.mask is not None:
        check_mask(job.training.mask, height, width)
    if job.training.task == "interpolation":
        used = interpolated_frames(frames)
        return resolve(job.model, used, height, width, embedded_frames=(used + 1) // 2)
    return resolve(job.model, frames, height, width)


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
