"""Image codecs for keyframes: sizes are preserved, and any other data is refused with a sentence."""

from __future__ import annotations

import stat
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from boostnerv.codec.keyframes.image_codecs import (
    KEYFRAME_CODEC_NUMBERS,
    KEYFRAME_CODECS,
    Pixels,
    keyframe_codec,
)
from boostnerv.errors import BitstreamError, UserError
from boostnerv.video.ffmpeg import binary
from tests.examples import example_count

NAMES = list(KEYFRAME_CODECS)
IN_PROCESS = ["avif", "webp"]
FINE = {"avif": 95, "webp": 95, "x265-intra": 8}
COARSE = {"avif": 30, "webp": 20, "x265-intra": 40}
CODED: dict[str, list[bytes]] = {}


def images(count: int, height: int, width: int) -> list[Pixels]:
    """Smooth colours with some structure, different in every image."""
    rows, columns = np.mgrid[:height, :width] / 40
    waves = [
        [np.sin(rows * (1 + c) + columns + n) + np.cos(columns * 2 + c * n) for c in range(3)] for n in range(count)
    ]
    return [np.stack([(127 + 60 * channel).astype(np.uint8) for channel in image], axis=-1) for image in waves]


def psnr_db(one: Pixels, other: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def coded(name: str) -> list[bytes]:
    """Two small images, coded once."""
    if name not in CODED:
        CODED[name] = KEYFRAME_CODECS[name].encode(images(2, 24, 40), COARSE[name], 1)
    return CODED[name]


def test_the_registry() -> None:
    assert KEYFRAME_CODEC_NUMBERS == {1: "avif", 2: "webp", 3: "x265-intra"}
    assert keyframe_codec("avif").entry.wire_number == 1
    with pytest.raises(UserError, match="unknown keyframe codec 'avi': did you mean 'avif'"):
        keyframe_codec("avi")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(64, 80), (33, 47), (1, 1), (1, 6), (7, 2), (90, 3)])
def test_any_size_comes_back(name: str, height: int, width: int) -> None:
    codec = KEYFRAME_CODECS[name]
    originals = images(3, height, width)
    decoded = codec.decode(codec.encode(originals, FINE[name]), height, width)
    assert [(image.shape, image.dtype) for image in decoded] == 3 * [((height, width, 3), np.dtype(np.uint8))]
    if min(height, width) > 30:
        assert min(psnr_db(*pair) for pair in zip(originals, decoded, strict=True)) > 38
        # Every image is closest to its own original: order and colours are preserved.
        for number, image in enumerate(decoded):
            assert np.argmax([psnr_db(original, image) for original in originals]) == number


@pytest.mark.parametrize("name", NAMES)
def test_colours_have_no_cast(name: str) -> None:
    """Flat greys and colours are reproduced within two levels."""
    codec = KEYFRAME_CODECS[name]
    colours = [(128, 128, 128), (0, 0, 0), (255, 255, 255), (200, 60, 30), (20, 180, 220)]
    flat = [np.full((18, 22, 3), colour, np.uint8) for colour in colours]
    decoded = codec.decode(codec.encode(flat, FINE[name]), 18, 22)
    for before, after in zip(flat, decoded, strict=True):
        assert np.abs(before.astype(int) - after).max() <= 3


@pytest.mark.parametrize("name", NAMES)
def test_bytes_do_not_depend_on_threads(name: str) -> None:
    codec = KEYFRAME_CODECS[name]
    originals = images(5, 70, 90)
    once = codec.encode(originals, COARSE[name], 1)
    assert once == codec.encode(originals, COARSE[name], 3) == codec.encode(originals, COARSE[name])
    assert all(map(np.array_equal, codec.decode(once, 70, 90), codec.decode(once, 70, 90)))
    assert sum(map(len, once)) < sum(map(len, codec.encode(originals, FINE[name])))


@pytest.mark.parametrize("name", NAMES)
def test_images_are_decoded_alone_and_in_any_order(name: str) -> None:
    codec = KEYFRAME_CODECS[name]
    data = codec.encode(images(4, 32, 48), COARSE[name])
    together = codec.decode(data, 32, 48)
    for number in (3, 0, 2):
        np.testing.assert_array_equal(codec.decode([data[number]], 32, 48)[0], together[number])
    np.testing.assert_array_equal(codec.decode([data[2], data[2], data[1]], 32, 48), [together[n] for n in (2, 2, 1)])
    assert codec.decode([], 32, 48) == codec.encode([], COARSE[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_views_are_coded_as_what_they_show(name: str) -> None:
    codec = KEYFRAME_CODECS[name]
    (image,) = images(1, 40, 60)
    view = image[4:36, ::-1][:, :50]
    assert codec.encode([view], COARSE[name]) == codec.encode([view.copy()], COARSE[name])


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_coded(name: str) -> None:
    codec = KEYFRAME_CODECS[name]
    with pytest.raises(UserError, match=f"codec '{name}': quality 101 is outside"):
        codec.encode(images(1, 8, 8), 101)
    with pytest.raises(UserError, match=rf"keyframes of 1×40000 are too large for codec '{name}'"):
        codec.encode([np.zeros((1, 40_000, 3), np.uint8)], 30)
    with pytest.raises(BitstreamError, match=rf"keyframes of 1×40000 are larger than codec '{name}'"):
        codec.decode([b""], 1, 40_000)
    for bad in (
        [np.zeros((8, 8, 3), np.float32)],
        [np.zeros((8, 8, 4), np.uint8)],
        [*images(1, 8, 8), *images(1, 8, 9)],
    ):
        with pytest.raises(ValueError, match="keyframes are uint8"):
            codec.encode(bad, 30)  # type: ignore[arg-type]


# --- missing codecs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "module"), [("avif", "PIL._avif"), ("webp", "PIL._webp")])
def test_pillow_without_the_codec(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = coded(name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"'{name}' cannot be used: Pillow .* has no .* install .* another codec"):
        KEYFRAME_CODECS[name].encode(images(1, 24, 40), COARSE[name])
    with pytest.raises(
        UserError, match=rf"keyframes are coded with '{name}': Pillow .*install a Pillow wheel"
    ) as caught:
        KEYFRAME_CODECS[name].decode(data, 24, 40)
    assert not isinstance(caught.value, BitstreamError)


def test_ffmpeg_without_the_codec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    codec, data = KEYFRAME_CODECS["x265-intra"], coded("x265-intra")
    program = tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/sh\n"{binary()}" "$@" | grep -v -e libx265 -e " hevc "\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FFMPEG_BINARY", str(program))
    with pytest.raises(UserError, match=r"has no encoder libx265; set FFMPEG_BINARY to one that has it, or choose"):
        codec.encode(images(1, 24, 40), 30)
    with pytest.raises(UserError, match=r"coded with 'x265-intra': this ffmpeg .* has no decoder hevc; set FFMPEG"):
        codec.decode(data, 24, 40)


# --- other data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_another_size_is_refused(name: str) -> None:
    codec = KEYFRAME_CODECS[name]
    # The same number of pixels in another shape, more, fewer; far more, none of which may be decoded.
    for height, width in ((40, 24), (24, 42), (22, 40), (16, 16)):
        with pytest.raises(BitstreamError, match="get it again"):
            codec.decode(coded(name)[:1], height, width)
    large = codec.encode([np.full((1200, 1600, 3), 90, np.uint8)], COARSE[name])
    assert len(large[0]) < 5000
    with pytest.raises(BitstreamError, match="1200×1600 instead of 16×16|1600x1200 exceeds"):
        codec.decode(large, 16, 16)


def test_a_container_that_lies_about_its_picture_is_refused() -> None:
    (large,) = KEYFRAME_CODECS["avif"].encode([np.full((600, 800, 3), 90, np.uint8)], 30)
    size = large.index(b"ispe") + 8
    lying = large[:size] + (16).to_bytes(4) + (16).to_bytes(4) + large[size + 8 :]
    assert Image.open(BytesIO(lying)).size == (16, 16)
    for height, width in ((16, 16), (600, 800)):
        with pytest.raises(BitstreamError, match="get it again"):
            KEYFRAME_CODECS["avif"].decode([lying], height, width)


def saved(form: str, image: Image.Image, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_other_kinds_of_images_are_refused() -> None:
    plain = Image.fromarray(images(1, 24, 40)[0])
    others = Image.fromarray(images(2, 24, 40)[1])
    alpha = Image.fromarray(np.dstack([images(1, 24, 40)[0], np.full((24, 40), 77, np.uint8)]))
    for name, form in (("avif", "AVIF"), ("webp", "WEBP")):
        kinds = [
            saved(form, plain, save_all=True, append_images=[others]),
            saved(form, alpha),
            saved("PNG", plain),
            saved("WEBP" if form == "AVIF" else "AVIF", plain),
            b"",
        ]
        if form == "WEBP":
            kinds += [saved(form, plain, lossless=True), saved(form, plain, exif=b"Exif\0\0II*\0" + bytes(20))]
        for data in kinds:
            with pytest.raises(BitstreamError, match="is no|instead of"):
                KEYFRAME_CODECS[name].decode([data], 24, 40)
        assert KEYFRAME_CODECS[name].decode([coded(name)[0]], 24, 40)[0].shape == (24, 40, 3)


def test_pictures_of_hevc_come_one_by_one() -> None:
    one, other = coded("x265-intra")
    for data in ([one + other], [one + other, b""], [one, one[:40]], [b"", one + other], [b"x" + one]):
        with pytest.raises(BitstreamError, match="get it again"):
            KEYFRAME_CODECS["x265-intra"].decode(data, 24, 40)


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A coded image with bytes changed, removed or inserted, or truncated."""
    data = bytearray(draw(st.sampled_from(coded(name))))
    for _ in range(draw(st.integers(1, 4))):
        reach = draw(st.sampled_from([60, 350, len(data)]))
        start = draw(st.integers(0, max(min(len(data), reach) - 1, 0)))
        how = draw(st.sampled_from(["change", "change", "change", "cut", "put", "truncate"]))
        if how == "change" and data:
            data[start] = draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
        elif how == "cut":
            del data[start : start + draw(st.integers(1, 30))]
        elif how == "put":
            data[start:start] = draw(st.binary(max_size=20))
        else:
            del data[start:]
    return bytes(data)


def decodes_or_is_refused(name: str, data: bytes) -> None:
    try:
        (image,) = KEYFRAME_CODECS[name].decode([data], 24, 40)
    except BitstreamError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert sentence.endswith("get it again")
    else:
        assert (image.shape, image.dtype) == ((24, 40, 3), np.dtype(np.uint8))


@pytest.mark.parametrize("name", IN_PROCESS)
@settings(max_examples=example_count(400))
@given(data=st.data())
def test_damage_is_refused_or_decodes(name: str, data: st.DataObject) -> None:
    decodes_or_is_refused(name, data.draw(damaged(name)))


@settings(max_examples=example_count(25))
@given(data=st.data())
def test_damage_of_hevc_is_refused_or_decodes(data: st.DataObject) -> None:
    decodes_or_is_refused("x265-intra", data.draw(damaged("x265-intra")))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "examples"), [("avif", 20_000), ("webp", 20_000), ("x265-intra", 1000)])
def test_much_damage_is_refused_or_decodes(name: str, examples: int) -> None:
    @settings(max_examples=examples)
    @given(data=damaged(name))
    def run(data: bytes) -> None:
        decodes_or_is_refused(name, data)

    run()
