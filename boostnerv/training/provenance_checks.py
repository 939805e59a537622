"""Whether a checkpoint, its frames and its keyframes belong together."""

from __future__ import annotations

from pathlib import Path

from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
from boostnerv.config import FinetuneJob
from boostnerv.errors import UserError
from boostnerv.models.architecture import Spec
from boostnerv.models.clips import ClipSpec
from boostnerv.training.checkpoint import About, Imported
from boostnerv.video.videos import Videos


def check_keyframes(spec: Spec, keyframes: KeyframeFile | None, videos: Videos) -> None:
    """Raise `UserError` if keyframes are missing, not needed, or belong to other videos."""
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
    """Raise `UserError` if the checkpoint `path` was trained with other keyframes."""
    if (keyframes and keyframes.manifest.payload_sha256) != about.keyframes_sha256:
        raise UserError(f"checkpoint {path} was trained with other keyframes; give those of its training")


def trained_on(about: About | Imported, frames: Videos, path: Path, keyframes: KeyframeFile | None = None) -> About:
    """Metadata of the trained checkpoint at `path`; for an imported one they name the given frames.

    Raises `UserError` if it is already fine-tuned, or was trained on other frames.
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


def _check_imported(about: Imported, frames: Videos, path: Path) -> None:
    manifest, spec = frames.manifest, about.make_spec()
    if (spec.frames, spec.height, spec.width) != (manifest.frames, manifest.height, manifest.width):
        raise UserError(
            f"checkpoint {path} is of {spec.frames} frames of {spec.height}×{spec.width}, {frames.path} has "
            f"{manifest.frames} of {manifest.height}×{manifest.width}; give the frames it was trained on"
        )
    if not isinstance(spec, ClipSpec):
        return
    if (frames.lengths, frames.grid) != (spec.lengths, (spec.patch_rows, spec.patch_columns)):
        raise UserError(
            f"checkpoint {path} is of {len(spec.lengths)} videos, {spec.patch_rows}×{spec.patch_columns} patches; "
            f"{frames.path} has other lengths or patches; give the videos it was trained on, in its order"
        )


def finetuned_about(
    about: About | Imported,
    job: FinetuneJob,
    frames: Videos,
    path: Path,
    keyframes: KeyframeFile | None,
) -> About:
    """Metadata of the fine-tuned checkpoint; raises `UserError` if `path` cannot be fine-tuned on the frames."""
    trained = trained_on(about, frames, path, keyframes)
    if trained.train is not None and trained.train.training.task != "regression":
        raise UserError(
            f"checkpoint {path} was trained for {trained.train.training.task}, and only regression is coded; "
            "measure it with `boostnerv evaluate-model`"
        )
    return trained.model_copy(update={"kind": "finetuned", "finetune": job})
