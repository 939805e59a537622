"""The section ``keyframes``: concatenated coded images that can be read one by one.

Headers make up much of a small image and are nearly identical in all of them. Images are therefore deflated with the
beginning of the first one as preset dictionary, if that makes them smaller.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from functools import cached_property

from boostnerv.codec.container.bitstream import Field, layout
from boostnerv.codec.container.varints import read_numbers, write_number
from boostnerv.codec.keyframes.image_codecs import KEYFRAME_CODEC_NUMBERS, KEYFRAME_CODECS, Pixels, keyframe_codec
from boostnerv.errors import BitstreamError

DICTIONARY_BYTES = 1024
MOST_LENGTH_BYTES = 5
# Limit for an image, deflated or not: a constant, and an addition for every value of its pixels.
ANY_IMAGE_BYTES, IMAGE_BYTES_PER_VALUE = 1 << 16, 4

KEYFRAMES_FIELDS = (Field("codec", "B", "image codec"),)
_KEYFRAMES_HEAD = layout(KEYFRAMES_FIELDS)


def write_keyframes(codec_name: str, coded: Sequence[bytes]) -> bytes:
    """Payload of images that the codec `codec_name` has encoded.

    The head is followed by one varint per image, twice its stored length in bytes, plus 1 if it is deflated. Then come
    the images: raw deflate streams with the first `DICTIONARY_BYTES` of the first image as preset dictionary, or
    unchanged, as the first always is. Raises `UserError` for an unknown codec.
    """
    stored = [_stored(image, coded[0][:DICTIONARY_BYTES]) for image in coded]
    if stored:
        stored[0] = coded[0], False
    lengths = b"".join(write_number(2 * len(data) + deflated) for data, deflated in stored)
    head = _KEYFRAMES_HEAD.pack(keyframe_codec(codec_name).entry.wire_number)
    return head + lengths + b"".join(data for data, _ in stored)


def _stored(image: bytes, dictionary: bytes) -> tuple[bytes, bool]:
    """The stored bytes of an image, and whether they are deflated."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)
    deflated = deflater.compress(image) + deflater.flush()
    return (deflated, True) if len(deflated) < len(image) else (image, False)


class Keyframes:
    """The payload of `count` keyframes of one size; images are decoded on request.

    Raises `BitstreamError` for a damaged payload.
    """

    def __init__(self, data: bytes, count: int, height: int, width: int) -> None:
        self._data, self._size = data, (height, width)
        if len(data) < _KEYFRAMES_HEAD.size + count:
            raise BitstreamError(
                f"section keyframes is too short for {count} images; the file is damaged, get it again"
            )
        (number,) = _KEYFRAMES_HEAD.unpack_from(data)
        if number not in KEYFRAME_CODEC_NUMBERS:
            raise BitstreamError(f"keyframe codec {number} is unknown; a newer boostnerv may read it")
        self.codec = KEYFRAME_CODEC_NUMBERS[number]
        try:
            numbers, start = read_numbers(data, _KEYFRAMES_HEAD.size, count, MOST_LENGTH_BYTES)
        except ValueError as error:
            raise BitstreamError(
                f"section keyframes does not hold the lengths of {count} images; the file is damaged, get it again"
            ) from error
        self._deflated = [bool(value & 1) for value in numbers]
        self._bounds = list(itertools.accumulate((value >> 1 for value in numbers), initial=start))
        if self._bounds[-1] != len(data):
            raise BitstreamError(
                f"section keyframes claims {self._bounds[-1]} bytes, but has {len(data)}; "
                "the file is damaged, get it again"
            )
        if count and self._deflated[0]:
            raise BitstreamError("the first keyframe cannot be deflated; the file is damaged, get it again")

    def __len__(self) -> int:
        return len(self._deflated)

    @property
    def side_bytes(self) -> int:
        """Bytes of the section that are not images."""
        return self._bounds[0]

    @property
    def image_bytes(self) -> int:
        """Bytes of the stored images."""
        return len(self._data) - self._bounds[0]

    def decode(self, numbers: Sequence[int]) -> list[Pixels]:
        """Decode keyframes by number to uint8 RGB ``[H, W, 3]``.

        Raises `BitstreamError` for damaged images, `UserError` if their codec is not installed.
        """
        return KEYFRAME_CODECS[self.codec].decode([self.coded(number) for number in numbers], *self._size)

    def coded(self, number: int) -> bytes:
        """A keyframe as its codec encoded it; raises `IndexError`, and `BitstreamError` for damaged data."""
        if not 0 <= number < len(self):
            raise IndexError(f"keyframe {number} of {len(self)}")
        stored = self._data[self._bounds[number] : self._bounds[number + 1]]
        most_bytes = ANY_IMAGE_BYTES + IMAGE_BYTES_PER_VALUE * 3 * self._size[0] * self._size[1]
        image = _inflated(stored, self._dictionary, most_bytes) if self._deflated[number] else stored
        if len(image) > most_bytes:
            raise BitstreamError(
                f"keyframe {number} has more than {most_bytes} bytes; the file is damaged, get it again"
            )
        return image

    @cached_property
    def _dictionary(self) -> bytes:
        return self._data[self._bounds[0] : min(self._bounds[1], self._bounds[0] + DICTIONARY_BYTES)]


def _inflated(data: bytes, dictionary: bytes, most_bytes: int) -> bytes:
    """The inflated image, at most one byte longer than `most_bytes`, which lets the caller detect an excess."""
    inflater = zlib.decompressobj(-15, dictionary)
    try:
        image = inflater.decompress(data, most_bytes + 1)
    except zlib.error as error:
        raise BitstreamError("a keyframe cannot be inflated; the file is damaged, get it again") from error
    if len(image) <= most_bytes and (not inflater.eof or inflater.unused_data):
        raise BitstreamError("a deflated keyframe has the wrong length; the file is damaged, get it again")
    return image
