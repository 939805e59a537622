"""Checks of an experiment before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import files
from boostnerv.config import Experiment, Preparation, Run, VideoSpec, config_hash
from boostnerv.errors import UserError
from boostnerv.steps.common import check_slices

if TYPE_CHECKING:
    from boostnerv.models.architecture import Spec
    from boostnerv.video.probing import Probed

Shape = tuple[int, int, int]  # frames, height, width

# A setting that fails with this few frames fails with any number.
_FEW_FRAMES = 9


@dataclass(frozen=True)
class Plan:
    """A row for each run on each video, and the videos whose size is unknown before extraction."""

    rows: list[dict[str, Any]]
    unknown: list[str]


def check(experiment: Experiment, output: Path | None, *, allow_missing: bool = False) -> list[dict[str, Any]]:
    """The rows of `planned`."""
    return planned(experiment, output, allow_missing=allow_missing).rows


def planned(experiment: Experiment, output: Path | None, *, allow_missing: bool = False) -> Plan:
    """Probe the sources of own videos, build the spec of every run on every video and count its parameters.

    Raises `UserError` for the first impossible run, and for missing own videos unless `allow_missing` omits them.
    Videos whose size or length is unknown before extraction are omitted too, and with any of them multi-video models.
    """
    from boostnerv.video.datasets import check_sources
    from boostnerv.video.probing import probe_videos, source_prints

    dataset = experiment.dataset_spec()
    videos = experiment.videos_of(dataset)
    if not allow_missing:
        check_sources([video for video in videos if video.source.kind == "path"], dataset.name)
    prints = source_prints(videos, dataset.name)
    planes = experiment.evaluation.yuv420 or any(anchor.source == "yuv420" for anchor in experiment.anchors)
    probed = probe_videos(videos, dataset.name, experiment.preparation, planes=planes)
    shapes = [_shape_of(experiment.preparation, video) for video in probed]
    rows = [
        row
        for video, shape in zip(probed, shapes, strict=True)
        for run in experiment.runs(video.video)
        if not run.of_many and shape is not None
        for row in _plan(experiment, video, run, shape)
    ]
    rows += [row for run in experiment.runs() if run.of_many for row in _plan_of_many(experiment, probed, run, shapes)]
    _check_tools(experiment)
    if output is not None:
        files.write_json(output, {**_identity(experiment, prints), "runs": rows})
    unknown = [video.video.name for video, shape in zip(probed, shapes, strict=True) if shape is None]
    return Plan(rows, unknown)


def is_checked(experiment: Experiment, videos: Sequence[VideoSpec], dataset: str, plan: Path) -> bool:
    """Whether `planned` wrote `plan` for the same experiment, and its sources have not changed since."""
    from boostnerv.video.probing import source_prints

    if not plan.exists():
        return False
    written = files.read_json(plan, "plan")
    written.pop("runs", None)
    return bool(written == _identity(experiment, source_prints(videos, dataset)))


def _identity(experiment: Experiment, prints: dict[str, Any]) -> dict[str, Any]:
    return {"config_sha256": config_hash(experiment)} | ({"sources": prints} if prints else {})


def _check_tools(experiment: Experiment) -> None:
    """Raise `UserError` if an encoder or meter of the experiment is missing."""
    for anchor in experiment.anchors:
        from boostnerv.evaluation.anchors import check_anchor

        check_anchor(anchor)
    if experiment.evaluation.vmaf:
        from boostnerv.evaluation.vmaf import check_vmaf

        check_vmaf()


def _shape_of(preparation: Preparation, probed: Probed) -> Shape | None:
    """`planned_shape`; where an estimated number of frames, or the frame rate, is too low, they are counted."""
    fps = probed.video.fps
    if probed.source is not None and preparation.fps is not None and fps is not None and fps < preparation.fps:
        return probed.counted(preparation)
    try:
        return planned_shape(preparation, probed.video)
    except UserError:
        if probed.source is None:
            raise
        return probed.counted(preparation)


def _plan(experiment: Experiment, probed: Probed, run: Run, shape: Shape) -> Iterable[dict[str, Any]]:
    from boostnerv.codec.container.bitstream import check_storable
    from boostnerv.models.architecture import architecture
    from boostnerv.training.losses import check_frame_size
    from boostnerv.training.planning import planned_spec

    def spec_of(shape: Shape) -> Spec:
        return planned_spec(run.train, *shape)

    try:
        spec, is_estimate = _resolved(spec_of, shape, probed, experiment.preparation)
        if run.finetune is not None:
            check_frame_size(run.finetune.finetuning.loss, *shape[1:])
        if run.post_training is not None and run.post_training.quantizer == "slices":
            check_slices(run.train.model.name, has_embeddings=spec.embedding_shape is not None)
        if run.coded:
            check_storable(architecture(run.train.model.name), spec)
    except UserError as error:
        raise UserError(f"video {probed.video.name}: {error}") from error
    yield _planned(probed.video.name, run, spec) | {"frames_estimated": is_estimate}


def _resolved(
    spec_of: Callable[[Shape], Spec], shape: Shape, probed: Probed, preparation: Preparation
) -> tuple[Spec, bool]:
    """The spec of a shape, and whether its number of frames is an estimate: those that may be to blame for an error
    are counted."""
    is_estimate = probed.source is not None and preparation.frame_count is None
    try:
        return spec_of(shape), is_estimate
    except UserError as error:
        if not is_estimate:
            raise
        try:
            spec_of((_FEW_FRAMES, *shape[1:]))
        except UserError:
            raise error from None
        return spec_of(probed.counted(preparation)), False


def _plan_of_many(
    experiment: Experiment, probed: Sequence[Probed], run: Run, shapes: Sequence[Shape | None]
) -> Iterable[dict[str, Any]]:
    from boostnerv.codec.keyframes.image_codecs import keyframe_codec
    from boostnerv.training.losses import check_frame_size
    from boostnerv.training.planning import planned_clip_spec
    from boostnerv.video.patches import check_patches

    job = run.keyframes
    codec = None if job is None else keyframe_codec(job.codec)
    if job is not None and codec is not None:
        codec.check_encoder(codec.entry.qualities[0] if job.fixed_quality is None else job.fixed_quality)
    names = [video.video.name for video in probed]
    known = [shape for shape in shapes if shape is not None]
    for name, shape in zip(names, shapes, strict=True):
        if shape is not None and shape[1:] != known[0][1:]:
            raise UserError(
                f"video {name} has frames of {shape[1]}×{shape[2]}, others of {known[0][1]}×{known[0][2]}, and a "
                f"{run.train.model.name} is of one size; set preparation.fit, height and width"
            )
    if not known or len(known) < len(shapes):
        return
    _, height, width = known[0]
    patches = experiment.clips.patches
    grid = (1, 1) if patches is None else check_patches(height, width, patches.height, patches.width)
    lengths = {name: frames for name, (frames, _, _) in zip(names, known, strict=True)}
    is_estimate = experiment.preparation.frame_count is None and any(video.source is not None for video in probed)
    try:
        spec = planned_clip_spec(run.train, lengths, height, width, grid)
    except UserError:
        if not is_estimate:
            raise
        counted = {video.video.name: video.counted(experiment.preparation)[0] for video in probed if video.source}
        spec, is_estimate = planned_clip_spec(run.train, lengths | counted, height, width, grid), False
    if run.finetune is not None:
        check_frame_size(run.finetune.finetuning.loss, *spec.decoded_size)
    if codec is not None:
        codec.check_size(height, width)
    yield _planned(f"{len(names)} videos", run, spec) | {"frames_estimated": is_estimate}


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


def planned_shape(preparation: Preparation, video: VideoSpec) -> Shape | None:
    """Frames, height, width that a video will have, as far as its description and the preparation say."""
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
