"""What videos will be, before they are extracted."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from boostnerv.config import LocalSource, PathSource, Preparation, RawVideo, VideoSpec
from boostnerv.errors import UserError
from boostnerv.steps import planned_shape
from boostnerv.video.probing import Probed, probe_videos, source_prints

from .conftest import LOSSLESS, Extract, ffmpeg, noise, synthetic, write_clip, write_images

PIXELS = noise(12, 24, 40)


def spec(path: Path, raw: RawVideo | None = None, **declared: object) -> VideoSpec:
    return VideoSpec(name="v", source=PathSource(path=str(path), raw=raw), **declared)  # type: ignore[arg-type]


def probed(video: VideoSpec, **settings: object) -> Probed:
    (found,) = probe_videos([video], "own", Preparation(**settings))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"first_frame": 2, "frame_count": 5},
        {"fit": "crop-center", "height": 11, "width": 21},
        {"fit": "resize", "height": 10, "width": 12, "frame_count": 3},
        {"fps": 5.0},
    ],
)
@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4", "clip.y4m", "clip.yuv", "clip"])
def test_what_is_planned_is_what_extraction_makes(
    name: str, settings: dict[str, object], tmp_path: Path, extract: Extract
) -> None:
    path, raw = tmp_path / name, None
    if name == "clip":
        write_images(path, PIXELS)
    elif name == "clip.yuv":
        write_clip(path, PIXELS, "-pix_fmt", "yuv420p", "-f", "rawvideo")
        raw = RawVideo(width=40, height=24, pixel_format="yuv420p", fps=10)
    else:
        write_clip(path, PIXELS, *(LOSSLESS if name != "clip.y4m" else ("-pix_fmt", "yuv444p")))
    video = spec(path, raw, fps=10.0)
    shape = planned_shape(Preparation(**settings), probed(video, **settings).video)  # type: ignore[arg-type]
    assert shape == extract(path, raw=raw, declared={"fps": 10.0}, **settings).pixels.shape[:3]


def test_a_range_of_a_source_and_square_pixels(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "wide.mp4", "-vf", "setsar=4/3", "-c:v", "libx264", size="48x32", frames=10)
    settings = {"sample_aspect": "square", "first_frame": 1}
    declared: dict[str, object] = {"first_frame": 3}
    found = probed(spec(path, **declared), **settings)
    assert planned_shape(Preparation(**settings), found.video) == (6, 32, 64)  # type: ignore[arg-type]
    assert extract(path, declared=declared, **settings).pixels.shape[:3] == (6, 32, 64)


def test_sound_that_is_longer_gives_an_estimate_that_counting_corrects(tmp_path: Path) -> None:
    path = tmp_path / "long.mkv"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=40x24:rate=10:duration=1.2")
    ffmpeg(*picture, "-f", "lavfi", "-i", "sine=duration=30", "-c:v", "libx264", "-c:a", "flac", path)
    found = probed(spec(path))
    assert found.video.frames == 300
    assert found.source == path
    assert found.counted(Preparation()) == (12, 24, 40)
    assert found.counted(Preparation(first_frame=2)) == (10, 24, 40)
    assert found.counted(Preparation(fps=5)) == (6, 24, 40)
    with pytest.raises(UserError, match="has 12 frames, but 13 frames from frame 0 on are asked for"):
        found.counted(Preparation(frame_count=13))


def test_frames_that_are_known_are_not_counted(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", PIXELS)
    assert probed(spec(folder)).source is None
    clip = write_clip(tmp_path / "clip.mkv", PIXELS, *LOSSLESS)
    assert probed(spec(clip)).source == clip
    assert probed(spec(clip, frames=12)).source is None


@pytest.mark.parametrize(
    ("options", "suffix", "sentence"),
    [
        (("-vf", "setfield=tff", "-flags", "+ildct+ilme", "-c:v", "libx264"), "mkv", "interlaced"),
        (("-c:v", "libx264", "-x264-params", "transfer=smpte2084"), "mp4", "HDR"),
        (("-vf", "setsar=4/3", "-c:v", "libx264"), "mp4", "not square"),
        (("-f", "rawvideo"), "yuv", "has no header: give its layout under raw"),
    ],
)
def test_what_a_preparation_does_not_allow(
    options: tuple[str, ...], suffix: str, sentence: str, tmp_path: Path
) -> None:
    path = synthetic(tmp_path / f"odd.{suffix}", *options)
    with pytest.raises(UserError, match=f"{path.name}.*{sentence}"):
        probed(spec(path))


def test_videos_that_are_not_there_and_downloads_stay_as_they_are(tmp_path: Path) -> None:
    videos = [
        spec(tmp_path / "nowhere.mp4"),
        VideoSpec(
            name="d",
            source=LocalSource(kind="local", candidates=("d.mp4",), download="https://example.org"),
            frames=5,
        ),
    ]
    assert probe_videos(videos, "own", Preparation()) == [Probed(video, video) for video in videos]


def test_the_first_of_several_problems_is_said(tmp_path: Path) -> None:
    good = write_clip(tmp_path / "good.mkv", PIXELS, *LOSSLESS)
    bad = [tmp_path / f"bad{number}.mkv" for number in range(3)]
    for path in bad:
        path.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"bad0\.mkv"):
        probe_videos([spec(path) for path in (good, *bad)], "own", Preparation())


def test_prints_tell_changes_and_no_copies(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(np.random.default_rng(1).bytes(300_000))
    folder = write_images(tmp_path / "clip", PIXELS)
    videos = [
        spec(path),
        spec(folder).model_copy(update={"name": "f"}),
        spec(tmp_path / "x").model_copy(update={"name": "x"}),
    ]
    before = source_prints(videos, "own")
    assert before["x"] is None
    os.utime(path, (0, 0))
    assert source_prints(videos, "own") == before
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (folder / "3.png").unlink()
    after = source_prints(videos, "own")
    assert after["v"] != before["v"]
    assert after["f"] != before["f"]
    os.mkfifo(tmp_path / "x")
    assert source_prints(videos, "own")["x"] is None
