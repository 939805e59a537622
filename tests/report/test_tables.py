from __future__ import annotations

import csv
from pathlib import Path

import pytest

from boostnerv.errors import UserError
from boostnerv.report.tables import time_text, write_tables
from tests.report.results import anchor_points, model_points


def table(path: Path) -> list[list[str]]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_point_has_its_line(tmp_path: Path) -> None:
    write_tables([*anchor_points(), *model_points()], tmp_path / "points.md", tmp_path / "summary.csv")
    heading, _, *lines = table(tmp_path / "points.md")
    assert len(lines) == 13
    first = dict(zip(heading, lines[0], strict=True))
    assert first == {
        "codec": "hnerv-boost",
        "size": "0.08M",
        "file (bytes)": "33,120",
        "bpp": "0.2875",
        "PSNR (dB)": "24.61",
        "MS-SSIM": "0.8710",
        "PSNR float → quantised → decoded (dB)": "25.11 → 24.61 → 24.61",
        "training": "6 min 05 s",
        "encoding": "0.42 s",
        "decoding (fps)": "31.2",
    }
    assert lines[-1][:3] == ["x265", "crf 18", "46,290"]
    assert lines[-1][6:8] == ["–", "–"]
    text = (tmp_path / "points.md").read_text()
    assert "bunny: 16 frames of 180×320, 25 fps." in text
    assert "±" not in text


def test_seeds_are_shown_with_their_deviation(tmp_path: Path) -> None:
    points = [p for seed in (1, 2) for p in model_points(seed=seed, gain_db=seed * 0.1, suffix=f"-s{seed}")]
    write_tables(points, tmp_path / "points.md", tmp_path / "summary.csv")
    _, _, *lines = table(tmp_path / "points.md")
    assert len(lines) == 5
    assert lines[0][4] == "24.76 ± 0.07"
    assert "means of up to 2 seeds" in (tmp_path / "points.md").read_text()


def test_several_videos_have_a_section_each_and_their_mean(tmp_path: Path) -> None:
    write_tables(
        [*model_points("a"), *model_points("b", gain_db=1.0)],
        tmp_path / "points.md",
        tmp_path / "summary.csv",
    )
    text = (tmp_path / "points.md").read_text()
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## a", "## b", "## mean of 2 videos"]
    assert "| 25.11 |" in text.split("## mean")[1]


def test_the_summary_is_for_programs(tmp_path: Path) -> None:
    write_tables([*anchor_points(), *model_points()], tmp_path / "points.md", tmp_path / "tables" / "summary.csv")
    with open(tmp_path / "tables" / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert (rows[0]["curve"], rows[0]["seeds"], rows[0]["psnr_db"], rows[0]["psnr_db_std"]) == (
        "hnerv-boost", "1", "24.61", "",
    )  # fmt: skip
    assert float(rows[0]["bpp"]) == 0.2875


def test_no_points_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no points"):
        write_tables([], tmp_path / "points.md", tmp_path / "summary.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0.0421, "0.042 s"), (9.9, "9.9 s"), (12.4, "12 s"), (59.7, "1 min 00 s"),
        (200, "3 min 20 s"), (3599.6, "1 h 00 min"), (7_530, "2 h 06 min"),
    ],
)  # fmt: skip
def test_times_read_well(seconds: float | None, text: str) -> None:
    assert time_text(seconds) == text
