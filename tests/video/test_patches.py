"""Patches: every pixel at its place, there and back; files of them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.errors import UserError
from boostnerv.video.frames import Frames, PatchGrid, Pixels, open_frames, write_frames
from boostnerv.video.patches import check_patches, merge, patch_view, split, split_patches

from .conftest import noise


def ramp(frames: int, height: int, width: int) -> Pixels:
    """Every pixel says where it is: t, y and x modulo 251, which differ within a patch and between neighbours."""
    t, y, x = np.indices((frames, height, width), dtype=np.int32)
    return np.stack([t % 251, y % 251, x % 251], axis=-1).astype(np.uint8)


def written(pixels: Pixels, folder: Path) -> Frames:
    write_frames(pixels, folder / "whole.npy", dataset="d", video="v", fps=30)
    return open_frames(folder / "whole.json")


@given(
    count=st.integers(1, 4),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
)
def test_patches_stand_row_by_row_and_go_back(count: int, rows: int, columns: int, height: int, width: int) -> None:
    frames = ramp(count, rows * height, columns * width)
    patches = split(frames, rows, columns)
    assert patches.shape == (rows * columns, count, height, width, 3)
    for row in range(rows):
        for column in range(columns):
            patch = patches[row * columns + column]
            t, y, x = np.indices((count, height, width))
            np.testing.assert_array_equal(patch[..., 0], t)
            np.testing.assert_array_equal(patch[..., 1], y + row * height)
            np.testing.assert_array_equal(patch[..., 2], x + column * width)
            view = patch_view(frames, rows, columns, row * columns + column)
            np.testing.assert_array_equal(view, patch)
            assert np.shares_memory(view, frames)
    np.testing.assert_array_equal(merge(patches, rows, columns), frames)
    np.testing.assert_array_equal(split(merge(patches, rows, columns), rows, columns), patches)


def test_the_published_grid() -> None:
    """1024×1920 in 24 patches of 256×320, row by row: the seventh is the first of the second row."""
    frames = ramp(2, 1024, 1920)
    assert check_patches(1024, 1920, 256, 320) == (4, 6)
    patches = split(frames, 4, 6)
    assert patches.shape == (24, 2, 256, 320, 3)
    np.testing.assert_array_equal(patches[6], frames[:, 256:512, :320])
    np.testing.assert_array_equal(patches[5], frames[:, :256, 1600:])
    np.testing.assert_array_equal(merge(patches, 4, 6), frames)


def test_one_column_is_not_copied() -> None:
    frames = ramp(2, 8, 6)
    assert np.shares_memory(split(frames, 4, 1), frames)
    assert np.shares_memory(merge(split(frames, 1, 1), 1, 1), frames)


def test_grids_that_do_not_fit_are_defects() -> None:
    for call in (lambda: split(ramp(1, 4, 6), 3, 1), lambda: patch_view(ramp(1, 4, 6), 1, 4, 0)):
        with pytest.raises(ValueError, match="patches do not divide frames of 4×6"):
            call()
    with pytest.raises(ValueError, match="5 patches do not form a grid of 2×3"):
        merge(np.zeros((5, 1, 2, 2, 3), np.uint8), 2, 3)


@given(
    height=st.integers(1, 300), width=st.integers(1, 300), size=st.tuples(st.integers(-1, 320), st.integers(-1, 320))
)
def test_sizes_that_divide(height: int, width: int, size: tuple[int, int]) -> None:
    if min(size) > 0 and height % size[0] == width % size[1] == 0:
        rows, columns = check_patches(height, width, *size)
        assert (rows * size[0], columns * size[1]) == (height, width)
    else:
        with pytest.raises(UserError, match=rf"patches of {size[0]}×{size[1]} cannot fill a frame of {height}×{width}"):
            check_patches(height, width, *size)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((256, 320), r"256 does not divide its height 1080 \(the nearest that do are 216 and 270\); choose"),
        ((270, 350), r"350 does not divide its width 1920 \(the nearest that do are 320 and 384\); choose"),
        ((2000, 0), r"nearest that do are 1080\) and 0 does not divide its width 1920 \(the nearest that do are 1\);"),
    ],
)
def test_the_nearest_sizes_are_named(size: tuple[int, int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_patches(1080, 1920, *size)


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (6, 1), (3, 8)])
def test_files_of_patches(rows: int, columns: int, tmp_path: Path) -> None:
    pixels = ramp(5, 12, 24)
    whole = written(pixels, tmp_path)
    seen: list[int] = []
    manifest = split_patches(
        whole, 12 // rows, 24 // columns, tmp_path / "p.npy", lambda done, note="": seen.append(done)
    )
    assert seen == list(range(1, 5 * rows * columns + 1))
    frames = open_frames(tmp_path / "p.json")
    frames.verify()
    assert frames.manifest == manifest
    assert (manifest.frames, manifest.height, manifest.width) == (5 * rows * columns, 12 // rows, 24 // columns)
    assert manifest.patches == PatchGrid(
        rows=rows, columns=columns, frames=5, whole_sha256=whole.manifest.pixels_sha256
    )
    assert (manifest.dataset, manifest.video, manifest.fps) == ("d", "v", 30)
    patches = frames.pixels.reshape(rows * columns, 5, 12 // rows, 24 // columns, 3)
    np.testing.assert_array_equal(patches, split(pixels, rows, columns))
    np.testing.assert_array_equal(merge(patches, rows, columns), pixels)


def test_older_manifests_have_no_grid(tmp_path: Path) -> None:
    whole = written(noise(2, 4, 4), tmp_path)
    assert whole.manifest.patches is None
    text = (tmp_path / "whole.json").read_text()
    (tmp_path / "whole.json").write_text(text.replace('  "patches": null,\n', ""))
    assert open_frames(tmp_path / "whole.json").manifest == whole.manifest


def test_what_cannot_be_cut_leaves_no_file(tmp_path: Path) -> None:
    whole = written(noise(2, 4, 6), tmp_path)
    with pytest.raises(UserError, match="3 does not divide its height 4"):
        split_patches(whole, 3, 2, tmp_path / "p.npy")
    assert not (tmp_path / "p.npy").exists()
    split_patches(whole, 2, 2, tmp_path / "p.npy")
    with pytest.raises(UserError, match=r"p.npy holds patches already; split the frames"):
        split_patches(open_frames(tmp_path / "p.json"), 1, 1, tmp_path / "q.npy")
    assert not (tmp_path / "q.npy").exists()


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    whole = written((frame for frame in noise(60, 128, 160)), tmp_path)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        split_patches(whole, 64, 80, tmp_path / "p.npy")
        assert tracemalloc.get_traced_memory()[1] < 10 * 64 * 80 * 3
    finally:
        tracemalloc.stop()
