"""The frames file that the rest of the package reads: one array on disk and a small manifest beside it.

``X.npy`` is uint8 RGB [T, H, W, 3]; ``X.json`` describes its contents, origin and SHA-256. The array is written and
read frame by frame, so memory stays bounded whatever the length of the video.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from boostnerv import files
from boostnerv.config import (
    Closed,
    ExtractJob,
    LocalSource,
    Preparation,
    RawVideo,
    Sha256,
    VideoSpec,
    WheelSource,
    parse,
)
from boostnerv.errors import UserError
from boostnerv.progress import Progress, silent
from boostnerv.video.colour import Conversion, conversion
from boostnerv.video.ffmpeg import ffmpeg_version
from boostnerv.video.info import SourceInfo
from boostnerv.video.selection import WHOLE, Part
from boostnerv.video.source import Decoder, open_source, source_sha256
from boostnerv.video.videos import MemberVideo

Pixels = npt.NDArray[np.uint8]

_FPS_TOLERANCE = 0.01  # 29.97 passes for 30
_SPARE_BYTES = 16 * 2**20  # left free on the disk for manifests and logs


class PatchGrid(Closed):
    """Layout of a frames file that holds patches, in row-major order of the grid.

    Its frames are all T patches of the first grid cell, then all T of the next; height and width are those of a patch,
    timestamps those of the T frames.
    """

    rows: int = Field(gt=0, description="Patches below each other in a frame.")
    columns: int = Field(gt=0, description="Patches beside each other.")
    frames: int = Field(gt=0, description="Frames T of the video.")
    whole_sha256: Sha256 = Field(description="SHA-256 of the pixels of the whole frames.")


class Manifest(Closed):
    """Description of a frames file. It identifies the pixels: consumers depend on it, not on the payload."""

    dataset: str = Field(description="Data set.")
    video: str = Field(description="Video of the data set.")
    frames: int = Field(gt=0, description="Number of frames T.")
    height: int = Field(gt=0, description="Height H in pixels.")
    width: int = Field(gt=0, description="Width W in pixels.")
    fps: float = Field(gt=0, description="Frames per second; the mean when timestamps are given.")
    timestamps_s: tuple[float, ...] | None = Field(
        default=None, description="Presentation times relative to the first frame; none at a constant rate."
    )
    pixels_sha256: Sha256 = Field(description="SHA-256 of the uint8 pixels in C order.")
    patches: PatchGrid | None = Field(default=None, description="The grid, where the frames are patches of others.")
    source_name: str = Field(default="", description="File or folder name of the source.")
    source_sha256: Sha256 | None = Field(default=None, description="SHA-256 of the source.")
    source: SourceInfo | None = Field(default=None, description="Properties of the source.")
    preparation: Preparation | None = Field(default=None, description="How the frames were prepared.")
    conversion: Conversion | None = Field(
        default=None, description="How Y, U and V became RGB; none where the source is RGB."
    )
    ffmpeg_version: str = Field(default="", description="Version of the ffmpeg that decoded.")
    notes: tuple[str, ...] = Field(default=(), description="What the conversion changed.")
    credit: str = Field(default="unknown", description="Who made the video.")
    licence: str = Field(default="unknown", description="Under which licence it may be used.")

    @property
    def colour(self) -> str:
        """Colour profile by which the source was converted to RGB."""
        return self.preparation.colour if self.preparation else "ffmpeg-default"


@dataclass(frozen=True)
class Frames:
    """An open frames file; `pixels` is a read-only memory map, uint8 RGB [T, H, W, 3]."""

    manifest: Manifest
    pixels: Pixels
    path: Path

    # What `boostnerv.video.videos.Videos` asks for: one video in one patch.
    members: ClassVar[tuple[MemberVideo, ...]] = ()
    grid: ClassVar[tuple[int, int]] = (1, 1)
    is_cut: ClassVar[bool] = False
    statistics: ClassVar[None] = None

    @property
    def lengths(self) -> tuple[int, ...]:
        """T alone."""
        return (self.manifest.frames,)

    def array(self) -> Pixels:
        """All frames, `pixels`."""
        return self.pixels

    def patch(self, video: int, patch: int) -> Pixels:
        """All frames: the only patch, number 0, of the only video, number 0."""
        if (video, patch) != (0, 0):
            raise IndexError(f"{self.path} is one video in one patch; there is no patch {patch} of video {video}")
        return self.pixels

    def part(self, frames: range) -> Frames:
        """Consecutive frames as a separate video; timestamps restart at 0."""
        pixels = self.pixels[frames.start : frames.stop]
        timestamps_s = self.manifest.timestamps_s and self.manifest.timestamps_s[frames.start : frames.stop]
        changes = {
            "frames": len(frames),
            "timestamps_s": tuple(time - timestamps_s[0] for time in timestamps_s) if timestamps_s else None,
            "pixels_sha256": _pixels_sha256(pixels),
        }
        return Frames(self.manifest.model_copy(update=changes), pixels, self.path)

    def verify(self) -> None:
        """Hash all pixels again; raises `UserError` if they do not match the manifest."""
        if _pixels_sha256(self.pixels) != self.manifest.pixels_sha256:
            raise UserError(
                f"the pixels of {self.path} are not those that its manifest describes; delete both and run "
                "their step again"
            )


def _pixels_sha256(pixels: Pixels) -> str:
    digest = hashlib.sha256()
    for frame in pixels:
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def manifest_path(payload: Path) -> Path:
    """Path of the manifest of a payload ``X.npy``."""
    return payload.with_suffix(".json")


def payload_path(manifest: Path) -> Path:
    """Path of the payload of a manifest ``X.json``."""
    return manifest.with_suffix(".npy")


# --- writing ----------------------------------------------------------------------------------------------


def extract_frames(source: str | Path, job: ExtractJob, output: str | Path, *, progress: Progress = silent) -> Manifest:
    """Decode `source` into the frames file `output` (``.npy``) and its manifest.

    `progress` receives the number of frames done. Raises `UserError` for a source that does not match the job's video,
    that its preparation does not allow, that is damaged, or that is too large for the disk; then no file is written.
    """
    source, output = Path(source), Path(output)
    video, preparation = job.video, job.preparation
    decoder = open_video(video, source, preparation)
    shape = (decoder.geometry.height, decoder.geometry.width)
    check_space(output, _estimated_frames(video, decoder, preparation), shape)
    digest = video_sha256(video, source)

    def describe(written: Written) -> Manifest:
        timing = decoder.timing()
        _check_length(video, source, decoder.total or preparation.first_frame + written.count, preparation)
        _check_rate(video, source, timing.fps if preparation.fps is None else decoder.info.fps)
        return Manifest(
            dataset=job.dataset,
            video=video.name,
            frames=written.count,
            height=decoder.geometry.height,
            width=decoder.geometry.width,
            fps=timing.fps,
            timestamps_s=timing.timestamps_s,
            pixels_sha256=written.sha256,
            source_name=files.readable(source.name),
            source_sha256=digest,
            source=decoder.info,
            preparation=preparation,
            conversion=conversion(decoder.info, preparation.colour),
            ffmpeg_version=ffmpeg_version(),
            notes=tuple(decoder.notes),
            credit=job.credit,
            licence=job.licence,
        )

    with contextlib.closing(decoder.frames()) as frames:
        return write_described(counted(frames, progress), shape, output, describe)


def open_video(video: VideoSpec, source: Path, preparation: Preparation) -> Decoder:
    """Open the source of a video; raises `UserError` if it does not match `video` or `preparation` refuses it."""
    decoder = open_source(source, preparation, raw=_layout(video, source), fps=video.fps, part=_part(video))
    _check_declared(video, source, decoder.info, preparation)
    return decoder


def video_sha256(video: VideoSpec, source: Path) -> str:
    """SHA-256 of the source of a video; raises `UserError` if `video` declares another."""
    digest = source_sha256(source)
    _check_hash(video, source, digest)
    return digest


def write_frames(
    pixels: Pixels | Iterable[Pixels],
    output: str | Path,
    *,
    dataset: str,
    video: str,
    fps: float = 25.0,
    notes: tuple[str, ...] = (),
) -> Manifest:
    """Write a frames file of decoded `pixels`: uint8 [T, H, W, 3] or an iterable of [H, W, 3], with T of at least 1.

    Raises `ValueError` for anything else.
    """
    frames = iter(pixels)
    first = next(frames, None)
    if first is None:
        raise ValueError("frames to write: at least one is needed")
    _check_array(first, first.shape)
    height, width, _ = first.shape

    def describe(written: Written) -> Manifest:
        return Manifest(
            dataset=dataset,
            video=video,
            frames=written.count,
            height=height,
            width=width,
            fps=fps,
            pixels_sha256=written.sha256,
            notes=notes,
        )

    return write_described(_chained(first, frames), (height, width), Path(output), describe)


@dataclass(frozen=True)
class Written:
    """Number of frames written, and the SHA-256 of their pixels."""

    count: int
    sha256: str


def write_described(
    frames: Iterable[Pixels], shape: tuple[int, int], output: Path, describe: Callable[[Written], Manifest]
) -> Manifest:
    """Write frames of one shape (H, W), then the manifest that `describe` returns.

    `describe` is called before the frames get their final name; if it raises, nothing is written.
    """
    if output.suffix != ".npy":
        raise ValueError(f"a frames file ends in .npy, not {output.name}")
    files.check_writable(manifest_path(output))  # its name is one byte longer
    with files.final(output) as temporary:
        with open(temporary, "wb") as file:
            written = _write_payload(file, frames, shape)
        manifest = describe(written)
        # An older manifest must not describe the new pixels, not even for a moment.
        manifest_path(output).unlink(missing_ok=True)
    try:
        files.write_json(manifest_path(output), manifest.model_dump(mode="json"))
    except BaseException:
        output.unlink(missing_ok=True)
        raise
    return manifest


def _write_payload(file: IO[bytes], frames: Iterable[Pixels], shape: tuple[int, int]) -> Written:
    """Write a ``.npy`` file whose number of frames is only known at the end."""
    start = _write_header(file, 0, shape)
    digest, count = hashlib.sha256(), 0
    for frame in frames:
        _check_array(frame, (*shape, 3))
        data = np.ascontiguousarray(frame).data
        digest.update(data)
        file.write(data)
        count += 1
    file.seek(0)
    # numpy pads headers so that the first axis may grow in place.
    assert _write_header(file, count, shape) == start
    return Written(count, digest.hexdigest())


def _write_header(file: IO[bytes], count: int, shape: tuple[int, int]) -> int:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape, 3)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _check_array(frame: Pixels, shape: tuple[int, ...]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
        raise ValueError(f"frames are uint8 [H, W, 3] of one size, not {frame.dtype} {list(frame.shape)}")


def _chained(first: Pixels, rest: Iterator[Pixels]) -> Iterator[Pixels]:
    yield first
    yield from rest


def counted(frames: Iterable[Pixels], progress: Progress) -> Iterator[Pixels]:
    """Yield the frames, reporting their number to `progress`."""
    for done, frame in enumerate(frames, start=1):
        yield frame
        progress(done)


def _layout(video: VideoSpec, source: Path) -> RawVideo | None:
    """Layout of a headerless file; a download may instead be a video file or a folder, which need none."""
    if isinstance(video.source, WheelSource):
        return None
    if isinstance(video.source, LocalSource) and source.suffix.lower() != ".yuv":
        return None
    return video.source.raw


def _part(video: VideoSpec) -> Part:
    return WHOLE if video.first_frame is None else Part(video.first_frame, video.frames)


# --- checks -----------------------------------------------------------------------------------------------


def _check_hash(video: VideoSpec, source: Path, digest: str) -> None:
    wanted = None if isinstance(video.source, LocalSource) else video.source.sha256
    if wanted not in (None, digest):
        raise UserError(
            f"{source} is not the file that the data set describes: its SHA-256 is {digest}, not "
            f"{wanted}; get the right file, or correct sha256 of video '{video.name}'"
        )


def _check_declared(video: VideoSpec, source: Path, info: SourceInfo, preparation: Preparation) -> None:
    """Compare a source with its declaration in the data set, as far as possible before decoding."""
    declared = (video.height or info.display_height, video.width or info.display_width)
    actual = (info.display_height, info.display_width)
    if declared != actual:
        raise UserError(
            f"{source} is {actual[0]}x{actual[1]} (height x width), but the data set says {declared[0]}x"
            f"{declared[1]} of video '{video.name}'; correct the data set or get the right file"
        )
    last = preparation.first_frame + (preparation.frame_count or 1)
    if video.frames is not None and preparation.fps is None and last > video.frames:
        raise UserError(
            f"video '{video.name}' has {video.frames} frames, but frames {preparation.first_frame} to "
            f"{last - 1} are asked for (the first is 0): lower preparation.first_frame or frame_count"
        )


def _check_length(video: VideoSpec, source: Path, found: int, preparation: Preparation) -> None:
    """Compare the number of frames of a source with the data set's; for a range the decoder has done so."""
    if video.frames is None or video.first_frame is not None or preparation.frame_count is not None:
        return
    if found != video.frames:
        raise UserError(
            f"{source} has {found} frames, but the data set says {video.frames} of video '{video.name}'; "
            "correct the data set or get the right file"
        )


def _check_rate(video: VideoSpec, source: Path, fps: float | None) -> None:
    if video.fps is not None and fps is not None and abs(fps - video.fps) > _FPS_TOLERANCE * video.fps:
        raise UserError(
            f"{source} has {fps:g} frames per second, but the data set says {video.fps:g} of video "
            f"'{video.name}'; correct fps there, or remove it"
        )


def _estimated_frames(video: VideoSpec, decoder: Decoder, preparation: Preparation) -> int | None:
    if decoder.expected is not None:
        return decoder.expected
    if video.frames is not None:
        return video.frames - preparation.first_frame
    info = decoder.info
    if info.duration_s is None or info.fps is None:
        return None
    return max(0, int(info.duration_s * info.fps) - (video.first_frame or 0) - preparation.first_frame)


def check_space(output: Path, count: int | None, shape: tuple[int, int]) -> None:
    """Raise `UserError` if `count` frames (None if unknown) of a shape (H, W) would not fit on the disk.

    Otherwise this might only fail after hours of writing.
    """
    if count is None:
        return
    folder, free = files.free_space(output)
    needed = count * shape[0] * shape[1] * 3
    if needed + _SPARE_BYTES > free:
        raise UserError(
            f"{count} frames of {shape[0]}x{shape[1]} need {needed / 1e9:.1f} GB, but {folder} has "
            f"{free / 1e9:.1f} GB left: free space there, choose another folder, or use fewer frames "
            "(preparation.frame_count) or a smaller size"
        )


# --- reading ----------------------------------------------------------------------------------------------


def open_frames(manifest: str | Path) -> Frames:
    """Open a frames file by its manifest ``X.json``; raises `UserError` if the two do not match."""
    manifest = Path(manifest)
    value = files.read_json(manifest, "frames manifest")
    if isinstance(value, dict) and "videos" in value:
        raise UserError(f"{manifest} describes many videos, and one is needed here; give the manifest of its frames")
    described = parse(Manifest, value, f"frames manifest {manifest}")
    path = payload_path(manifest)
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"frames {path} are missing beside {manifest.name}; run their step again") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"frames {path} cannot be opened (cut off or no .npy file); run their step again") from error
    expected = (described.frames, described.height, described.width, 3)
    if pixels.dtype != np.uint8 or pixels.shape != expected or not pixels.flags.c_contiguous:
        raise UserError(
            f"frames {path} are {pixels.dtype} {list(pixels.shape)}, but {manifest.name} says uint8 "
            f"{list(expected)}; delete both and run their step again"
        )
    return Frames(described, pixels, path)
