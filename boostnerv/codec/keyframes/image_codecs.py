"""Image codecs for keyframes with one interface: AVIF and WebP through Pillow, HEVC intra pictures through ffmpeg.

Images are uint8 RGB ``[H, W, 3]``, all of one size, H and W at least 1. The output of an encoder depends only on the
image and the quality, not on the number of threads or the other images of a call (HEVC may differ in one header bit).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostnerv.catalogue import IMAGE_CODECS, ImageCodecEntry
from boostnerv.codec.keyframes.image_headers import check_avif, check_hevc, check_webp, split_hevc
from boostnerv.errors import BitstreamError, UserError, nearest

Pixels = NDArray[np.uint8]

LARGEST_PIXELS = 1 << 26
_WEBP_LARGEST_SIDE = 16383
# Saves 1 bit in 25 over speed 6 at five times the work; slower speeds gain too little for their time.
_AVIF_SPEED = 4
_HEVC_SMALLEST_SIDE = 16
_ROUNDED_UP = 255
# Part of the format: existing files are decoded with these flags, whatever other code uses.
_SWS_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_TO_YUV = f"scale=in_range=pc:out_range=pc:out_color_matrix=bt709:out_chroma_loc=left:flags={_SWS_FLAGS},format=yuv420p"
_TO_RGB = f"scale=in_range=pc:out_range=pc:in_color_matrix=bt709:in_chroma_loc=left:flags={_SWS_FLAGS},format=rgb24"


@dataclass(frozen=True)
class KeyframeCodec:
    """An image codec; its row in the catalogue holds its number in a file, its range of qualities and their meaning.

    `encoder` takes images, a quality and a number of threads; `decoder` takes coded images, height and width. Both rely
    on the checks of `encode` and `decode`. `missing`, called with True for encoding, names what is not installed.
    """

    name: str
    largest_side: int
    encoder: Callable[[Sequence[Pixels], int, int], list[bytes]]
    decoder: Callable[[Sequence[bytes], int, int], list[Pixels]]
    missing: Callable[[bool], str | None]

    @property
    def entry(self) -> ImageCodecEntry:
        """The row of the catalogue."""
        return IMAGE_CODECS[self.name]

    def check_encoder(self, quality: int) -> None:
        """Raise `UserError` if the codec is not installed or `quality` is out of range."""
        missing = self.missing(True)
        if missing:
            raise UserError(f"keyframe codec '{self.name}' cannot be used: {missing}, or choose another codec")
        lowest, highest = self.entry.qualities
        if not lowest <= quality <= highest:
            raise UserError(
                f"keyframe codec '{self.name}': quality {quality} is outside {lowest} to {highest} "
                f"({self.entry.meaning})"
            )

    def check_size(self, height: int, width: int) -> None:
        """Raise `UserError` for images that are too large for the codec."""
        if not self._holds(height, width):
            raise UserError(
                f"keyframes of {height}×{width} are too large for codec '{self.name}', which allows sides up to "
                f"{self.largest_side} and {LARGEST_PIXELS} pixels; crop or resize the frames"
            )

    def encode(self, images: Sequence[Pixels], quality: int, threads: int | None = None) -> list[bytes]:
        """Encode each image on `threads` threads (by default one per core).

        Raises `UserError` as `check_encoder` and `check_size` do, `ValueError` unless all are uint8 of one size.
        """
        self.check_encoder(quality)
        if not images:
            return []
        height, width = images[0].shape[:2]
        for image in images:
            if image.dtype != np.uint8 or image.shape != (height, width, 3):
                raise ValueError(f"keyframes are uint8 [H, W, 3] of one size, not {image.dtype} {list(image.shape)}")
        self.check_size(height, width)
        return self.encoder(images, quality, threads or os.cpu_count() or 1)

    def decode(self, data: Sequence[bytes], height: int, width: int) -> list[Pixels]:
        """Decode images of this size; raises `BitstreamError` for other data, `UserError` if the codec is missing."""
        missing = self.missing(False)
        if missing:
            raise UserError(f"this file's keyframes are coded with '{self.name}': {missing}")
        if not self._holds(height, width):
            raise BitstreamError(
                f"keyframes of {height}×{width} are larger than codec '{self.name}' allows; the file is damaged, "
                "get it again"
            )
        return self.decoder(data, height, width) if data else []

    def _holds(self, height: int, width: int) -> bool:
        return max(height, width) <= self.largest_side and height * width <= LARGEST_PIXELS


# --- Pillow ---------------------------------------------------------------------------------------------------


def _pillow_missing(feature: str, name: str) -> Callable[[bool], str | None]:
    def missing(encoding: bool) -> str | None:
        import PIL
        from PIL import features

        if features.check(feature):
            return None
        return (
            f"Pillow {PIL.__version__} has no {name} here; install a Pillow wheel of version 11.3 or later "
            "(pip install -U Pillow)"
        )

    return missing


def _pillow_encoder(form: str, **options: Any) -> Callable[[Sequence[Pixels], int, int], list[bytes]]:
    def encode(images: Sequence[Pixels], quality: int, threads: int) -> list[bytes]:
        from PIL import Image

        def code(pixels: Pixels) -> bytes:
            file = BytesIO()
            Image.fromarray(np.ascontiguousarray(pixels)).save(file, form, quality=quality, **options)
            return file.getvalue()

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(code, images))

    return encode


def _pillow_decoder(
    form: str, check: Callable[[bytes, int, int], None]
) -> Callable[[Sequence[bytes], int, int], list[Pixels]]:
    def decode(data: Sequence[bytes], height: int, width: int) -> list[Pixels]:
        return [decode_one(coded, height, width) for coded in data]

    def decode_one(coded: bytes, height: int, width: int) -> Pixels:
        from PIL import Image

        check(coded, height, width)
        try:
            with Image.open(BytesIO(coded), formats=[form]) as image:
                if image.size == (width, height):
                    return np.array(image.convert("RGB"))
        except Exception as error:
            # Pillow has no common error class and does not document everything that a damaged image can raise.
            raise _undecodable(form) from error
        raise _undecodable(form)

    return decode


def _undecodable(form: str, cause: object = "") -> BitstreamError:
    reason = f" ({cause})" if cause else ""
    return BitstreamError(f"a keyframe cannot be decoded as {form}{reason}; the file is damaged, get it again")


# --- ffmpeg ---------------------------------------------------------------------------------------------------


def _hevc_missing(encoding: bool) -> str | None:
    from boostnerv.video import ffmpeg

    name = "libx265" if encoding else "hevc"
    names = ffmpeg.list_encoders() if encoding else ffmpeg.list_decoders()
    if name in names:
        return None
    kind = "encoder" if encoding else "decoder"
    return f"this ffmpeg ({ffmpeg.ffmpeg_version()}) has no {kind} {name}; set FFMPEG_BINARY to one that has it"


def _hevc_size(height: int, width: int) -> tuple[int, int]:
    """Size that is coded: sides rounded up to even numbers, at least the minimum of x265."""
    return max(height + height % 2, _HEVC_SMALLEST_SIDE), max(width + width % 2, _HEVC_SMALLEST_SIDE)


def _encode_hevc(images: Sequence[Pixels], quality: int, threads: int) -> list[bytes]:
    from boostnerv.video import ffmpeg

    height, width = images[0].shape[:2]
    size = _hevc_size(height, width)
    # With frame threads, the pictures would depend on the number of threads.
    settings = f"log-level=error:info=0:keyint=1:repeat-headers=1:qp={quality}:frame-threads=1:pools={threads}"
    options = {"vf": _TO_YUV, "c:v": "libx265", "preset": "slow", "x265-params": settings, "fps_mode": "passthrough"}
    source = ffmpeg.input_from_pipe(format="rawvideo", pix_fmt="rgb24", s=f"{size[1]}x{size[0]}")
    margins = ((0, size[0] - height), (0, size[1] - width), (0, 0))
    raw = b"".join(np.pad(image, margins, mode="edge").tobytes() for image in images)
    try:
        stream = ffmpeg.run(source.output("pipe:1", format="hevc", **options), raw).stdout
    except ffmpeg.FfmpegError as error:
        raise UserError(
            f"ffmpeg cannot code keyframes of {height}×{width} with libx265: {error}; set FFMPEG_BINARY to another "
            "ffmpeg, or choose another codec"
        ) from error
    coded = split_hevc(stream)
    if len(coded) != len(images):
        raise UserError(
            f"ffmpeg wrote {len(coded)} pictures for {len(images)} keyframes; set FFMPEG_BINARY to another ffmpeg"
        )
    return coded


def _decode_hevc(data: Sequence[bytes], height: int, width: int) -> list[Pixels]:
    from boostnerv.video import ffmpeg

    for coded in data:
        check_hevc(coded)
    size = _hevc_size(height, width)
    # Decoders round sizes up before they count pixels; the crop filter refuses any other size.
    most_pixels = (size[0] + _ROUNDED_UP) * (size[1] + _ROUNDED_UP)
    source = ffmpeg.input_from_pipe(format="hevc", max_pixels=most_pixels)
    exact_crop = f"crop=w='if(eq(iw,{size[1]}),iw,-1)':h='if(eq(ih,{size[0]}),ih,-1)':x=0:y=0:exact=1"
    output = source.output("pipe:1", format="rawvideo", vf=f"{exact_crop},{_TO_RGB}", fps_mode="passthrough")
    try:
        raw = ffmpeg.run(output, b"".join(data)).stdout
    except ffmpeg.FfmpegError as error:
        raise _undecodable("HEVC", error) from error
    if len(raw) != len(data) * size[0] * size[1] * 3:
        raise _undecodable("HEVC", f"{len(data)} pictures of {size[0]}×{size[1]} pixels have {len(raw)} bytes")
    images = np.frombuffer(raw, np.uint8).reshape(len(data), *size, 3)
    return [image[:height, :width].copy() for image in images]


# --- registry -------------------------------------------------------------------------------------------------


KEYFRAME_CODECS = {
    codec.name: codec
    for codec in (
        KeyframeCodec(
            name="avif",
            largest_side=1 << 15,
            # `check_avif` reads the size in the header that libaom writes; tiles and threads would change it.
            encoder=_pillow_encoder(
                "AVIF", speed=_AVIF_SPEED, subsampling="4:2:0", codec="aom", max_threads=1, autotiling=False
            ),
            decoder=_pillow_decoder("AVIF", check_avif),
            missing=_pillow_missing("avif", "AVIF"),
        ),
        KeyframeCodec(
            name="webp",
            largest_side=_WEBP_LARGEST_SIDE,
            encoder=_pillow_encoder("WEBP", method=6),
            decoder=_pillow_decoder("WEBP", check_webp),
            missing=_pillow_missing("webp", "WebP"),
        ),
        KeyframeCodec(
            name="x265-intra",
            largest_side=1 << 13,
            encoder=_encode_hevc,
            decoder=_decode_hevc,
            missing=_hevc_missing,
        ),
    )
}
KEYFRAME_CODEC_NUMBERS = {entry.wire_number: name for name, entry in IMAGE_CODECS.items()}


def keyframe_codec(name: str) -> KeyframeCodec:
    """The codec with this name; raises `UserError` for unknown names."""
    if name not in KEYFRAME_CODECS:
        raise UserError(f"unknown keyframe codec '{name}': {nearest(name, KEYFRAME_CODECS)}")
    return KEYFRAME_CODECS[name]
