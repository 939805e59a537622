"""Anchors that are programs of their own: Debian's x265 and SVT-AV1 for real, and programs that fail."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from boostnerv.catalogue import ANCHORS
from boostnerv.config import Anchor
from boostnerv.errors import UserError
from boostnerv.evaluation.anchor_streams import encoder_version
from boostnerv.evaluation.anchors import (
    AnchorJob,
    AnchorMeasures,
    AnchorPoint,
    check_anchor,
    decoded_frames,
    encode_anchor,
)
from boostnerv.evaluation.framing import framing_bytes
from tests.evaluation.test_yuv import ramp, written
from tests.evaluation.videos import moving

PROGRAMS = ["x265-program", "svt-av1-program"]
FAST = {"x265-program": "veryfast", "svt-av1-program": "10"}


def coded(tmp_path: Path, codec: str, quality: int, pixels=None, threads: int = 1) -> AnchorPoint:
    anchor = Anchor(codec=codec, qualities=(quality,), preset=FAST.get(codec, ""))
    pixels = moving(8, 66, 94) if pixels is None else pixels
    return encode_anchor(pixels, AnchorJob(anchor, quality, 25.0, threads), tmp_path / f"{quality}.stream")


@pytest.mark.parametrize("codec", PROGRAMS)
def test_a_program_codes_and_its_file_decodes(codec: str, tmp_path: Path) -> None:
    fine, coarse = (coded(tmp_path, codec, quality) for quality in (20, 45))
    assert fine.file_bytes > coarse.file_bytes > 0
    assert fine.measured.psnr_db > coarse.measured.psnr_db > 20
    assert fine.measured.psnr_db > 30
    assert len(fine.measured.frame_psnr_db) == 8
    assert fine.file_bytes == (tmp_path / "20.stream").stat().st_size
    assert fine.overhead_bytes == framing_bytes((tmp_path / "20.stream").read_bytes(), ANCHORS[codec].stream_format)
    assert 0 < fine.overhead_bytes < fine.file_bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["20.stream", "45.stream"]
    assert ANCHORS[codec].program.encode[0] in fine.command
    assert str(tmp_path) not in fine.command + fine.decode_command


@pytest.mark.parametrize("codec", PROGRAMS)
def test_odd_sizes_ten_bits_and_chosen_frames(codec: str, tmp_path: Path) -> None:
    pixels = moving(6, 65, 93)
    anchor = Anchor(codec=codec, qualities=(20,), preset=FAST[codec], pixel_format="yuv420p10le")
    stream = tmp_path / "a.stream"
    point = encode_anchor(pixels, AnchorJob(anchor, 20, 30000 / 1001, 1), stream)
    assert (point.height, point.width, point.pixel_format) == (65, 93, "yuv420p10le")
    assert point.measured.psnr_db > 30
    frames = decoded_frames(stream, anchor, (65, 93), [4, 1])
    errors = [np.square(pixels[k].astype(float) - frame).mean() for k, frame in zip((4, 1), frames, strict=True)]
    assert 10 * np.log10(255**2 / np.array(errors)) == pytest.approx(
        [point.measured.frame_psnr_db[4], point.measured.frame_psnr_db[1]]
    )


@pytest.mark.parametrize("codec", PROGRAMS)
def test_a_program_codes_planes_as_they_are(codec: str, tmp_path: Path) -> None:
    frames, planes = written(tmp_path / "a", np.repeat(np.repeat(ramp(8), 4, axis=1), 4, axis=2), 8)
    anchor = Anchor(codec=codec, qualities=(15,), preset=FAST[codec], source="yuv420")
    measures = AnchorMeasures(planes=planes)
    point = encode_anchor(frames.pixels, AnchorJob(anchor, 15, 25.0, 1), tmp_path / "a.bin", measures)
    assert point.measured.yuv is not None
    assert point.measured.yuv.summary()["psnr_yuv_db"] > 38


@pytest.mark.parametrize("codec", PROGRAMS)
def test_versions_name_the_program(codec: str) -> None:
    ffmpeg, _, program = encoder_version(codec).partition(", ")
    assert ffmpeg.startswith("ffmpeg ")
    name, _, version = program.partition(" ")
    assert name == ANCHORS[codec].program.encode[0]
    assert version[0].isdigit()


@pytest.mark.parametrize("codec", ["hm", "vtm"])
def test_a_missing_program_is_a_sentence(codec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program = ANCHORS[codec].program.encode[0]
    with pytest.raises(
        UserError, match=rf"^anchor '{codec}' needs the program {program}, which is not in PATH; install"
    ):
        check_anchor(Anchor(codec=codec, qualities=(30,)))


def script(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_program_that_fails_is_a_sentence_with_its_last_words(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(
        UserError, match=r"^x265 could not code 8 frames of 66x94 \(exit code \d+\): .+; check the preset"
    ):
        encode_anchor(
            moving(8, 66, 94),
            AnchorJob(Anchor(codec="x265-program", qualities=(30,), preset="quickly"), 30, 25.0, 1),
            tmp_path / "a.stream",
        )
    assert list(tmp_path.iterdir()) == []
    programs = tmp_path / "bin"
    programs.mkdir()
    script(programs, "x265", "echo no licence >&2; exit 3")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=r"^x265 could not code 8 frames of 66x94 \(exit code 3\): no licence; check"):
        coded(tmp_path, "x265-program", 30)
    script(programs, "x265", "exit 0")
    with pytest.raises(UserError, match=r"^x265 wrote nothing for anchor 'x265-program'"):
        coded(tmp_path, "x265-program", 30)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_a_wrong_number_of_frames_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    # A decoder that loses all frames but three.
    script(programs, "SvtAv1DecApp", f'head -c {3 * 66 * 94 * 3 // 2} /dev/zero > "$4"')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=r"decodes to 3 frames, but 8 went in .*; try another version of its decoder$"):
        coded(tmp_path, "svt-av1-program", 30)
