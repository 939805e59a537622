from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boostnerv.config import Preparation
from boostnerv.evaluation.metrics import psnr_db
from boostnerv.video.preview import LARGEST_SIDE, preview_size, previewed, write_preview
from boostnerv.video.source import open_source, probe


def ramp(count: int, height: int, width: int) -> np.ndarray:
    """Smooth frames that differ: uint8 [count, height, width, 3]."""
    across = np.linspace(0, 200, width)[None, None, :, None]
    down = np.linspace(0, 40, height)[None, :, None, None]
    times = np.linspace(0, 15, count)[:, None, None, None]
    return np.broadcast_to(across + down + times, (count, height, width, 3)).astype(np.uint8)


def decoded(path: Path) -> np.ndarray:
    return np.stack(list(open_source(path, Preparation()).frames()))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
def test_what_is_taken_is_written(tmp_path: Path, height: int, width: int) -> None:
    frames = ramp(10, height, width)
    path = tmp_path / "a.mp4"
    with previewed(frames, path, 25.0) as source:
        assert (len(source), source.shape, source.ndim, source.size) == (10, frames.shape, 4, frames.size)
        for start in range(0, 10, 4):
            assert (source[start : start + 4] == frames[start : start + 4]).all()
        assert (source[0:4] == frames[0:4]).all()  # taken again, and not written again
        assert not path.exists()
    made = decoded(path)
    assert made.shape == (10, height + height % 2, width + width % 2, 3)
    assert psnr_db(frames, np.ascontiguousarray(made[:, :height, :width])).min() > 35
    info = probe(path)
    assert (info.pixel_format, info.fps) == ("yuv420p", 25.0)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_large_ones_are_made_smaller_and_long_ones_cut(tmp_path: Path) -> None:
    write_preview(ramp(15, 40, 1300), tmp_path / "a.mp4", 1.0)
    assert decoded(tmp_path / "a.mp4").shape == (10, 20, LARGEST_SIDE, 3)
    assert preview_size(1080, 1920) == (360, 640)
    assert preview_size(1921, 1081) == (640, 360)
    assert preview_size(2000, 3) == (640, 2)


def test_without_a_path_frames_are_as_they_are(tmp_path: Path) -> None:
    frames = ramp(2, 16, 16)
    with previewed(frames, None, 25.0) as source:
        assert source is frames
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), previewed(ramp(4, 16, 16), tmp_path / "a.mp4", 25.0) as source:
        source[0:2]
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_preview(ramp(5, 32, 32), tmp_path / f"{name}.mp4", 25.0)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
