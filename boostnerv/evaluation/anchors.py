"""Classical codecs on the same frames: x264, x265, SVT-AV1 and VVenC through ffmpeg.

A point is a real file that was decoded again: its rate is the size of the elementary stream, its quality
that of the RGB frames decoded from it, and its JSON has the whole command. Three choices keep it fair:

* Colours go to planes and back by the way that loses least of these frames (`boostnerv.evaluation.round_trip`),
  which no codec has to answer for.
* The text that x264 (0.7 kB) and x265 (2 kB) write about themselves is left out: no decoder needs it, and
  in a file of 5 kB it would pass for rate.
* All encoders have the same distance between their key frames, `GOP_FRAMES`, and keep their default tuning. That is
  random access: B frames, and a key frame every 256 frames at which decoding can begin. x265 keeps its open GOP and
  the B frames of its preset (8 in ``veryslow``): a later key frame is a CRA picture, not a restart of the prediction.

The framing of the stream (`boostnerv.evaluation.framing`) is a part of the file and of the rate, told apart in
`overhead_bytes`. Memory is that of the encoder's process alone.

With ``source: yuv420`` the encoder gets the planes of the source instead, and no colour is converted on the way to it
or back: planes are compared with planes, and become RGB as those of the source did for the other measures, which is no
part of `decode_s`.

4:2:0 needs even sizes: odd frames are padded by replication to the next even size before encoding and cropped
after decoding, so that quality is measured, and bits per pixel are counted, on the original window.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import ffmpeg
import numpy as np
import numpy.typing as npt

from boostnerv import files, provenance
from boostnerv.config import Anchor
from boostnerv.errors import UserError, nearest
from boostnerv.evaluation.decode_speed import steady_fps
from boostnerv.evaluation.framing import framing_bytes
from boostnerv.evaluation.launched import Used, launched
from boostnerv.evaluation.measure import Quality, bits_per_pixel, measure, merged
from boostnerv.evaluation.metrics import Frames
from boostnerv.evaluation.round_trip import OF_FULL_CHROMA, RoundTrip
from boostnerv.evaluation.vmaf import VmafMeter, check_vmaf
from boostnerv.evaluation.yuv import measure_planes, measure_rgb
from boostnerv.progress import Progress, silent
from boostnerv.video.colour import stream_tags
from boostnerv.video.ffmpeg import (
    SCALER_FLAGS,
    FfmpegError,
    command_line,
    ffmpeg_version,
    list_encoders,
    local_file,
    local_input,
    reason,
    run,
)
from boostnerv.video.planes import Planes, rgb_frames
from boostnerv.video.preview import previewed

GOP_FRAMES = 256
"""Largest distance between key frames; a multiple of 32, which VVenC asks for."""


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

    `encode_s` and `decode_s` are wall times and include the conversion from and to RGB, and the start of ffmpeg.
    `decode_warm_fps` is of decoding and this conversion without the start, `decode_compute_fps` of decoding alone;
    their frames go nowhere. `height` and `width` are those of the original frames, before padding.
    `peak_memory_mib` is what the encoding process held at most, the conversion included.
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
    overhead_bytes: int
    bpp: float
    encode_s: float
    peak_memory_mib: float
    decode_s: float
    decode_warm_fps: float
    decode_compute_fps: float
    command: str
    decode_command: str
    encoder_version: str
    source: str
    measured: Quality


def anchor_name(anchor: Anchor, quality: int) -> str:
    """Name of one point, unique among anchors that differ in any setting, e.g. ``x265-q28``."""
    encoder = _encoder(anchor)
    parts = [anchor.codec, f"q{quality}"]
    if anchor.preset and anchor.preset != encoder.preset:
        parts.append(anchor.preset)
    if _pixel_format(anchor) != encoder.pixel_formats[0]:
        parts.append(_pixel_format(anchor))
    if anchor.source != "rgb":
        parts.append(anchor.source)
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
    way: RoundTrip = OF_FULL_CHROMA,
    vmaf: bool = False,
    planes: Planes | None = None,
    progress: Progress = silent,
    preview: Path | None = None,
) -> AnchorPoint:
    """Code uint8 RGB frames ``[T, H, W, 3]`` into `stream_path`, decode that file again and measure it.

    RGB goes to the encoder and comes back by `way`.
    What is measured, by VMAF too where `vmaf` says so, is written as the small video `preview` where one is wanted.
    With the source's `planes` of the same frames Y, U and V are measured too; an anchor whose source is yuv420 needs
    them and codes them instead.

    The file appears when all of it is written. The same frames, settings and `threads` give the same file.
    Raises `UserError` where ffmpeg refuses (see `check_anchor`; VVenC wants 32 pixels or more a side) or the
    file does not decode to the frames that went in.
    """
    check_anchor(anchor.model_copy(update={"qualities": (quality,)}))
    if vmaf:
        check_vmaf()
    stream_path = Path(stream_path)
    padded = _padded_size(pixels, _pixel_format(anchor))
    fed = _fed_planes(anchor, planes)
    what = f"{anchor.codec} on {len(pixels)} frames of {pixels.shape[1]}x{pixels.shape[2]}"
    with files.final(stream_path) as temporary:
        graph = _encode_graph(anchor, quality, padded, fps, threads, temporary, way, fed)
        used = _encode(graph, _padded_frames(pixels, padded) if fed is None else fed.codes, what, progress)
    measuring = _Measuring(threads, what, vmaf, progress, preview, fps)
    if fed is None:
        found = _decode_and_measure(stream_path, _encoder(anchor), pixels, padded, planes, way, measuring)
    else:
        found = _decode_and_measure_planes(stream_path, _encoder(anchor), pixels, fed, measuring)
    decode_command, decode_s, measured = found
    frames, height, width = pixels.shape[:3]
    file_bytes = stream_path.stat().st_size
    filters = way.to_rgb() if fed is None else _same_colours(fed, fed.manifest.pixel_format)
    warm = partial(_decoding_graph, encoder=_encoder(anchor), threads=threads, filters=filters)
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
        overhead_bytes=framing_bytes(stream_path.read_bytes(), _encoder(anchor).stream_format),
        bpp=bits_per_pixel(file_bytes, frames, height, width),
        encode_s=used.wall_s,
        peak_memory_mib=used.peak_memory_bytes / 2**20,
        decode_s=decode_s,
        decode_warm_fps=steady_fps(stream_path, frames, warm),
        decode_compute_fps=steady_fps(stream_path, frames, partial(warm, filters="null")),
        command=_shown(graph, {temporary: stream_path.name}),
        decode_command=decode_command,
        encoder_version=encoder_version(anchor.codec),
        source=anchor.source,
        measured=measured,
    )


def decoded_frames(
    stream: str | Path,
    codec: str,
    pixel_format: str,
    size: tuple[int, int],
    indices: Sequence[int],
    *,
    way: RoundTrip = OF_FULL_CHROMA,
    threads: int = 1,
) -> list[npt.NDArray[np.uint8]]:
    """Frames of a file of `encode_anchor` by their numbers, in the order given: uint8 RGB ``[H, W, 3]``.

    `codec`, `pixel_format`, `size` (height, width) and `way` are those of its point. Raises `UserError` where ffmpeg
    cannot decode it or a frame is not there.
    """
    stream = Path(stream)
    padded = _padded(size, pixel_format)
    wanted = sorted(set(indices))
    with tempfile.TemporaryDirectory(prefix="boostnerv-frames-") as folder:
        raw = Path(folder) / "decoded.rgb"
        try:
            run(_decode_graph(stream, ENCODERS[codec], threads, raw, way, wanted))
        except FfmpegError as error:
            raise UserError(f"ffmpeg cannot decode {stream}: {error}; run the step 'encode-anchor' again") from error
        found = np.fromfile(raw, dtype=np.uint8)
    if found.size != len(wanted) * padded[0] * padded[1] * 3:
        raise UserError(f"{stream} does not have the frames {wanted}; run the step 'encode-anchor' again")
    frames = dict(zip(wanted, found.reshape(len(wanted), *padded, 3)[:, : size[0], : size[1]], strict=True))
    return [frames[index] for index in indices]


def write_anchor(point: AnchorPoint, path: str | Path, extra: Mapping[str, Any]) -> None:
    """Write one flat JSON under the column names of points.csv; `extra` has what only the caller knows."""
    values = {name: getattr(point, name) for name in AnchorPoint.__dataclass_fields__ if name != "measured"}
    named = {
        "kind": "anchor",
        "size_label": f"{point.quality_option} {point.quality}",
        "decode_fps": point.frames / point.decode_s,
        "device": provenance.processor(),
        "decode_device": provenance.processor(),
        "decode_threads": point.threads,
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
    return _padded((height, width), pixel_format)


def _padded(size: tuple[int, int], pixel_format: str) -> tuple[int, int]:
    height, width = size
    return (height + height % 2, width + width % 2) if "420" in pixel_format else (height, width)


def _fed_planes(anchor: Anchor, planes: Planes | None) -> Planes | None:
    """The planes that the encoder gets, None where it gets RGB; raises `UserError` where it cannot get them."""
    if anchor.source == "rgb":
        return None
    if planes is None:
        raise UserError(
            f"anchor '{anchor.codec}' with source: yuv420 needs the planes of the source; extract them with boostnerv "
            "extract-planes and give their manifest with --planes"
        )
    if planes.manifest.bits > (10 if _pixel_format(anchor).endswith("10le") else 8):
        raise UserError(
            f"the planes of '{planes.manifest.video}' have {planes.manifest.bits} bits, more than anchor "
            f"'{anchor.codec}' would keep; set its pixel_format to yuv420p10le for 10 bits, or its source to rgb"
        )
    return planes


def _encode_graph(
    anchor: Anchor,
    quality: int,
    size: tuple[int, int],
    fps: float,
    threads: int,
    path: Path,
    way: RoundTrip,
    fed: Planes | None,
) -> Any:
    """From RGB by `way`, or from the planes that are fed, to a stream."""
    encoder, pixel_format = _encoder(anchor), _pixel_format(anchor)
    options = {
        "vf": way.to_planes(pixel_format) if fed is None else _same_colours(fed, pixel_format),
        "c:v": encoder.library,
        "preset": _preset(anchor),
        encoder.quality_option: quality,
        "g": GOP_FRAMES,
        **encoder.thread_options(threads),
        **(way.tags() if fed is None else _tags_of(fed)),
        "fps_mode": "passthrough",
        "f": encoder.stream_format,
    }
    given = "rgb24" if fed is None else fed.manifest.pixel_format
    source = ffmpeg.input("pipe:0", f="rawvideo", pix_fmt=given, s=f"{size[1]}x{size[0]}", r=fps)
    return source.output(local_file(path), **options)


def _same_colours(planes: Planes, pixel_format: str) -> str:
    """Filters that change the depth of planes where `pixel_format` has another, and nothing else."""
    conversion, tags = planes.manifest.conversion, _tags_of(planes)
    names = {"color_matrix": conversion.matrix, "range": conversion.range, "chroma_loc": conversion.chroma_location}
    kept = ":".join(f"in_{name}={value}:out_{name}={value}" for name, value in names.items())
    # Without it the planes are taken for BT.601 and converted to what the encoder is told of their matrix.
    said = f"setparams=range={tags['color_range']}:colorspace={tags['colorspace']}"
    return f"{said},scale={kept}:flags={SCALER_FLAGS},format={pixel_format},{said}"


def _tags_of(planes: Planes) -> dict[str, str]:
    """What a stream of planes says of their colours; the preparation says no primaries and transfer."""
    conversion = planes.manifest.conversion
    return stream_tags(conversion.matrix, conversion.range)


def _decode_graph(
    stream: Path, encoder: Encoder, threads: int, path: Path, way: RoundTrip, indices: Sequence[int] | None = None
) -> Any:
    """From a stream to RGB; of the frames only those with these numbers where some are given."""
    source = local_input(stream, f=encoder.stream_format, threads=threads)
    chosen = "" if indices is None else f"select='{'+'.join(f'eq(n,{index})' for index in indices)}',"
    options = {"vf": f"{chosen}{way.to_rgb()}", "fps_mode": "passthrough", "f": "rawvideo"}
    return source.output(local_file(path), **options)


def _shown(graph: Any, names: Mapping[Path, str]) -> str:
    """The command of a graph as a line to read and repeat, with names in place of this machine's paths."""
    arguments = [str(argument) for argument in ffmpeg.compile(graph)]
    for path, name in names.items():
        arguments = [name if argument == local_file(path) else argument for argument in arguments]
    return shlex.join(arguments)


def _encode(graph: Any, pictures: Iterable[npt.NDArray[Any]], what: str, progress: Progress) -> Used:
    """Pipe all pictures into `graph`; returns what its process used. `UserError` with its words if it failed."""
    command = command_line(graph.overwrite_output(), "error")
    # Its words go to a file: a full pipe that nobody reads would stop it.
    with tempfile.TemporaryFile() as words:
        with launched(command, stderr=words, env=os.environ | {"SVT_LOG": "1"}) as process:
            _feed(process.stdin, pictures, progress)
            used = process.wait()
        if used.code:
            words.seek(0)
            said = words.read().decode(errors="replace").splitlines()
            raise UserError(
                f"ffmpeg could not encode {what}: {reason(said)}; check the anchor's preset, and "
                "whether frames of this size suit the codec"
            )
    return used


def _padded_frames(pixels: Frames, size: tuple[int, int]) -> Iterator[Frames]:
    height, width = pixels.shape[1:3]
    margins = ((0, size[0] - height), (0, size[1] - width), (0, 0))
    for frame in pixels:
        yield np.pad(frame, margins, mode="edge")


def _feed(pipe: IO[bytes], pictures: Iterable[npt.NDArray[Any]], progress: Progress) -> None:
    try:
        for done, picture in enumerate(pictures, start=1):
            pipe.write(picture.tobytes())
            progress(done, "encoding")
        pipe.close()
    except BrokenPipeError:
        # ffmpeg gave up; its exit code and its own words are looked at by `_encode`.
        return


@dataclass(frozen=True)
class _Measuring:
    """How decoded frames are measured: by VMAF too where `vmaf`, and written as the small video `preview` where one is
    wanted."""

    threads: int
    what: str
    vmaf: bool
    progress: Progress
    preview: Path | None
    fps: float

    def quality(self, pixels: Frames, decoded: Frames) -> Quality:
        with (
            previewed(decoded, self.preview, self.fps) as test,
            VmafMeter(self.threads) if self.vmaf else nullcontext() as meter,
        ):
            return measure(pixels, test, vmaf=meter, progress=lambda done, note="": self.progress(done, "measuring"))


def _decode_and_measure(
    stream: Path,
    encoder: Encoder,
    pixels: Frames,
    size: tuple[int, int],
    planes: Planes | None,
    way: RoundTrip,
    measuring: _Measuring,
) -> tuple[str, float, Quality]:
    """Decode `stream` into a temporary file beside it; returns (command, wall time in seconds, quality)."""
    frames, height, width = pixels.shape[:3]
    with tempfile.TemporaryDirectory(dir=stream.parent, prefix=".decoded-") as folder:
        raw = Path(folder) / "decoded.rgb"
        graph = _decode_graph(stream, encoder, measuring.threads, raw, way)
        shape = (frames, *size, 3)
        decode_s = _decode(graph, stream, raw, frames, int(np.prod(shape[1:])), measuring.what)
        decoded_pixels = np.memmap(raw, dtype=np.uint8, mode="r", shape=shape)[:, :height, :width]
        quality = measuring.quality(pixels, decoded_pixels)
        if planes is not None:
            quality = replace(quality, yuv=measure_rgb(planes, decoded_pixels))
    return _shown(graph, {stream: stream.name, raw: raw.name}), decode_s, quality


def _decode_and_measure_planes(
    stream: Path, encoder: Encoder, pixels: Frames, planes: Planes, measuring: _Measuring
) -> tuple[str, float, Quality]:
    """`_decode_and_measure` of a stream that was made of planes."""
    manifest = planes.manifest
    with tempfile.TemporaryDirectory(dir=stream.parent, prefix=".decoded-") as folder:
        raw, rgb = Path(folder) / "decoded.yuv", Path(folder) / "decoded.rgb"
        source = local_input(stream, f=encoder.stream_format, threads=measuring.threads)
        chain = _same_colours(planes, manifest.pixel_format)
        graph = source.output(local_file(raw), vf=chain, fps_mode="passthrough", f="rawvideo")
        decode_s = _decode(graph, stream, raw, manifest.frames, planes.codes[0].nbytes, measuring.what)
        decoded = Planes(manifest, np.memmap(raw, planes.codes.dtype, "r", shape=planes.codes.shape), raw)
        with open(rgb, "wb") as file:
            for frame in rgb_frames(raw, manifest):
                file.write(frame.tobytes())
        quality = measuring.quality(pixels, np.memmap(rgb, np.uint8, "r", shape=pixels.shape))
        quality = replace(quality, yuv=measure_planes(planes, decoded))
    return _shown(graph, {stream: stream.name, raw: raw.name}), decode_s, quality


def _decode(graph: Any, stream: Path, raw: Path, frames: int, frame_bytes: int, what: str) -> float:
    """Run `graph`, which decodes `stream` into `raw`; returns its wall time in seconds."""
    start = time.perf_counter()
    try:
        run(graph)
    except FfmpegError as error:
        raise UserError(f"ffmpeg cannot decode {stream.name} of {what}: {error}") from error
    decode_s = time.perf_counter() - start
    if raw.stat().st_size != frames * frame_bytes:
        raise UserError(
            f"{stream.name} decodes to {raw.stat().st_size / frame_bytes:g} frames, but {frames} went in ({what}); "
            "try another ffmpeg by FFMPEG_BINARY"
        )
    return decode_s


def _decoding_graph(stream: Path, encoder: Encoder, threads: int, filters: str) -> Any:
    """Decoding, and what `filters` do, whose frames go nowhere."""
    source = local_input(stream, f=encoder.stream_format, threads=threads)
    return source.output("pipe:1", f="null", fps_mode="passthrough", vf=filters)
