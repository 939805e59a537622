"""Every anchor encodes and decodes for real, at sizes that take a blink."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from boostnerv import provenance, steps
from boostnerv.catalogue import ANCHORS
from boostnerv.config import Anchor
from boostnerv.errors import UserError
from boostnerv.evaluation import decode_speed
from boostnerv.evaluation.anchor_streams import GOP_FRAMES, encoder_version
from boostnerv.evaluation.anchors import (
    AnchorJob,
    AnchorMeasures,
    anchor_name,
    check_anchor,
    decoded_frames,
    encode_anchor,
    write_anchor,
)
from boostnerv.evaluation.framing import framing_bytes
from boostnerv.evaluation.points import collect
from boostnerv.video.ffmpeg import binary
from boostnerv.video.frames import write_frames
from tests.evaluation.test_yuv import ramp, written
from tests.evaluation.videos import counting, moving

CODECS = sorted(name for name, entry in ANCHORS.items() if entry.library)

pytestmark = pytest.mark.usefixtures("brief_decode_timing")


def encoded(tmp_path: Path, pixels, codec: str, quality: int, threads: int = 1, **settings: str):
    anchor = Anchor(codec=codec, qualities=(quality,), **settings)
    return encode_anchor(pixels, AnchorJob(anchor, quality, 25.0, threads), tmp_path / f"{codec}-{quality}.bin")


@pytest.mark.parametrize("codec", CODECS)
def test_a_higher_number_is_a_smaller_and_worse_file(codec: str, tmp_path: Path) -> None:
    pixels = moving(8, 64, 96)
    fine, coarse = (encoded(tmp_path, pixels, codec, quality) for quality in (20, 40))
    assert fine.file_bytes > coarse.file_bytes > 0
    assert fine.measured.psnr_db > coarse.measured.psnr_db > 20
    # The limit is what 4:2:0 leaves of this noise, not the encoder.
    assert fine.measured.psnr_db > 33
    assert fine.file_bytes == (tmp_path / f"{codec}-20.bin").stat().st_size
    assert fine.bpp == 8 * fine.file_bytes / (8 * 64 * 96)


@pytest.mark.parametrize("codec", CODECS)
def test_odd_sizes_come_back_as_they_went_in(codec: str, tmp_path: Path) -> None:
    point = encoded(tmp_path, moving(5, 33, 47), codec, 20)
    assert (point.frames, point.height, point.width) == (5, 33, 47)
    assert len(point.measured.frame_psnr_db) == 5
    assert point.measured.psnr_db > 33
    assert point.bpp == 8 * point.file_bytes / (5 * 33 * 47)
    assert "48x34" in point.command


@pytest.mark.parametrize("codec", CODECS)
def test_frames_keep_their_order_and_their_levels(codec: str, tmp_path: Path) -> None:
    # Another order or a shift of colours by three levels would be below 38 dB.
    point = encoded(tmp_path, counting(8, 64, 64), codec, 20)
    assert min(point.measured.frame_psnr_db) > 40


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_settings_give_the_same_file(codec: str, tmp_path: Path) -> None:
    pixels = moving(6, 64, 96)
    files = []
    for _ in range(2):
        encoded(tmp_path, pixels, codec, 30, threads=2)
        files.append((tmp_path / f"{codec}-30.bin").read_bytes())
    assert files[0] == files[1]
    assert [path.name for path in tmp_path.iterdir()] == [f"{codec}-30.bin"]


@pytest.mark.parametrize("codec", ["x264", "x265"])
def test_no_text_about_the_encoder_is_counted(codec: str, tmp_path: Path) -> None:
    encoded(tmp_path, moving(2, 64, 64), codec, 30)
    assert b"options:" not in (tmp_path / f"{codec}-30.bin").read_bytes()


def test_full_chroma_is_better_and_needs_no_padding(tmp_path: Path) -> None:
    point = encoded(tmp_path, moving(3, 33, 47), "x264", 0, pixel_format="yuv444p")
    assert point.measured.psnr_db > 50
    assert "47x33" in point.command
    assert point.run == "x264-q0-yuv444p"


@pytest.mark.parametrize("codec", CODECS)
def test_the_command_repeats_the_file(codec: str, tmp_path: Path) -> None:
    pixels = moving(4, 64, 96)
    point = encoded(tmp_path, pixels, codec, 30)
    assert str(tmp_path) not in point.command + point.decode_command
    name = f"{codec}-30.bin"
    words = re.findall(r"'[^']*'|\S+", point.command)
    arguments = [binary(), *words[1:-1], str(tmp_path / "again.bin")]
    assert words[-1] == name
    subprocess.run(arguments, input=pixels.tobytes(), check=True, capture_output=True)
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(("codec", "library"), [(codec, ANCHORS[codec].library) for codec in CODECS])
def test_versions_name_ffmpeg_and_the_library(codec: str, library: str) -> None:
    assert re.fullmatch(rf"ffmpeg \S+, {library} v?\d\S*", encoder_version(codec))


def test_colours_keep_their_mean_level(tmp_path: Path) -> None:
    pixels = moving(2, 64, 96)
    encoded(tmp_path, pixels, "x264", 0)
    decoded = np.stack(decoded_frames(tmp_path / "x264-0.bin", Anchor(codec="x264", qualities=(0,)), (64, 96), [0, 1]))
    # Without accurate interpolation of chroma all levels come back one or two lower.
    assert np.abs(decoded.mean((0, 1, 2)) - pixels.mean((0, 1, 2))).max() < 0.15


def test_names_differ_where_settings_differ() -> None:
    anchors = [
        Anchor(codec="x265", qualities=(28,)),
        Anchor(codec="x265", qualities=(28,), preset="fast"),
        Anchor(codec="x265", qualities=(28,), pixel_format="yuv420p10le"),
        Anchor(codec="vvenc", qualities=(28,)),
    ]
    names = [anchor_name(anchor, 28) for anchor in anchors]
    assert names == ["x265-q28", "x265-q28-fast", "x265-q28-yuv420p10le", "vvenc-q28"]


def test_settings_that_went_through_json_mean_the_same(tmp_path: Path) -> None:
    anchor = Anchor(codec="vvenc", qualities=(30,))
    again = Anchor.model_validate(anchor.model_dump(mode="json"))
    check_anchor(again)
    point = encode_anchor(moving(2, 64, 64), AnchorJob(again, 30, 25.0, 1), tmp_path / "v.vvc")
    # VVenC has no 8 bits.
    assert (point.run, point.pixel_format) == ("vvenc-q30", "yuv420p10le")


def test_json_becomes_a_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_speed, "_ENOUGH_S", 0.4)  # the speed is compared below
    point = encoded(tmp_path, moving(3, 64, 64), "x264", 30)
    extra = {"experiment": "e", "dataset": "d", "video": "v", "frames_sha256": "0" * 64}
    write_anchor(point, tmp_path / "x264-30.json", extra)
    assert json.loads((tmp_path / "x264-30.json").read_text())["preset"] == "veryslow"
    (row,) = collect([tmp_path / "x264-30.json"])
    assert (row["kind"], row["codec"], row["run"], row["size_label"]) == (
        "anchor",
        "x264",
        "x264-q30",
        "crf 30",
    )
    assert (row["file_bytes"], row["psnr_db"]) == (point.file_bytes, point.measured.psnr_db)
    assert row["threads"] == 1
    assert (row["preset"], row["pixel_format"]) == ("veryslow", "yuv420p")
    assert row["device"] == row["decode_device"] == provenance.processor()
    assert row["decode_threads"] == 1
    assert row["overhead_bytes"] == framing_bytes((tmp_path / "x264-30.bin").read_bytes(), "h264")
    # The encoder alone, not this process, which has torch.
    assert 10 < float(str(row["peak_memory_mib"])) < 200
    # Three small frames are decoded in a fraction of the time that ffmpeg takes to start.
    assert float(str(row["decode_compute_fps"])) > 3 * float(str(row["decode_fps"]))
    assert float(str(row["decode_warm_fps"])) > 3 * float(str(row["decode_fps"]))
    assert str(row["encoder_version"]).startswith("ffmpeg ")


def test_the_step_says_how_many_frames_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(moving(3, 64, 64), tmp_path / "x.npy", dataset="d", video="v")
    anchor = Anchor(codec="x264", qualities=(30,))
    written = steps.AnchorFiles(
        frames=tmp_path / "x.json", stream=tmp_path / "x.h264", output=tmp_path / "x264-q30.json"
    )
    steps.encode_anchor(written, anchor, 30, "e", threads=1)
    assert "encoding at 1 of 3 frames" in capsys.readouterr().err


def test_x265_predicts_across_its_key_frames(tmp_path: Path) -> None:
    count = GOP_FRAMES + 12
    encoded(tmp_path, moving(count, 64, 64), "x265", 30, preset="medium")
    stream = (tmp_path / "x265-30.bin").read_bytes()
    kinds = [byte[0] >> 1 & 63 for byte in re.findall(rb"\x00\x00\x01(.)", stream, re.DOTALL)]
    pictures = [kind for kind in kinds if kind < 32]
    assert len(pictures) == count
    # One IDR (19 or 20) at the beginning, then a CRA (21) with leading pictures that need what is before it (8, 9).
    assert [kind for kind in pictures if kind >= 16] == [pictures[0], 21]
    assert pictures[0] in (19, 20)
    assert {8, 9} & set(pictures[pictures.index(21) :])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"codec": "svt-av1", "qualities": (30,), "pixel_format": "yuv444p"}, ["yuv420p or yuv420p10le"]),
        ({"codec": "vvenc", "qualities": (30,), "pixel_format": "yuv444p"}, ["vvenc", "yuv420p10le"]),
        ({"codec": "x264", "qualities": (30, 60)}, ["quality 60", "0 to 51", "crf"]),
    ],
)
def test_what_a_codec_cannot_do_is_refused_before_any_work(settings, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check_anchor(Anchor(**settings))
    assert all(word in str(caught.value) for word in words)


def test_what_the_encoder_refuses_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vvenc on 2 frames of 16x16.*Error submitting video frame"):
        encoded(tmp_path, moving(2, 16, 16), "vvenc", 30)
    with pytest.raises(UserError, match=r"x264 on 2 frames of 16x16.*preset"):
        encoded(tmp_path, moving(2, 16, 16), "x264", 30, preset="quickly")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_encoder_is_named_with_what_there_is(tmp_path: Path, monkeypatch) -> None:
    # A program that answers like an ffmpeg that was built with x264 alone.
    poor = tmp_path / "ffmpeg"
    poor.write_text("#!/bin/sh\necho 'ffmpeg version 9.0 of nobody'\necho ' ------'\necho ' V....D libx264  H.264'\n")
    poor.chmod(poor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FFMPEG_BINARY", os.fspath(poor))
    with pytest.raises(UserError, match=r"no encoder libx265.*'x265'.*it can do: x264\. Set FFMPEG_BINARY"):
        check_anchor(Anchor(codec="x265", qualities=(28,)))


def test_an_option_that_an_encoder_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {**ANCHORS, "x264": replace(ANCHORS["x264"], preset_option="cpu-used")}
    monkeypatch.setattr("boostnerv.evaluation.anchor_streams.ANCHORS", entries)
    with pytest.raises(
        UserError, match=r"encoder libx264 of this ffmpeg takes no option 'cpu-used', which anchor 'x264'"
    ):
        check_anchor(Anchor(codec="x264", qualities=(30,)))


@pytest.mark.parametrize("codec", CODECS)
def test_every_row_names_options_that_its_encoder_takes(codec: str) -> None:
    check_anchor(Anchor(codec=codec, qualities=(30,)))


@pytest.mark.parametrize("codec", ["x264", "x265"])
def test_chosen_frames_of_a_stream_are_those_that_were_measured(codec: str, tmp_path: Path) -> None:
    pixels = moving(6, 33, 47)
    point = encoded(tmp_path, pixels, codec, 30)
    stream = tmp_path / f"{codec}-30.bin"
    order = [4, 0, 4, 5]
    anchor = Anchor(codec=codec, qualities=(30,))
    frames = decoded_frames(stream, anchor, (33, 47), order)
    assert [frame.shape for frame in frames] == [(33, 47, 3)] * 4
    measured = [psnr_of(pixels[index], frame) for index, frame in zip(order, frames, strict=True)]
    assert measured == pytest.approx([point.measured.frame_psnr_db[index] for index in order])
    with pytest.raises(UserError, match=r"does not have the frames \[2, 6\]"):
        decoded_frames(stream, anchor, (33, 47), [6, 2])
    stream.write_bytes(b"")
    with pytest.raises(UserError, match="run the step 'encode-anchor' again"):
        decoded_frames(stream, anchor, (33, 47), [0])


def psnr_of(source, frame) -> float:
    return float(10 * np.log10(255**2 / np.square(source.astype(float) - frame).mean()))


@pytest.mark.parametrize(
    ("colour", "tag"), [("ffmpeg-default", "smpte170m"), ("bt601-float", "smpte170m"), ("bt709-float", "bt709")]
)
def test_planes_are_coded_as_they_are(colour: str, tag: str, tmp_path: Path) -> None:
    """Without loss nothing is between them and the source; they become the frames of their profile again."""
    codes = ramp(8)
    codes[:, 16:] += np.arange(0, 48, 6).reshape(8, 1) % 16  # U and V that differ from row to row
    frames, planes = written(tmp_path / "a", codes, 8, colour)
    anchor = Anchor(codec="x264", qualities=(0,), source="yuv420")
    point = encode_anchor(
        frames.pixels, AnchorJob(anchor, 0, 25.0, 1), tmp_path / "a.h264", AnchorMeasures(planes=planes)
    )
    assert (point.run, point.source) == ("x264-q0-yuv420", "yuv420")
    assert f"colorspace {tag}" in point.command
    yuv = point.measured.yuv
    assert yuv is not None
    assert yuv.summary() == pytest.approx(
        {"psnr_y_db": 90, "psnr_u_db": 90, "psnr_v_db": 90, "psnr_yuv_db": 90, "yuv_bits": 8}
    )
    assert point.measured.psnr_db == pytest.approx(90)
    write_anchor(point, tmp_path / "a.json", {"colour": colour})
    value = json.loads((tmp_path / "a.json").read_text())
    assert (value["source"], value["psnr_y_db"]) == ("yuv420", yuv.summary()["psnr_y_db"])


def test_ten_bits_stay_ten(tmp_path: Path) -> None:
    frames, planes = written(tmp_path / "a", ramp(10), 10)
    settings = {"codec": "x264", "qualities": (0,), "pixel_format": "yuv420p10le"}
    found = {}
    for source in ("yuv420", "rgb"):
        anchor = Anchor(**settings, source=source)
        point = encode_anchor(
            frames.pixels, AnchorJob(anchor, 0, 25.0, 1), tmp_path / "a.h264", AnchorMeasures(planes=planes)
        )
        assert point.measured.yuv is not None
        assert point.measured.yuv.bits == 10
        found[source] = point.measured.yuv.summary()["psnr_yuv_db"]
    # What goes through 8-bit RGB loses codes on the way.
    assert found["yuv420"] > found["rgb"] + 3


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_takes_planes(codec: str, tmp_path: Path) -> None:
    frames, planes = written(tmp_path / "a", np.repeat(np.repeat(ramp(8), 2, axis=1), 2, axis=2), 8)
    anchor = Anchor(codec=codec, qualities=(20,), source="yuv420")
    point = encode_anchor(
        frames.pixels, AnchorJob(anchor, 20, 25.0, 1), tmp_path / "a.bin", AnchorMeasures(planes=planes)
    )
    assert point.measured.yuv is not None
    assert point.measured.yuv.summary()["psnr_yuv_db"] > 38
    assert point.measured.psnr_db > 35
    assert point.run.endswith("-yuv420")


def test_an_anchor_of_rgb_is_measured_against_planes_too(tmp_path: Path) -> None:
    frames, planes = written(tmp_path / "a", ramp(8), 8)
    anchor = Anchor(codec="x264", qualities=(10,))
    point = encode_anchor(
        frames.pixels, AnchorJob(anchor, 10, 25.0, 1), tmp_path / "a.h264", AnchorMeasures(planes=planes)
    )
    assert (point.run, point.source) == ("x264-q10", "rgb")
    assert point.measured.yuv is not None
    assert point.measured.yuv.summary()["psnr_y_db"] > 40


def test_planes_that_are_missing_or_deeper_are_told(tmp_path: Path) -> None:
    frames, planes = written(tmp_path / "a", ramp(10), 10)
    anchor = Anchor(codec="x265", qualities=(20,), source="yuv420")
    with pytest.raises(UserError, match="needs the planes of the source.*--planes"):
        encode_anchor(frames.pixels, AnchorJob(anchor, 20, 25.0, 1), tmp_path / "a.hevc")
    with pytest.raises(UserError, match="have 10 bits, more than anchor 'x265' would keep"):
        encode_anchor(frames.pixels, AnchorJob(anchor, 20, 25.0, 1), tmp_path / "a.hevc", AnchorMeasures(planes=planes))
    with pytest.raises(ValidationError, match="has no full chroma"):
        Anchor(codec="x265", qualities=(20,), source="yuv420", pixel_format="yuv444p")
