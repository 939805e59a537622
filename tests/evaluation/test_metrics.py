"""PSNR and MS-SSIM against ffmpeg, against recorded values of the original code, and at their limits."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import ffmpeg
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from boostnerv.errors import UserError
from boostnerv.evaluation import metrics
from boostnerv.training.losses import psnr_db as psnr_of_tensors_db
from boostnerv.video.ffmpeg import run
from tests.evaluation.videos import moving

GOLDEN = Path(os.environ.get("BOOSTNERV_GOLDEN", Path(__file__).parents[1] / "golden"))


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, torch.Tensor], dict[str, list[float]]]:
    recorded = json.loads((GOLDEN / "manifest.json").read_text())["losses"]["metrics"]
    tensors = load_file(GOLDEN / "losses.safetensors")
    return tensors, {name: values[: len(tensors["pred"])] for name, values in recorded.items()}


def test_tensors_give_the_recorded_values(golden) -> None:
    tensors, expected = golden
    psnr_db = psnr_of_tensors_db(tensors["pred"], tensors["target"])
    ms_ssim = metrics.ms_ssim_of_tensors(tensors["pred"], tensors["target"])
    assert psnr_db.tolist() == pytest.approx(expected["psnr"], abs=1e-5)
    assert ms_ssim.tolist() == pytest.approx(expected["ms_ssim"], abs=1e-5)


def test_bytes_give_the_values_of_their_tensors(golden) -> None:
    tensors, expected = golden
    pred, target = ((tensors[name] * 255).round().byte().permute(0, 2, 3, 1).numpy() for name in ("pred", "target"))
    as_floats = [torch.from_numpy(frames).permute(0, 3, 1, 2) / 255 for frames in (pred, target)]
    assert metrics.psnr_db(target, pred) == pytest.approx(psnr_of_tensors_db(*as_floats), abs=1e-4)
    assert metrics.ms_ssim(target, pred).tolist() == metrics.ms_ssim_of_tensors(*as_floats).tolist()
    # Rounding to bytes changes little.
    assert metrics.psnr_db(target, pred) == pytest.approx(expected["psnr"], abs=0.01)
    assert metrics.ms_ssim(target, pred) == pytest.approx(expected["ms_ssim"], abs=1e-3)


def noisy(reference: np.ndarray, amount: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(-amount, amount + 1, reference.shape)
    return np.clip(reference.astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("amount", [2, 40])
def test_psnr_is_that_of_ffmpeg(amount: int, tmp_path: Path) -> None:
    reference = moving(4, 64, 96)
    test = noisy(reference, amount)
    sources = []
    for name, frames in (("reference", reference), ("test", test)):
        (tmp_path / name).write_bytes(frames.tobytes())
        # Planar, because ffmpeg's filter has no packed RGB and would convert by itself otherwise.
        raw = ffmpeg.input(str(tmp_path / name), f="rawvideo", pix_fmt="rgb24", s="96x64")
        sources.append(raw.filter("format", "gbrp"))
    said = run(ffmpeg.filter(sources[::-1], "psnr").output("pipe:1", f="null")).log.lines
    average_db = next(float(found[1]) for line in said if (found := re.search(r"average:(\d+\.\d+)", line)))
    assert metrics.psnr_of_mean_mse_db(metrics.mse(reference, test)) == pytest.approx(average_db, abs=0.01)


def plain_ms_ssim(reference: np.ndarray, test: np.ndarray) -> float:
    """MS-SSIM of two frames uint8 [H, W, 3] as its paper (Wang et al., 2003) writes it, mean over the channels."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def blurred(plane: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            plane = np.apply_along_axis(np.convolve, axis, plane, window, mode="valid")
        return plane

    def halved(plane: np.ndarray) -> np.ndarray:
        # Sides that are odd are padded by zeros, which count.
        padding = [(side % 2, 0) for side in plane.shape]
        plane = np.pad(plane, padding)
        plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4

    def of_plane(x: np.ndarray, y: np.ndarray) -> float:
        product = 1.0
        weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
        for scale, weight in enumerate(weights):
            mean_x, mean_y = blurred(x), blurred(y)
            var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
            covariance = blurred(x * y) - mean_x * mean_y
            similarity = (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2)
            if scale == len(weights) - 1:
                similarity *= (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
            product *= max(similarity.mean(), 0.0) ** weight
            x, y = halved(x), halved(y)
        return product

    planes = zip(np.moveaxis(reference / 255.0, 2, 0), np.moveaxis(test / 255.0, 2, 0), strict=True)
    return float(np.mean([of_plane(x, y) for x, y in planes]))


@pytest.mark.parametrize("amount", [10, 80])
@pytest.mark.parametrize("size", [(176, 192), (177, 163)])
def test_ms_ssim_is_that_of_its_paper(size: tuple[int, int], amount: int) -> None:
    reference = moving(2, *size)
    test = noisy(reference, amount)
    found = metrics.ms_ssim(reference, test)
    assert found is not None
    expected = [plain_ms_ssim(*pair) for pair in zip(reference, test, strict=True)]
    assert found == pytest.approx(expected, abs=1e-4)
    assert 0.3 < found.mean() < 0.999


def test_identical_frames_have_90_db_and_similarity_1() -> None:
    frames = moving(2, 161, 170)
    assert metrics.psnr_db(frames, frames).tolist() == [90.0, 90.0]
    assert metrics.ms_ssim(frames, frames).tolist() == [1.0, 1.0]


def test_black_against_white_has_0_db() -> None:
    black = np.zeros((1, 2, 3, 3), dtype=np.uint8)
    assert metrics.psnr_db(black, black + 255) == pytest.approx([0.0], abs=1e-8)


@given(st.integers(0, 255), st.integers(0, 255))
def test_mse_is_exact_and_symmetric(left: int, right: int) -> None:
    a, b = (np.full((1, 5, 7, 3), level, dtype=np.uint8) for level in (left, right))
    assert metrics.mse(a, b)[0] == metrics.mse(b, a)[0] == (left - right) ** 2 * 105 / (105 * 255.0**2)


def test_video_values_differ_where_frames_differ() -> None:
    per_frame_mse = [0.01, 0.0001]
    assert metrics.mean(metrics.psnr_from_mse_db(per_frame_mse).tolist()) == pytest.approx(30.0, abs=1e-4)
    assert metrics.psnr_of_mean_mse_db(per_frame_mse) == pytest.approx(22.9671, abs=1e-4)


@pytest.mark.parametrize(("height", "width", "has"), [(160, 400, False), (400, 160, False), (161, 161, True)])
def test_ms_ssim_needs_161_pixels_on_both_sides(height: int, width: int, has: bool) -> None:
    frames = moving(1, height, width)
    reason = metrics.ms_ssim_missing(height, width)
    assert (metrics.ms_ssim(frames, frames) is not None) == has == (reason is None)
    assert has or f"{height}x{width}" in str(reason)


def frames_of(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.zeros(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("reference", "test", "words"),
    [
        (frames_of(3, 4, 6, 3), frames_of(2, 4, 6, 3), ["3 frames of 4x6", "2 frames of 4x6"]),
        (frames_of(3, 4, 6, 3), frames_of(3, 6, 4, 3), ["3 frames of 4x6", "3 frames of 6x4"]),
        (frames_of(3, 4, 6, 3), frames_of(3, 4, 6, 3, dtype=np.float32), ["test", "float32", "[3, 4, 6, 3]"]),
        (frames_of(3, 3, 4, 6), frames_of(3, 3, 4, 6), ["reference", "[3, 3, 4, 6]"]),
        (frames_of(4, 6, 3), frames_of(4, 6, 3), ["reference", "[4, 6, 3]"]),
        (frames_of(0, 4, 6, 3), frames_of(0, 4, 6, 3), ["0 frames of 4x6"]),
    ],
)
def test_what_does_not_fit_gets_a_sentence_with_both_sizes(reference, test, words: list[str]) -> None:
    for compare in (metrics.mse, metrics.psnr_db, metrics.ms_ssim):
        with pytest.raises(UserError) as caught:
            compare(reference, test)
        assert all(word in str(caught.value) for word in words)
