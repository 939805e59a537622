from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from boostnerv.errors import UserError
from boostnerv.evaluation import metrics
from boostnerv.evaluation.measure import BATCH, bits_per_pixel, measure, measure_patches, write_quality
from boostnerv.video.patches import split
from tests.evaluation.videos import moving


@pytest.fixture(scope="module")
def pair() -> tuple[metrics.Frames, metrics.Frames]:
    reference = moving(5, 161, 164)
    return reference, np.where(np.arange(5)[:, None, None, None] == 3, reference, reference ^ 3)


@pytest.mark.parametrize("batch", [1, 2, 5, 99])
def test_the_batch_changes_nothing(pair, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    quality = measure(*pair)
    monkeypatch.setattr("boostnerv.evaluation.measure.BATCH", batch)
    assert measure(*pair) == quality


def test_values_are_those_of_the_frames(pair) -> None:
    quality = measure(*pair)
    assert quality.frame_psnr_db == tuple(metrics.psnr_db(*pair))
    assert quality.frame_psnr_db[3] == 90.0
    assert quality.frame_ms_ssim == tuple(metrics.ms_ssim(*pair))
    assert quality.psnr_db == pytest.approx(np.mean(quality.frame_psnr_db), abs=1e-12)
    assert quality.ms_ssim == pytest.approx(np.mean(quality.frame_ms_ssim), abs=1e-12)
    assert quality.psnr_of_mean_mse_db == metrics.psnr_of_mean_mse_db(metrics.mse(*pair)) < quality.psnr_db


def test_read_only_memory_maps_and_crops_are_fine(pair, tmp_path: Path) -> None:
    maps = []
    for index, frames in enumerate(pair):
        np.save(tmp_path / f"{index}.npy", np.pad(frames, ((0, 0), (0, 1), (0, 0), (0, 0))))
        maps.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r")[:, :-1])
    assert measure(*maps) == measure(*pair)


def test_progress_counts_every_frame(pair) -> None:
    seen: list[int] = []
    measure(*pair, progress=lambda done, note="": seen.append(done))
    assert seen == [BATCH, 5]


def test_rate_is_bits_over_all_pixels() -> None:
    assert bits_per_pixel(file_bytes=1000, frames=2, height=10, width=50) == 8.0


def test_files_have_the_video_and_its_frames(pair, tmp_path: Path) -> None:
    quality = measure(*pair)
    write_quality(quality, tmp_path / "quality.json", tmp_path / "frames.csv", {"run": "r", "seed": 1})
    written = json.loads((tmp_path / "quality.json").read_text())
    assert written == {"run": "r", "seed": 1, **quality.summary()}
    with open(tmp_path / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(5))
    assert tuple(float(row["psnr_db"]) for row in rows) == quality.frame_psnr_db
    assert tuple(float(row["ms_ssim"]) for row in rows) == quality.frame_ms_ssim


def test_small_frames_have_psnr_and_a_reason(tmp_path: Path) -> None:
    frames = moving(2, 20, 30)
    quality = measure(frames, frames)
    assert (quality.ms_ssim, quality.frame_ms_ssim) == (None, None)
    assert "20x30" in str(quality.ms_ssim_missing)
    write_quality(quality, tmp_path / "quality.json", tmp_path / "frames.csv", {})
    assert (tmp_path / "frames.csv").read_text() == "frame,psnr_db,ms_ssim\n0,90.0,\n1,90.0,\n"


def test_other_frames_are_refused_before_any_work(pair) -> None:
    with pytest.raises(UserError, match=r"5 frames of 161x164.*4 frames of 161x164"):
        measure(pair[0], pair[1][:4])


# --- patches, and videos one after the other ---------------------------------------------------------------


@pytest.fixture(scope="module")
def cut() -> tuple[metrics.Frames, metrics.Frames]:
    """Frames of four patches of the smallest size that has MS-SSIM, each worse than the one before."""
    reference = moving(2, 322, 322)
    steps = np.kron([[1, 3], [7, 15]], np.ones((161, 161), np.uint8)).astype(np.uint8)
    return reference, reference ^ steps[..., None]


def test_only_the_squared_error_of_frames_is_the_mean_of_that_of_their_patches(cut) -> None:
    whole = measure(*cut)
    patches = measure_patches(*cut, partial(split, rows=2, columns=2))
    apart = [split(frames, 2, 2) for frames in cut]
    by_patch = np.stack([metrics.mse(*pair) for pair in zip(*apart, strict=True)])  # [P, T]
    values = 161 * 161 * 3
    squares = np.rint(by_patch * values * 255**2)
    assert np.array_equal(metrics.mse(*cut), squares.sum(axis=0) / (4 * values * 255.0**2))
    assert metrics.mse(*cut) == pytest.approx(by_patch.mean(axis=0), rel=1e-15)
    assert whole.psnr_of_mean_mse_db == pytest.approx(patches.psnr_of_mean_mse_db, abs=1e-9)
    # A frame after the other, its patches row by row.
    assert patches.frame_psnr_db == tuple(metrics.psnr_from_mse_db(by_patch.T.ravel()))
    assert patches.psnr_db - whole.psnr_db > 1
    assert patches.frame_ms_ssim is not None
    assert whole.ms_ssim is not None
    assert patches.ms_ssim is not None
    expected = [metrics.ms_ssim(*(frames[patch] for frames in apart)) for patch in range(4)]
    assert patches.frame_ms_ssim == pytest.approx(np.stack(expected).T.ravel(), abs=1e-6)
    assert abs(patches.ms_ssim - whole.ms_ssim) > 1e-4


def test_one_patch_is_the_frame(cut) -> None:
    assert measure_patches(*cut, partial(split, rows=1, columns=1)) == measure(*cut)


def test_patches_may_be_too_small_for_what_frames_have(pair) -> None:
    patches = measure_patches(*(frames[:, :160] for frames in pair), partial(split, rows=2, columns=2))
    assert (patches.ms_ssim, len(patches.frame_psnr_db)) == (None, 20)
    assert "80x82" in str(patches.ms_ssim_missing)


def test_progress_counts_every_patch(pair) -> None:
    seen: list[int] = []
    cut = partial(split, rows=1, columns=4)
    measure_patches(*pair, cut, progress=lambda done, note="": seen.append(done))
    assert seen == [4, 8, 12, 16, 20]


def test_a_part_is_what_its_frames_alone_would_be(pair) -> None:
    whole = measure(*pair)
    for frames in (range(2), range(2, 3), range(3, 5), range(5)):
        alone, part = measure(*(pixels[frames.start : frames.stop] for pixels in pair)), whole.part(frames)
        assert part.frame_psnr_db == alone.frame_psnr_db
        assert part.frame_ms_ssim == pytest.approx(alone.frame_ms_ssim, abs=1e-6)
        assert part.psnr_db == alone.psnr_db
        assert part.psnr_of_mean_mse_db == pytest.approx(alone.psnr_of_mean_mse_db, abs=1e-6)
        assert part.ms_ssim == pytest.approx(alone.ms_ssim, abs=1e-6)
    small = measure(*(pixels[:, :20] for pixels in pair)).part(range(1, 3))
    assert (small.ms_ssim, small.frame_ms_ssim) == (None, None)
    assert "20x164" in str(small.ms_ssim_missing)


def test_files_have_all_videos_and_each(pair, tmp_path: Path) -> None:
    quality, parts = measure(*pair), {"a": range(3), "b": range(3, 5)}
    part_records = {name: {"video": name, "frames": len(frames)} for name, frames in parts.items()}
    given = ({"video": "all", "frames": 5}, parts, part_records)
    write_quality(quality, tmp_path / "quality.json", tmp_path / "frames.csv", *given)
    whole, first, second = json.loads((tmp_path / "quality.json").read_text())
    assert whole == {"video": "all", "frames": 5, **quality.summary()}
    assert first == {"video": "a", "frames": 3, **quality.part(range(3)).summary()}
    assert second == {"video": "b", "frames": 2, **quality.part(range(3, 5)).summary()}
    assert (3 * first["psnr_db"] + 2 * second["psnr_db"]) / 5 == pytest.approx(whole["psnr_db"], abs=1e-9)
    assert (3 * first["ms_ssim"] + 2 * second["ms_ssim"]) / 5 == pytest.approx(whole["ms_ssim"], abs=1e-9)
    with open(tmp_path / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["video", "frame", "psnr_db", "ms_ssim"]
    assert [(row["video"], int(row["frame"])) for row in rows] == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]
    assert tuple(float(row["psnr_db"]) for row in rows) == quality.frame_psnr_db
