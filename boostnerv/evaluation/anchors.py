"""Classical codecs on the same frames, through ffmpeg or through programs of their own (`boostnerv.catalogue`).

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

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boostnerv import files, provenance
from boostnerv.config import Anchor
from boostnerv.errors import UserError
from boostnerv.evaluation.anchor_streams import (
    Coding,
    StreamFormat,
    check_encoder,
    decode_stream,
    encode_stream,
    encoder_version,
    entry_of,
    pixel_format_of,
    preset_of,
    same_colours,
)
from boostnerv.evaluation.decode_speed import steady_fps
from boostnerv.evaluation.framing import framing_bytes
from boostnerv.evaluation.measure import Quality, bits_per_pixel, measure, merged
from boostnerv.evaluation.metrics import Frames
from boostnerv.evaluation.round_trip import OF_FULL_CHROMA, RoundTrip
from boostnerv.evaluation.vmaf import VmafMeter, check_vmaf
from boostnerv.evaluation.yuv import measure_planes, measure_rgb
from boostnerv.progress import Progress, silent
from boostnerv.video.planes import Planes, rgb_frames
from boostnerv.video.preview import previewed


@dataclass(frozen=True)
class AnchorJob:
    """One point of an anchor: `anchor` at one of its qualities, on frames shown `fps` times a second.

    RGB goes to the encoder and comes back by `conversion`.
    """

    anchor: Anchor
    quality: int
    fps: float
    threads: int
    conversion: RoundTrip = OF_FULL_CHROMA


@dataclass(frozen=True)
class AnchorMeasures:
    """What is measured beside PSNR and MS-SSIM: VMAF where `vmaf`; Y, U and V with the source's `planes` of the same
    frames. What was measured is also written as the small video `preview`, where one is named."""

    vmaf: bool = False
    planes: Planes | None = None
    preview: Path | None = None
    progress: Progress = silent


@dataclass(frozen=True)
class AnchorPoint:
    """One file of one classical codec, and what was measured on it.

    `encode_s` and `decode_s` are wall times and include the conversion from and to RGB, and the start of ffmpeg.
    `decode_warm_fps` is of decoding and this conversion without the start, `decode_compute_fps` of decoding alone;
    their frames go nowhere, and both are None where a program of its own decodes. `height` and `width` are those of
    the original frames, before padding. `peak_memory_mib` is what the encoding process held at most, the conversion
    included unless a program of its own encodes.
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
    decode_warm_fps: float | None
    decode_compute_fps: float | None
    command: str
    decode_command: str
    encoder_version: str
    source: str
    measured: Quality


def anchor_name(anchor: Anchor, quality: int) -> str:
    """Name of one point, unique among anchors that differ in any setting, e.g. ``x265-q28``."""
    entry, pixel_format = entry_of(anchor), pixel_format_of(anchor)
    parts = [anchor.codec, f"q{quality}"]
    if anchor.preset and anchor.preset != entry.preset:
        parts.append(anchor.preset)
    if pixel_format != entry.pixel_formats[0]:
        parts.append(pixel_format)
    if anchor.source != "rgb":
        parts.append(anchor.source)
    return "-".join(parts)


def check_anchor(anchor: Anchor) -> None:
    """Raise `UserError` where this ffmpeg, this machine or this codec cannot do what `anchor` asks for."""
    entry = entry_of(anchor)
    check_encoder(anchor)
    if pixel_format_of(anchor) not in entry.pixel_formats:
        raise UserError(
            f"anchor '{anchor.codec}' cannot code {anchor.pixel_format}; set its pixel_format to "
            f"{' or '.join(entry.pixel_formats)}"
        )
    lowest, highest = entry.quality_range
    for quality in anchor.qualities:
        if not lowest <= quality <= highest:
            raise UserError(
                f"anchor '{anchor.codec}': quality {quality} is outside {lowest} to {highest} ({entry.quality_option})"
            )


def encode_anchor(
    pixels: Frames, job: AnchorJob, stream_path: Path, measures: AnchorMeasures = AnchorMeasures()
) -> AnchorPoint:
    """Code uint8 RGB frames ``[T, H, W, 3]`` into `stream_path`, decode that file again and measure it.

    An anchor whose source is yuv420 codes the planes in `measures` instead of the frames.
    The file appears when all of it is written. The same frames and job give the same file.
    Raises `UserError` where the encoder refuses (see `check_anchor`; VVenC wants 32 pixels or more a side) or the
    file does not decode to the frames that went in.
    """
    anchor, entry = job.anchor, entry_of(job.anchor)
    check_anchor(anchor.model_copy(update={"qualities": (job.quality,)}))
    if measures.vmaf:
        check_vmaf()
    frames, height, width = pixels.shape[:3]
    coding = _coding(job, pixels, measures.planes)
    with files.final(stream_path) as temporary:
        fed = coding.fed
        pictures = _padded_frames(pixels, coding.stream.size) if fed is None else iter(fed.codes)
        used, command = encode_stream(coding, pictures, temporary, stream_path.name, measures.progress)
    measuring = _Measuring(coding, measures, f"{anchor.codec} on {frames} frames of {height}x{width}")
    if fed is None:
        decode_command, decode_s, measured = _decode_and_measure(stream_path, pixels, measuring)
    else:
        decode_command, decode_s, measured = _decode_and_measure_planes(stream_path, pixels, fed, measuring)
    file_bytes = stream_path.stat().st_size
    warm_fps, compute_fps = _steady_fps(stream_path, coding)
    return AnchorPoint(
        codec=anchor.codec,
        run=anchor_name(anchor, job.quality),
        quality=job.quality,
        quality_option=entry.quality_option,
        preset=preset_of(anchor),
        pixel_format=pixel_format_of(anchor),
        threads=job.threads,
        frames=frames,
        height=height,
        width=width,
        fps=job.fps,
        file_bytes=file_bytes,
        overhead_bytes=framing_bytes(stream_path.read_bytes(), entry.stream_format),
        bpp=bits_per_pixel(file_bytes, frames, height, width),
        encode_s=used.wall_s,
        peak_memory_mib=used.peak_memory_bytes / 2**20,
        decode_s=decode_s,
        decode_warm_fps=warm_fps,
        decode_compute_fps=compute_fps,
        command=command,
        decode_command=decode_command,
        encoder_version=encoder_version(anchor.codec),
        source=anchor.source,
        measured=measured,
    )


def decoded_frames(
    stream: Path, anchor: Anchor, size: tuple[int, int], indices: Sequence[int], conversion: RoundTrip = OF_FULL_CHROMA
) -> list[npt.NDArray[np.uint8]]:
    """Frames of a file of `encode_anchor` by their numbers, in the order given: uint8 RGB ``[H, W, 3]``.

    `anchor`, `size` (height, width) and `conversion` belong to its point. Raises `UserError` where it cannot be decoded
    or a frame is not there.
    """
    padded = _padded(size, pixel_format_of(anchor))
    chosen = sorted(set(indices))
    coding = Coding(anchor, 0, 1, StreamFormat(pixel_format_of(anchor), padded, 1.0, 0), conversion)
    select = f"select='{'+'.join(f'eq(n,{index})' for index in chosen)}',"
    with tempfile.TemporaryDirectory(prefix="boostnerv-frames-") as folder:
        raw = Path(folder) / "decoded.rgb"
        try:
            decode_stream(coding, stream, raw, select + conversion.to_rgb())
        except UserError as error:
            raise UserError(f"{error}; run the step 'encode-anchor' again") from error
        values = np.fromfile(raw, dtype=np.uint8)
    if values.size != len(chosen) * padded[0] * padded[1] * 3:
        raise UserError(f"{stream} does not have the frames {chosen}; run the step 'encode-anchor' again")
    frames = dict(zip(chosen, values.reshape(len(chosen), *padded, 3)[:, : size[0], : size[1]], strict=True))
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


def _coding(job: AnchorJob, pixels: Frames, planes: Planes | None) -> Coding:
    anchor, pixel_format = job.anchor, pixel_format_of(job.anchor)
    frames, height, width = pixels.shape[:3]
    return Coding(
        anchor=anchor,
        quality=job.quality,
        threads=job.threads,
        stream=StreamFormat(pixel_format, _padded((height, width), pixel_format), job.fps, frames),
        conversion=job.conversion,
        fed=_fed_planes(anchor, planes),
    )


def _padded(size: tuple[int, int], pixel_format: str) -> tuple[int, int]:
    height, width = size
    return (height + height % 2, width + width % 2) if "420" in pixel_format else (height, width)


def _padded_frames(pixels: Frames, size: tuple[int, int]) -> Iterator[Frames]:
    height, width = pixels.shape[1:3]
    margins = ((0, size[0] - height), (0, size[1] - width), (0, 0))
    for frame in pixels:
        yield np.pad(frame, margins, mode="edge")


def _fed_planes(anchor: Anchor, planes: Planes | None) -> Planes | None:
    """The planes that the encoder gets, None where it gets RGB; raises `UserError` where it cannot get them."""
    if anchor.source == "rgb":
        return None
    if planes is None:
        raise UserError(
            f"anchor '{anchor.codec}' with source: yuv420 needs the planes of the source; extract them with boostnerv "
            "extract-planes and give their manifest with --planes"
        )
    if planes.manifest.bits > (10 if pixel_format_of(anchor).endswith("10le") else 8):
        raise UserError(
            f"the planes of '{planes.manifest.video}' have {planes.manifest.bits} bits, more than anchor "
            f"'{anchor.codec}' would keep; set its pixel_format to yuv420p10le for 10 bits, or its source to rgb"
        )
    return planes


def _steady_fps(stream: Path, coding: Coding) -> tuple[float | None, float | None]:
    """Frames a second of decoding with and without conversion to RGB; None where a program of its own decodes."""
    if coding.has_own_decoder:
        return None, None
    fed = coding.fed
    filters = coding.conversion.to_rgb() if fed is None else same_colours(fed, fed.manifest.pixel_format)
    frames = coding.stream.frames
    return (
        steady_fps(stream, frames, partial(coding.decoding_graph, filters=filters)),
        steady_fps(stream, frames, partial(coding.decoding_graph, filters="null")),
    )


@dataclass(frozen=True)
class _Measuring:
    """How decoded frames are measured; `subject` names codec and frames in sentences."""

    coding: Coding
    measures: AnchorMeasures
    subject: str

    def quality(self, pixels: Frames, decoded: Frames) -> Quality:
        progress = self.measures.progress
        with (
            previewed(decoded, self.measures.preview, self.coding.stream.fps) as test,
            VmafMeter(self.coding.threads) if self.measures.vmaf else nullcontext() as meter,
        ):
            return measure(pixels, test, vmaf=meter, progress=lambda done, note="": progress(done, "measuring"))

    def decode(self, stream: Path, raw: Path, filters: str, frame_bytes: int) -> tuple[str, float]:
        """Decode `stream` into `raw`; returns the command and its wall time, raises `UserError` for other frames."""
        command, decode_s = decode_stream(self.coding, stream, raw, filters)
        frames = self.coding.stream.frames
        decoder = "version of its decoder" if self.coding.has_own_decoder else "ffmpeg by FFMPEG_BINARY"
        if raw.stat().st_size != frames * frame_bytes:
            raise UserError(
                f"{stream.name} decodes to {raw.stat().st_size / frame_bytes:g} frames, but {frames} went in "
                f"({self.subject}); try another {decoder}"
            )
        return command, decode_s


def _decode_and_measure(stream: Path, pixels: Frames, measuring: _Measuring) -> tuple[str, float, Quality]:
    """Decode `stream` into a temporary file beside it; returns (command, wall time in seconds, quality)."""
    coding, planes = measuring.coding, measuring.measures.planes
    frames, height, width = pixels.shape[:3]
    with tempfile.TemporaryDirectory(dir=stream.parent, prefix=".decoded-") as folder:
        raw = Path(folder) / "decoded.rgb"
        shape = (frames, *coding.stream.size, 3)
        command, decode_s = measuring.decode(stream, raw, coding.conversion.to_rgb(), int(np.prod(shape[1:])))
        decoded_pixels = np.memmap(raw, dtype=np.uint8, mode="r", shape=shape)[:, :height, :width]
        quality = measuring.quality(pixels, decoded_pixels)
        if planes is not None:
            quality = replace(quality, yuv=measure_rgb(planes, decoded_pixels))
    return command, decode_s, quality


def _decode_and_measure_planes(
    stream: Path, pixels: Frames, planes: Planes, measuring: _Measuring
) -> tuple[str, float, Quality]:
    """`_decode_and_measure` of a stream that was made of planes."""
    manifest = planes.manifest
    with tempfile.TemporaryDirectory(dir=stream.parent, prefix=".decoded-") as folder:
        raw, rgb = Path(folder) / "decoded.yuv", Path(folder) / "decoded.rgb"
        filters = same_colours(planes, manifest.pixel_format)
        command, decode_s = measuring.decode(stream, raw, filters, planes.codes[0].nbytes)
        decoded = Planes(manifest, np.memmap(raw, planes.codes.dtype, "r", shape=planes.codes.shape), raw)
        with open(rgb, "wb") as file:
            for frame in rgb_frames(raw, manifest):
                file.write(frame.tobytes())
        quality = measuring.quality(pixels, np.memmap(rgb, np.uint8, "r", shape=pixels.shape))
        quality = replace(quality, yuv=measure_planes(planes, decoded))
    return command, decode_s, quality
