"""Of several streams the one that a player shows, wherever the file is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boostnerv.config import Preparation
from boostnerv.video.source import has_sound, probe
from boostnerv.video.video_file import open_clip, start_s

from .conftest import Extract, Pixels, ffmpeg, noise, synthetic, write_clip

LOSSLESS = ("-c:v", "ffv1", "-pix_fmt", "gbrp")
SMALL, LARGE = noise(5, 16, 24, 1), noise(5, 32, 48, 2)


def film(folder: Path, pixels: Pixels) -> Path:
    return write_clip(folder / f"film-{pixels.shape[1]}.mkv", pixels, *LOSSLESS)


def muxed(folder: Path, inputs: list[Path], flags: list[str], *options: str, name: str = "all.mkv") -> Path:
    """All video streams of `inputs` in one file, each with its flags ("0" for none)."""
    path = folder / name
    sources = [item for source in inputs for item in ("-i", source)]
    maps = [item for index in range(len(inputs)) for item in ("-map", str(index))]
    chosen = [item for index, flag in enumerate(flags) for item in (f"-disposition:v:{index}", flag)]
    default = ("-default_mode", "passthrough") if name.endswith(".mkv") else ()
    ffmpeg(*sources, *maps, "-c", "copy", *chosen, *default, *options, path)
    return path


@pytest.mark.parametrize(
    ("order", "flags", "used", "shown"),
    [
        ((SMALL, LARGE), ["0", "0"], 1, LARGE),
        ((LARGE, SMALL), ["0", "0"], 0, LARGE),
        ((SMALL, LARGE), ["default", "0"], 0, SMALL),
        ((LARGE, SMALL), ["0", "default"], 1, SMALL),
        ((SMALL, LARGE), ["default", "default"], 1, LARGE),
        ((SMALL, noise(5, 16, 24, 3)), ["0", "0"], 0, SMALL),
    ],
)
def test_the_default_one_else_the_largest_else_the_first(
    order: tuple[Pixels, ...], flags: list[str], used: int, shown: Pixels, tmp_path: Path, extract: Extract
) -> None:
    inputs = []
    for index, pixels in enumerate(order):
        (tmp_path / str(index)).mkdir()
        inputs.append(film(tmp_path / str(index), pixels))
    path = muxed(tmp_path, inputs, flags)
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, shown)
    assert frames.manifest.notes == (f"video stream 0:{used} of 2 is used",)
    assert (probe(path).height, probe(path).width) == shown.shape[1:3]
    lower = extract(path, fps=5)
    np.testing.assert_array_equal(lower.pixels, shown[::2])


@pytest.mark.parametrize("flags", [["0", "default"], ["0", "0"], ["default", "0"], ["default", "default"]])
@pytest.mark.parametrize("cover_first", [True, False])
def test_a_cover_is_not_the_film_whatever_its_flags(
    flags: list[str], cover_first: bool, tmp_path: Path, extract: Extract
) -> None:
    """The cover is the larger one, and has no flag that says what it is."""
    cover = synthetic(tmp_path / "cover.jpg", frames=1, size="200x200")
    inputs = [cover, film(tmp_path, LARGE)]
    path = muxed(tmp_path, inputs if cover_first else inputs[::-1], flags)
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, LARGE)
    assert frames.manifest.notes == (f"video stream 0:{int(cover_first)} of 2 is used",)


def test_attached_pictures_do_not_count(tmp_path: Path, extract: Extract) -> None:
    cover = synthetic(tmp_path / "cover.png", frames=1, size="200x200")
    video = write_clip(tmp_path / "film.mp4", LARGE, "-c:v", "libx264rgb", "-qp", "0")
    path = muxed(tmp_path, [cover, video], ["attached_pic", "0"], name="all.mp4")
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, LARGE)
    assert frames.manifest.notes == ()


def test_a_stream_that_ffmpeg_does_not_know_is_passed_over(tmp_path: Path, extract: Extract) -> None:
    path = muxed(tmp_path, [film(tmp_path, LARGE), film(tmp_path, SMALL)], ["default", "0"])
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_NONE", 1))
    np.testing.assert_array_equal(extract(path).pixels, SMALL)


def test_the_only_stream_needs_no_note(tmp_path: Path, extract: Extract) -> None:
    assert extract(film(tmp_path, SMALL)).manifest.notes == ()


def test_two_single_pictures_are_no_covers_of_each_other(tmp_path: Path, extract: Extract) -> None:
    path = muxed(tmp_path, [film(tmp_path, SMALL[:1]), film(tmp_path, LARGE[:1])], ["0", "0"])
    np.testing.assert_array_equal(extract(path).pixels, LARGE[:1])


def test_times_sound_and_planes_are_those_of_the_same_stream(tmp_path: Path) -> None:
    cover = synthetic(tmp_path / "cover.jpg", frames=1, size="200x200")
    video = synthetic(tmp_path / "film.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size="64x48", frames=20)
    path = tmp_path / "all.mkv"
    ffmpeg(
        *("-i", cover, "-itsoffset", "0.5", "-i", video, "-f", "lavfi", "-i", "sine=duration=1"),
        *("-map", "0", "-map", "1", "-map", "2", "-c:v", "copy", path),
    )
    assert has_sound(path)
    assert start_s(path) == pytest.approx((0, 0.5), abs=0.005)
    alone = list(open_clip(video, Preparation()).planes())
    together = list(open_clip(path, Preparation()).planes())
    assert len(together) == 20
    for one, other in zip(alone, together, strict=True):
        for plane, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(plane, same)
