"""Whatever ffmpeg reads arrives as the frames plain ffmpeg gives, in order, each once, or as a sentence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boostnerv.config import Preparation, RawVideo
from boostnerv.errors import UserError
from boostnerv.video.info import Geometry, SourceInfo, Window, geometry, timing
from boostnerv.video.source import open_source, probe
from boostnerv.video.video_file import _Reading

from .conftest import LOSSLESS, Extract, Pixels, ffmpeg, noise, reference, synthetic, write_clip, write_images

# --- containers and codecs --------------------------------------------------------------------------------

LOSSLESS_FILES = {
    "a.mp4": LOSSLESS,
    "a.m4v": ("-f", "mp4", *LOSSLESS),
    "a.mov": LOSSLESS,
    "a.mkv": ("-c:v", "ffv1", "-pix_fmt", "gbrp"),
    "a.avi": ("-c:v", "ffv1", "-pix_fmt", "bgr0"),
    "a.webm": ("-c:v", "libvpx-vp9", "-lossless", "1", "-pix_fmt", "gbrp"),
    "upper.MP4": LOSSLESS,
    "odd name: 100%d é.mkv": ("-c:v", "ffv1", "-pix_fmt", "gbrp"),
}


@pytest.mark.parametrize("name", LOSSLESS_FILES)
def test_lossless_containers_give_back_the_pixels(name: str, tmp_path: Path, extract: Extract) -> None:
    pixels = noise(5, 17, 31)
    path = write_clip(tmp_path / name, pixels, *LOSSLESS_FILES[name])
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, pixels)
    assert (frames.manifest.fps, frames.manifest.timestamps_s) == (10, None)
    assert frames.manifest.source_name == name
    frames.verify()


LOSSY_FILES = {
    "a.mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "a.mkv": ("-c:v", "libx265", "-pix_fmt", "yuv422p"),
    "a.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p"),
    "a.avi": ("-c:v", "mjpeg",),
    "a.mov": ("-c:v", "libx264", "-pix_fmt", "yuvj420p"),
    "a.mpg": ("-c:v", "mpeg2video", "-r", "25"),
    "a.ts": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "a.y4m": ("-pix_fmt", "yuv420p"),
    "a.m2ts": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "a.MTS": ("-f", "mpegts", "-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "a.3gp": ("-c:v", "mpeg4"),
    "a.vob": ("-c:v", "mpeg2video", "-r", "25"),
    "a.wmv": ("-c:v", "wmv2"),
    "a.flv": ("-c:v", "flv1"),
    "a.ogv": ("-c:v", "libtheora"),
    "a.nut": ("-c:v", "ffv1", "-pix_fmt", "yuv420p"),
    "a.ivf": ("-c:v", "libvpx"),
    "a.h264": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "a.h265": ("-f", "hevc", "-c:v", "libx265", "-pix_fmt", "yuv420p"),
    "a.mxf": ("-c:v", "mpeg2video", "-r", "25"),
    "a.mjpeg": ("-c:v", "mjpeg"),
    "a.gif": (),
    "a.apng": ("-plays", "0"),
    "animated.png": ("-f", "apng", "-plays", "0"),
    "a.webp": ("-c:v", "libwebp_anim", "-lossless", "1"),
    "no suffix": ("-f", "matroska", "-c:v", "ffv1"),
    "a.txt": ("-f", "matroska", "-c:v", "ffv1"),
    "bt709.mp4": ("-vf", "setparams=colorspace=bt709:range=tv", "-c:v", "libx264"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSY_FILES)
def test_rgb_equals_the_pngs_of_ffmpeg(name: str, tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / name, *LOSSY_FILES[name], frames=8)
    expected = reference(path, tmp_path / "png")
    assert len(expected) in (8, 20)  # at 25 frames a second there are more
    np.testing.assert_array_equal(extract(path).pixels, expected)


@pytest.mark.parametrize("size", ["31x17", "17x31", "2x2", "33x1"])
def test_odd_sizes_keep_every_pixel(size: str, tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "odd.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size=size, source="testsrc")
    width, height = map(int, size.split("x"))
    frames = extract(path)
    assert frames.pixels.shape == (6, height, width, 3)
    np.testing.assert_array_equal(frames.pixels, reference(path, tmp_path / "png"))


def counter(frames: int) -> Pixels:
    """Frame k is grey of level 8 k."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None] * 8, (frames, 32, 32, 3))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.webm"])
def test_frame_k_of_a_counter_reads_k(name: str, tmp_path: Path, extract: Extract) -> None:
    """B-frames are stored out of order; every coded frame comes once, in the order of display."""
    codec = ("libvpx-vp9", "-b:v", "1M") if name.endswith("webm") else ("libx264", "-bf", "3", "-crf", "1")
    path = write_clip(tmp_path / name, counter(30), "-c:v", *codec, "-pix_fmt", "yuv444p")
    levels = extract(path).pixels.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, np.arange(30) * 8, atol=3)


def test_cover_art_and_sound_are_not_the_video(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(4, 16, 16)
    video = write_clip(tmp_path / "v.mp4", pixels, *LOSSLESS)
    cover = synthetic(tmp_path / "c.png", frames=1, size="200x200")
    path = tmp_path / "both.mp4"
    ffmpeg(
        "-i", cover, "-i", video, "-f", "lavfi", "-i", "sine=duration=1",
        "-map", "0", "-map", "1", "-map", "2", "-c:v", "copy", "-disposition:v:0", "attached_pic", path,
    )  # fmt: skip
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, pixels)
    assert frames.manifest.notes == ()


# --- raw and y4m ------------------------------------------------------------------------------------------


def raw_layout(pixel_format: str = "yuv420p", width: int = 31, height: int = 17) -> RawVideo:
    return RawVideo(width=width, height=height, pixel_format=pixel_format, fps=50)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le", "nv12", "gray", "rgb24"])
def test_headerless_yuv(pixel_format: str, tmp_path: Path, extract: Extract) -> None:
    path = tmp_path / "clip.yuv"
    synthetic(path, "-f", "rawvideo", "-pix_fmt", pixel_format, size="31x17", source="testsrc")
    frames = extract(path, raw=raw_layout(pixel_format))
    assert frames.pixels.shape == (6, 17, 31, 3)
    assert frames.manifest.fps == 50
    assert any("10 bits" in note for note in frames.manifest.notes) == (pixel_format == "yuv420p10le")
    layout = ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", "31x17")
    target = tmp_path / "png"
    target.mkdir()
    ffmpeg(*layout, "-i", path, "-pix_fmt", "rgb24", "-f", "rawvideo", target / "all.rgb")
    expected = np.fromfile(target / "all.rgb", np.uint8).reshape(frames.pixels.shape)
    np.testing.assert_array_equal(frames.pixels, expected)


def test_raw_layouts_that_do_not_fit(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "clip.yuv", "-f", "rawvideo", "-pix_fmt", "yuv420p", size="32x16")
    with pytest.raises(UserError, match="has no header: give its layout under raw"):
        extract(path)
    with pytest.raises(UserError, match=r"unknown pixel_format 'yuv402p' .*did you mean 'yuv4"):
        extract(path, raw=raw_layout("yuv402p"))
    with pytest.raises(UserError, match=r"unknown pixel_format '§§'.*yuv420p, yuv422p"):
        extract(path, raw=raw_layout("§§"))
    with pytest.raises(UserError, match=r"has 4608 bytes, which is not a multiple of \d+ bytes"):
        extract(path, raw=raw_layout(width=31, height=17))
    clip = synthetic(tmp_path / "clip.mp4")
    with pytest.raises(UserError, match="stores its own layout: remove raw"):
        extract(clip, raw=raw_layout())
    with pytest.raises(UserError, match="folder of images: remove raw"):
        extract(tmp_path, raw=raw_layout())


# --- properties -------------------------------------------------------------------------------------------


def test_variable_frame_rate_keeps_every_frame_and_its_time(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(7, 16, 16)
    setpts = "settb=1/1000,setpts=40*N*N"
    times = ("-vf", setpts, "-fps_mode", "passthrough", "-enc_time_base", "1:1000")
    path = write_clip(tmp_path / "v.mp4", pixels, *times, *LOSSLESS)
    manifest = extract(path).manifest
    assert manifest.frames == 7
    assert manifest.timestamps_s == pytest.approx([0.04 * n * n for n in range(7)], abs=1e-9)
    assert manifest.fps == pytest.approx(6 / (0.04 * 36))
    np.testing.assert_array_equal(extract(path).pixels, pixels)
    part = extract(path, first_frame=2, frame_count=3)
    assert part.manifest.timestamps_s == pytest.approx([0, 0.2, 0.48], abs=1e-9)
    np.testing.assert_array_equal(part.pixels, pixels[2:5])


def test_milliseconds_of_matroska_are_not_a_variable_rate(tmp_path: Path, extract: Extract) -> None:
    path = tmp_path / "ntsc.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=24000/1001", "-frames:v", "50", "-c:v", "ffv1", path)
    manifest = extract(path).manifest
    assert manifest.timestamps_s is None
    assert manifest.fps == pytest.approx(24000 / 1001, rel=1e-6)


def test_timing_of_ticks() -> None:
    tick, rate = Fraction(1, 1000), Fraction(30)
    constant, notes = timing([5, 38, 72, 105], tick, rate)
    assert (constant.fps, constant.timestamps_s, notes) == (30, None, [])
    # A dropped frame at a time base of one frame is a gap, not rounding.
    gap, notes = timing([0, 1, 3, 4], Fraction(1, 30), rate)
    assert gap.timestamps_s == pytest.approx((0, 1 / 30, 3 / 30, 4 / 30))
    assert "variable" in notes[0]
    assert timing([0, 20, 40], tick, rate)[0].fps == 50
    assert timing([0], tick, rate)[0].fps == 30
    assert timing([0], tick, None)[1]
    assert timing([0, None], tick, rate)[0].timestamps_s is None


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied_and_recorded(degrees: int, tmp_path: Path, extract: Extract) -> None:
    pixels = noise(3, 16, 24)
    upright = write_clip(tmp_path / "upright.mp4", pixels, *LOSSLESS)
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(degrees), "-i", upright, "-c", "copy", path)
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, np.rot90(pixels, degrees // 90, axes=(1, 2)))
    source = frames.manifest.source
    assert source is not None
    assert (source.width, source.height) == (24, 16)
    assert (source.display_width, source.display_height) == ((24, 16) if degrees == 180 else (16, 24))
    assert source.rotation_degrees % 360 == degrees
    assert "rotated" in frames.manifest.notes[0]


@pytest.mark.parametrize(
    ("options", "axes", "note"),
    [
        (("-display_hflip",), (slice(None), slice(None, None, -1)), "mirrored left to right, as"),
        (("-display_vflip",), (slice(None, None, -1), slice(None)), "mirrored top to bottom, as"),
    ],
)
def test_mirrored_videos_are_called_so(
    options: tuple[str, ...], axes: tuple[slice, slice], note: str, tmp_path: Path, extract: Extract
) -> None:
    pixels = noise(3, 16, 24)
    upright = write_clip(tmp_path / "upright.mp4", pixels, *LOSSLESS)
    path = tmp_path / "mirrored.mp4"
    ffmpeg(*options, "-i", upright, "-c", "copy", path)
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, pixels[:, *axes])
    assert frames.manifest.notes == (f"{note} the file asks for",)


@pytest.mark.parametrize(
    ("options", "turns", "note"),
    [
        (("-display_rotation", "90", "-display_hflip"), 3, "mirrored left to right and rotated by 270 degrees"),
        (("-display_rotation", "90", "-display_vflip"), 1, "mirrored left to right and rotated by 90 degrees"),
    ],
)
def test_mirrored_and_rotated_videos(
    options: tuple[str, ...], turns: int, note: str, tmp_path: Path, extract: Extract
) -> None:
    pixels = noise(3, 16, 24)
    upright = write_clip(tmp_path / "upright.mp4", pixels, *LOSSLESS)
    path = tmp_path / "mirrored.mp4"
    ffmpeg(*options, "-i", upright, "-c", "copy", path)
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, np.rot90(pixels[:, :, ::-1], turns, axes=(1, 2)))
    assert frames.manifest.notes == (f"{note} counter-clockwise, as the file asks for",)


def test_sample_aspect(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "wide.mp4", "-vf", "setsar=4/3", "-c:v", "libx264", size="48x32")
    info = probe(path)
    assert (info.sample_aspect, info.width, info.height) == ("4:3", 48, 32)
    with pytest.raises(UserError, match=r"aspect 4:3, not square: set preparation\.sample_aspect to square"):
        extract(path)
    kept = extract(path, sample_aspect="keep")
    np.testing.assert_array_equal(kept.pixels, reference(path, tmp_path / "keep"))
    square = extract(path, sample_aspect="square")
    assert square.pixels.shape == (6, 32, 64, 3)
    scaled = reference(path, tmp_path / "square", "-vf", "scale=64:32:flags=bicubic")
    np.testing.assert_array_equal(square.pixels, scaled)
    resized = extract(path, sample_aspect="square", fit="resize", height=32, width=64)
    np.testing.assert_array_equal(resized.pixels, scaled)


@pytest.mark.parametrize("field", ["tff", "bff"])
def test_interlaced(field: str, tmp_path: Path, extract: Extract) -> None:
    options = ("-vf", f"setfield={field}", "-c:v", "libx264", "-flags", "+ildct+ilme", "-pix_fmt", "yuv420p")
    path = synthetic(tmp_path / "tv.mp4", *options, size="64x64")
    info = probe(path)
    assert info.interlaced
    assert info.field_order == field
    with pytest.raises(UserError, match=r"is interlaced: set preparation\.interlaced to deinterlace"):
        extract(path)
    kept = extract(path, interlaced="keep")
    np.testing.assert_array_equal(kept.pixels, reference(path, tmp_path / "keep"))
    done = extract(path, interlaced="deinterlace")
    bwdif = f"bwdif=send_frame:parity={field}"
    np.testing.assert_array_equal(done.pixels, reference(path, tmp_path / "done", "-vf", bwdif))
    assert "bwdif" in done.manifest.notes[0]
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", path, "-c", "copy", turned)
    with pytest.raises(UserError, match="interlaced and rotated"):
        extract(turned, interlaced="deinterlace")


def test_deinterlacing_leaves_progressive_video_alone(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(4, 16, 16)
    path = write_clip(tmp_path / "p.mp4", pixels, *LOSSLESS)
    np.testing.assert_array_equal(extract(path, interlaced="deinterlace").pixels, pixels)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr(transfer: str, tmp_path: Path, extract: Extract) -> None:
    tags = f"setparams=color_trc={transfer}:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
    path = synthetic(tmp_path / "hdr.mp4", "-vf", tags, "-c:v", "libx265", "-pix_fmt", "yuv420p10le", size="64x64")
    info = probe(path)
    assert info.is_hdr
    assert (info.transfer, info.primaries, info.matrix, info.range) == (transfer, "bt2020", "bt2020nc", "tv")
    assert (info.pixel_format, info.bit_depth, info.codec) == ("yuv420p10le", 10, "hevc")
    with pytest.raises(UserError, match=rf"HDR \(transfer {transfer}\): set preparation\.hdr to keep"):
        extract(path)
    notes = extract(path, hdr="keep").manifest.notes
    assert any("rounded them to 8-bit" in note for note in notes)
    assert any("HDR" in note for note in notes)


ALPHA_FILES = {
    "a.mov": (("-c:v", "qtrle", "-pix_fmt", "argb"), True),
    "a.mkv": (("-c:v", "ffv1", "-pix_fmt", "yuva420p"), True),
    "a.webm": (("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"), True),
    "a.png": (("-f", "apng", "-pix_fmt", "rgba"), True),
    "opaque.gif": ((), False),
    "opaque.webp": (("-c:v", "libwebp_anim"), False),
    "opaque.mkv": (("-c:v", "ffv1", "-pix_fmt", "bgr0"), False),
}


@pytest.mark.parametrize("name", ALPHA_FILES)
def test_alpha_that_is_dropped_is_noted(name: str, tmp_path: Path, extract: Extract) -> None:
    options, has_alpha = ALPHA_FILES[name]
    path = synthetic(tmp_path / name, *options)
    assert ("alpha is dropped" in extract(path).manifest.notes) == has_alpha


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_transparent_images_that_move(name: str, tmp_path: Path, extract: Extract) -> None:
    pictures = [Image.new("RGBA", (24, 16), (40 * index, 0, 0, 255)) for index in range(4)]
    pictures[0].paste((0, 0, 0, 0), (0, 0, 8, 8))
    path = tmp_path / name
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, disposal=2, lossless=True)
    manifest = extract(path).manifest
    assert (manifest.frames, manifest.fps) == (4, 10)
    assert manifest.notes == ("alpha is dropped",)


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_delays_of_animated_images(name: str, tmp_path: Path, extract: Extract) -> None:
    pictures = [Image.new("RGB", (24, 16), (50 * index, 0, 0)) for index in range(5)]
    path = tmp_path / name
    options = {"duration": [40, 100, 200, 40, 300], "lossless": True}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels[:, 0, 0], [(50 * index, 0, 0) for index in range(5)])
    assert frames.manifest.timestamps_s == pytest.approx([0, 0.04, 0.14, 0.34, 0.38], abs=1e-9)
    assert frames.manifest.notes == ("the frame rate is variable; timestamps are kept",)


@pytest.mark.parametrize(
    ("name", "options", "fps"),
    [
        ("a.h264", ("-c:v", "libx264"), 10),
        ("a.m2v", ("-c:v", "mpeg2video", "-r", "50"), 50),
        ("a.obu", ("-c:v", "libsvtav1"), 25),
        ("a.mjpeg", ("-c:v", "mjpeg"), 25),
        ("a.ivf", ("-c:v", "libvpx"), 10),
        ("a.avi", ("-c:v", "mjpeg", "-r", "25"), 25),
    ],
)
def test_a_rate_that_no_file_says_is_noted(
    name: str, options: tuple[str, ...], fps: int, tmp_path: Path, extract: Extract
) -> None:
    manifest = extract(synthetic(tmp_path / name, *options, "-pix_fmt", "yuv420p", size="64x64")).manifest
    assert manifest.fps == fps
    assert manifest.timestamps_s is None
    assumed = "the file has no times of frames; 25 frames per second are assumed"
    assert manifest.notes == ((assumed,) if name in ("a.obu", "a.mjpeg") else ())


UNCONVERTED = ["ycgco", "bt2020c", "smpte2085", "chroma-derived-nc", "chroma-derived-c", "ictcp"]
CONVERTED = ["bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc"]


def with_matrix(path: Path, matrix: str) -> Path:
    return synthetic(path, "-vf", f"format=yuv444p,setparams=colorspace={matrix}", "-c:v", "ffv1")


@pytest.mark.parametrize("colour", ["ffmpeg-default", "bt709-float"])
@pytest.mark.parametrize("matrix", UNCONVERTED)
def test_matrices_that_are_not_converted_are_named(matrix: str, colour: str, tmp_path: Path, extract: Extract) -> None:
    path = with_matrix(tmp_path / "a.mkv", matrix)
    with pytest.raises(UserError, match=rf"a\.mkv has the colour matrix {matrix}, which .*convert it to BT\.709 first"):
        extract(path, colour=colour)


@pytest.mark.parametrize("matrix", CONVERTED)
def test_matrices_that_are_converted(matrix: str, tmp_path: Path, extract: Extract) -> None:
    path = with_matrix(tmp_path / "a.mkv", matrix)
    np.testing.assert_array_equal(extract(path).pixels, reference(path, tmp_path / "png"))


def test_plain_properties(tmp_path: Path) -> None:
    path = synthetic(tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    info = probe(path)
    assert (info.codec, info.pixel_format, info.bit_depth, info.fps) == ("h264", "yuv420p", 8, 10)
    assert (info.width, info.height, info.rotation_degrees, info.sample_aspect) == (64, 48, 0, "1:1")
    assert not info.interlaced
    assert not info.is_hdr
    assert info.duration_s == pytest.approx(0.6)


def test_metadata_of_the_file_is_not_taken_for_damage_or_streams(tmp_path: Path, extract: Extract) -> None:
    title = "title=corrupt decoded frame\n  Stream #0:0: Video: fake, [error] partial file"
    path = synthetic(tmp_path / "a.mkv", "-c:v", "ffv1", "-metadata", title)
    assert extract(path).manifest.source is not None
    assert probe(path).codec == "ffv1"


def test_log_lines_of_two_threads_may_be_mixed() -> None:
    """ffmpeg writes whole parts of lines, not whole lines; the second part has no prefix."""
    frame = "n:   0 pts:    512 pts_time:0.04    duration:    512 fmt:yuv420p cl:left sar:4/3 s:64x48 i:P iskey:1 "
    info = "[Parsed_showinfo_0 @ 0x7f] [info] "
    colours = "color_range:tv color_space:bt709 color_primaries:bt709 color_trc:bt709"
    reading = _Reading()
    for line in (
        "[info]   title           : color_range:pc partial file n:   0 pts:      0",
        "[info]   Stream #0:0: Video: h264 (High), yuv420p, 64x48",
        "[info]   Stream #0:0 (h264) -> showinfo:default",
        f"[info]   Stream #0:0: Video: wrapped{info}config in time_base: 1/12800, frame_rate: 25/1",
        f"[info] _avframe, yuv420p{frame}type:I [in#0 @ 0x55] [error] File ended prematurely",
        f"{info}color_range:tv[info]   Metadata: color_space:bt709",
        f"[info]     encoder{colours}",
    ):
        reading.add(line)
    assert reading.ticks == [512]
    assert (reading.time_base, reading.rate) == (Fraction(1, 12800), Fraction(25))
    assert reading.damage == "File ended prematurely"
    assert (reading.info().transfer, reading.info().sample_aspect) == ("bt709", "4:3")


# --- sizes and ranges -------------------------------------------------------------------------------------


def ramp(height: int, width: int) -> Pixels:
    """Red is the column and green the row of every pixel."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1)[None].repeat(2, axis=0)


@pytest.mark.parametrize(
    ("fit", "height", "width", "top", "left"),
    [
        ("crop-center", 20, 30, 11, 16),
        ("crop-center", 21, 31, 10, 16),
        ("crop-center", 42, 63, 0, 0),
        ("crop-top-left", 20, 30, 0, 0),
    ],
)
def test_crops_start_where_they_say(
    fit: str, height: int, width: int, top: int, left: int, tmp_path: Path, extract: Extract
) -> None:
    path = write_clip(tmp_path / "ramp.mkv", ramp(42, 63), "-c:v", "ffv1", "-pix_fmt", "gbrp")
    frames = extract(path, fit=fit, height=height, width=width)
    assert frames.pixels.shape == (2, height, width, 3)
    assert tuple(frames.pixels[0, 0, 0]) == (left, top, 0)
    assert tuple(frames.pixels[0, -1, -1]) == (left + width - 1, top + height - 1, 0)


def test_a_crop_is_a_crop_of_the_png(tmp_path: Path, extract: Extract) -> None:
    """Odd offsets would fall between chroma samples if the crop came before the conversion."""
    path = synthetic(tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    expected = reference(path, tmp_path / "png")[:, 3:44, 5:58]
    frames = extract(path, fit="crop-center", height=41, width=53)
    np.testing.assert_array_equal(frames.pixels, expected)


def test_resize_is_bicubic_swscale(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    expected = reference(path, tmp_path / "png", "-vf", "scale=33:27")
    np.testing.assert_array_equal(extract(path, fit="resize", height=27, width=33).pixels, expected)
    same = extract(path, fit="resize", height=48, width=64).pixels
    np.testing.assert_array_equal(same, reference(path, tmp_path / "same"))


SIZED = SourceInfo(
    codec="h264", pixel_format="yuv420p", bit_depth=8, width=1, height=1, display_width=1, display_height=1
)  # fmt: skip


@pytest.mark.parametrize(
    ("size", "aspect", "to", "window"),
    [
        ((720, 1280), "1:1", (256, 320), Window(0, 190, 720, 900)),
        ((240, 320), "1:1", (256, 320), Window(0, 10, 240, 300)),
        ((272, 640), "1:1", (256, 320), Window(0, 150, 272, 340)),
        ((320, 240), "1:1", (256, 320), Window(64, 0, 192, 240)),
        ((101, 100), "1:1", (3, 7), Window(29, 0, 42, 100)),
        ((1, 100), "1:1", (2, 1), Window(0, 49, 1, 1)),
        ((144, 176), "128:117", (256, 320), Window(0, 6, 144, 164)),
        ((1024, 1280), "1:1", (256, 320), None),
        ((256, 340), "1:1", (256, 320), Window(0, 10, 256, 320)),
    ],
)
def test_the_window_of_crop_resize(
    size: tuple[int, int], aspect: str, to: tuple[int, int], window: Window | None
) -> None:
    info = SIZED.model_copy(update={"display_height": size[0], "display_width": size[1], "sample_aspect": aspect})
    preparation = Preparation(fit="crop-resize", height=to[0], width=to[1], sample_aspect="square")
    scaled = None if window and (window.height, window.width) == to else to
    assert geometry(info, preparation, "x") == Geometry(window, scaled, Window(0, 0, *to))


sides = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(sides, sides)
def test_the_window_of_crop_resize_is_the_largest_and_centred(size: tuple[int, int], to: tuple[int, int]) -> None:
    info = SIZED.model_copy(update={"display_height": size[0], "display_width": size[1]})
    preparation = Preparation(fit="crop-resize", height=to[0], width=to[1])
    window = geometry(info, preparation, "x").before or Window(0, 0, *size)
    assert window.height == size[0] or window.width == size[1]
    below, right = size[0] - window.height - window.top, size[1] - window.width - window.left
    assert (below - window.top, right - window.left) in {(0, 0), (0, 1), (1, 0)}
    if window.height < size[0]:
        # Its height is the exact one, rounded down to whole pixels, of which there is at least one.
        assert window.height == max(1, size[1] * to[0] // to[1])
    if window.width < size[1]:
        assert window.width == max(1, size[0] * to[1] // to[0])


@pytest.mark.parametrize(
    ("to", "rows", "columns"),
    [
        ((20, 21), slice(0, 48), slice(7, 57)),
        ((40, 20), slice(0, 48), slice(20, 44)),
        ((10, 41), slice(16, 31), slice(0, 64)),
        ((15, 64), slice(16, 31), slice(0, 64)),
    ],
)
def test_crop_resize_scales_a_window_of_the_png(
    to: tuple[int, int], rows: slice, columns: slice, tmp_path: Path, extract: Extract
) -> None:
    """Of a video and of its PNGs alike."""
    path = synthetic(tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    whole = reference(path, tmp_path / "png")
    window = write_images(tmp_path / "window", whole[:, rows, columns])
    expected = extract(window, fit="resize", height=to[0], width=to[1]).pixels.copy()
    assert expected.shape == (6, *to, 3)
    for source in (path, tmp_path / "png"):
        found = extract(source, fit="crop-resize", height=to[0], width=to[1])
        np.testing.assert_array_equal(found.pixels, expected)


def test_crop_resize_of_the_same_shape_is_resize(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    resized = extract(path, fit="resize", height=36, width=48).pixels.copy()
    np.testing.assert_array_equal(extract(path, fit="crop-resize", height=36, width=48).pixels, resized)


def test_a_crop_larger_than_the_source_is_refused(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "a.mp4")
    with pytest.raises(UserError, match=r"is 48x64 .*smaller than the crop of 48x65"):
        extract(path, fit="crop-center", height=48, width=65)


def test_ranges_of_frames(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(9, 8, 8)
    path = write_clip(tmp_path / "a.mkv", pixels, "-c:v", "ffv1", "-pix_fmt", "gbrp")
    np.testing.assert_array_equal(extract(path, first_frame=4).pixels, pixels[4:])
    np.testing.assert_array_equal(extract(path, frame_count=4).pixels, pixels[:4])
    np.testing.assert_array_equal(extract(path, first_frame=8, frame_count=1).pixels, pixels[8:])
    with pytest.raises(UserError, match="has 9 frames, but 10 frames from frame 0 on"):
        extract(path, frame_count=10)
    with pytest.raises(UserError, match="has 9 frames, but 3 frames from frame 7 on"):
        extract(path, first_frame=7, frame_count=3)
    with pytest.raises(UserError, match="has 9 frames, but frames from frame 9 on"):
        extract(path, first_frame=9)


# --- bad input --------------------------------------------------------------------------------------------


GARBAGE = {
    "empty": b"",
    "byte": b"x",
    "noise": noise(1, 40, 40).tobytes(),
    "text": b"#!/bin/sh\necho\n" * 500,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".y4m", ".ts", ".gif", ".xyz", ""])
def test_garbage(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"garbage\S* (cannot be read as video|holds no frame)") as caught:
        probe(path)
    assert "@ 0x" not in str(caught.value)


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    with pytest.raises(UserError, match="it has no video stream"):
        probe(path)


def test_an_empty_raw_file_has_no_frames(tmp_path: Path, extract: Extract) -> None:
    path = tmp_path / "empty.yuv"
    path.touch()
    with pytest.raises(UserError, match=r"empty\.yuv (holds no frame|cannot be read)"):
        extract(path, raw=raw_layout())


TRUNCATED = {
    "a.mp4": ("-c:v", "libx264", "-movflags", "+faststart"),
    "late.mp4": ("-c:v", "libx264"),
    "a.mkv": ("-c:v", "ffv1"),
    "b.mkv": ("-c:v", "libx264"),
    "a.webm": ("-c:v", "libvpx-vp9"),
    "a.avi": ("-c:v", "mjpeg"),
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_truncated_files_are_refused(name: str, tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / name, *TRUNCATED[name], frames=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(UserError, match=r"is damaged|cannot be read as video|cannot be decoded") as caught:
        extract(path)
    assert "@ 0x" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_flipped_bytes_are_refused(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "a.mp4", "-c:v", "libx264", "-movflags", "+faststart", frames=40)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = noise(1, 10, 20).tobytes()[:400]
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        extract(path)


def two_parts(tmp_path: Path, second: tuple[str, ...], size: str = "64x48") -> Path:
    """A transport stream whose properties change after 20 frames."""
    options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "0")
    one = synthetic(tmp_path / "one.ts", *options, frames=20)
    other = synthetic(tmp_path / "other.ts", *options, *second, frames=20, size=size)
    parts = tmp_path / "parts.txt"
    parts.write_text(f"file '{one}'\nfile '{other}'\n")
    path = tmp_path / "both.ts"
    ffmpeg("-f", "concat", "-safe", "0", "-i", parts, "-c", "copy", path)
    return path


def test_a_change_of_size_is_refused(tmp_path: Path, extract: Extract) -> None:
    path = two_parts(tmp_path, (), size="32x32")
    with pytest.raises(UserError, match=r"changes at frame 20 from 48x64 .* to 32x32"):
        extract(path)
    assert extract(path, frame_count=20).manifest.frames == 20


def test_counting_goes_on_where_the_colours_change(tmp_path: Path, extract: Extract) -> None:
    path = two_parts(tmp_path, ("-vf", "setparams=range=pc:colorspace=bt709"))
    whole = extract(path).pixels.copy()
    np.testing.assert_array_equal(whole, reference(path, tmp_path / "png"))
    assert len(whole) == 40
    part = extract(path, first_frame=15, frame_count=12)
    np.testing.assert_array_equal(part.pixels, whole[15:27])


def test_fields_that_start_late_are_refused(tmp_path: Path, extract: Extract) -> None:
    path = two_parts(tmp_path, ("-vf", "setfield=tff", "-flags", "+ildct+ilme"))
    assert not probe(path).interlaced
    with pytest.raises(UserError, match="is interlaced from frame 20 on"):
        extract(path)
    assert extract(path, frame_count=20).manifest.frames == 20


def test_leaving_in_the_middle_stops_ffmpeg(tmp_path: Path) -> None:
    path = synthetic(tmp_path / "a.mp4", frames=50)
    frames = open_source(path, Preparation()).frames()
    assert next(frames).shape == (48, 64, 3)
    frames.close()
