"""Writing decoded frames to the output that the user names: ``.npy``, a folder of PNGs, ``.y4m``, or an H.264 video.

Frames are passed on one by one, so memory stays bounded whatever the length of the video. ``.mp4``, ``.mkv`` and
``.mov`` contain limited-range BT.709, tagged as such, in 4:2:0, which every player supports. 4:2:0 has no odd sizes:
frames with an odd side are written as 4:4:4 so that no pixel is lost, which some players (browsers, QuickTime) refuse,
as they do lossless RGB. ``.y4m`` cannot tag its matrix and contains 4:4:4 of BT.601, which ffmpeg assumes.
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

_MOST_COMPRESSION = 1000  # upper bound for PNG and video, reached by frames of one colour
_TICKS_PER_S = 90_000
_TRIED_PACKETS = 16
# As a filter, since newer versions of ffmpeg let the tags of frames override the options of an output.
BT709_TAGS = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
_LOSSY = {"c:v": "libx264", "preset": "medium", "crf": 12}
_LOSSLESS = {"c:v": "libx264rgb", "preset": "medium", "qp": 0}


@dataclass(frozen=True)
class OutputVideo:
    """Properties of the frames: `count` frames of `height` × `width` pixels, at `fps` frames per second.

    `timestamps_s` are the presentation times at a variable rate, in seconds from the first frame; `fps` is the mean
    rate then.
    """

    count: int
    height: int
    width: int
    fps: float
    timestamps_s: tuple[float, ...] | None = None


def has_one_rate(output: Path) -> bool:
    """Whether `output` is a video format that cannot store a variable frame rate."""
    return _kind(output) == ".y4m"


def is_video(output: Path) -> bool:
    """Whether `output` is a video file, not an array or a folder of images."""
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
    """Write uint8 RGB `frames` [height, width, 3] in the format named by `output`; returns their hex SHA-256.

    The name ends in .npy (uint8 [T, H, W, 3]), .mp4, .mkv, .mov (visually transparent, or bit-exact RGB if `lossless`)
    or .y4m, or names a folder of PNGs. Timestamps are kept to 1/90000 s in .mp4 and .mov, to 1 ms in .mkv. The audio
    streams of the file `audio_from` are copied; `frames` are assumed to start with its first frame, or with its sound
    if it has no pictures.

    `output` appears only when it is complete. Raises `UserError` if it cannot be written, and `ValueError` for frames
    that do not match `video`.
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
    """The suffix that selects the format of `output`, empty for a folder; raises `UserError` for an unknown one."""
    kind = "" if output.is_dir() else output.suffix.lower()
    if kind and kind not in _FILE_KINDS:
        raise UserError(
            f"{output} is not a format that can be written: give it one of the suffixes {' '.join(_FILE_KINDS)}, or "
            "none for a folder of PNGs"
        )
    return kind


def _check_choices(output: Path, kind: str, lossless: bool, audio_from: Path | None) -> None:
    """Raise `UserError` for options that a format does not support, before anything is written."""
    if not kind and output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} exists and is not an empty folder: choose another name for the folder of PNGs")
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
    """Raise `UserError` if the disk has less room than the least size of the output."""
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
    """Yield contiguous frames and update `digest`; raises `ValueError` if they do not match `video`."""
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
        # On a full disk plain writes raise an error, whereas a memory map would kill the process.
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
        # Without -copyts some containers would start the audio at 0 instead of relative to the video.
        _run_fed(graph.global_args("-copyts"), frames, output)


def rgb_input(video: OutputVideo) -> ffmpeg.Graph:
    """Input of raw RGB frames that are fed to ffmpeg."""
    size = (video.width, video.height)
    return ffmpeg.input_from_pipe(format="rawvideo", pixel_format="rgb24", video_size=size, framerate=video.fps)


def _pixels_chain(video: OutputVideo, codec: dict[str, Any]) -> str:
    """Filters from RGB to the input of the encoder."""
    if codec is _LOSSLESS:
        return "format=rgb24"
    odd = video.height % 2 or video.width % 2
    return f"{to_yuv('bt709')},format={'yuv444p' if odd else 'yuv420p'},{BT709_TAGS}"


def to_yuv(matrix: str) -> str:
    """Filter from full-range RGB to limited-range YUV by `matrix`, e.g. ``bt709``; a pixel format must follow."""
    positions = "out_h_chr_pos=0:out_v_chr_pos=128"
    return f"scale=in_range=pc:out_range=tv:out_color_matrix={matrix}:{positions}:flags={ffmpeg.SCALER_FLAGS}"


def _run_fed(graph: ffmpeg.Graph, frames: Iterable[Pixels], output: Path) -> None:
    """Feed `frames` to `graph`; raises `UserError` if ffmpeg fails."""
    try:
        with ffmpeg.running(graph.overwrite_output(), fed=True) as process:
            for frame in frames:
                process.feed(frame.data)
            process.finish()
    except ffmpeg.FfmpegError as error:
        raise UserError(f"ffmpeg could not write {output} ({error}); choose another format, e.g. .npy") from error


# --- times ------------------------------------------------------------------------------------------------


def _timing(video: OutputVideo, first_frame_s: float, script: Path, chain: str) -> dict[str, Any]:
    """Output options: the first frame is shown at `first_frame_s`, the filters are `chain` (in `script` if long)."""
    start = round(first_frame_s * _TICKS_PER_S)
    if video.timestamps_s is None and not start:
        return {"filter:v": chain}
    duration = max(1, round(_TICKS_PER_S / video.fps))
    options = {
        "enc_time_base": f"1:{_TICKS_PER_S}",
        # In older versions setpts drops durations, and without one the last frame is not shown.
        "bsf:v": f"setts=duration={duration}",
        # B-frames with irregular timestamps make .mp4 end too early.
        "bf": 0,
    }
    if video.timestamps_s is None:
        return {**options, "filter:v": f"{_set_times(f'round(N*{_TICKS_PER_S / video.fps!r})', start)},{chain}"}
    # A file, as the expression may be too long for a command line.
    script.write_text(f"{_set_times(_choice(_ticks(video.timestamps_s), 0), start)},{chain}", encoding="ascii")
    return {**options, "/filter:v": ffmpeg.local_file(script)}


def _set_times(expression: str, start: int) -> str:
    return f"settb=1/{_TICKS_PER_S},setpts='{expression}+{start}'"


def _ticks(timestamps_s: Sequence[float]) -> list[int]:
    """Timestamps in ticks, strictly increasing as encoders require."""
    ticks: list[int] = []
    for time_s in timestamps_s:
        earliest = ticks[-1] + 1 if ticks else 0
        ticks.append(max(earliest, round(time_s * _TICKS_PER_S)))
    return ticks


def _choice(values: Sequence[int], first: int) -> str:
    """ffmpeg expression for ``values[N - first]``: a balanced tree, as ffmpeg limits the depth."""
    if len(values) == 1:
        return str(values[0])
    half = len(values) // 2
    return f"if(lt(N,{first + half}),{_choice(values[:half], first)},{_choice(values[half:], first + half)})"


# --- audio ------------------------------------------------------------------------------------------------


def _check_audio(source: Path, output: Path, container: str, temporary: Path) -> None:
    """Raise `UserError` if the audio of `source` cannot be copied, by writing a few packets to `temporary`."""
    options = {"c:a": "copy", "frames:a": _TRIED_PACKETS, "map_chapters": -1, "format": container}
    try:
        ffmpeg.run(ffmpeg.local_input(source)["a"].output(ffmpeg.local_file(temporary), **options).overwrite_output())
    except ffmpeg.FfmpegError as error:
        if "matches no streams" in str(error):
            raise UserError(f"{source} has no audio: give a file with audio, or leave the audio out") from error
        remedy = "leave the audio out" if container == "matroska" else "choose an output that ends in .mkv"
        raise UserError(f"the audio of {source} cannot be copied into {output.name} ({error}): {remedy}") from error
