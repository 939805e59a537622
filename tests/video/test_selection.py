"""Ranges of sources and lower frame rates: which frames of a source are used, of files and of folders alike."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.config import PathSource, Preparation, VideoSpec
from boostnerv.errors import UserError
from boostnerv.steps import planned_shape
from boostnerv.video.info import Timing
from boostnerv.video.selection import kept_frames

from .conftest import LOSSLESS, Extract, noise, write_clip, write_images

PIXELS = noise(30, 8, 8)
AT_10_OF_25 = (0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27)


@pytest.fixture(params=["a.mp4", "a.mkv", "folder"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """30 frames at 25 a second; a folder is told so by its data set."""
    if request.param == "folder":
        return write_images(tmp_path / "folder", PIXELS)
    return write_clip(tmp_path / request.param, PIXELS, *LOSSLESS, fps=25)


# --- ranges ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "settings", "used"),
    [
        ({"first_frame": 0, "frames": 12}, {}, range(12)),
        ({"first_frame": 12, "frames": 18}, {}, range(12, 30)),
        ({"first_frame": 12}, {}, range(12, 30)),
        ({"first_frame": 5, "frames": 20}, {"first_frame": 3}, range(8, 25)),
        ({"first_frame": 5, "frames": 20}, {"first_frame": 3, "frame_count": 17}, range(8, 25)),
        ({"first_frame": 5}, {"first_frame": 3, "frame_count": 4}, range(8, 12)),
        ({"first_frame": 29, "frames": 1}, {"frame_count": 1}, range(29, 30)),
        ({"first_frame": 10, "frames": 15}, {"fps": 10.0}, (10, 12, 15, 17, 20, 22)),
        ({"first_frame": 10, "frames": 15}, {"fps": 10.0, "first_frame": 2, "frame_count": 3}, (15, 17, 20)),
        ({"first_frame": 1}, {"fps": 5.0}, (1, 6, 11, 16, 21, 26)),
    ],
)
def test_a_video_may_be_a_range_of_a_source(
    declared: dict[str, object], settings: dict[str, object], used: range | tuple[int, ...], source: Path,
    extract: Extract,
) -> None:  # fmt: skip
    frames = extract(source, declared={"fps": 25.0, "height": 8, "width": 8, **declared}, **settings)
    np.testing.assert_array_equal(frames.pixels, PIXELS[list(used)])
    assert (frames.manifest.fps, frames.manifest.timestamps_s) == (settings.get("fps", 25.0), None)
    video = VideoSpec(name="v", source=PathSource(path="x"), fps=25, height=8, width=8, **declared)  # type: ignore[arg-type]
    planned = planned_shape(Preparation(**settings), video)  # type: ignore[arg-type]
    assert planned == (None if planned is None else (len(used), 8, 8))
    assert (planned is None) == ("frames" not in declared and "frame_count" not in settings)


@pytest.mark.parametrize(
    ("declared", "settings", "words"),
    [
        ({"first_frame": 20, "frames": 11}, {}, "has 30 frames, but the data set says .* from frame 20 to 30 of it"),
        ({"first_frame": 30}, {}, "has 30 frames, but the data set says .* from frame 30 to the last of it"),
        ({"first_frame": 20, "frames": 11}, {"fps": 5.0}, "says that the video goes from frame 20 to 30 of it"),
        ({"first_frame": 30}, {"fps": 5.0}, "says that the video goes from frame 30 to the last of it"),
        (
            {"first_frame": 5, "frames": 10},
            {"frame_count": 11},
            "the video in .*, from frame 5 to 14, has 10 frames, but 11 frames from frame 0 on are asked for",
        ),
        (
            {"first_frame": 5},
            {"first_frame": 20, "frame_count": 6},
            "the video in .*, from frame 5 to the last, has 25 frames, but 6 frames from frame 20 on are asked for",
        ),
        ({"frames": 12}, {}, "has 30 frames, but the data set says 12"),
    ],
)
def test_ranges_that_are_not_there(
    declared: dict[str, object], settings: dict[str, object], words: str, source: Path, extract: Extract
) -> None:
    with pytest.raises(UserError, match=words):
        extract(source, declared={"fps": 25.0, **declared}, **settings)


# --- lower frame rates --------------------------------------------------------------------------------------------


def test_a_lower_rate_keeps_the_nearest_frames(source: Path, extract: Extract) -> None:
    for settings, used in (
        ({}, AT_10_OF_25),
        ({"first_frame": 3}, AT_10_OF_25[3:]),
        ({"first_frame": 3, "frame_count": 9}, AT_10_OF_25[3:]),
        ({"frame_count": 1}, (0,)),
    ):
        frames = extract(source, declared={"fps": 25.0, "frames": 30}, fps=10.0, **settings)
        np.testing.assert_array_equal(frames.pixels, PIXELS[list(used)])
        assert (frames.manifest.fps, frames.manifest.timestamps_s) == (10, None)
    same = extract(source, declared={"fps": 25.0}, fps=25.0)
    np.testing.assert_array_equal(same.pixels, PIXELS)


@pytest.mark.parametrize(
    ("declared", "settings", "words"),
    [
        ({}, {"fps": 25.1}, r"has 25 frames per second, fewer than the 25\.1 that are asked for: lower"),
        ({}, {"fps": 10.0, "frame_count": 13}, "at 10 frames per second has 12 frames, but 13 frames from frame 0 on"),
        ({}, {"fps": 10.0, "first_frame": 12}, "at 10 frames per second has 12 frames, but frames from frame 12 on"),
        ({"frames": 31}, {"fps": 10.0}, "has 30 frames, but the data set says 31"),
        ({"frames": 12}, {"fps": 10.0}, "has 30 frames, but the data set says 12"),
    ],
)  # fmt: skip
def test_rates_that_are_not_there(
    declared: dict[str, object], settings: dict[str, object], words: str, source: Path, extract: Extract
) -> None:
    with pytest.raises(UserError, match=words):
        extract(source, declared={"fps": 25.0, **declared}, **settings)


def test_the_rate_that_the_data_set_says_is_the_sources(tmp_path: Path, extract: Extract) -> None:
    path = write_clip(tmp_path / "a.mp4", PIXELS, *LOSSLESS, fps=25)
    with pytest.raises(UserError, match="has 25 frames per second, but the data set says 10"):
        extract(path, declared={"fps": 10.0}, fps=10.0)


def test_a_lower_rate_of_a_variable_one_goes_by_time(tmp_path: Path, extract: Extract) -> None:
    """Shown at 0, 0.04, 0.16, 0.36, 0.64, 1 and 1.44 s, 0.24 s apart in the mean."""
    setpts = "settb=1/1000,setpts=40*N*N"
    times = ("-vf", setpts, "-fps_mode", "passthrough", "-enc_time_base", "1:1000")
    path = write_clip(tmp_path / "v.mp4", PIXELS[:7], *times, *LOSSLESS)
    for fps, used in ((2.0, (0, 4, 5, 6)), (4.0, (0, 2, 4, 4, 5, 6, 6))):
        frames = extract(path, fps=fps)
        np.testing.assert_array_equal(frames.pixels, PIXELS[list(used)])
        assert (frames.manifest.fps, frames.manifest.timestamps_s) == (fps, None)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_a_damaged_file_is_called_so_at_a_lower_rate(name: str, tmp_path: Path, extract: Extract) -> None:
    codec = {"a.mkv": "ffv1", "a.avi": "mjpeg"}[name]
    path = write_clip(tmp_path / name, PIXELS, "-c:v", codec, "-pix_fmt", "yuv444p", fps=25)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(UserError, match=r"is damaged|cannot be read as video|cannot be decoded"):
        extract(path, declared={"first_frame": 25, "frames": 5}, fps=5.0)


def test_seven_seconds_at_two_frames_per_second() -> None:
    assert kept_frames(175, Timing(25.0, None), 2.0) == (0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125, 137, 150, 162)


@given(st.integers(1, 400), st.integers(1, 120), st.integers(1, 120))
def test_kept_frames_are_within_half_a_frame(count: int, rate: int, fps: int) -> None:
    rate, fps = max(rate, fps), min(rate, fps)
    kept = kept_frames(count, Timing(float(rate), None), float(fps))
    assert all(one < other for one, other in itertools.pairwise(kept))
    for index, frame in enumerate(kept):
        distance = Fraction(frame, rate) - Fraction(index, fps)
        assert -Fraction(1, 2 * rate) <= distance < Fraction(1, 2 * rate)
    assert Fraction(len(kept), fps) > Fraction(2 * count - 1, 2 * rate)
    assert kept[-1] < count
