"""Options of the command line that say how sources are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.config import Preparation, RawVideo
from boostnerv.errors import UserError
from boostnerv.video.options import check_layout, parse_preparation, parse_raw


def test_preparations() -> None:
    assert parse_preparation([]) == Preparation()
    pairs = ["frame_count=100", "fit=resize", "height=180", "width=320", "interlaced=deinterlace"]
    wanted = Preparation(frame_count=100, fit="resize", height=180, width=320, interlaced="deinterlace")
    assert parse_preparation(pairs) == wanted
    for pair, sentence in (
        ("frame_count", "--prepare frame_count has no '='; write it as KEY=VALUE"),
        ("frames=3", "--prepare: unknown key 'frames'"),
        ("frame_count=-1", "--prepare: 'frame_count'"),
        ("frame_count=all", "--prepare: 'frame_count'"),
    ):
        with pytest.raises(UserError, match=sentence):
            parse_preparation([pair])


def test_what_no_pair_gives_is_as_otherwise() -> None:
    otherwise = Preparation(interlaced="keep", hdr="keep")
    assert parse_preparation([], otherwise) == otherwise
    found = parse_preparation(["interlaced=refuse", "frame_count=2"], otherwise)
    assert found == Preparation(interlaced="refuse", hdr="keep", frame_count=2)
    # What nobody gave is told from what was given.
    assert found.model_fields_set == {"interlaced", "hdr", "frame_count"}


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("1920x1080,yuv420p,120", (1920, 1080, "yuv420p", 120.0)),
        ("31x17,yuv420p10le,23.976", (31, 17, "yuv420p10le", 23.976)),
        ("64x48,gray,30000/1001", (64, 48, "gray", 30000 / 1001)),
    ],
)
def test_layouts(text: str, layout: tuple[int, int, str, float]) -> None:
    width, height, pixel_format, fps = layout
    assert parse_raw(text) == RawVideo(width=width, height=height, pixel_format=pixel_format, fps=fps)


@given(st.integers(1, 9999), st.integers(1, 9999), st.sampled_from(["yuv420p", "nv12"]), st.integers(1, 240))
def test_any_layout_comes_back(width: int, height: int, pixel_format: str, fps: int) -> None:
    found = parse_raw(f"{width}x{height},{pixel_format},{fps}")
    assert (found.width, found.height, found.pixel_format, found.fps) == (width, height, pixel_format, fps)


@pytest.mark.parametrize(
    "text",
    [
        *("", "1920x1080", "1920x1080,yuv420p", "1920,1080,yuv420p,25", "1920x1080,yuv420p,25,1", "-2x4,gray,25"),
        *("2x4,gray,nan", "2x4,gray,inf", "2x4,gray,-25", "2x4,gray,1e400", "2x4,gray,25/0", "2x4, gray, 25"),
    ],
)
def test_texts_that_are_no_layout(text: str) -> None:
    sentence = f"--raw {text} is not a layout; write it as WIDTHxHEIGHT,PIXEL_FORMAT,FPS, e.g. 1920x1080,yuv420p,120"
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        parse_raw(text)


def test_numbers_that_are_none_of_a_layout() -> None:
    for text, key in (("0x4,gray,25", "width"), ("2x0,gray,25", "height"), ("2x4,gray,0", "fps")):
        with pytest.raises(UserError, match=f"--raw {text}: '{key}': input should be greater than 0"):
            parse_raw(text)


def test_a_layout_goes_with_a_headerless_video(tmp_path: Path) -> None:
    raw, plain, folder = (
        RawVideo(width=2, height=4, pixel_format="gray", fps=25),
        tmp_path / "a.mp4",
        tmp_path / "f.yuv",
    )
    folder.mkdir()
    check_layout([plain, folder], None)
    check_layout([plain, tmp_path / "a.YUV"], raw)
    with pytest.raises(
        UserError, match=r"a\.YUV has no header; give its layout with --raw WIDTHxHEIGHT,PIXEL_FORMAT,FPS"
    ):
        check_layout([plain, tmp_path / "a.YUV"], None)
    for sources in ([plain], [folder], []):
        with pytest.raises(UserError, match="--raw is the layout of headerless .yuv files, and none is given"):
            check_layout(sources, raw)
