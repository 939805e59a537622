"""Framing of streams: bytes made by hand, and what the encoders write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.catalogue import ANCHORS
from boostnerv.config import Anchor
from boostnerv.errors import BitstreamError
from boostnerv.evaluation.anchors import AnchorJob, encode_anchor
from boostnerv.evaluation.framing import framing_bytes
from boostnerv.video.ffmpeg import local_input, running
from tests.evaluation.videos import moving

# A unit begins with its header and ends with a bit that is set; emulation prevention keeps start codes out of it.
units = st.binary(min_size=1).map(lambda data: b"\x67" + data.replace(b"\x00", b"\x05") + b"\x80")


@given(st.lists(st.tuples(st.integers(2, 5), units), min_size=1), st.integers(0, 3))
def test_start_codes_are_counted_with_their_zeros(parts: list[tuple[int, bytes]], trailing: int) -> None:
    stream = b"".join(bytes(zeros) + b"\x01" + unit for zeros, unit in parts) + bytes(trailing)
    assert framing_bytes(stream, "hevc") == sum(zeros + 1 for zeros, _ in parts) + trailing


def test_bytes_against_false_start_codes_are_not_framing() -> None:
    assert framing_bytes(bytes.fromhex("00000001 65 000003 01 80"), "h264") == 4


def obu(kind: int, payload: bytes, *, extension: bytes = b"", length: bytes | None = None) -> bytes:
    header = kind << 3 | bool(extension) << 2 | 2
    return bytes([header]) + extension + (bytes([len(payload)]) if length is None else length) + payload


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (obu(2, b""), 2),
        (obu(2, b"", extension=b"\x08"), 3),
        # A length may have more bytes than it needs.
        (obu(2, b"", length=b"\x80\x00"), 3),
        (obu(2, b"") + obu(1, b"abc") + obu(6, bytes(200), length=b"\xc8\x01") + obu(2, b"") + obu(6, b"x"), 4),
        (obu(1, obu(2, b"")), 0),
        (b"", 0),
    ],
)
def test_temporal_delimiters_are_counted_whole(stream: bytes, expected: int) -> None:
    assert framing_bytes(stream, "obu") == expected


@pytest.mark.parametrize(
    ("stream", "stream_format", "words"),
    [
        (b"", "h264", "start code"),
        (b"\x65\x00\x00\x01", "vvc", "start code"),
        (obu(6, b"abc")[:-1], "obu", "byte 0 of the stream is cut off"),
        (obu(2, b"") + b"\x10", "obu", "no OBU with a length at byte 2"),
        (obu(2, b"") + b"\x92\x00", "obu", "no OBU with a length at byte 2"),
        (b"\x12" + b"\x80" * 9, "obu", "length at byte 1 of the stream does not end"),
        (b"\x12", "obu", "length at byte 1"),
    ],
)
def test_what_is_no_stream_is_refused(stream: bytes, stream_format: str, words: str) -> None:
    with pytest.raises(BitstreamError, match=words):
        framing_bytes(stream, stream_format)


@pytest.mark.usefixtures("brief_decode_timing")
@pytest.mark.parametrize("codec", sorted(name for name, entry in ANCHORS.items() if entry.library))
def test_real_streams_have_the_framing_of_their_pictures(codec: str, tmp_path: Path) -> None:
    frames, path = 9, tmp_path / "stream"
    encode_anchor(moving(frames, 64, 96), AnchorJob(Anchor(codec=codec, qualities=(30,)), 30, 25.0, 1), path)
    stream, stream_format = path.read_bytes(), ANCHORS[codec].stream_format
    found = framing_bytes(stream, stream_format)
    if stream_format == "obu":
        # A shown frame has a temporal unit, which begins with a delimiter of two bytes.
        assert found == 2 * frames
        return
    # ffmpeg's own reader of the stream names every unit of it.
    told: list[str] = []
    graph = local_input(path, f=stream_format).output("pipe:1", f="null", c="copy", **{"bsf:v": "trace_headers"})
    with running(graph, told.append) as process:
        process.finish()
    count = sum(bool(re.search(r"\bnal_unit_type\b", line)) for line in told)
    assert count >= frames
    assert 3 * count < found <= 4 * count
