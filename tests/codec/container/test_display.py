"""Display metadata: the remark in unusual files, and the notes about it."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.codec.container import bitstream
from boostnerv.codec.container.bitstream import DISPLAY, FIELD_ORDERS, PRIMARIES, TRANSFERS, VIDEO, Bitstream, Display
from boostnerv.codec.container.display import display_notes, display_of
from boostnerv.codec.decoder import VideoFile
from boostnerv.config import Preparation
from boostnerv.evaluation.inspection import describe_file, file_text
from boostnerv.video.frames import Manifest
from boostnerv.video.info import SourceInfo
from tests.codec.container import page_reader
from tests.codec.sections import join, split
from tests.golden.streams import paths

PLAIN = paths("hnerv", version=1)[0].read_bytes()
KEEP = {"interlaced": "keep", "sample_aspect": "keep", "hdr": "keep"}


def manifest(source: dict[str, Any] | None, preparation: dict[str, Any] | None) -> Manifest:
    """A manifest of frames whose source has 720×480 pixels by default."""
    usual = {
        "codec": "h264",
        "pixel_format": "yuv420p",
        "bit_depth": 8,
        "width": 720,
        "height": 480,
        "display_width": 720,
        "display_height": 480,
    }
    return Manifest(
        dataset="own",
        video="clip",
        frames=4,
        height=480,
        width=720,
        fps=25,
        pixels_sha256="0" * 64,
        source=None if source is None else SourceInfo.model_validate(usual | source),
        preparation=None if preparation is None else Preparation.model_validate(preparation),
    )


def with_display(display: Display | None) -> bytes:
    stream = bitstream.read(PLAIN)
    return bitstream.write(Bitstream(dataclasses.replace(stream.video, display=display), stream.segments))


@pytest.mark.parametrize(
    ("source", "preparation", "display"),
    [
        ({"sample_aspect": "128:117"}, KEEP, Display(sample_aspect="128:117")),
        ({"sample_aspect": "128:117"}, {"sample_aspect": "square"}, None),
        ({"field_order": "bff"}, KEEP, Display(field_order="bff")),
        ({"field_order": "tff"}, {"interlaced": "deinterlace"}, None),
        (
            {"transfer": "smpte2084", "primaries": "bt2020"},
            KEEP,
            Display(transfer="smpte2084", primaries="bt2020"),
        ),
        ({"transfer": "arib-std-b67", "primaries": "film"}, KEEP, Display(transfer="arib-std-b67")),
        ({"transfer": "bt709", "primaries": "bt2020"}, KEEP, None),
        ({}, KEEP, None),
        (None, KEEP, None),
        ({"sample_aspect": "2:1"}, None, None),
    ],
)
def test_display_of_a_source_coded_as_it_is(
    source: dict[str, Any] | None, preparation: dict[str, Any] | None, display: Display | None
) -> None:
    assert display_of(manifest(source, preparation)) == display


@pytest.mark.parametrize(
    ("size", "aspect"),
    [
        ({"fit": "resize", "height": 480, "width": 640}, "1:1"),  # 8:9 of 720 is 640
        ({"fit": "resize", "height": 240, "width": 720}, "4:9"),
        ({"fit": "crop-center", "height": 240, "width": 320}, "8:9"),
        ({"fit": "crop-resize", "height": 240, "width": 240}, "8:9"),
    ],
)
def test_the_aspect_is_that_of_the_scaled_pixels(size: dict[str, Any], aspect: str) -> None:
    display = display_of(manifest({"sample_aspect": "8:9"}, KEEP | size))
    assert (display or Display()).sample_aspect == aspect


def test_ordinary_files_have_no_remark() -> None:
    assert with_display(None) == PLAIN
    assert bitstream.read(PLAIN).video.display is None


@given(
    st.builds(
        Display,
        sample_aspect=st.builds("{}:{}".format, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)),
        field_order=st.sampled_from([*FIELD_ORDERS.values()]),
        transfer=st.sampled_from([*TRANSFERS.values()]),
        primaries=st.sampled_from([*PRIMARIES.values()]),
    )
)
def test_a_remark_comes_back_and_nothing_else_changes(display: Display) -> None:
    data = with_display(display)
    read = bitstream.read(data)
    assert read.video.display == display
    assert read.segments == bitstream.read(PLAIN).segments
    assert (
        len(data)
        == len(PLAIN) + 9 + 11
        == bitstream.head_bytes(read.video)
        - bitstream.head_bytes(dataclasses.replace(read.video, display=None))
        + len(PLAIN)
    )
    assert [part for part in split(data) if part[0] != DISPLAY] == split(PLAIN)


def test_the_page_describes_the_remark() -> None:
    data = with_display(Display("128:117", "bff", "smpte2084", "bt2020"))
    (payload,) = (payload for number, payload in split(data) if number == DISPLAY)
    values, rest = page_reader.fields("Remark display", payload)
    assert (values, rest) == (
        {"aspect_width": 128, "aspect_height": 117, "field_order": 2, "transfer": 16, "primaries": 9},
        b"",
    )
    for words in ("One remark is defined, 128 `display`", "2 `bff`", "16 `smpte2084`", "9 `bt2020`"):
        assert words in page_reader.PAGE


GOOD = struct.pack("<IIBBB", 128, 117, 0, 2, 2)


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", GOOD[:-1], GOOD + b"\0", struct.pack("<IIBBB", 0, 117, 0, 2, 2), struct.pack("<IIBBB", 128, 0, 0, 2, 2)),
        *(struct.pack("<IIBBB", 128, 117, *codes) for codes in ((3, 2, 2), (0, 1, 2), (0, 2, 255))),
    ],
)
def test_invalid_remarks_are_skipped(payload: bytes) -> None:
    video, *rest = split(PLAIN)
    assert video[0] == VIDEO
    read = bitstream.read(join([video, (DISPLAY, payload), *rest]))
    assert read == bitstream.read(PLAIN)
    # The first valid one counts, wherever it is.
    read = bitstream.read(join([video, (DISPLAY, payload), *rest, (DISPLAY, GOOD)]))
    assert read.video.display == Display("128:117")


def test_notes_name_what_decoded_videos_get_wrong(tmp_path: Path) -> None:
    assert display_notes(None, 480, 720) == []
    display = Display("8:9", "tff", "smpte2084", "bt2020")
    notes = display_notes(display, 480, 720)
    assert notes == [
        "the pixel aspect is 8:9, but decoded videos claim square pixels; "
        "`ffmpeg -i DECODED -c copy -aspect 4:3 CORRECTED` corrects that",
        "values are HDR (transfer smpte2084, primaries bt2020), but decoded videos claim BT.709; "
        "`ffmpeg -i DECODED -c copy -color_primaries bt2020 -color_trc smpte2084 CORRECTED` corrects that",
        "frames are interlaced (tff), but decoded videos claim progressive",
    ]
    path = tmp_path / "x.bnv"
    path.write_bytes(with_display(display))
    video = VideoFile(path)
    assert video.notes == display_notes(display, video.height, video.width)
    described = describe_file(path)
    assert described["display"] == dataclasses.asdict(display)
    assert sum(described["sections"].values()) == path.stat().st_size
    assert file_text(described).splitlines()[-3:] == [f"  note: {note}" for note in video.notes]
    path.write_bytes(PLAIN)
    assert VideoFile(path).notes == describe_file(path)["notes"] == []
    assert "note:" not in file_text(describe_file(path))
