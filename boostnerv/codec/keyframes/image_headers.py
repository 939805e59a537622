"""How large the pictures of coded images are, found before a decoder takes memory for them.

Each check lets one plain form of its format pass, that of the encoders in `boostnerv.codec.keyframes.image_codecs`, and
raises `BitstreamError` for everything else: sequences, grids, alpha planes and the like are no keyframes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from boostnerv.errors import BitstreamError

_AVIF_BOXES = [b"ftyp", b"meta", b"mdat"]
# iloc, version 0: offsets and lengths of four bytes, no base, one item of one extent that lies in the file.
_ILOC = struct.Struct(">IHHHHHII")
_ILOC_SIZES = 0x4400
_SEQUENCE_HEADER = 1
_WEBP = struct.Struct("<4sI4s4sI3s3sHH")
_HEVC_START = re.compile(rb"\x00\x00\x01")
_HEVC_PICTURES, _HEVC_OTHERS = {19, 20}, {32, 33, 34, 35, 39}  # IDR; VPS, SPS, PPS, delimiter, SEI
_HEVC_VPS_START = re.compile(rb"\x00\x00\x00\x01\x40")


def check_avif(data: bytes, height: int, width: int) -> None:
    """Let AVIF files of one still AV1 picture of this size pass, its short header included."""
    try:
        sizes = set(_av1_sizes(_av1_data(data)))
    except (struct.error, IndexError) as error:
        raise _no_image("AVIF") from error
    if sizes != {(height, width)}:
        raise _other_size(sizes, height, width)


def _av1_data(data: bytes) -> bytes:
    """The AV1 data of the only item of a file."""
    top = list(_boxes(data, 0, len(data)))
    if [name for name, _, _ in top] != _AVIF_BOXES:
        raise _no_image("AVIF")
    (_, first, last), (_, mdat_first, mdat_last) = top[1:]
    places = [(start, stop) for name, start, stop in _boxes(data, first + 4, last) if name == b"iloc"]
    if len(places) != 1 or places[0][1] - places[0][0] != _ILOC.size:
        raise _no_image("AVIF")
    version, sizes, items, _, reference, extents, offset, length = _ILOC.unpack_from(data, places[0][0])
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
    """Height and width that each sequence header says."""
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
    """A number in groups of seven bits, and where it ends."""
    value = 0
    for shift in range(0, 56, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise _no_image("AVIF")


def _av1_size(header: bytes) -> tuple[int, int]:
    """Height and width; with the short header of still pictures no frame may have another size."""
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
    """Let WebP files of one lossy picture of this size pass."""
    if len(data) < _WEBP.size:
        raise _no_image("WebP")
    riff, file_size, webp, chunk, size, _, start, found_width, found_height = _WEBP.unpack_from(data)
    whole = file_size == len(data) - 8 and size + size % 2 == len(data) - 20
    if (riff, webp, chunk, start) != (b"RIFF", b"WEBP", b"VP8 ", b"\x9d\x01\x2a") or not whole:
        raise _no_image("WebP")
    if (found_height, found_width) != (height, width):
        raise _other_size({(found_height, found_width)}, height, width)


def check_hevc(data: bytes) -> None:
    """Let one HEVC picture with its parameter sets pass; its size is left to the decoder."""
    starts = [found.end() for found in _HEVC_START.finditer(data)]
    if not starts or data[: starts[0]].strip(b"\0") != b"\1" or starts[-1] + 2 >= len(data):
        raise _no_image("HEVC")
    kinds = [data[start] >> 1 & 63 for start in starts]
    firsts = [
        start for start, kind in zip(starts, kinds, strict=True) if kind in _HEVC_PICTURES and data[start + 2] & 0x80
    ]
    if not set(kinds) <= _HEVC_PICTURES | _HEVC_OTHERS or len(firsts) != 1:
        raise _no_image("HEVC")


def split_hevc(stream: bytes) -> list[bytes]:
    """Pictures of a stream in which parameter sets stand before each."""
    starts = [found.start() for found in _HEVC_VPS_START.finditer(stream)]
    return [stream[start:stop] for start, stop in zip(starts, [*starts[1:], len(stream)], strict=True)]


def _no_image(kind: str) -> BitstreamError:
    return BitstreamError(f"a keyframe is no {kind} image as this format has them; the file is damaged, get it again")


def _other_size(sizes: set[tuple[int, int]], height: int, width: int) -> BitstreamError:
    found = " and ".join(f"{size[0]}×{size[1]}" for size in sorted(sizes)) or "none"
    return BitstreamError(
        f"a keyframe has {found} instead of {height}×{width} pixels; the file is damaged, get it again"
    )
