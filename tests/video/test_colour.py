"""Known triples of Y, U and V become the RGB that the standards say, through files and ffmpeg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.config import Preparation, RawVideo
from boostnerv.video.colour import (
    MATRICES,
    conversion,
    planar_format,
    rgb_to_yuv,
    sample_type,
    subsampled,
    yuv_to_rgb,
)
from boostnerv.video.ffmpeg import SCALER_FLAGS
from boostnerv.video.source import probe

from .conftest import LOSSLESS, Extract, ffmpeg, noise, synthetic, write_clip

# 8-bit codes of limited range, rounded, as the two standards give them.
BT601 = {
    (16, 128, 128): (0, 0, 0),
    (126, 128, 128): (128, 128, 128),
    (235, 128, 128): (255, 255, 255),
    (81, 90, 240): (255, 0, 0),
    (145, 54, 34): (0, 255, 0),
    (41, 240, 110): (0, 0, 255),
}
BT709 = {
    (16, 128, 128): (0, 0, 0),
    (126, 128, 128): (128, 128, 128),
    (235, 128, 128): (255, 255, 255),
    (63, 102, 240): (255, 0, 0),
    (173, 42, 26): (0, 255, 0),
    (32, 240, 118): (0, 0, 255),
}


def flat(triples: list[tuple[int, ...]], bits: int, subsampling: int = 1) -> tuple[bytes, np.ndarray]:
    """A frame a triple of codes, 16×16, as planes; and the triples."""
    data = b""
    for y, u, v in triples:
        planes = [np.full((16, 16), y)] + [np.full((16 // subsampling,) * 2, code) for code in (u, v)]
        data += b"".join(plane.astype(sample_type(bits)).tobytes() for plane in planes)
    return data, np.array(triples)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("subsampling", [420, 444])
@pytest.mark.parametrize(("profile", "table"), [("bt601-float", BT601), ("bt709-float", BT709)])
def test_known_triples_of_limited_range(
    profile: str,
    table: dict[tuple[int, ...], tuple[int, ...]],
    subsampling: int,
    bits: int,
    tmp_path: Path,
    extract: Extract,
) -> None:
    triples = [tuple(code << (bits - 8) for code in triple) for triple in table]
    data, _ = flat(triples, bits, 2 if subsampling == 420 else 1)
    path = tmp_path / "flat.yuv"
    path.write_bytes(data)
    layout = RawVideo(width=16, height=16, pixel_format=planar_format(str(subsampling), bits), fps=25)
    frames = extract(path, raw=layout, colour=profile)
    assert np.ptp(frames.pixels, axis=(1, 2)).max() == 0
    # A level of 8-bit codes is more than one of RGB: the codes of the standards are rounded themselves.
    expected = np.array(list(table.values()))
    np.testing.assert_allclose(frames.pixels[:, 0, 0].astype(int), expected, atol=2)
    exact = [exactly(triple, profile, "tv", bits) for triple in triples]
    np.testing.assert_allclose(frames.pixels[:, 0, 0], exact, atol=0.5001)
    found = frames.manifest.conversion
    assert found is not None
    assert (found.matrix, found.range, found.chroma_location) == (profile.removesuffix("-float"), "tv", "left")
    assert (found.chroma_filter, found.scaler_flags) == ("bicubic", SCALER_FLAGS)
    assert frames.manifest.colour == profile


def exactly(triple: tuple[int, ...], profile: str, values_range: str, bits: int) -> list[float]:
    """RGB of one triple by the formulas of the standards, in float64, limited to 0 to 255."""
    kr, kb = {"bt601-float": (0.299, 0.114), "bt709-float": (0.2126, 0.0722)}[profile]
    unit, full = 2 ** (bits - 8), 2**bits - 1
    y, u, v = triple
    if values_range == "tv":
        y, u, v = (y - 16 * unit) / (219 * unit), (u - 128 * unit) / (224 * unit), (v - 128 * unit) / (224 * unit)
    else:
        y, u, v = y / full, (u - 128 * unit) / full, (v - 128 * unit) / full
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return [255 * min(max(value, 0), 1) for value in (red, green, blue)]


@pytest.mark.parametrize("codec", [("libx264", "yuv420p"), ("libx264", "yuv422p"), ("libx265", "yuv420p10le")])
def test_full_range_is_what_the_tag_says(codec: tuple[str, str], tmp_path: Path, extract: Extract) -> None:
    name, pixel_format = codec
    bits = 10 if pixel_format.endswith("10le") else 8
    triples = [
        tuple(code << (bits - 8) for code in triple) for triple in [(0, 128, 128), (255, 128, 128), (90, 90, 200)]
    ]
    data, _ = flat(triples, bits)
    tags = "setparams=range=pc:colorspace=bt709"
    lossless = ("-x265-params", "lossless=1:log-level=error") if name == "libx265" else ("-qp", "0")
    layout = ("-f", "rawvideo", "-pix_fmt", planar_format("444", bits), "-s", "16x16")
    chain = f"{tags},scale=in_range=pc:out_range=pc,format={pixel_format},{tags}"
    ffmpeg(*layout, "-i", "pipe:0", "-vf", chain, "-c:v", name, *lossless, tmp_path / "a.mkv", stdin=data)
    frames = extract(tmp_path / "a.mkv", colour="bt709-float")
    assert frames.manifest.conversion is not None
    assert frames.manifest.conversion.range == "pc"
    exact = [exactly(triple, "bt709-float", "pc", bits) for triple in triples]
    np.testing.assert_allclose(frames.pixels[:, 8, 8], exact, atol=0.5001)


def test_profiles_differ_in_colours_and_not_in_greys(tmp_path: Path, extract: Extract) -> None:
    """ffmpeg takes BT.601 for a source without a tag."""
    data, _ = flat([(126, 128, 128), (81, 90, 240)], 8, 2)
    path = tmp_path / "flat.yuv"
    path.write_bytes(data)
    layout = RawVideo(width=16, height=16, pixel_format="yuv420p", fps=25)
    profiles = ("ffmpeg-default", "bt601-float", "bt709-float")
    frames = {name: extract(path, raw=layout, colour=name).pixels[:, 0, 0].astype(int) for name in profiles}
    for name in profiles[1:]:
        assert np.abs(frames[name][0] - frames["ffmpeg-default"][0]).max() <= 2
    assert np.abs(frames["bt601-float"][1] - frames["ffmpeg-default"][1]).max() <= 2
    assert np.abs(frames["bt709-float"][1] - frames["ffmpeg-default"][1]).max() >= 15


@pytest.mark.parametrize(("tag", "matrix"), [("bt709", "bt709"), ("bt2020nc", "bt2020"), ("smpte170m", "bt601")])
def test_the_default_goes_by_the_tag(tag: str, matrix: str, tmp_path: Path, extract: Extract) -> None:
    data, _ = flat([(81, 90, 240), (120, 160, 60)], 8, 2)
    layout = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "16x16")
    path = tmp_path / "tagged.mkv"
    tags = f"setparams=range=tv:colorspace={tag}"
    ffmpeg(*layout, "-i", "pipe:0", "-vf", tags, "-c:v", "ffv1", path, stdin=data)
    frames = extract(path)
    assert frames.manifest.conversion is not None
    assert frames.manifest.conversion.matrix == matrix
    planes = np.array([[81, 90, 240], [120, 160, 60]], np.uint8).T[..., None]
    expected = yuv_to_rgb(list(planes), matrix, "tv", 8)[:, 0].astype(int)
    np.testing.assert_allclose(frames.pixels[:, 8, 8].astype(int), expected, atol=3)


@pytest.mark.parametrize("fit", ["crop-center", "crop-top-left", "resize", "crop-resize"])
def test_geometry_is_that_of_the_default(fit: str, tmp_path: Path, extract: Extract) -> None:
    options = ("-vf", "hue=s=0", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    path = synthetic(tmp_path / "a.mkv", *options, size="96x64", source="mandelbrot")
    settings = {"fit": fit, "height": 30, "width": 34, "first_frame": 1, "frame_count": 3}
    plain = extract(path, **settings).pixels
    exact = extract(path, **settings, colour="bt601-float").pixels
    assert plain.shape == exact.shape == (3, 30, 34, 3)
    # A shift by one pixel or another order would be far more.
    assert np.abs(plain.astype(int) - exact).max() <= 3


def test_rgb_passes_through(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(2, 16, 16)
    path = write_clip(tmp_path / "a.mp4", pixels, *LOSSLESS)
    frames = extract(path, colour="bt709-float")
    np.testing.assert_array_equal(frames.pixels, pixels)
    assert frames.manifest.conversion is None


def test_chroma_location_is_read_from_the_file(tmp_path: Path) -> None:
    options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-chroma_sample_location", "topleft")
    path = synthetic(tmp_path / "a.mp4", *options)
    assert probe(path).chroma_location == "topleft"
    found = conversion(probe(path), "bt709-float")
    assert found is not None
    assert found.chroma_location == "topleft"


@given(
    triple=st.tuples(*[st.integers(0, 255)] * 3),
    matrix=st.sampled_from(sorted(MATRICES)),
    values_range=st.sampled_from(["tv", "pc"]),
    bits=st.sampled_from([8, 10, 12, 16]),
)
def test_rgb_comes_back(triple: tuple[int, ...], matrix: str, values_range: str, bits: int) -> None:
    pixels = np.full((2, 2, 3), triple, np.uint8)
    planes = rgb_to_yuv(pixels, matrix, values_range, bits)
    codes = [np.rint(plane).clip(0, 2**bits - 1).astype(sample_type(bits)) for plane in planes]
    back = yuv_to_rgb(codes, matrix, values_range, bits).astype(int)
    # Eight bits of limited range have fewer codes than RGB has levels.
    assert np.abs(back - pixels).max() <= (2 if bits == 8 else 0)


def test_chroma_lies_where_it_is_said_to() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32) * 4, (3, 4, 8))
    found = {name: subsampled(ramp, name, 8)[1][0].tolist() for name in ("center", "left", "topleft")}
    assert found == {"center": [2, 10, 18, 26], "left": [1, 8, 16, 24], "topleft": [1, 8, 16, 24]}
    down = ramp.swapaxes(-1, -2)
    found = {name: subsampled(down, name, 8)[2][:, 0].tolist() for name in ("center", "left", "topleft")}
    assert found == {"center": [2, 10, 18, 26], "left": [2, 10, 18, 26], "topleft": [1, 8, 16, 24]}


def test_names_of_preparations_tell_profiles_apart() -> None:
    tags = [Preparation(colour=name).tag for name in ("ffmpeg-default", "bt709-float", "bt601-float")]
    assert tags == ["source-ffmpeg", "source-bt709float", "source-bt601float"]
