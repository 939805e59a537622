"""What anchors lose beside their codecs: files without loss say it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boostnerv.config import Anchor, ExtractJob, PathSource, Preparation, RawVideo, VideoSpec
from boostnerv.evaluation.anchors import AnchorJob, decoded_frames, encode_anchor
from boostnerv.evaluation.round_trip import OF_FULL_CHROMA, RoundTrip, round_trip
from boostnerv.video.frames import Frames, extract_frames, open_frames

pytestmark = pytest.mark.usefixtures("brief_decode_timing")

HEIGHT, WIDTH, FRAMES = 96, 128, 3
PROFILES = ("ffmpeg-default", "bt601-float", "bt709-float")
SOURCE_SIZE = Preparation()
SCALED = Preparation(fit="resize", height=48, width=64)


def natural(height: int, width: int, lowest: int, highest: int, seed: int) -> np.ndarray:
    """Random codes [height, width] within bounds, whose spectrum falls with frequency, as that of pictures does."""
    rows, columns = (np.fft.fftfreq(count)[:, None] for count in (height, width))
    falling = 1 / np.maximum(np.hypot(rows, columns.T), 1 / width) ** 1.5
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(height, width)))
    picture = np.fft.ifft2(noise * falling).real
    return np.rint(lowest + (highest - lowest) * (picture - picture.min()) / np.ptp(picture))


def extracted(folder: Path, preparation: Preparation, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Frames:
    """Frames of a natural-like 4:2:0 clip, whose colours no limit of RGB touches."""
    height, width = size
    source = folder / "source.yuv"
    planes = [(height, width, 80, 175), *[(height // 2, width // 2, 105, 151)] * 2]
    codes = [natural(*plane, seed=10 * t + p) for t in range(FRAMES) for p, plane in enumerate(planes)]
    source.write_bytes(b"".join(plane.astype(np.uint8).tobytes() for plane in codes))
    raw = RawVideo(width=width, height=height, pixel_format="yuv420p", fps=25)
    spec = VideoSpec(name="clip", source=PathSource(path=str(source), raw=raw))
    extract_frames(source, ExtractJob(dataset="own", video=spec, preparation=preparation), folder / "frames.npy")
    return open_frames(folder / "frames.json")


def ceiling_db(frames: Frames, way: RoundTrip, folder: Path, pixel_format: str = "yuv420p") -> float:
    """PSNR of a file that lost nothing of the planes."""
    anchor = Anchor(codec="x264", qualities=(0,), pixel_format=pixel_format, preset="ultrafast")
    stream = folder / "lossless.h264"
    return encode_anchor(frames.pixels, AnchorJob(anchor, 0, 25.0, 1, way), stream).measured.psnr_db


@pytest.mark.parametrize("colour", PROFILES)
def test_the_way_of_frames_as_the_source_has_them_is_far_above_what_codecs_lose(colour: str, tmp_path: Path) -> None:
    frames = extracted(tmp_path, SOURCE_SIZE.model_copy(update={"colour": colour}))
    assert ceiling_db(frames, round_trip(frames.manifest), tmp_path) > 48.5


@pytest.mark.parametrize("colour", PROFILES)
def test_scaled_frames_need_full_chroma(colour: str, tmp_path: Path) -> None:
    frames = extracted(tmp_path, SCALED.model_copy(update={"colour": colour}))
    way = round_trip(frames.manifest)
    assert way == OF_FULL_CHROMA
    full, quarter = (ceiling_db(frames, way, tmp_path, name) for name in ("yuv444p", "yuv420p"))
    assert full > 48.5
    assert quarter < full - 3


def test_no_other_way_is_better_for_the_default_profile(tmp_path: Path) -> None:
    frames = extracted(tmp_path, SOURCE_SIZE)
    own = round_trip(frames.manifest)
    others = [
        RoundTrip("bt709", "left", fewer="bicubic", more="bicubic"),
        RoundTrip("bt601", "center", fewer="bicubic", more="bicubic"),
        OF_FULL_CHROMA,
    ]
    assert ceiling_db(frames, own, tmp_path) > max(ceiling_db(frames, way, tmp_path) for way in others) + 3


@pytest.mark.parametrize(
    ("preparation", "size"),
    [
        (Preparation(fit="crop-center", height=94, width=126), (HEIGHT, WIDTH)),  # from row and column 1 on
        (SCALED, (HEIGHT, WIDTH)),
    ],
)
def test_frames_that_do_not_lie_on_the_planes_of_their_source(
    preparation: Preparation, size: tuple[int, int], tmp_path: Path
) -> None:
    assert round_trip(extracted(tmp_path, preparation, size).manifest) == OF_FULL_CHROMA


def test_a_cut_at_even_places_stays_on_them(tmp_path: Path) -> None:
    frames = extracted(tmp_path, Preparation(fit="crop-center", height=92, width=124))
    assert round_trip(frames.manifest) == RoundTrip("bt601", "center", fewer="area", more="neighbor")
    assert ceiling_db(frames, round_trip(frames.manifest), tmp_path) > 48.5


def test_chosen_frames_come_back_by_the_same_way(tmp_path: Path) -> None:
    frames = extracted(tmp_path, SOURCE_SIZE)
    way, anchor = round_trip(frames.manifest), Anchor(codec="x265", qualities=(12,))
    stream = tmp_path / "a.hevc"
    point = encode_anchor(frames.pixels, AnchorJob(anchor, 12, 25.0, 1, way), stream)
    (decoded,) = decoded_frames(stream, anchor, (HEIGHT, WIDTH), [1], way)
    error = np.square(decoded.astype(float) - frames.pixels[1]).mean()
    assert 10 * np.log10(255**2 / error) == pytest.approx(point.measured.frame_psnr_db[1], abs=1e-3)
