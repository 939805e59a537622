"""VMAF of real frames through the real filter."""

from __future__ import annotations

import csv
import json
import os
import stat
import tempfile
from pathlib import Path

import ffmpeg
import numpy as np
import pytest

from boostnerv.config import Anchor
from boostnerv.errors import UserError
from boostnerv.evaluation.anchors import AnchorJob, AnchorMeasures, encode_anchor
from boostnerv.evaluation.measure import measure, write_quality
from boostnerv.evaluation.metrics import Frames
from boostnerv.evaluation.vmaf import SMALLEST_SIDE, VmafMeter
from boostnerv.video.ffmpeg import run
from tests.evaluation.videos import moving

pytestmark = pytest.mark.usefixtures("brief_decode_timing")


def noisy(pixels: Frames, amount: int) -> Frames:
    noise = np.random.default_rng(1).integers(-amount, amount + 1, pixels.shape)
    return np.clip(pixels.astype(int) + noise, 0, 255).astype(np.uint8)


def vmaf(reference: Frames, test: Frames, **settings: object) -> tuple[float, ...]:
    with VmafMeter(**settings) as meter:  # type: ignore[arg-type]
        meter.feed(reference, test)
        return meter.values()


def test_more_noise_is_worse_and_none_is_best() -> None:
    pixels = moving(5, 64, 96)
    same, little, much = (np.array(vmaf(pixels, noisy(pixels, amount))) for amount in (0, 10, 40))
    assert (same > 97).all()
    assert (same[1:] == 100).all()
    assert (same > little).all()
    assert (little > much).all()


def test_values_are_those_of_two_files(tmp_path: Path) -> None:
    """The filter on the same frames as files that were converted to YUV one by one."""
    reference = moving(4, 66, 94)
    test = noisy(reference, 20)
    sources = []
    for name, frames in (("test", test), ("reference", reference)):
        raw = ffmpeg.input("pipe:0", f="rawvideo", pix_fmt="rgb24", s="94x66", r=25)
        to_yuv = (
            "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:out_chroma_loc=left"
            ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=yuv420p"
        )
        run(raw.output(str(tmp_path / f"{name}.y4m"), vf=to_yuv), stdin=frames.tobytes())
        sources.append(ffmpeg.input(str(tmp_path / f"{name}.y4m")))
    log = tmp_path / "vmaf.json"
    run(ffmpeg.filter(sources, "libvmaf", log_fmt="json", log_path=str(log)).output("pipe:1", f="null"))
    expected = [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]
    assert vmaf(reference, test) == tuple(expected)


def test_neither_threads_nor_batches_nor_the_name_of_the_folder_matter(tmp_path: Path, monkeypatch) -> None:
    reference = moving(7, 33, 47)
    test = noisy(reference, 20)
    odd = tmp_path / "it's [one]: a, b"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    assert vmaf(reference, test, threads=3) == vmaf(reference, test)
    with VmafMeter() as meter:
        assert measure(reference, test, vmaf=meter).frame_vmaf == vmaf(reference, test)
    assert list(odd.iterdir()) == []


def test_every_video_is_begun_anew() -> None:
    reference = moving(7, 64, 64)
    test = noisy(reference, 20)
    alone = [vmaf(reference[part], test[part]) for part in (slice(0, 3), slice(3, 7))]
    assert vmaf(reference, test, starts=(0, 3)) == (*alone[0], *alone[1])
    assert vmaf(reference, test) != (*alone[0], *alone[1])


def test_values_stand_in_both_files(tmp_path: Path) -> None:
    reference = moving(3, 64, 64)
    with VmafMeter() as meter:
        quality = measure(reference, noisy(reference, 20), vmaf=meter)
    assert quality.frame_vmaf is not None
    assert quality.part(range(1, 3)).frame_vmaf == quality.frame_vmaf[1:]
    write_quality(quality, tmp_path / "quality.json", tmp_path / "frames.csv", {})
    found = json.loads((tmp_path / "quality.json").read_text())["vmaf"]
    assert found == quality.vmaf == pytest.approx(np.mean(quality.frame_vmaf))
    with open(tmp_path / "frames.csv", newline="") as file:
        assert tuple(float(row["vmaf"]) for row in csv.DictReader(file)) == quality.frame_vmaf
    assert "vmaf" not in measure(reference, reference).summary()


def test_anchors_have_it_where_it_is_asked_for(tmp_path: Path) -> None:
    pixels, anchor = moving(4, 64, 64), Anchor(codec="x264", qualities=(10, 45))
    fine, coarse = (
        encode_anchor(
            pixels, AnchorJob(anchor, quality, 25.0, 1), tmp_path / "stream", AnchorMeasures(vmaf=True)
        ).measured.vmaf
        for quality in anchor.qualities
    )
    assert fine is not None
    assert coarse is not None
    assert fine > coarse


def test_frames_that_are_too_small_are_refused() -> None:
    small = moving(2, SMALLEST_SIDE - 1, 64)
    with pytest.raises(UserError, match="VMAF needs 17 pixels or more on both sides, and these frames have 16x64"):
        vmaf(small, small)
    enough = moving(2, SMALLEST_SIDE, SMALLEST_SIDE)
    assert len(vmaf(enough, enough)) == 2


def test_an_ffmpeg_without_it_is_named(tmp_path: Path, monkeypatch) -> None:
    poor = tmp_path / "ffmpeg"
    poor.write_text("#!/bin/sh\necho 'ffmpeg version 9.0 of nobody'\necho ' .. psnr              VV->V      PSNR.'\n")
    poor.chmod(poor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FFMPEG_BINARY", os.fspath(poor))
    with pytest.raises(UserError, match=r"this ffmpeg \(9.0\) has no filter libvmaf, which VMAF needs; set"):
        VmafMeter()
