"""PSNR of planes by hand, and of RGB frames against the planes they are of."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from boostnerv.config import ExtractJob, PathSource, Preparation, RawVideo, VideoSpec
from boostnerv.errors import UserError
from boostnerv.evaluation.measure import measure, write_quality
from boostnerv.evaluation.yuv import check_planes, measure_planes, measure_rgb, plane_psnr_db
from boostnerv.files import read_json
from boostnerv.video.colour import planar_format, sample_type
from boostnerv.video.frames import Frames, extract_frames, open_frames
from boostnerv.video.planes import Planes, extract_planes, open_planes


def written(folder: Path, codes: np.ndarray, bits: int, colour: str = "bt709-float") -> tuple[Frames, Planes]:
    """Frames and planes of a headerless file of codes [T, H · 3/2, W]."""
    folder.mkdir(exist_ok=True)
    source = folder / "source.yuv"
    source.write_bytes(codes.astype(sample_type(bits)).tobytes())
    height, width = codes.shape[1] * 2 // 3, codes.shape[2]
    raw = RawVideo(width=width, height=height, pixel_format=planar_format("420", bits), fps=25)
    spec = VideoSpec(name="clip", source=PathSource(path=str(source), raw=raw))
    preparation = Preparation(colour=colour)  # type: ignore[arg-type]
    extract_frames(source, ExtractJob(dataset="own", video=spec, preparation=preparation), folder / "frames.npy")
    extract_planes(spec, source, preparation, folder / "planes.yuv", dataset="own")
    return open_frames(folder / "frames.json"), open_planes(folder / "planes.json")


def ramp(bits: int, frames: int = 3) -> np.ndarray:
    """Codes that no limit touches: Y rises along rows, U and V are nearly grey; [T, 24, 32]."""
    luma = np.linspace(70, 170, 16 * 32).reshape(16, 32)
    chroma = np.broadcast_to(np.linspace(120, 136, 8)[:, None], (8, 32))
    return np.stack([np.rint(np.concatenate([luma, chroma]) * 2 ** (bits - 8))] * frames)


def test_an_error_of_one_code_of_ten_bits(tmp_path: Path) -> None:
    codes = ramp(10)
    _, reference = written(tmp_path / "a", codes, 10)
    other = codes.copy()
    other[1, :16] += 1  # Y of one frame
    other[2, 16:20] -= 1  # U of another
    _, test = written(tmp_path / "b", other, 10)
    found = measure_planes(reference, test)
    one = -10 * math.log10(1 / 1023**2 + 1e-9)
    assert found.frame_psnr_y_db == pytest.approx((90, one, 90), abs=1e-12)
    assert found.frame_psnr_u_db == pytest.approx((90, 90, one), abs=1e-12)
    assert found.frame_psnr_v_db == pytest.approx((90, 90, 90), abs=1e-12)
    mean = (90 + 90 + one) / 3
    assert found.summary() == pytest.approx(
        {
            "psnr_y_db": mean,
            "psnr_u_db": mean,
            "psnr_v_db": 90.0,
            "psnr_yuv_db": (6 * mean + mean + 90) / 8,
            "yuv_bits": 10,
        },
        abs=1e-9,
    )


def test_errors_do_not_wrap_around() -> None:
    dark, light = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert plane_psnr_db(dark, light, 8) == plane_psnr_db(light, dark, 8) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("colour", ["ffmpeg-default", "bt601-float", "bt709-float"])
def test_the_frames_themselves_are_near_their_planes(colour: str, bits: int, tmp_path: Path) -> None:
    """Another matrix, range or place of U and V would cost tens of decibels on these colours."""
    codes = ramp(bits)
    codes[:, 16:20] += 30 * 2 ** (bits - 8)
    frames, planes = written(tmp_path / "a", codes, bits, colour)
    check_planes(planes.manifest, frames.manifest)
    found = measure_rgb(planes, frames.pixels).summary()
    assert found["yuv_bits"] == bits
    # Rounding to 8-bit RGB leaves about half a level; swscale's defaults lose a little more.
    lowest = 44 if colour == "ffmpeg-default" else 50
    assert min(found["psnr_y_db"], found["psnr_u_db"], found["psnr_v_db"]) > lowest
    worse = measure_rgb(planes, frames.pixels ^ 8).summary()
    assert worse["psnr_yuv_db"] < found["psnr_yuv_db"] - 3


def test_values_stand_with_the_others(tmp_path: Path) -> None:
    frames, planes = written(tmp_path / "a", ramp(8), 8)
    quality = measure(frames.pixels, frames.pixels)
    yuv = measure_rgb(planes, frames.pixels)
    with_planes = type(quality)(**{**vars(quality), "yuv": yuv})
    write_quality(with_planes, tmp_path / "q.json", tmp_path / "f.csv", {"run": "r"})
    value = read_json(tmp_path / "q.json")
    assert {key: value[key] for key in yuv.summary()} == yuv.summary()
    header, first, *_ = (tmp_path / "f.csv").read_text().splitlines()
    assert header == "frame,psnr_db,ms_ssim,psnr_y_db,psnr_u_db,psnr_v_db"
    assert first.split(",")[3] == repr(yuv.frame_psnr_y_db[0])


def test_planes_of_other_frames_are_refused(tmp_path: Path) -> None:
    frames, planes = written(tmp_path / "a", ramp(8), 8)
    other, _ = written(tmp_path / "b", ramp(8), 8, "bt601-float")
    with pytest.raises(UserError, match="differ in preparation"):
        check_planes(planes.manifest, other.manifest)
    with pytest.raises(UserError, match=r"3 frames of 16x32; give the planes of this video"):
        measure_rgb(planes, frames.pixels[:2])
