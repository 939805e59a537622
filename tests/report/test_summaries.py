from __future__ import annotations

import statistics

import pytest

from boostnerv.errors import UserError
from boostnerv.report.summaries import curves, over_seeds, over_videos, size_text
from tests.report.results import anchor_points, model_points, point


def test_seeds_become_a_mean_and_a_standard_deviation() -> None:
    gains = {1: 0.0, 2: 0.3, 3: 0.9}
    points = [p for seed, gain in gains.items() for p in model_points(seed=seed, gain_db=gain, suffix=f"-s{seed}")]
    summaries = over_seeds(points)
    assert [summary.seeds for summary in summaries] == [3] * 5
    assert summaries[0].curve == "hnerv-boost"
    assert summaries[0].mean["psnr_db"] == pytest.approx(24.61 + 0.4)
    assert summaries[0].std["psnr_db"] == pytest.approx(statistics.stdev(gains.values()))
    assert summaries[0].std["file_bytes"] == 0.0


def test_one_seed_has_no_deviation_and_missing_values_stay_missing() -> None:
    points = [*model_points(seed=1, suffix="-s1"), *model_points(seed=2, suffix="-s2")]
    points[0]["train_s"] = None
    first = over_seeds(points)[0]
    assert (first.mean["train_s"], first.std["train_s"]) == (None, None)
    assert set(over_seeds(anchor_points())[0].std.values()) == {None}


def test_curves_are_models_first_and_by_rising_rate() -> None:
    groups = curves(over_seeds([*anchor_points(), *model_points()]))
    assert list(groups) == ["hnerv-boost", "nerv-boost", "x264", "x265"]
    for group in groups.values():
        rates = [summary.value("bpp") for summary in group]
        assert rates == sorted(rates)


def test_settings_that_differ_are_curves_of_their_own() -> None:
    points = [
        point("hnerv-boost", "hnerv-boost-1.5M-e600", "1.5M", 100, 30.0, seed=1),
        point("hnerv-boost", "hnerv-boost-1.5M-s2", "1.5M", 100, 30.0, seed=2),
        point("x265", "x265-q28-yuv444p", "crf 28", 100, 30.0, kind="anchor"),
        point("x265", "named-otherwise", "crf 28", 100, 30.0, kind="anchor"),
    ]
    assert [summary.curve for summary in over_seeds(points)] == [
        "hnerv-boost",
        "hnerv-boost-e600",
        "x265",
        "x265-yuv444p",
    ]


def test_the_mean_over_videos_has_the_sizes_that_all_have() -> None:
    points = [*model_points("a"), *model_points("b", gain_db=2.0)[:3]]
    mean = over_videos(over_seeds(points))
    assert [(summary.curve, summary.size_label) for summary in mean] == [
        ("hnerv-boost", "0.08M"),
        ("hnerv-boost", "0.12M"),
        ("hnerv-boost", "0.18M"),
    ]
    assert mean[0].mean["psnr_db"] == pytest.approx(25.61)
    assert mean[0].context == "Mean of 2 videos: a, b"
    assert over_videos(over_seeds(model_points())) == []


def test_no_points_is_an_error_of_the_user() -> None:
    with pytest.raises(UserError, match="no points"):
        over_seeds([])


@pytest.mark.parametrize(
    ("file_bytes", "text"),
    [
        (0, "0 B"), (850, "850 B"), (999, "999 B"), (1_000, "1.00 kB"), (5_243, "5.24 kB"),
        (9_996, "10.0 kB"), (41_310, "41.3 kB"), (99_960, "100 kB"), (158_700, "159 kB"),
        (999_600, "1.00 MB"), (1_240_000, "1.24 MB"), (2.5e9, "2.50 GB"),
    ],
)  # fmt: skip
def test_sizes_read_with_three_digits(file_bytes: float, text: str) -> None:
    assert size_text(file_bytes) == text
