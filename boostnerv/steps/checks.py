"""What can be told of an experiment before any of it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import files
from boostnerv.config import Experiment, Preparation, Run, VideoSpec, config_hash
from boostnerv.errors import UserError
from boostnerv.steps.common import check_slices

if TYPE_CHECKING:
    from boostnerv.models.architecture import Spec


def check(experiment: Experiment, output: Path | None) -> list[dict[str, Any]]:
    """Build the spec of every run on every video and count its parameters; raises `UserError` for the first
    that cannot be. Videos whose size is not said before their extraction are left out, and with one of them a model
    of all."""
    videos = experiment.video_specs()
    rows = [
        row
        for video in videos
        for run in experiment.runs(video)
        if not run.of_many
        for row in _plan(experiment, video, run)
    ]
    rows += [row for run in experiment.runs() if run.of_many for row in _plan_of_many(experiment, videos, run)]
    for anchor in experiment.anchors:
        from boostnerv.evaluation.anchors import check_anchor

        check_anchor(anchor)
    if experiment.evaluation.vmaf:
        from boostnerv.evaluation.vmaf import check_vmaf

        check_vmaf()
    if output is not None:
        files.write_json(output, {"config_sha256": config_hash(experiment), "runs": rows})
    return rows


def _plan(experiment: Experiment, video: VideoSpec, run: Run) -> Iterable[dict[str, Any]]:
    from boostnerv.training.losses import check_frame_size
    from boostnerv.training.run import planned_spec

    shape = planned_shape(experiment.preparation, video)
    if shape is None:
        return
    spec = planned_spec(run.train, *shape)
    if run.finetune is not None:
        check_frame_size(run.finetune.finetuning.loss, *shape[1:])
    if run.post_training is not None and run.post_training.quantizer == "slices":
        check_slices(run.train.model.name, has_embeddings=spec.embedding_shape is not None)
    yield _planned(video.name, run, spec)


def _plan_of_many(experiment: Experiment, videos: Sequence[VideoSpec], run: Run) -> Iterable[dict[str, Any]]:
    from boostnerv.codec.image_codecs import keyframe_codec
    from boostnerv.training.losses import check_frame_size
    from boostnerv.training.run import planned_clip_spec
    from boostnerv.video.patches import check_patches

    job = run.keyframes
    codec = None if job is None else keyframe_codec(job.codec)
    if job is not None and codec is not None:
        codec.check_encoder(codec.lowest_quality if job.fixed_quality is None else job.fixed_quality)
    shapes = [planned_shape(experiment.preparation, video) for video in videos]
    known = [shape for shape in shapes if shape is not None]
    for video, shape in zip(videos, shapes, strict=True):
        if shape is not None and shape[1:] != known[0][1:]:
            raise UserError(
                f"video {video.name} has frames of {shape[1]}×{shape[2]}, others of {known[0][1]}×{known[0][2]}, and a "
                f"{run.train.model.name} is of one size; set preparation.fit, height and width"
            )
    if not known or len(known) < len(shapes):
        return
    _, height, width = known[0]
    patches = experiment.clips.patches
    grid = (1, 1) if patches is None else check_patches(height, width, patches.height, patches.width)
    lengths = {video.name: frames for video, (frames, _, _) in zip(videos, known, strict=True)}
    spec = planned_clip_spec(run.train, lengths, height, width, grid)
    if run.finetune is not None:
        check_frame_size(run.finetune.finetuning.loss, *spec.decoded_size)
    if codec is not None:
        codec.check_size(height, width)
    yield _planned(f"{len(videos)} videos", run, spec)


def _planned(video: str, run: Run, spec: Spec) -> dict[str, Any]:
    from boostnerv.models.architecture import architecture
    from boostnerv.models.budget import decoder_parameters, stored_embeddings
    from boostnerv.models.work import kmac_per_pixel

    entry = architecture(run.train.model.name)
    decoder = decoder_parameters(entry, spec)
    embeddings = stored_embeddings(run.train.training.task, spec)
    return {
        "video": video,
        "run": run.name,
        "frames": spec.frames,
        "height": spec.height,
        "width": spec.width,
        "decoded_height": spec.decoded_size[0],
        "decoded_width": spec.decoded_size[1],
        "padded_height": spec.padded[0],
        "padded_width": spec.padded[1],
        "fc_dim": spec.fc_dim,
        "params_decoder": decoder,
        "params_embedding": embeddings,
        "params_total": decoder + embeddings,
        "kmac_per_pixel": kmac_per_pixel(entry, spec),
    }


def planned_shape(preparation: Preparation, video: VideoSpec) -> tuple[int, int, int] | None:
    """Frames, height, width that a video will have, as far as the registry and the preparation say."""
    available = _available_frames(preparation, video)
    count = preparation.frame_count
    if count is None and available is not None:
        count = available - preparation.first_frame
    height = preparation.height or video.height
    width = preparation.width or video.width
    if count is None or height is None or width is None:
        return None
    if count < 1 or (available is not None and preparation.first_frame + count > available):
        rate = "" if preparation.fps is None else f" at {preparation.fps:g} frames per second"
        raise UserError(
            f"video {video.name} has {available} frames{rate}, the preparation asks for {count} from "
            f"{preparation.first_frame} on; correct preparation.first_frame or frame_count"
        )
    return count, height, width


def _available_frames(preparation: Preparation, video: VideoSpec) -> int | None:
    """How many frames a video has at the rate of the preparation, None where its registry entry does not tell."""
    if video.frames is None or preparation.fps is None:
        return video.frames
    if video.fps is None:
        return None
    from boostnerv.video.info import Timing
    from boostnerv.video.selection import kept_frames

    return len(kept_frames(video.frames, Timing(video.fps, None), preparation.fps))
