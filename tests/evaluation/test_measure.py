from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from boostnerv.errors import UserError
from boostnerv.evaluation import metrics
from boostnerv.evaluation.measure import bits_per_pixel, measure, write_quality
from tests.evaluation.videos import moving


@pytest.fixture(scope="module")
def pair() -> tuple[metrics.Frames, metrics.Frames]:
    reference = moving(5, 161, 164)
    return reference, np.where(np.arange(5)[:, None, None, None] == 3, reference, reference ^ 3)


@pytest.mark.parametrize("batch", [1, 2, 5, 99])
def test_the_batch_changes_nothing(pair, batch: int) -> None:
    assert measure(*pair, batch=batch) == measure(*pair)


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
    measure(*pair, batch=2, progress=lambda done, note="": seen.append(done))
    assert seen == [2, 4, 5]


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
