"""Checks of coded images' sizes before a decoder allocates memory for them.

Each check accepts one plain form of its format, the one that `boostnerv.codec.keyframes.image_codecs` writes, and
raises `BitstreamError` for everything else, such as sequences, grids and alpha planes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from boostnerv.errors import BitstreamError

_AVIF_BOXES = [b"ftyp", b"meta", b"mdat"]
# iloc, version 0: four-byte offsets and lengths, no base, one item with one extent within the file.
_ILOC = struct.Struct(">IHHHHHII")
_ILOC_SIZES = 0x4400
_SEQUENCE_HEADER = 1
_WEBP = struct.Struct("<4sI4s4sI3s3sHH")
_HEVC_START = re.compile(rb"\x00\x00\x01")
_HEVC_PICTURES, _HEVC_OTHERS = {19, 20}, {32, 33, 34, 35, 39}  # IDR; VPS, SPS, PPS, delimiter, SEI
_HEVC_VPS_START = re.compile(rb"\x00\x00\x00\x01\x40")


def check_avif(data: bytes, height: int, width: int) -> None:
    """Raise `BitstreamError` unless `data` is an AVIF file of one AV1 picture of this size with the short header."""
    try:
        sizes = set(_av1_sizes(_av1_data(data)))
    except (struct.error, IndexError) as error:
        raise _no_image("AVIF") from error
    if sizes != {(height, width)}:
        raise _other_size(sizes, height, width)


def _av1_data(data: bytes) -> bytes:
    """The AV1 data of the only item in a file."""
    top = list(_boxes(data, 0, len(data)))
    if [name for name, _, _ in top] != _AVIF_BOXES:
        raise _no_image("AVIF")
    (_, first, last), (_, mdat_first, mdat_last) = top[1:]
    iloc_ranges = [(start, stop) for name, start, stop in _boxes(data, first + 4, last) if name == b"iloc"]
    if len(iloc_ranges) != 1 or iloc_ranges[0][1] - iloc_ranges[0][0] != _ILOC.size:
        raise _no_image("AVIF")
    version, sizes, items, _, reference, extents, offset, length = _ILOC.unpack_from(data, iloc_ranges[0][0])
    if (version, sizes, items, reference, extents) != (0, _ILOC_SIZES, 1, 0, 1):
        raise _no_image("AVIF")
    if not mdat_first <= offset <= offset + length <= mdat_last:
        raise _no_image("AVIF")
    return data[offset : offset + length]


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the contents of each box."""
    while start < stop:
        size, name = struct.unpack_from(">I4s", data, start)
        if not 8 <= size <= stop - start:
            raise _no_image("AVIF")
        yield name, start + 8, start + size
        start += size


def _av1_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Height and width in each sequence header."""
    position = 0
    while position < len(data):
        head = data[position]
        if head & 0x02 == 0:  # without a length
            raise _no_image("AVIF")
        position += 2 if head & 0x04 else 1
        length, position = _leb128(data, position)
        if length > len(data) - position:
            raise _no_image("AVIF")
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield _av1_size(data[position : position + length])
        position += length


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """A LEB128 number and the position after it."""
    value = 0
    for shift in range(0, 56, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise _no_image("AVIF")


def _av1_size(header: bytes) -> tuple[int, int]:
    """Height and width; the short header of still pictures permits no other frame size."""
    bits, left = int.from_bytes(header[:8]), 64

    def take(count: int) -> int:
        nonlocal left
        left -= count
        return bits >> left & ((1 << count) - 1)

    if len(header) < 8 or (take(3), take(1), take(1))[1:] != (1, 1):
        raise _no_image("AVIF")
    take(5)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    width = take(width_bits) + 1
    return take(height_bits) + 1, width


def check_webp(data: bytes, height: int, width: int) -> None:
    """Raise `BitstreamError` unless `data` is a WebP file of one lossy picture of this size."""
    if len(data) < _WEBP.size:
        raise _no_image("WebP")
    riff, file_size, webp, chunk, size, _, start, image_width, image_height = _WEBP.unpack_from(data)
    complete = file_size == len(data) - 8 and size + size % 2 == len(data) - 20
    if (riff, webp, chunk, start) != (b"RIFF", b"WEBP", b"VP8 ", b"\x9d\x01\x2a") or not complete:
        raise _no_image("WebP")
    if (image_height, image_width) != (height, width):
        raise _other_size({(image_height, image_width)}, height, width)


def check_hevc(data: bytes) -> None:
    """Raise `BitstreamError` unless `data` is one HEVC picture with parameter sets; the decoder checks its size."""
    starts = [match.end() for match in _HEVC_START.finditer(data)]
    if not starts or data[: starts[0]].strip(b"\0") != b"\1" or starts[-1] + 2 >= len(data):
        raise _no_image("HEVC")
    kinds = [data[start] >> 1 & 63 for start in starts]
    firsts = [
        start for start, kind in zip(starts, kinds, strict=True) if kind in _HEVC_PICTURES and data[start + 2] & 0x80
    ]
    if not set(kinds) <= _HEVC_PICTURES | _HEVC_OTHERS or len(firsts) != 1:
        raise _no_image("HEVC")


def split_hevc(stream: bytes) -> list[bytes]:
    """Split a stream into its pictures, each preceded by its parameter sets."""
    starts = [match.start() for match in _HEVC_VPS_START.finditer(stream)]
    return [stream[start:stop] for start, stop in zip(starts, [*starts[1:], len(stream)], strict=True)]


def _no_image(kind: str) -> BitstreamError:
    return BitstreamError(
        f"a keyframe is not a {kind} image of the form that this format allows; the file is damaged, get it again"
    )


def _other_size(sizes: set[tuple[int, int]], height: int, width: int) -> BitstreamError:
    actual = " and ".join(f"{size[0]}×{size[1]}" for size in sorted(sizes)) or "none"
    return BitstreamError(
        f"a keyframe has {actual} instead of {height}×{width} pixels; the file is damaged, get it again"
    )
