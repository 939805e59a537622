from __future__ import annotations

import json
from pathlib import Path

from boostnerv.report.dvc_metrics import write_metrics
from tests.report.results import anchor_points, model_points, point, trained_points


def test_every_point_is_there_with_what_was_measured(tmp_path: Path) -> None:
    points = [*model_points(), *anchor_points(), *model_points("second")]
    write_metrics(points, tmp_path / "metrics.json")
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert list(found) == ["bunny", "second"]
    assert len(found["bunny"]) == 13
    assert found["bunny"]["hnerv-boost-0.08M"] == {
        "bpp": points[0]["bpp"], "file_bytes": 33_120, "ms_ssim": 0.871, "psnr_db": 24.61
    }  # fmt: skip


def test_what_was_not_coded_has_no_rate_and_parts_are_left_out(tmp_path: Path) -> None:
    points = [*trained_points(), point("d-nerv", "d-nerv-M", "M", 1000, 30.0, kind="part", video="one")]
    write_metrics(points, tmp_path / "metrics.json")
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert "one" not in found
    values = [values for runs in found.values() for values in runs.values()]
    assert values
    assert not any({"bpp", "file_bytes"} & set(value) for value in values)
