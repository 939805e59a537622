"""From sources to what models are trained on: frames, planes, patches, descriptions of many videos, keyframes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boostnerv import files, progress
from boostnerv.config import DatasetSpec, ExtractJob, KeyframeJob, VideoSpec
from boostnerv.steps.common import with_manifest, with_pixels


def fetch_source(dataset: DatasetSpec, video: VideoSpec, output: Path) -> None:
    """Bring the source file of a registered video to `output`."""
    from boostnerv.video.datasets import fetch_source as fetch

    fetch(video, output, dataset.name)


def extract_frames(source: Path, job: ExtractJob, output: Path) -> None:
    """Decode a video into `output` (``.npy``) and the manifest beside it (``.json``)."""
    from boostnerv.video.frames import extract_frames as extract

    files.check_distinct(with_manifest(output), [source])
    with progress.track(f"frames of {job.video.name}", job.preparation.frame_count, "frames") as show:
        extract(source, job, output, progress=show)


def extract_planes(source: Path, job: ExtractJob, output: Path) -> None:
    """Decode the planes of a video, 4:2:0, into `output` (``.yuv``) and the manifest beside it (``.json``)."""
    from boostnerv.video.planes import extract_planes as extract

    files.check_distinct(with_manifest(output), [source])
    with progress.track(f"planes of {job.video.name}", job.preparation.frame_count, "frames") as show:
        extract(job.video, source, job.preparation, output, dataset=job.dataset, progress=show)


def split_patches(frames: Path, height: int, width: int, output: Path) -> None:
    """Split frames into patches of `height` × `width`, each a separate video in the frames file `output`."""
    from boostnerv.video.frames import open_frames
    from boostnerv.video.patches import split_patches as split

    files.check_distinct(with_manifest(output), with_pixels(frames))
    video = open_frames(frames)
    with progress.track(f"patches of {video.manifest.video}", None, "patches") as show:
        split(video, height, width, output, show)


def gather_videos(manifests: Sequence[Path], statistics: tuple[Any, Any] | None, output: Path) -> None:
    """Combine several videos, or their patches, into one training set; `statistics` are the mean and deviation of their
    pixels, computed if None."""
    from boostnerv.video.collections import gather

    files.check_distinct([output], [path for manifest in manifests for path in with_pixels(manifest)])
    with progress.track("videos", len(manifests), "videos") as show:
        gather(manifests, output, statistics, progress=show)


def code_keyframes(videos: Path, job: KeyframeJob, output: Path, *, threads: int | None) -> None:
    """Code the keyframes of all videos; `output` is their manifest."""
    from boostnerv.codec.keyframes.keyframe_files import code_keyframes as code
    from boostnerv.video.collections import open_collection

    files.check_distinct([*with_pixels(output), output.parent / f"{output.stem}.bin"], [videos])
    with progress.track(f"keyframes {job.codec}", None, "keyframes") as show:
        code(open_collection(videos), job, output, threads=threads, progress=show)
