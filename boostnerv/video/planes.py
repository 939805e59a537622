"""The source's own YUV planes, at its bit depth, of the frames that are also extracted as RGB.

``X.yuv`` is headerless 4:2:0, the format in which the video literature measures: for every frame Y, U, V, row by row,
in one byte per 8-bit code, or two (little-endian) for deeper codes. ``X.json`` is its manifest. If the preparation
scales, swscale scales the planes without converting colours; otherwise all codes are those of the source.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from boostnerv import files
from boostnerv.config import Closed, Preparation, Sha256, VideoSpec, parse
from boostnerv.errors import UserError
from boostnerv.progress import Progress, silent
from boostnerv.video import ffmpeg
from boostnerv.video.colour import (
    Conversion,
    Samples,
    is_float,
    planar_format,
    sample_type,
    split_420,
    stream_tags,
    yuv_to_rgb,
)
from boostnerv.video.frames import check_space, open_video, video_sha256
from boostnerv.video.source import Decoder
from boostnerv.video.video_file import ClipDecoder, planes_of, read_picture


class PlanesManifest(Closed):
    """Contents of a file of planes, and how these frames became RGB."""

    dataset: str = Field(description="Data set.")
    video: str = Field(description="Video of the data set.")
    frames: int = Field(gt=0, description="Number of frames T.")
    height: int = Field(gt=0, multiple_of=2, description="Height H of Y in pixels; U and V have half of it.")
    width: int = Field(gt=0, multiple_of=2, description="Width W of Y in pixels; U and V have half of it.")
    bits: int = Field(ge=8, le=16, description="Bits of a code.")
    conversion: Conversion = Field(description="How these planes became the RGB frames.")
    sha256: Sha256 = Field(description="SHA-256 of the file.")
    source_sha256: Sha256 = Field(description="SHA-256 of the source.")
    preparation: Preparation = Field(description="How the frames were prepared.")

    @property
    def pixel_format(self) -> str:
        """ffmpeg's name of the planes, e.g. yuv420p10le."""
        return planar_format("420", self.bits)


@dataclass(frozen=True)
class Planes:
    """An open file of planes; `codes` is a read-only memory map [T, H · 3/2, W], uint8 or uint16."""

    manifest: PlanesManifest
    codes: npt.NDArray[Any]
    path: Path

    def frame(self, index: int) -> tuple[Samples, Samples, Samples]:
        """Y [H, W], U and V [H/2, W/2] of a frame."""
        return split_420(self.codes[index])


def extract_planes(
    video: VideoSpec,
    source: str | Path,
    preparation: Preparation,
    output: str | Path,
    *,
    dataset: str,
    progress: Progress = silent,
) -> PlanesManifest:
    """Decode the planes of `source` into `output` (``.yuv``) and its manifest (``.json``).

    Raises `UserError` for a source that is not 4:2:0, for odd sizes or crop offsets, and as `extract_frames`; then no
    file is written.
    """
    source, output = Path(source), Path(output)
    decoder = with_planes(open_video(video, source, preparation), source)
    conversion = decoder.conversion
    assert conversion is not None, "4:2:0 is YUV"
    check_space(output, decoder.expected, (decoder.geometry.height, decoder.geometry.width))
    digest, count = hashlib.sha256(), 0
    source_sha256 = video_sha256(video, source)
    with files.final(output) as temporary:
        with open(temporary, "wb") as file, contextlib.closing(decoder.planes()) as pictures:
            for planes in pictures:
                for plane in planes:
                    data = np.ascontiguousarray(plane).view(np.uint8).data
                    digest.update(data)
                    file.write(data)
                count += 1
                progress(count)
        # An older manifest must not describe the new planes, not even for a moment.
        output.with_suffix(".json").unlink(missing_ok=True)
    manifest = PlanesManifest(
        dataset=dataset,
        video=video.name,
        frames=count,
        height=decoder.geometry.height,
        width=decoder.geometry.width,
        bits=decoder.info.bit_depth,
        conversion=conversion,
        sha256=digest.hexdigest(),
        source_sha256=source_sha256,
        preparation=preparation,
    )
    files.write_json(output.with_suffix(".json"), manifest.model_dump(mode="json"))
    return manifest


def with_planes(decoder: Decoder, source: Path) -> ClipDecoder:
    """Return `decoder` if planes can be extracted from `source`; raises `UserError` otherwise."""
    if not isinstance(decoder, ClipDecoder) or not decoder.has_420:
        raise UserError(
            f"{source} is {decoder.info.pixel_format}, not YUV 4:2:0, and has no such planes to compare with: remove "
            "evaluation.yuv420 and anchors with source: yuv420 from the experiment"
        )
    _check_even(decoder, source)
    return decoder


def open_planes(manifest: str | Path) -> Planes:
    """Open a file of planes by its manifest ``X.json``; raises `UserError` if the two do not match."""
    manifest = Path(manifest)
    described = parse(PlanesManifest, files.read_json(manifest, "manifest of planes"), f"manifest of planes {manifest}")
    path = manifest.with_suffix(".yuv")
    shape = (described.frames, described.height * 3 // 2, described.width)
    stored = sample_type(described.bits)
    expected_bytes = int(np.prod(shape)) * stored.itemsize
    size_bytes = path.stat().st_size if path.is_file() else 0
    if size_bytes != expected_bytes:
        raise UserError(
            f"planes {path} are missing or have {size_bytes} bytes where {manifest.name} says {expected_bytes}; run "
            "their step again"
        )
    return Planes(described, np.memmap(path, stored, "r", shape=shape), path)


def rgb_frames(path: Path, manifest: PlanesManifest) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the frames of a file of planes as RGB, uint8 [H, W, 3], converted by the colour profile in `manifest`.

    That is the conversion of the RGB frames that they are compared with. Raises `UserError` if ffmpeg fails.
    """
    size = (manifest.width, manifest.height)
    source = ffmpeg.local_input(path, format="rawvideo", pixel_format=manifest.pixel_format, video_size=size)
    convert = _by_matrix if is_float(manifest.preparation.colour) else _by_swscale
    try:
        yield from convert(source, manifest)
    except ffmpeg.FfmpegError as error:
        raise UserError(f"the planes in {path} cannot be converted ({error}); try another ffmpeg") from error


def _by_swscale(source: ffmpeg.Graph, manifest: PlanesManifest) -> Iterator[npt.NDArray[np.uint8]]:
    tags = stream_tags(manifest.conversion.matrix, manifest.conversion.range)
    graph = source.filter("setparams", colorspace=tags["colorspace"], range=tags["color_range"])
    return _pictures(graph, "rgb24", (manifest.height, manifest.width, 3), sample_type(8))


def _by_matrix(source: ffmpeg.Graph, manifest: PlanesManifest) -> Iterator[npt.NDArray[np.uint8]]:
    conversion, pixel_format = manifest.conversion, planar_format("444", manifest.bits)
    shape, stored = (3, manifest.height, manifest.width), sample_type(manifest.bits)
    for picture in _pictures(planes_of(source, conversion, pixel_format), pixel_format, shape, stored):
        yield yuv_to_rgb(list(picture), conversion.matrix, conversion.range, manifest.bits)


def _pictures(graph: ffmpeg.Graph, pixel_format: str, shape: tuple[int, ...], stored: np.dtype[Any]) -> Iterator[Any]:
    with ffmpeg.running(graph.output("pipe:1", format="rawvideo", pix_fmt=pixel_format)) as process:
        while (picture := read_picture(process, shape, stored)) is not None:
            yield picture
        process.finish()


def _check_even(decoder: ClipDecoder, source: Path) -> None:
    """Raise `UserError` for odd sizes or offsets, which 4:2:0 cannot halve."""
    size, window = decoder.decoded_size(), decoder.geometry.window
    if any(value % 2 for value in (*size, window.top, window.left, window.height, window.width)):
        raise UserError(
            f"{source} becomes {size[0]}x{size[1]}, of which {window.height}x{window.width} from row {window.top} and "
            f"column {window.left} on are used, and 4:2:0 needs even numbers for all of them: choose another "
            "preparation.height, width or fit, or remove evaluation.yuv420 and anchors with source: yuv420"
        )
