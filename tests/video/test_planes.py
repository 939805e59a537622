"""The planes of a source, of the same frames as the RGB ones, code by code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boostnerv.config import PathSource, Preparation, RawVideo, VideoSpec
from boostnerv.errors import UserError
from boostnerv.video.colour import planar_format, sample_type
from boostnerv.video.planes import Planes, extract_planes, open_planes, rgb_frames

from .conftest import LOSSLESS, Extract, ffmpeg, noise, synthetic, write_clip, write_images


def planes_of(source: Path, output: Path, raw: RawVideo | None = None, **settings: object) -> Planes:
    spec = VideoSpec(name="clip", source=PathSource(path=str(source), raw=raw))
    extract_planes(spec, source, Preparation(**settings), output, dataset="own")  # type: ignore[arg-type]
    return open_planes(output.with_suffix(".json"))


def raw_clip(path: Path, bits: int, frames: int = 5, height: int = 24, width: int = 32) -> tuple[np.ndarray, RawVideo]:
    """A headerless file of noise: its codes [T, H · 3/2, W], and its layout."""
    shape = (frames, height * 3 // 2, width)
    codes = np.random.default_rng(0).integers(0, 2**bits, shape).astype(sample_type(bits))
    path.write_bytes(codes.tobytes())
    return codes, RawVideo(width=width, height=height, pixel_format=planar_format("420", bits), fps=25)


@pytest.mark.parametrize("bits", [8, 10])
def test_codes_are_those_of_the_source(bits: int, tmp_path: Path) -> None:
    codes, layout = raw_clip(tmp_path / "a.yuv", bits)
    found = planes_of(tmp_path / "a.yuv", tmp_path / "out.yuv", layout, first_frame=1, frame_count=3)
    np.testing.assert_array_equal(found.codes, codes[1:4])
    assert (tmp_path / "out.yuv").read_bytes() == codes[1:4].tobytes()
    y, u, v = found.frame(2)
    assert (y.shape, u.shape, v.shape) == ((24, 32), (12, 16), (12, 16))
    np.testing.assert_array_equal(u.ravel(), codes[3].ravel()[24 * 32 : 24 * 32 + 12 * 16])
    manifest = found.manifest
    assert (manifest.frames, manifest.height, manifest.width, manifest.bits) == (3, 24, 32, bits)
    assert (manifest.pixel_format, manifest.conversion.matrix) == (layout.pixel_format, "bt601")


def test_cuts_are_those_of_the_frames(tmp_path: Path) -> None:
    codes, layout = raw_clip(tmp_path / "a.yuv", 8)
    settings = {"fit": "crop-center", "height": 12, "width": 20}
    cut = planes_of(tmp_path / "a.yuv", tmp_path / "out.yuv", layout, **settings)
    y, u, v = cut.frame(4)
    np.testing.assert_array_equal(y, codes[4, 6:18, 6:26])
    whole = planes_of(tmp_path / "a.yuv", tmp_path / "whole.yuv", layout).frame(4)
    np.testing.assert_array_equal(u, whole[1][3:9, 3:13])
    np.testing.assert_array_equal(v, whole[2][3:9, 3:13])


@pytest.mark.parametrize("fit", ["resize", "crop-resize"])
@pytest.mark.parametrize("colour", ["ffmpeg-default", "bt709-float"])
def test_scaled_planes_are_of_the_scaled_frames(fit: str, colour: str, tmp_path: Path, extract: Extract) -> None:
    options = ("-vf", "hue=s=0", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le")
    path = synthetic(tmp_path / "a.mkv", *options, size="95x64", source="mandelbrot")
    settings = {"fit": fit, "height": 30, "width": 34, "colour": colour}
    frames = extract(path, **settings)
    found = planes_of(path, tmp_path / "out.yuv", **settings)
    assert (found.manifest.bits, found.codes.dtype) == (10, np.dtype("<u2"))
    again = np.stack(list(rgb_frames(found.path, found.manifest)))
    assert again.shape == frames.pixels.shape
    # A shift by one pixel would be far more.
    assert np.abs(again.astype(int) - frames.pixels).max() <= 4
    assert found.manifest.conversion == frames.manifest.conversion
    assert found.manifest.source_sha256 == frames.manifest.source_sha256


def test_planes_become_the_frames_of_the_float_profile(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    frames = extract(path, colour="bt709-float")
    found = planes_of(path, tmp_path / "out.yuv", colour="bt709-float")
    np.testing.assert_array_equal(np.stack(list(rgb_frames(found.path, found.manifest))), frames.pixels)


@pytest.mark.parametrize("pixel_format", ["nv12", "p010le", "yuva420p", "yuvj420p"])
def test_other_layouts_of_420_have_the_same_codes(pixel_format: str, tmp_path: Path) -> None:
    bits = 10 if pixel_format == "p010le" else 8
    codes, layout = raw_clip(tmp_path / "a.yuv", bits)
    other = tmp_path / "b.yuv"
    given = ("-f", "rawvideo", "-pix_fmt", layout.pixel_format, "-s", "32x24")
    same_range = "scale=in_range=pc:out_range=pc" if "j" in pixel_format else "null"
    ffmpeg(*given, "-i", tmp_path / "a.yuv", "-vf", same_range, "-f", "rawvideo", "-pix_fmt", pixel_format, other)
    found = planes_of(other, tmp_path / "out.yuv", layout.model_copy(update={"pixel_format": pixel_format}))
    np.testing.assert_array_equal(found.codes, codes)


def test_what_has_no_such_planes_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "out.yuv"
    sources = {
        "gbrp": write_clip(tmp_path / "rgb.mp4", noise(2, 16, 16), *LOSSLESS),
        "rgb24": write_images(tmp_path / "folder", noise(2, 16, 16)),
        "yuv444p": synthetic(tmp_path / "full.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p"),
    }
    for name, source in sources.items():
        with pytest.raises(UserError, match=rf"is {name}, not YUV 4:2:0.*evaluation\.yuv420"):
            planes_of(source, output)
    odd = synthetic(tmp_path / "odd.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size="31x17", source="testsrc")
    with pytest.raises(UserError, match="becomes 17x31.*needs even numbers"):
        planes_of(odd, output)
    even = synthetic(tmp_path / "even.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size="32x18")
    with pytest.raises(UserError, match="16x32 from row 1 and column 0"):
        planes_of(even, output, fit="crop-center", height=16, width=32)
    assert not output.exists()
    assert not output.with_suffix(".json").exists()


def test_files_that_do_not_fit_their_manifest(tmp_path: Path) -> None:
    _, layout = raw_clip(tmp_path / "a.yuv", 8)
    found = planes_of(tmp_path / "a.yuv", tmp_path / "out.yuv", layout)
    (tmp_path / "out.yuv").write_bytes(found.codes.tobytes()[:-1])
    with pytest.raises(UserError, match=r"have 5759 bytes where out\.json says 5760; run their step again"):
        open_planes(tmp_path / "out.json")
