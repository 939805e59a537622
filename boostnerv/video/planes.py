"""The source's own Y, U and V, at its depth, of the same frames as the RGB ones: ``X.yuv`` and a manifest beside it.

``X.yuv`` has no header: frame after frame Y, then U, then V, row by row, one byte a code of 8 bits and two
(little-endian) a code of more. It is 4:2:0, which is what videos are measured in elsewhere. Where the preparation
scales, swscale scales the planes and converts no colours; where it does not, every code is the source's.
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
    """What a file of planes holds, and how these frames became RGB."""

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

    Raises `UserError` for a source that is not 4:2:0, sizes and places of cuts that are odd, and as `extract_frames`
    does; then no file is written.
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
    """The decoder of `source`; raises `UserError` where it has no planes that could be extracted."""
    if not isinstance(decoder, ClipDecoder) or not decoder.has_420:
        raise UserError(
            f"{source} is {decoder.info.pixel_format}, not YUV 4:2:0, and has no such planes to compare with: take "
            "evaluation.yuv420 and anchors with source: yuv420 out of the experiment"
        )
    _check_even(decoder, source)
    return decoder


def open_planes(manifest: str | Path) -> Planes:
    """Open a file of planes by its manifest ``X.json``; raises `UserError` where the two do not fit."""
    manifest = Path(manifest)
    described = parse(PlanesManifest, files.read_json(manifest, "manifest of planes"), f"manifest of planes {manifest}")
    path = manifest.with_suffix(".yuv")
    shape = (described.frames, described.height * 3 // 2, described.width)
    stored = sample_type(described.bits)
    expected = int(np.prod(shape)) * stored.itemsize
    found = path.stat().st_size if path.is_file() else 0
    if found != expected:
        raise UserError(
            f"planes {path} are missing or have {found} bytes where {manifest.name} says {expected}; run their step "
            "again"
        )
    return Planes(described, np.memmap(path, stored, "r", shape=shape), path)


def rgb_frames(path: Path, manifest: PlanesManifest) -> Iterator[npt.NDArray[np.uint8]]:
    """RGB, uint8 [H, W, 3], of the frames of a file that is stored as `manifest` says, made as its conversion made the
    frames that they are compared with: by swscale's defaults, or in float32. Raises `UserError` as ffmpeg fails."""
    size = (manifest.width, manifest.height)
    source = ffmpeg.local_input(path, format="rawvideo", pixel_format=manifest.pixel_format, video_size=size)
    of_profile = _by_matrix if is_float(manifest.preparation.colour) else _by_swscale
    try:
        yield from of_profile(source, manifest)
    except ffmpeg.FfmpegError as error:
        raise UserError(f"the planes in {path} cannot be converted ({error}); try another ffmpeg") from error


def _by_swscale(source: ffmpeg.Graph, manifest: PlanesManifest) -> Iterator[npt.NDArray[np.uint8]]:
    tags = stream_tags(manifest.conversion.matrix, manifest.conversion.range)
    graph = source.filter("setparams", colorspace=tags["colorspace"], range=tags["color_range"])
    return _pictures(graph, "rgb24", (manifest.height, manifest.width, 3), sample_type(8))


def _by_matrix(source: ffmpeg.Graph, manifest: PlanesManifest) -> Iterator[npt.NDArray[np.uint8]]:
    conversion, full = manifest.conversion, planar_format("444", manifest.bits)
    shape = (3, manifest.height, manifest.width)
    for picture in _pictures(planes_of(source, conversion, full), full, shape, sample_type(manifest.bits)):
        yield yuv_to_rgb(list(picture), conversion.matrix, conversion.range, manifest.bits)


def _pictures(graph: ffmpeg.Graph, pixel_format: str, shape: tuple[int, ...], stored: np.dtype[Any]) -> Iterator[Any]:
    with ffmpeg.running(graph.output("pipe:1", format="rawvideo", pix_fmt=pixel_format)) as process:
        while (picture := read_picture(process, shape, stored)) is not None:
            yield picture
        process.finish()


def _check_even(decoder: ClipDecoder, source: Path) -> None:
    """Raise `UserError` where a row or column of Y has no half in U and V."""
    size, window = decoder.decoded_size(), decoder.geometry.window
    if any(value % 2 for value in (*size, window.top, window.left, window.height, window.width)):
        raise UserError(
            f"{source} becomes {size[0]}x{size[1]}, of which {window.height}x{window.width} from row {window.top} and "
            f"column {window.left} on are used, and 4:2:0 needs even numbers for all of them: choose another "
            "preparation.height, width or fit, or take evaluation.yuv420 and anchors with source: yuv420 out"
        )
