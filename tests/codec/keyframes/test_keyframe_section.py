"""The payload of keyframes: random access, the dictionary, and inconsistent payloads."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.codec.container.varints import write_number
from boostnerv.codec.keyframes.image_codecs import KEYFRAME_CODECS
from boostnerv.codec.keyframes.keyframe_section import DICTIONARY_BYTES, Keyframes, write_keyframes
from boostnerv.errors import BitstreamError, UserError

from .test_image_codecs import COARSE, NAMES, images

SIZE = (24, 40)
IMAGES = st.lists(st.binary(max_size=400) | st.sampled_from([b"header" * 30, b"header" * 30 + b"x"]), max_size=6)


@given(coded=IMAGES, name=st.sampled_from(NAMES))
def test_what_is_written_is_read(coded: list[bytes], name: str) -> None:
    data = write_keyframes(name, coded)
    read = Keyframes(data, len(coded), *SIZE)
    assert (read.codec, len(read)) == (name, len(coded))
    assert [read.coded(number) for number in reversed(range(len(coded)))] == coded[::-1]
    assert read.side_bytes + read.image_bytes == len(data)
    # No image gets larger, and lengths up to 8 kB take at most two bytes.
    assert read.image_bytes <= sum(map(len, coded))
    assert read.side_bytes <= 1 + 2 * len(coded)


@pytest.mark.parametrize("name", NAMES)
def test_keyframes_decode_one_by_one(name: str) -> None:
    coded = KEYFRAME_CODECS[name].encode(images(4, *SIZE), COARSE[name])
    data = write_keyframes(name, coded)
    keyframes = Keyframes(data, 4, *SIZE)
    expected = KEYFRAME_CODECS[name].decode(coded, *SIZE)
    np.testing.assert_array_equal(keyframes.decode([2, 0, 3, 2]), [expected[number] for number in (2, 0, 3, 2)])
    assert keyframes.decode([]) == []
    with pytest.raises(IndexError):
        keyframes.decode([4])
    with pytest.raises(IndexError):
        keyframes.decode([-1])


def test_headers_are_stored_once() -> None:
    coded = KEYFRAME_CODECS["avif"].encode(images(8, *SIZE), 30)
    assert min(map(len, coded)) > 300
    keyframes = Keyframes(write_keyframes("avif", coded), 8, *SIZE)
    assert keyframes.image_bytes < sum(map(len, coded)) - 7 * 200


def test_unknown_codecs() -> None:
    with pytest.raises(UserError, match="unknown keyframe codec 'jpeg'"):
        write_keyframes("jpeg", [])
    with pytest.raises(BitstreamError, match="keyframe codec 9 is unknown; a newer boostnerv may read it"):
        Keyframes(b"\x09\x02x", 1, *SIZE)


@pytest.mark.parametrize(
    ("data", "count", "words"),
    [
        (b"", 0, "too short"),
        (b"\x01", 1, "too short"),
        (b"\x01\x02x", 1 << 60, "too short for"),
        (b"\x01\x82\x82", 2, "does not hold the lengths of 2 images"),
        (b"\x01" + 8 * b"\xff", 1, "does not hold the lengths of 1 images"),
        (b"\x01\x02", 1, "claims 3 bytes, but has 2"),
        (b"\x01\x02xy", 1, "claims 3 bytes, but has 4"),
        (b"\x01\xfe\xff\xff\xff\x0fx", 1, "claims .* bytes"),
        (b"\x01\x03x", 1, "first keyframe cannot be deflated"),
    ],
)
def test_lengths_that_do_not_fit(data: bytes, count: int, words: str) -> None:
    with pytest.raises(BitstreamError, match=words):
        Keyframes(data, count, *SIZE)


def payload(*stored: tuple[bytes, bool]) -> bytes:
    """A payload of stored images."""
    lengths = b"".join(write_number(2 * len(data) + deflated) for data, deflated in stored)
    return b"\x01" + lengths + b"".join(data for data, _ in stored)


def deflated(data: bytes, dictionary: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return deflater.compress(data) + deflater.flush()


def test_what_is_deflated() -> None:
    first = b"some header of images"
    good = deflated(first + b"!", first)
    assert Keyframes(payload((first, False), (good, True)), 2, *SIZE).coded(1) == first + b"!"
    for bad, words in (
        (good[:-1], "wrong length"),
        (good + b"x", "wrong length"),
        (b"", "wrong length"),
        (b"\xff\xff", "cannot be inflated"),
        (deflated(first, b"")[:-3], "wrong length"),
    ):
        with pytest.raises(BitstreamError, match=words):
            Keyframes(payload((first, False), (bad, True)), 2, *SIZE).coded(1)


def test_the_dictionary_is_the_beginning_of_the_first_image() -> None:
    first = np.random.default_rng(0).bytes(3000)
    second = first[:DICTIONARY_BYTES]
    third = first[DICTIONARY_BYTES : 2 * DICTIONARY_BYTES]
    assert Keyframes(write_keyframes("webp", [first, second]), 2, *SIZE).image_bytes < 3000 + 40
    assert Keyframes(write_keyframes("webp", [first, third]), 2, *SIZE).image_bytes == 3000 + DICTIONARY_BYTES


def test_images_do_not_grow_without_bound() -> None:
    """An image that inflates a thousandfold is inflated only up to the limit for its size."""
    bomb = deflated(bytes(66_000), b"x")
    assert Keyframes(payload((b"x", False), (bomb, True)), 2, 100, 100).coded(1) == bytes(66_000)
    with pytest.raises(BitstreamError, match="keyframe 1 has more than 65548 bytes"):
        Keyframes(payload((b"x", False), (bomb, True)), 2, 1, 1).coded(1)
    with pytest.raises(BitstreamError, match="keyframe 0 has more than 65548 bytes"):
        Keyframes(write_keyframes("avif", [bytes(70_000)]), 1, 1, 1).coded(0)


@given(data=st.binary(max_size=40), count=st.integers(0, 8))
def test_any_bytes_are_refused_or_are_images(data: bytes, count: int) -> None:
    try:
        keyframes = Keyframes(data, count, 2, 2)
        assert keyframes.side_bytes + keyframes.image_bytes == len(data)
        for number in range(count):
            keyframes.coded(number)
    except BitstreamError as error:
        sentence = str(error)
        assert "\n" not in sentence


@given(data=st.data())
def test_damaged_payloads_are_refused_or_decode(data: st.DataObject) -> None:
    payload = bytearray(write_keyframes("webp", KEYFRAME_CODECS["webp"].encode(images(3, *SIZE), 20, 1)))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = Keyframes(bytes(payload), 3, *SIZE).decode([0, 1, 2])
    except UserError as error:
        sentence = str(error)
        assert "\n" not in sentence
    else:
        assert [image.shape for image in decoded] == 3 * [(*SIZE, 3)]
