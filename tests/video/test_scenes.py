"""Scenes that are known are found, and segments cover a video within their bounds."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.errors import UserError
from boostnerv.video.scenes import scene_cuts, segments

from .conftest import Pixels, noise


def scene(kind: int, frames: int, height: int = 72, width: int = 128) -> Pixels:
    """One of three very different scenes, with motion and a little noise in it."""
    rng = np.random.default_rng(kind)
    y, x = np.mgrid[0:height, 0:width]
    pictures = []
    for t in range(frames):
        waves = np.stack([127 + 100 * np.sin((x + 2 * t) / 15), 60 + 0 * x, 127 + 100 * np.cos((y + t) / 9)], -1)
        bright = np.stack([200 + 0 * x, 200 - (x - 3 * t) % width / 2, 180 + 40 * np.sin(y / 5 + t / 3)], -1)
        dark = np.where((((x + t) // 20 + y // 20) % 2)[..., None] == 0, (10, 40, 20), (30, 120, 60))
        picture = (waves, bright, dark)[kind] + rng.normal(0, 4, (height, width, 3))
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return np.stack(pictures)


@pytest.fixture(scope="module")
def three_scenes() -> Pixels:
    return np.concatenate([scene(0, 13), scene(1, 9), scene(2, 11)])


def test_three_scenes_have_two_cuts(three_scenes: Pixels) -> None:
    assert scene_cuts(three_scenes) == (13, 22)


def test_the_size_changes_nothing(three_scenes: Pixels) -> None:
    # 360x384: larger than what is looked at, and higher than wide once cropped.
    large = three_scenes.repeat(5, axis=1).repeat(3, axis=2)
    assert scene_cuts(large) == scene_cuts(large[:, :, :200]) == (13, 22)


def test_a_flash_is_one_cut(three_scenes: Pixels) -> None:
    flash = three_scenes[:13].copy()
    flash[6] = 255
    assert scene_cuts(flash) == (6,)


def test_what_only_moves_or_stands_still_has_no_cut() -> None:
    assert scene_cuts(scene(1, 20)) == ()
    assert scene_cuts(np.broadcast_to(noise(1, 40, 60), (12, 40, 60, 3))) == ()
    assert scene_cuts(noise(1, 40, 60)) == ()


def test_a_memory_map_is_read_frame_by_frame(three_scenes: Pixels, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", three_scenes)
    seen: list[int] = []
    found = scene_cuts(np.load(tmp_path / "x.npy", mmap_mode="r"), progress=lambda done, note="": seen.append(done))
    assert found == (13, 22)
    assert seen == list(range(1, 34))


def test_frames_that_ffmpeg_refuses() -> None:
    with pytest.raises(UserError, match=r"ffmpeg cannot detect scenes in frames of 0x128 \(.+\); set"):
        scene_cuts(noise(3, 0, 128))


# --- segments -----------------------------------------------------------------------------------------------


@st.composite
def divisions(draw: st.DrawFn, most: int = 400) -> tuple[int, list[int], int, int]:
    """(frames, cuts, longest, shortest) as `segments` takes them; cuts of another video included."""
    frames = draw(st.integers(1, most))
    shortest = draw(st.integers(1, 40))
    longest = draw(st.integers(2 * shortest - 1, 120))
    return frames, draw(st.lists(st.integers(0, frames + 5), max_size=30)), longest, shortest


@given(divisions())
def test_segments_cover_every_frame_once(division: tuple[int, list[int], int, int]) -> None:
    frames = division[0]
    parts = segments(*division)
    assert [index for part in parts for index in part] == list(range(frames))
    assert all(part.step == 1 and len(part) for part in parts)


@given(divisions())
def test_segments_keep_their_bounds(division: tuple[int, list[int], int, int]) -> None:
    frames, _, longest, shortest = division
    parts = segments(*division)
    assert all(len(part) <= longest for part in parts)
    if frames >= shortest:
        assert all(len(part) >= shortest for part in parts)
    else:
        assert parts == (range(frames),)


@given(divisions(), st.randoms())
def test_the_order_of_cuts_and_repeated_ones_change_nothing(division, random) -> None:
    frames, cuts, longest, shortest = division
    shuffled = random.sample(cuts, len(cuts)) + cuts[:3]
    assert segments(frames, shuffled, longest, shortest) == segments(*division)


@given(divisions())
def test_a_cut_is_ignored_only_where_it_is_too_near(division: tuple[int, list[int], int, int]) -> None:
    frames, cuts, _, shortest = division
    starts = {part.start for part in segments(*division)}
    kept = {0, frames, *(cut for cut in cuts if cut in starts)}
    for cut in set(cuts) - starts:
        assert min(abs(cut - other) for other in kept) < shortest or cut > frames


@given(divisions(most=60))
def test_no_other_choice_keeps_more_cuts(division: tuple[int, list[int], int, int]) -> None:
    frames, cuts, _, shortest = division
    inside = sorted({cut for cut in cuts if 0 < cut < frames})[:8]
    parts = segments(frames, inside, max(frames, 2 * shortest - 1), shortest)  # nothing but cuts divides
    assert all(part.start in (0, *inside) for part in parts)
    possible = [
        len(chosen)
        for count in range(len(inside) + 1)
        for chosen in itertools.combinations(inside, count)
        if all(right - left >= shortest for left, right in itertools.pairwise((0, *chosen, frames)))
    ]
    assert len(parts) - 1 == max(possible, default=0)


def test_what_is_too_long_is_divided_evenly() -> None:
    assert segments(10, (), longest=4, shortest=2) == (range(4), range(4, 7), range(7, 10))
    assert segments(100, (50,), longest=48, shortest=8) == (range(25), range(25, 50), range(50, 75), range(75, 100))
    assert segments(33, (13, 22), longest=16, shortest=4) == (range(13), range(13, 22), range(22, 33))
    assert segments(33, (13, 14, 31), longest=32, shortest=4) == (range(13), range(13, 33))


@pytest.mark.parametrize(
    ("frames", "longest", "shortest", "sentence"),
    [
        (10, 4, 3, "segments of 3 to 4 frames do not fit every video; the longest must be at least 5"),
        (10, 0, 1, "the longest must be at least 1"),
        (10, 8, 0, "segments of at least 0; both must be 1 or more"),
        (0, 8, 2, "0 frames cannot be cut"),
    ],
)
def test_bounds_that_cannot_be_kept(frames: int, longest: int, shortest: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        segments(frames, (), longest, shortest)
