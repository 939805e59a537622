"""Classical codecs on the same frames: x264, x265, SVT-AV1 and VVenC through ffmpeg.

A point is a real file that was decoded again: its rate is the size of the elementary stream, its quality
that of the RGB frames decoded from it, and its JSON has the whole command. Three choices keep it fair:

* Colours go through one stated conversion both ways (BT.709, limited range). Without the flags below ffmpeg
  shifts all levels by one or two on the way back from 4:2:0, which costs more than 1 dB.
* The text that x264 (0.7 kB) and x265 (2 kB) write about themselves is left out: no decoder needs it, and
  in a file of 5 kB it would pass for rate.
* All encoders have the same distance between their key frames, `GOP_FRAMES`, and keep their default tuning.

4:2:0 needs even sizes: odd frames are padded by replication to the next even size before encoding and cropped
after decoding, so that quality is measured, and bits per pixel are counted, on the original window.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ffmpeg
import numpy as np

from boostnerv import files
from boostnerv.config import Anchor
from boostnerv.errors import UserError, nearest
from boostnerv.evaluation.measure import Quality, bits_per_pixel, measure, merged
from boostnerv.evaluation.metrics import Frames
from boostnerv.progress import Progress, silent
from boostnerv.video.ffmpeg import (
    FfmpegError,
    binary,
    ffmpeg_version,
    list_encoders,
    local_input,
    reason,
    run,
)

GOP_FRAMES = 256
"""Largest distance between key frames; a multiple of 32, which VVenC asks for."""

_SWS_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_TAGS = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv"}

"""Called with ("encode" or "measure", frames done, frames in all)."""


@dataclass(frozen=True)
class Encoder:
    """How one codec is run: ffmpeg's name of the encoder, its options and the format of its raw stream."""

    library: str
    stream_format: str
    quality_option: str
    quality_range: tuple[int, int]
    preset: str
    pixel_formats: tuple[str, ...]
    version_pattern: str
    thread_options: Callable[[int], dict[str, str]]


ENCODERS: Mapping[str, Encoder] = {
    "x264": Encoder(
        library="libx264",
        stream_format="h264",
        quality_option="crf",
        quality_range=(0, 51),
        preset="veryslow",
        pixel_formats=("yuv420p", "yuv444p", "yuv420p10le"),
        version_pattern=r"x264 - core (\S+)",
        # NAL units of type 6 hold the text about the encoder; nothing in them is needed to decode.
        thread_options=lambda threads: {"threads": str(threads), "bsf:v": "filter_units=remove_types=6"},
    ),
    "x265": Encoder(
        library="libx265",
        stream_format="hevc",
        quality_option="crf",
        quality_range=(0, 51),
        preset="veryslow",
        pixel_formats=("yuv420p", "yuv444p", "yuv420p10le"),
        version_pattern=r"x265 \(build \d+\) - ([^:\s]+)",
        # One frame at a time: more would change the file with the number of cores.
        thread_options=lambda threads: {"x265-params": f"log-level=error:info=0:frame-threads=1:pools={threads}"},
    ),
    "svt-av1": Encoder(
        library="libsvtav1",
        stream_format="obu",
        quality_option="crf",
        quality_range=(1, 63),
        preset="4",
        pixel_formats=("yuv420p", "yuv420p10le"),
        version_pattern=r"SVT-AV1 Encoder Lib (\S+)",
        thread_options=lambda threads: {"svtav1-params": f"lp={threads}"},
    ),
    "vvenc": Encoder(
        library="libvvenc",
        stream_format="vvc",
        quality_option="qp",
        quality_range=(0, 63),
        preset="medium",
        pixel_formats=("yuv420p10le",),
        version_pattern=r"libvvenc version: (\S+)",
        thread_options=lambda threads: {"threads": str(threads)},
    ),
}
"""The one table of anchors, by the name that an experiment uses; `quality_range` is inclusive."""


@dataclass(frozen=True)
class AnchorPoint:
    """One file of one classical codec, and what was measured on it.

    `encode_s` and `decode_s` are wall times and include the conversion from and to RGB. `height` and `width`
    are those of the original frames, before padding.
    """

    codec: str
    run: str
    quality: int
    quality_option: str
    preset: str
    pixel_format: str
    threads: int
    frames: int
    height: int
    width: int
    fps: float
    file_bytes: int
    bpp: float
    encode_s: float
    decode_s: float
    command: str
    decode_command: str
    encoder_version: str
    measured: Quality


def anchor_name(anchor: Anchor, quality: int) -> str:
    """Name of one point, unique among anchors that differ in any setting, e.g. ``x265-q28``."""
    encoder = _encoder(anchor)
    parts = [anchor.codec, f"q{quality}"]
    if anchor.preset and anchor.preset != encoder.preset:
        parts.append(anchor.preset)
    if _pixel_format(anchor) != encoder.pixel_formats[0]:
        parts.append(_pixel_format(anchor))
    return "-".join(parts)


def check_anchor(anchor: Anchor) -> None:
    """Raise `UserError` where this ffmpeg or this codec cannot do what `anchor` asks for."""
    encoder = _encoder(anchor)
    available = list_encoders()
    if encoder.library not in available:
        usable = sorted(name for name, other in ENCODERS.items() if other.library in available)
        raise UserError(
            f"this ffmpeg ({ffmpeg_version()}) has no encoder {encoder.library}, which anchor "
            f"'{anchor.codec}' needs; it can do: {', '.join(usable) or 'none of the anchors'}. Set "
            "FFMPEG_BINARY to one that has it, or take the anchor out of the experiment"
        )
    if _pixel_format(anchor) not in encoder.pixel_formats:
        raise UserError(
            f"anchor '{anchor.codec}' cannot code {anchor.pixel_format}; set its pixel_format to "
            f"{' or '.join(encoder.pixel_formats)}"
        )
    lowest, highest = encoder.quality_range
    for quality in anchor.qualities:
        if not lowest <= quality <= highest:
            raise UserError(
                f"anchor '{anchor.codec}': quality {quality} is outside {lowest} to {highest} "
                f"({encoder.quality_option})"
            )


def encode_anchor(
    pixels: Frames,
    fps: float,
    anchor: Anchor,
    quality: int,
    stream_path: str | Path,
    *,
    threads: int,
    progress: Progress = silent,
) -> AnchorPoint:
    """Code uint8 RGB frames ``[T, H, W, 3]`` into `stream_path`, decode that file again and measure it.

    The file appears when all of it is written. The same frames, settings and `threads` give the same file.
    Raises `UserError` where ffmpeg refuses (see `check_anchor`; VVenC wants 32 pixels or more a side) or the
    file does not decode to the frames that went in.
    """
    check_anchor(anchor.model_copy(update={"qualities": (quality,)}))
    stream_path = Path(stream_path)
    padded = _padded_size(pixels, _pixel_format(anchor))
    what = f"{anchor.codec} on {len(pixels)} frames of {pixels.shape[1]}x{pixels.shape[2]}"
    with files.final(stream_path) as temporary:
        graph = _encode_graph(anchor, quality, padded, fps, threads, temporary)
        encode_s = _encode(graph, pixels, padded, what, progress)
    decode_command, decode_s, measured = _decode_and_measure(
        stream_path, _encoder(anchor), pixels, padded, threads, what, progress
    )
    frames, height, width = pixels.shape[:3]
    file_bytes = stream_path.stat().st_size
    return AnchorPoint(
        codec=anchor.codec,
        run=anchor_name(anchor, quality),
        quality=quality,
        quality_option=_encoder(anchor).quality_option,
        preset=_preset(anchor),
        pixel_format=_pixel_format(anchor),
        threads=threads,
        frames=frames,
        height=height,
        width=width,
        fps=fps,
        file_bytes=file_bytes,
        bpp=bits_per_pixel(file_bytes, frames, height, width),
        encode_s=encode_s,
        decode_s=decode_s,
        command=_shown(graph, {temporary: stream_path.name}),
        decode_command=decode_command,
        encoder_version=encoder_version(anchor.codec),
        measured=measured,
    )


def write_anchor(point: AnchorPoint, path: str | Path, extra: Mapping[str, Any]) -> None:
    """Write one flat JSON under the column names of points.csv; `extra` has what only the caller knows."""
    values = {name: getattr(point, name) for name in AnchorPoint.__dataclass_fields__ if name != "measured"}
    named = {
        "kind": "anchor",
        "size_label": f"{point.quality_option} {point.quality}",
        "decode_fps": point.frames / point.decode_s,
        "device": "cpu",
        **point.measured.summary(),
    }
    files.write_json(path, merged(extra, values | named))


@functools.cache
def encoder_version(codec: str) -> str:
    """Versions of ffmpeg and of the library behind `codec`, e.g. ``ffmpeg 7.1, libx265 4.1``.

    The library says its version only while it encodes, so one grey frame is coded.
    """
    encoder = ENCODERS[codec]
    grey = ffmpeg.input("pipe:0", f="rawvideo", pix_fmt="gray", s="64x64")
    options = {"pix_fmt": encoder.pixel_formats[0], "c:v": encoder.library, "f": encoder.stream_format}
    try:
        done = run(grey.output("pipe:1", **options), stdin=bytes(64 * 64))
    except FfmpegError as error:
        raise UserError(f"encoder {encoder.library} of this ffmpeg does not work: {error}") from error
    # x264 and x265 write it into the stream, the others into the log.
    found = re.search(encoder.version_pattern, done.stdout.decode("latin-1") + "\n".join(done.log.lines))
    library = f"{encoder.library} {found[1]}" if found else encoder.library
    return f"ffmpeg {ffmpeg_version()}, {library}"


def _encoder(anchor: Anchor) -> Encoder:
    if anchor.codec not in ENCODERS:
        raise UserError(f"unknown anchor '{anchor.codec}': {nearest(anchor.codec, ENCODERS)}")
    return ENCODERS[anchor.codec]


def _preset(anchor: Anchor) -> str:
    return anchor.preset or _encoder(anchor).preset


def _pixel_format(anchor: Anchor) -> str:
    """What the encoder is given: as the experiment says, in 10 bits where the codec has no 8 (VVenC)."""
    formats, in_10_bits = _encoder(anchor).pixel_formats, f"{anchor.pixel_format}10le"
    only_in_10_bits = anchor.pixel_format not in formats and in_10_bits in formats
    return in_10_bits if only_in_10_bits else anchor.pixel_format


def _padded_size(pixels: Frames, pixel_format: str) -> tuple[int, int]:
    height, width = pixels.shape[1:3]
    return (height + height % 2, width + width % 2) if "420" in pixel_format else (height, width)


def _encode_graph(anchor: Anchor, quality: int, size: tuple[int, int], fps: float, threads: int, path: Path) -> Any:
    encoder = _encoder(anchor)
    to_yuv = f"scale=in_range=pc:out_range=tv:out_color_matrix=bt709:out_chroma_loc=left:flags={_SWS_FLAGS}"
    options = {
        "vf": f"{to_yuv},format={_pixel_format(anchor)}",
        "c:v": encoder.library,
        "preset": _preset(anchor),
        encoder.quality_option: quality,
        "g": GOP_FRAMES,
        **encoder.thread_options(threads),
        **_TAGS,
        "fps_mode": "passthrough",
        "f": encoder.stream_format,
    }
    source = ffmpeg.input("pipe:0", f="rawvideo", pix_fmt="rgb24", s=f"{size[1]}x{size[0]}", r=fps)
    return source.output(f"file:{path}", **options)


def _decode_graph(stream: Path, encoder: Encoder, threads: int, path: Path) -> Any:
    to_rgb = f"scale=in_color_matrix=bt709:in_range=tv:out_range=pc:in_chroma_loc=left:flags={_SWS_FLAGS}"
    source = local_input(stream, f=encoder.stream_format, threads=threads)
    options = {"vf": f"{to_rgb},format=rgb24", "fps_mode": "passthrough", "f": "rawvideo"}
    return source.output(f"file:{path}", **options)


def _shown(graph: Any, names: Mapping[Path, str]) -> str:
    """The command of a graph as a line to read and repeat, with names in place of this machine's paths."""
    arguments = [str(argument) for argument in ffmpeg.compile(graph)]
    for path, name in names.items():
        arguments = [name if argument == f"file:{path}" else argument for argument in arguments]
    return shlex.join(arguments)


def _encode(graph: Any, pixels: Frames, size: tuple[int, int], what: str, progress: Progress) -> float:
    """Pipe all frames into `graph`; returns its wall time in seconds."""
    command = ffmpeg.compile(
        graph.global_args("-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+error"), cmd=binary()
    )
    start = time.perf_counter()
    with _running(command, what) as pipe:
        _feed(pipe, pixels, size, progress)
    return time.perf_counter() - start


def _feed(pipe: IO[bytes], pixels: Frames, size: tuple[int, int], progress: Progress) -> None:
    height, width = pixels.shape[1:3]
    margins = ((0, size[0] - height), (0, size[1] - width), (0, 0))
    try:
        for index in range(len(pixels)):
            pipe.write(np.pad(pixels[index], margins, mode="edge").tobytes())
            progress(index + 1, "encoding")
        pipe.close()
    except BrokenPipeError:
        # ffmpeg gave up; its exit code and its own words are looked at by `_running`.
        return


def _decode_and_measure(
    stream: Path,
    encoder: Encoder,
    pixels: Frames,
    size: tuple[int, int],
    threads: int,
    what: str,
    progress: Progress,
) -> tuple[str, float, Quality]:
    """Decode `stream` into a temporary file beside it; returns (command, wall time in seconds, quality)."""
    frames, height, width = pixels.shape[:3]
    with tempfile.TemporaryDirectory(dir=stream.parent, prefix=".decoded-") as folder:
        raw = Path(folder) / "decoded.rgb"
        graph = _decode_graph(stream, encoder, threads, raw)
        start = time.perf_counter()
        try:
            run(graph)
        except FfmpegError as error:
            raise UserError(f"ffmpeg cannot decode {stream.name} of {what}: {error}") from error
        decode_s = time.perf_counter() - start
        shape = (frames, *size, 3)
        if raw.stat().st_size != np.prod(shape):
            decoded = raw.stat().st_size / np.prod(shape[1:])
            raise UserError(
                f"{stream.name} decodes to {decoded:g} frames, but {frames} went in ({what}); "
                "try another ffmpeg by FFMPEG_BINARY"
            )
        decoded_pixels = np.memmap(raw, dtype=np.uint8, mode="r", shape=shape)[:, :height, :width]
        quality = measure(pixels, decoded_pixels, progress=lambda done, note="": progress(done, "measuring"))
    return _shown(graph, {stream: stream.name, raw: raw.name}), decode_s, quality


@contextmanager
def _running(command: Sequence[str], what: str) -> Iterator[IO[bytes]]:
    """Yield the standard input of `command`, then wait for it; `UserError` with its words if it failed."""
    # Its words go to a file: a full pipe that nobody reads would stop it.
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=words,
            env=os.environ | {"SVT_LOG": "1"},
        )
        assert process.stdin
        try:
            yield process.stdin
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code:
            words.seek(0)
            said = words.read().decode(errors="replace").splitlines()
            raise UserError(
                f"ffmpeg could not encode {what}: {reason(said)}; check the anchor's preset, and "
                "whether frames of this size suit the codec"
            )
