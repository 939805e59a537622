"""Functions that several steps share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv import progress
from boostnerv.errors import UserError
from boostnerv.host.allocator import keep_freed_memory

if TYPE_CHECKING:
    from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
    from boostnerv.evaluation.vmaf import VmafMeter
    from boostnerv.video.videos import Videos
    from boostnerv.video.writing import OutputVideo


def prepare_cpu(threads: int | None) -> None:
    """Limit the CPU threads of this process, and let it keep freed memory for reuse."""
    keep_freed_memory()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def threads_in_use() -> int:
    """CPU threads that this process uses."""
    import torch

    return torch.get_num_threads()


def given_keyframes(keyframes: Path | None, video: Videos) -> KeyframeFile | None:
    """The keyframes that are given for these videos; raises `UserError` where there is one only."""
    from boostnerv.codec.keyframes.keyframe_files import open_keyframes

    if keyframes is not None and not video.members:
        raise UserError("a model of one video needs no keyframes; leave them out")
    return None if keyframes is None else open_keyframes(keyframes)


def check_slices(model: str, *, has_embeddings: bool) -> None:
    """Raise `UserError` if the quantiser `slices` cannot code a model."""
    if has_embeddings:
        raise UserError(
            f"{model} has embeddings, which the quantiser slices does not know; set post_training.quantizer: min-max"
        )


def check_suffix(output: Path, suffixes: Sequence[str], why: str) -> None:
    """Raise `UserError` if `output` has none of the suffixes; `why` begins the sentence."""
    if output.suffix not in suffixes:
        raise UserError(f"{why}: the output must end in {' or '.join(suffixes)}, not '{output.suffix}'")


def write_decoded(
    frames: Iterable[Any], video: OutputVideo, output: Path, *, lossless: bool = False, audio_from: Path | None = None
) -> str:
    """Write decoded frames as `write_frames` does, with progress; returns the SHA-256 of the pixels."""
    from boostnerv.video.writing import write_frames

    with progress.track("decode", video.count, "frames") as show:
        return write_frames(frames, output, video, lossless=lossless, audio_from=audio_from, progress=show)


def with_pixels(manifest: Path) -> tuple[Path, Path]:
    """A manifest of frames and the file of its pixels."""
    return manifest, manifest.parent / f"{manifest.stem}.npy"


def with_manifest(pixels: Path) -> tuple[Path, Path]:
    """A file of pixels and its manifest."""
    return pixels, pixels.parent / f"{pixels.stem}.json"


def vmaf_meter(
    wanted: bool, threads: int | None, video: Videos | None = None
) -> AbstractContextManager[VmafMeter | None]:
    """A meter of VMAF, for each member of `video` separately; a null context if `wanted` is false."""
    from boostnerv.evaluation.vmaf import VmafMeter

    if not wanted:
        return nullcontext()
    members = video.members if video else ()
    return VmafMeter(threads or 1, [member.frames.start for member in members])
