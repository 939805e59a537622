"""Planes are extracted where Y, U and V are measured or coded, and nowhere else."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.video.conftest import synthetic
from tests.workflow.test_dag import experiment, jobs, snakemake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip").mkdir()
    synthetic(tmp_path / "clip" / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size="40x24", frames=4)
    return tmp_path


def test_planes_are_planned_where_they_are_asked_for(folder: Path) -> None:
    videos = [{"path": str(folder / "clip" / "a.mkv"), "name": "clip"}]
    of_planes = [{"codec": "x264", "qualities": [30], "source": "yuv420"}]
    experiment(folder, own_videos=videos)
    assert jobs(folder)["extract_planes"] == 0
    experiment(folder, own_videos=videos, evaluation={"yuv420": True})
    assert jobs(folder)["extract_planes"] == 1
    experiment(folder, own_videos=videos, anchors=of_planes)
    assert jobs(folder)["extract_planes"] == 1


@pytest.mark.slow
def test_points_have_both_measures(folder: Path) -> None:
    experiment(
        folder,
        own_videos=[{"path": str(folder / "clip" / "a.mkv"), "name": "clip"}],
        preparation={"colour": "bt709-float"},
        training={"epochs": 1, "loss": {"l1": 1.0}},
        anchors=[{"codec": "x264", "qualities": [30]}, {"codec": "x264", "qualities": [30], "source": "yuv420"}],
        evaluation={"yuv420": True},
    )
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(folder / "results/tiny/points.csv", encoding="utf-8", newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert [row["source"] for row in rows.values()] == ["", "rgb", "yuv420"]
    for row in rows.values():
        y, u, v = (float(row[f"psnr_{name}_db"]) for name in "yuv")
        assert float(row["psnr_yuv_db"]) == pytest.approx((6 * y + u + v) / 8)
        assert (row["yuv_bits"], row["colour"]) == ("8", "bt709-float")
    assert float(rows["x264-q30-yuv420"]["psnr_y_db"]) > 25
    assert (folder / "data/planes/own/clip/source-bt709float.yuv").stat().st_size == 4 * 24 * 40 * 3 // 2
    assert jobs(folder) == {}
