"""Decoded frames into what a user names: ``.npy``, a folder of PNGs, ``.y4m``, or a video of H.264.

Frames are passed on as they come, so that memory stays bounded whatever the length of the video. ``.mp4``, ``.mkv``
and ``.mov`` hold BT.709 of limited range, tagged as such, in 4:2:0, which every player knows. That has no odd sizes:
where a side is odd they hold 4:4:4, as no pixel may be lost, and some players (browsers, QuickTime) refuse it; they
refuse lossless RGB as well. A ``.y4m`` says nothing of its matrix; it holds 4:4:4 of BT.601, which ffmpeg assumes.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from boostnerv import files
from boostnerv.errors import UserError
from boostnerv.progress import Progress, silent
from boostnerv.video import ffmpeg
from boostnerv.video.video_file import start_s

Pixels = npt.NDArray[np.uint8]

_CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}  # suffix -> ffmpeg's name of the format
_FILE_KINDS = (".npy", *_CONTAINERS, ".y4m")

_MOST_COMPRESSION = 1000  # of PNG and video, by which frames of one colour shrink
_TICKS_PER_S = 90_000
_TRIED_PACKETS = 16
# As a filter: newer versions of ffmpeg take what frames say for what an output's options say.
BT709_TAGS = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
_LOSSY = {"c:v": "libx264", "preset": "medium", "crf": 12}
_LOSSLESS = {"c:v": "libx264rgb", "preset": "medium", "qp": 0}


@dataclass(frozen=True)
class OutputVideo:
    """What the frames are: `count` of `height` × `width` pixels, at `fps` frames per second.

    `timestamps_s` says when each is shown, in seconds from the first one, where the rate is not constant; `fps` is
    the mean rate then.
    """

    count: int
    height: int
    width: int
    fps: float
    timestamps_s: tuple[float, ...] | None = None


def has_one_rate(output: Path) -> bool:
    """True where `output` is a video of a kind that cannot hold the times of frames at a variable rate."""
    return _kind(output) == ".y4m"


def is_video(output: Path) -> bool:
    """True where `output` is of a kind that players show, and no array or folder of images."""
    return _kind(output) in (*_CONTAINERS, ".y4m")


def write_frames(
    frames: Iterable[Pixels],
    output: Path,
    video: OutputVideo,
    *,
    lossless: bool = False,
    audio_from: Path | None = None,
    progress: Progress = silent,
) -> str:
    """Write uint8 RGB `frames` [height, width, 3] as what the name of `output` says; returns the hex SHA-256 of them.

    The name ends in .npy (uint8 [T, H, W, 3]), .mp4, .mkv, .mov (visually transparent, or RGB to the bit where
    `lossless`) or .y4m, or is that of a folder of PNGs. Timestamps are kept in .mp4 and .mov to 1/90000 s, in .mkv to
    1 ms. The audio streams of the file `audio_from` are copied; `frames` are taken to start with its first frame, or
    with its sound where it has no pictures.

    `output` appears when all of it is written. Raises `UserError` where it cannot be, and `ValueError` for frames
    that are not what `video` says.
    """
    kind = _kind(output)
    _check_choices(output, kind, lossless, audio_from)
    if video.timestamps_s is not None and len(video.timestamps_s) != video.count:
        raise ValueError(f"{len(video.timestamps_s)} timestamps of {video.count} frames")
    _check_room(output, kind, video)
    digest = hashlib.sha256()
    checked = _checked(frames, video, digest, progress)
    if kind == ".npy":
        _write_npy(checked, output, video)
    elif kind == ".y4m":
        _write_y4m(checked, output, video)
    elif kind in _CONTAINERS:
        _write_container(checked, output, video, _LOSSLESS if lossless else _LOSSY, audio_from)
    else:
        _write_folder(checked, output)
    return digest.hexdigest()


def _kind(output: Path) -> str:
    """The suffix that says what `output` is, empty for a folder; raises `UserError` for an unknown one."""
    kind = "" if output.is_dir() else output.suffix.lower()
    if kind and kind not in _FILE_KINDS:
        raise UserError(
            f"{output} is no kind of video that can be written: let it end in one of {' '.join(_FILE_KINDS)}, or in "
            "none for a folder of PNGs"
        )
    return kind


def _check_choices(output: Path, kind: str, lossless: bool, audio_from: Path | None) -> None:
    """Raise `UserError` for what a kind cannot do, before anything is written."""
    if not kind and output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} exists and is no empty folder: choose another name for the folder of PNGs")
    if lossless and kind == ".y4m":
        raise UserError(
            f"{output} cannot be lossless, as .y4m holds YUV and not RGB: choose .mkv, .mp4, .mov, .npy or a folder"
        )
    if audio_from is not None and kind not in _CONTAINERS:
        raise UserError(f"{output} cannot hold audio: choose one of {' '.join(_CONTAINERS)}, or leave the audio out")
    if kind in _CONTAINERS:
        encoder = str((_LOSSLESS if lossless else _LOSSY)["c:v"])
        if encoder not in ffmpeg.list_encoders():
            raise UserError(
                f"this ffmpeg ({ffmpeg.ffmpeg_version()}) has no encoder {encoder}, which {output} needs: set "
                "FFMPEG_BINARY to one that has it, or choose .y4m, .npy or a folder"
            )


def _check_room(output: Path, kind: str, video: OutputVideo) -> None:
    """Raise `UserError` where the disk has less room than the output takes at least."""
    raw_bytes = video.count * video.height * video.width * 3
    needed_bytes = raw_bytes if kind in (".npy", ".y4m") else raw_bytes // _MOST_COMPRESSION
    folder, free_bytes = files.free_space(output)
    if needed_bytes > free_bytes:
        least = "" if kind in (".npy", ".y4m") else "at least "
        raise UserError(
            f"{output} takes {least}{needed_bytes / 1e9:.1f} GB for {video.count} frames of {video.height}×"
            f"{video.width}, and {folder} has {free_bytes / 1e9:.1f} GB left: free space there, choose another folder, "
            "or decode fewer frames (--frames)"
        )


def _checked(
    frames: Iterable[Pixels], video: OutputVideo, digest: hashlib._Hash, progress: Progress
) -> Iterator[Pixels]:
    """Pass frames on, contiguous in memory, and take them into `digest`; `ValueError` where `video` says otherwise."""
    shape, done = (video.height, video.width, 3), 0
    for frame in frames:
        if frame.dtype != np.uint8 or frame.shape != shape:
            raise ValueError(f"frame {done} is {frame.dtype} {list(frame.shape)}, not uint8 {list(shape)}")
        if done == video.count:
            raise ValueError(f"more frames than the {video.count} that were announced")
        contiguous = np.ascontiguousarray(frame)
        yield contiguous
        digest.update(contiguous.data)
        done += 1
        progress(done)
    if done < video.count:
        raise ValueError(f"{done} frames instead of the {video.count} that were announced")


def _write_npy(frames: Iterable[Pixels], output: Path, video: OutputVideo) -> None:
    shape = (video.count, video.height, video.width, 3)
    with files.final(output) as temporary, open(temporary, "wb") as file:
        # Plain writes: on a full disk they raise an error, where a memory map would end the process.
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for frame in frames:
            file.write(frame.data)


def _write_folder(frames: Iterable[Pixels], output: Path) -> None:
    with files.final_folder(output) as temporary:
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(temporary / f"frame-{index:06d}.png")


def _write_y4m(frames: Iterable[Pixels], output: Path, video: OutputVideo) -> None:
    chain = f"{to_yuv('bt601')},format=yuv444p"
    with files.final(output) as temporary:
        options = {"filter:v": chain, "fps_mode": "passthrough", "format": "yuv4mpegpipe"}
        _run_fed(rgb_input(video).output(ffmpeg.local_file(temporary), **options), frames, output)


def _write_container(
    frames: Iterable[Pixels], output: Path, video: OutputVideo, codec: dict[str, Any], audio_from: Path | None
) -> None:
    container = _CONTAINERS[output.suffix.lower()]
    with files.final(output) as temporary, tempfile.TemporaryDirectory(prefix=".times-", dir=output.parent) as folder:
        audio, first_frame_s = [], 0.0
        if audio_from is not None:
            began_s, first_s = start_s(audio_from)
            _check_audio(audio_from, output, container, temporary)
            audio, first_frame_s = [ffmpeg.local_input(audio_from, itsoffset=-began_s)["a"]], first_s - began_s
        options = {
            **codec,
            **_timing(video, first_frame_s, Path(folder) / "filters", _pixels_chain(video, codec)),
            "fps_mode": "passthrough",
            "c:a": "copy",
            "map_chapters": -1,
            "format": container,
        }
        graph = rgb_input(video)["v"].output(*audio, ffmpeg.local_file(temporary), **options)
        # Without it audio alone would start at 0 in some containers, whenever it started beside the video.
        _run_fed(graph.global_args("-copyts"), frames, output)


def rgb_input(video: OutputVideo) -> ffmpeg.Graph:
    """Raw RGB frames that are fed to ffmpeg."""
    size = (video.width, video.height)
    return ffmpeg.input_from_pipe(format="rawvideo", pixel_format="rgb24", video_size=size, framerate=video.fps)


def _pixels_chain(video: OutputVideo, codec: dict[str, Any]) -> str:
    """Filters from RGB to what the encoder is given."""
    if codec is _LOSSLESS:
        return "format=rgb24"
    odd = video.height % 2 or video.width % 2
    return f"{to_yuv('bt709')},format={'yuv444p' if odd else 'yuv420p'},{BT709_TAGS}"


def to_yuv(matrix: str) -> str:
    """Filter from full-range RGB to limited-range YUV of a matrix, e.g. ``bt709``; a pixel format must follow."""
    positions = "out_h_chr_pos=0:out_v_chr_pos=128"
    return f"scale=in_range=pc:out_range=tv:out_color_matrix={matrix}:{positions}:flags={ffmpeg.SCALER_FLAGS}"


def _run_fed(graph: ffmpeg.Graph, frames: Iterable[Pixels], output: Path) -> None:
    """Feed `frames` to `graph`; raises `UserError` where ffmpeg fails."""
    try:
        with ffmpeg.running(graph.overwrite_output(), fed=True) as process:
            for frame in frames:
                process.feed(frame.data)
            process.finish()
    except ffmpeg.FfmpegError as error:
        raise UserError(f"ffmpeg could not write {output} ({error}); choose another kind, e.g. .npy") from error


# --- times ------------------------------------------------------------------------------------------------


def _timing(video: OutputVideo, first_frame_s: float, script: Path, chain: str) -> dict[str, Any]:
    """Options of an output whose first frame is shown at `first_frame_s` and whose filters are `chain`."""
    start = round(first_frame_s * _TICKS_PER_S)
    if video.timestamps_s is None and not start:
        return {"filter:v": chain}
    duration = max(1, round(_TICKS_PER_S / video.fps))
    options = {
        "enc_time_base": f"1:{_TICKS_PER_S}",
        # The setpts of older versions forgets durations, and without one the last frame is not shown.
        "bsf:v": f"setts=duration={duration}",
        # Reordered frames of irregular times make .mp4 end too early.
        "bf": 0,
    }
    if video.timestamps_s is None:
        return {**options, "filter:v": f"{_set_times(f'round(N*{_TICKS_PER_S / video.fps!r})', start)},{chain}"}
    # A file, as this is too long for a command line.
    script.write_text(f"{_set_times(_choice(_ticks(video.timestamps_s), 0), start)},{chain}", encoding="ascii")
    return {**options, "/filter:v": ffmpeg.local_file(script)}


def _set_times(expression: str, start: int) -> str:
    return f"settb=1/{_TICKS_PER_S},setpts='{expression}+{start}'"


def _ticks(timestamps_s: Sequence[float]) -> list[int]:
    """Times in ticks, each later than the one before, which encoders ask for."""
    ticks: list[int] = []
    for time_s in timestamps_s:
        earliest = ticks[-1] + 1 if ticks else 0
        ticks.append(max(earliest, round(time_s * _TICKS_PER_S)))
    return ticks


def _choice(values: Sequence[int], first: int) -> str:
    """An expression of ffmpeg that is ``values[N - first]``: a balanced tree, as ffmpeg limits the depth."""
    if len(values) == 1:
        return str(values[0])
    half = len(values) // 2
    return f"if(lt(N,{first + half}),{_choice(values[:half], first)},{_choice(values[half:], first + half)})"


# --- audio ------------------------------------------------------------------------------------------------


def _check_audio(source: Path, output: Path, container: str, temporary: Path) -> None:
    """Raise `UserError` where the audio of `source` cannot be copied; writes to `temporary` to see."""
    options = {"c:a": "copy", "frames:a": _TRIED_PACKETS, "map_chapters": -1, "format": container}
    try:
        ffmpeg.run(ffmpeg.local_input(source)["a"].output(ffmpeg.local_file(temporary), **options).overwrite_output())
    except ffmpeg.FfmpegError as error:
        if "matches no streams" in str(error):
            raise UserError(f"{source} has no audio: give a file that has, or leave the audio out") from error
        way = "leave the audio out" if container == "matroska" else "choose an output that ends in .mkv"
        raise UserError(f"the audio of {source} cannot be copied into {output.name} ({error}): {way}") from error
