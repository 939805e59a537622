from __future__ import annotations

import statistics

import pytest

from boostnerv.errors import UserError
from boostnerv.report.summaries import count_text, curves, over_seeds, over_videos, size_text
from tests.report.results import anchor_points, model_points, point, trained, trained_points


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


def test_models_of_many_videos_are_no_part_of_the_mean_over_videos() -> None:
    points = [*model_points("a"), *model_points("b", gain_db=2.0)]
    for codec in ("d-nerv", "d-nerv-post-training"):
        points.append(point(codec, f"{codec}-S", "S", 100, 30.0, video="all"))
    summaries = over_seeds(points)
    assert {summary.video for summary in summaries} == {"a", "b", "all"}
    assert over_videos(summaries) == over_videos(over_seeds([each for each in points if each["video"] != "all"])) != []


SPLIT = ("psnr_seen_db", "psnr_unseen_db", "ms_ssim_seen", "ms_ssim_unseen", "psnr_hidden_db", "psnr_visible_db")


@pytest.mark.parametrize("name", SPLIT)
def test_what_a_task_withheld_is_averaged_over_seeds_and_videos(name: str) -> None:
    points = [
        trained("nerv", "3M", 3_000_000, 30.0, run=f"nerv-3M-s{seed}", seed=seed, video=video, **{name: gain + seed})
        for video, gain in (("Beauty", 0.0), ("Jockey", 10.0))
        for seed in (1, 2, 3)
    ]
    summaries = over_seeds(points)
    assert [(summary.seeds, summary.mean[name], summary.std[name]) for summary in summaries] == [
        (3, 2.0, 1.0),
        (3, 12.0, 1.0),
    ]
    (mean,) = over_videos(summaries)
    assert (mean.mean[name], mean.std[name], mean.mean["params_total"]) == (7.0, None, 3_000_000.0)
    assert mean.mean["bpp"] is None


def test_tasks_are_neither_one_curve_nor_one_mean() -> None:
    # The same run name, so that nothing but the task tells them apart.
    names = ("regression", "inpainting-center")
    points = [trained("nerv", "3M", 3_000_000, 30.0, task=task, video=video) for task in names for video in "ab"]
    summaries = over_seeds(points)
    assert [(summary.video, summary.curve, summary.seeds) for summary in summaries] == [
        ("a", "nerv-inpainting-center", 1), ("a", "nerv-regression", 1),
        ("b", "nerv-inpainting-center", 1), ("b", "nerv-regression", 1),
    ]  # fmt: skip
    assert [summary.task for summary in over_videos(summaries)] == ["inpainting-center", "regression"]
    assert {summary.curve for summary in over_seeds(points[:2])} == {"nerv"}
    named = trained("nerv", "3M", 3_000_000, 30.0, run="nerv-3M-inpainting-center", task="inpainting-center")
    assert {summary.curve for summary in over_seeds([named, points[0]])} == {
        "nerv-inpainting-center",
        "nerv-regression",
    }


def test_an_anchor_has_no_task_to_be_told_apart_by() -> None:
    summaries = over_seeds([*trained_points(task="interpolation"), *anchor_points("Beauty")])
    assert list(curves(summaries)) == ["hnerv-boost", "x264", "x265"]


def test_curves_without_rates_are_by_rising_size() -> None:
    (group,) = curves(over_seeds(trained_points()[::-1])).values()
    assert [summary.size_label for summary in group] == ["1.5M", "3M", "5M"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(850, "850"), (118_098, "118 k"), (999_600, "1.00 M"), (3_051_234, "3.05 M"), (12_360_000, "12.4 M")],
)
def test_parameter_counts_read_well(count: float, text: str) -> None:
    assert count_text(count) == text


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
