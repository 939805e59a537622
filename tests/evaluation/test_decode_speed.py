"""Copies of a stream are a stream, and their time beyond one copy is that of their frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boostnerv.catalogue import ANCHORS
from boostnerv.config import Anchor
from boostnerv.evaluation import decode_speed
from boostnerv.evaluation.anchors import AnchorJob, encode_anchor
from boostnerv.evaluation.decode_speed import steady_fps
from boostnerv.video.ffmpeg import local_input, run
from tests.evaluation.videos import moving


@pytest.mark.parametrize("codec", sorted(name for name, entry in ANCHORS.items() if entry.library))
def test_copies_decode_to_all_their_frames(codec: str, tmp_path: Path) -> None:
    stream = tmp_path / "one"
    point = encode_anchor(moving(5, 64, 96), AnchorJob(Anchor(codec=codec, qualities=(30,)), 30, 25.0, 1), stream)
    (tmp_path / "many").write_bytes(stream.read_bytes() * 7)
    source = local_input(tmp_path / "many", f=ANCHORS[codec].stream_format)
    grey = run(source.output("pipe:1", f="rawvideo", pix_fmt="gray", fps_mode="passthrough")).stdout
    assert len(grey) == 7 * 5 * 64 * 96
    assert point.decode_compute_fps > 0


@pytest.mark.parametrize(("start_s", "frame_s"), [(0.04, 0.001), (0.04, 0.1), (0.5, 0.5)])
def test_the_start_does_not_count(
    start_s: float, frame_s: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a stream of a byte a frame, and a decoder whose times are known."""

    def wall_s(stream: Any) -> float:
        return start_s + frame_s * stream.stat().st_size

    monkeypatch.setattr(decode_speed, "_wall_s", wall_s)
    stream = tmp_path / "stream"
    stream.write_bytes(bytes(10))
    found = steady_fps(stream, 10, lambda path: path)
    if start_s + 10 * frame_s > 2:
        assert found == pytest.approx(10 / (start_s + 10 * frame_s))
    else:
        assert found == pytest.approx(1 / frame_s)
    assert [path.name for path in tmp_path.iterdir()] == ["stream"]
