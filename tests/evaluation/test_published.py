"""Published figures are compared where they are of the same thing, and nothing else is filled in."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import statistics
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from boostnerv import cli
from boostnerv.errors import UserError
from boostnerv.evaluation import published
from boostnerv.evaluation.points import COLUMNS, Point, Value, write_points
from boostnerv.evaluation.published import (
    AVERAGE,
    PublishedPoint,
    compare,
    comparison_text,
    published_average_curves,
    published_bd_rates,
    published_curves,
    published_figures,
    published_for,
)

VIDEOS = ("Beauty", "Bosphorus", "HoneyBee", "Jockey", "ReadySteadyGo", "ShakeNDry", "YachtRide")
THEIRS = (33.80, 36.12, 39.64, 34.29, 28.13, 35.88, 29.32)  # HNeRV-Boost, 3.05 M
FILES = {  # the first digits of their SHA-256: facts do not change by accident
    "bd_rate.csv": "7e7c087949d25e4b",
    "dnerv.csv": "2b5a22e1428fd3ff",
    "uvg_rate_distortion.csv": "d5cafd768dbc2146",
    "uvg_regression.csv": "16d5759c14437b30",
}
NOTHING = "There is nothing to compare: no result of this experiment has a published figure."


def result(video: str = "Beauty", psnr_float_db: float | None = 33.8, **others: Value) -> Point:
    """HNeRV-Boost of a whole video at the published size, measured as trained."""
    values = {
        "experiment": "uvg-regression",
        "dataset": "uvg",
        "video": video,
        "kind": "model",
        "codec": "hnerv-boost",
        "run": "hnerv-boost-3M",
        "size_label": "3M",
        "task": "regression",
        "seed": 1,
        "frames": 300 if video == "ShakeNDry" else 600,
        "height": 1080,
        "width": 1920,
        "psnr_db": 33.0,
        "psnr_float_db": psnr_float_db,
        "params_total": 3_050_000,
        "frames_sha256": "0" * 64,
    }
    return {column.name: None for column in COLUMNS} | values | others


def results(gain_db: float = 0.0, videos: tuple[str, ...] = VIDEOS, **others: Value) -> list[Point]:
    theirs = dict(zip(VIDEOS, THEIRS, strict=True))
    return [result(video, theirs[video] + gain_db, **others) for video in videos]


# --- the facts ------------------------------------------------------------------------------------------------


def test_every_figure_has_a_source_and_averages_are_those_of_their_videos() -> None:
    assert all(figure.source for figure in published_figures())
    figures = [figure for figure in published_figures() if figure.column == "psnr_float_db"]
    assert len(figures) == 18 * 8
    assert {figure.model for figure in figures} == {"NeRV", "E-NeRV", "HNeRV", "HNeRV-Boost", "HiNeRV", "TCNeRV"}
    for model, params_m in {(figure.model, figure.params_m) for figure in figures}:
        of_model = {f.video: f.psnr_db for f in figures if (f.model, f.params_m) == (model, params_m)}
        average = of_model.pop(AVERAGE)
        assert len(of_model) == 7
        assert average == pytest.approx(statistics.fmean(of_model.values()), abs=0.0051)


def test_models_of_many_are_compared_after_their_quantisation() -> None:
    many = {
        "dataset": "uvg",
        "frames": 3900,
        "height": 1024,
        "width": 1920,
        "psnr_db": 35.5,
        "params_total": 24_197_711,
    }
    coded = result("uvg", None, codec="d-nerv-post-training", run="d-nerv-M-post-training", **many)
    (row,) = compare([coded])
    assert row.published is not None
    assert (row.published.psnr_db, row.published.params_m, row.ours_db) == (35.74, 24.2, 35.5)
    assert comparison_text([row], 0.2).endswith(
        "1 of 1 rows compared, 1 outside 0.2 dB. "
        "PSNR is that of the decoded file; published in D-NeRV README table of UVG."
    )
    measured = {"bpp": 0.04, "ms_ssim": 0.95, "file_bytes": 38_000_000, "entropy_efficiency": 0.9}
    (row,) = compare([coded | measured])
    assert [(each.column, each.published, each.ours) for each in row.others] == [
        *(("bpp", 0.0383, 0.04), ("ms_ssim", 0.9604, 0.95)),
        *(("file_bytes", 36_700_000, 38_000_000), ("entropy_efficiency", 0.88, 0.9)),
    ]
    last = comparison_text([row], 0.2).splitlines()[-1].split()
    assert last[2:] == ["entropy", "efficiency", "0.900", "0.880", "+0.020"]
    # As trained, on part of the videos, and of another size nothing was published.
    for change in ({"codec": "d-nerv"}, {"frames": 3600}, {"params_total": 30_000_000}, {"video": "Beauty"}):
        assert published_for(coded | change) is None
    largest = published_for(coded | {"params_total": 67_953_362})
    assert largest is not None
    assert (largest.params_m, largest.psnr_db) == (69.75, 37.43)


def test_the_files_are_part_of_the_package() -> None:
    import tomllib

    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    packaged = settings["tool"]["setuptools"]["package-data"]["boostnerv.evaluation"]
    folder = Path(published.__file__).parent
    names = sorted(path.name for pattern in packaged for path in folder.glob(pattern))
    assert names == sorted(FILES)
    for name in names:
        with open(folder / "published" / name, newline="") as file:
            lines = list(csv.DictReader(file))
        assert all(None not in (*line.keys(), *line.values()) for line in lines)
        assert all(line["source"] for line in lines)
        assert hashlib.sha256((folder / "published" / name).read_bytes()).hexdigest().startswith(FILES[name])


def test_published_curves_are_of_whole_uvg_videos() -> None:
    hinerv, hnerv = published_curves("Beauty", 600, 1080, 1920)
    assert (hinerv.model, hinerv.source) == ("HiNeRV", "hmkx/HiNeRV results/original/uvg_results.xlsx")
    assert [point.size for point in hinerv.points] == ["S", "M", "L", "XL", "XXL"]
    assert hinerv.points[0] == PublishedPoint(0.013, 33.8697, 0.9041, "S")
    assert (hnerv.model, [point.psnr_db for point in hnerv.points]) == ("HNeRV", [33.68, 34.12, 34.33])
    assert [curve.video for curve in published_curves("ReadySteadyGo", 600, 1080, 1920)] == ["ReadySetGo"] * 2
    assert len(published_curves("ShakeNDry", 300, 1080, 1920)) == 2
    for other in (("Beauty", 599, 1080, 1920), ("Beauty", 600, 960, 1920), ("bunny", 132, 720, 1280)):
        assert published_curves(*other) == ()
    assert published_curves(AVERAGE, None, 1080, 1920) == ()


def test_curves_of_the_average_want_all_seven_videos() -> None:
    shapes = {video: (300 if video == "ShakeNDry" else 600, 1080, 1920) for video in VIDEOS}
    average = published_average_curves(shapes)
    assert [(curve.model, len(curve.points)) for curve in average] == [("HiNeRV", 5), ("HNeRV", 3), ("NeRV", 9)]
    assert average[2].points[-1] == PublishedPoint(0.24968839, 37.86, 0.9692)
    assert published_average_curves(shapes | {"Beauty": (60, 1080, 1920)}) == ()
    assert published_average_curves(shapes | {"bunny": (132, 720, 1280)}) == ()
    assert published_average_curves({}) == ()


def test_every_published_point_is_of_a_curve_that_rises() -> None:
    curves = [*published_average_curves({v: (300 if v == "ShakeNDry" else 600, 1080, 1920) for v in VIDEOS})]
    curves += [curve for v in VIDEOS for curve in published_curves(v, 300 if v == "ShakeNDry" else 600, 1080, 1920)]
    assert sum(len(curve.points) for curve in curves) == 73
    for curve in curves:
        assert all(one.bpp < other.bpp and one.psnr_db < other.psnr_db for one, other in pairwise(curve.points))


def test_published_averages_are_those_of_their_videos_but_one() -> None:
    """The third of HNeRV's is of no size whose videos were published; it is kept as it is."""
    shapes = {v: (300 if v == "ShakeNDry" else 600, 1080, 1920) for v in VIDEOS}
    for index, average in enumerate(published_average_curves(shapes)[:2]):
        of_videos = [published_curves(video, *shape)[index].points for video, shape in shapes.items()]
        means = [statistics.fmean(point.psnr_db for point in points) for points in zip(*of_videos, strict=True)]
        count = 2 if average.model == "HNeRV" else 5
        assert [point.psnr_db for point in average.points[:count]] == pytest.approx(means[:count], abs=0.006)
    assert (average.points[2].psnr_db, means[2]) == (35.49, pytest.approx(35.74, abs=0.006))


def test_published_bd_rates() -> None:
    rates = {(rate.test, rate.anchor, rate.dataset): rate for rate in published_bd_rates()}
    assert len(rates) == len(published_bd_rates()) == 12
    assert rates["NVRC", "HNeRV-Boost", "MCL-JCV"].bd_rate_percent == -59.80
    assert rates["TCNeRV", "NVRC", "UVG"].bd_rate_percent == 40.22
    assert {rate.metric for rate in rates.values()} == {"RGB PSNR"}


# --- matching -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "psnr_db"),
    [
        ({}, 33.80),
        ({"task": None}, 33.80),
        ({"codec": "nerv", "params_total": 3_300_000}, 32.83),
        ({"codec": "e-nerv", "params_total": 13_900_000}, 34.25),
        ({"codec": "hnerv", "params_total": 6_400_000}, 33.99),
        ({"video": "ReadySteadyGo"}, 28.13),
        ({"video": "ReadySetGo"}, 28.13),
        ({"video": "shake-n-dry", "frames": 300}, 35.88),
        ({"params_total": 3_354_000}, 33.80),
        ({"params_total": 3_356_000}, None),
        ({"params_total": 2_744_000}, None),
        ({"params_total": 4_510_000}, 34.14),
        ({"params_total": None}, None),
        ({"codec": "nerv-boost"}, None),
        ({"codec": "hinerv", "params_total": 3_190_000}, None),
        ({"codec": "tcnerv", "params_total": 3_060_000}, None),
        ({"codec": "hnerv", "params_total": 3_190_000}, 33.56),
        ({"codec": "x265", "kind": "anchor"}, None),
        ({"video": "bunny"}, None),
        ({"video": AVERAGE}, None),
        ({"task": "interpolation"}, None),
        ({"task": "inpainting-center"}, None),
        ({"frames": 60}, None),
        ({"video": "ShakeNDry", "frames": 600}, None),
        ({"height": 960}, None),
    ],
)
def test_a_figure_is_of_the_same_model_video_size_and_task(others: dict[str, Value], psnr_db: float | None) -> None:
    found = published_for(result(**others))
    assert (None if found is None else found.psnr_db) == psnr_db


# --- comparing --------------------------------------------------------------------------------------------------


def test_seven_videos_are_compared_and_their_average() -> None:
    rows = compare(results(-0.05))
    assert [row.video for row in rows] == [*VIDEOS, AVERAGE]
    assert [row.difference_db for row in rows[:7]] == pytest.approx([-0.05] * 7)
    average = rows[-1]
    assert average.ours_db == pytest.approx(statistics.fmean(THEIRS) - 0.05)
    assert average.published is not None
    assert average.published.psnr_db == 33.88
    assert {row.verdict(0.2) for row in rows} == {"within"}


@pytest.mark.parametrize("left_out", VIDEOS)
def test_six_videos_have_no_average(left_out: str) -> None:
    rows = compare(results(videos=tuple(video for video in VIDEOS if video != left_out)))
    assert left_out not in {row.video for row in rows}
    assert AVERAGE not in {row.video for row in rows}


def test_a_video_without_a_result_or_of_another_size_takes_the_average_away() -> None:
    for change in ({"psnr_float_db": None}, {"params_total": 5_010_000}, {"frames": 10}):
        rows = compare([*results(videos=VIDEOS[:6]), result("YachtRide") | change])
        assert [row.video for row in rows] == list(VIDEOS)


def test_seeds_are_averaged() -> None:
    points = [result(psnr_float_db=33.8 + gain, run=f"r-s{seed}", seed=seed) for seed, gain in ((1, 0.1), (2, 0.3))]
    (row,) = compare(points)
    assert (row.run, row.ours_db, row.difference_db) == ("r", pytest.approx(34.0), pytest.approx(0.2))
    points[0]["psnr_float_db"] = None
    assert compare(points)[0].ours_db is None


def test_the_tolerance_is_inclusive_and_on_both_sides() -> None:
    for gain, verdict in ((0.2, "within"), (-0.2, "within"), (0.21, "outside"), (-0.21, "outside")):
        (row,) = compare([result(psnr_float_db=33.8 + gain)])
        assert row.verdict(0.2) == verdict
    assert row.verdict(0.3) == "within"
    assert row.verdict(float("nan")) == "outside"


def test_anchors_are_not_rows_and_planned_runs_without_a_result_are() -> None:
    anchor = result(codec="x265", kind="anchor", run="x265-q28", params_total=None)
    planned = [("Beauty", "hnerv-boost-3M"), ("Jockey", "hnerv-boost-3M"), ("Jockey", "hnerv-boost-3M")]
    rows = compare([result(), anchor], planned)
    assert [(row.video, row.verdict(0.2)) for row in rows] == [("Beauty", "within"), ("Jockey", "no result")]
    with pytest.raises(UserError, match="no points"):
        compare([])


def test_rows_are_by_run_as_the_points_are() -> None:
    points = [*results(), *[point | {"run": "hnerv-boost-10M", "params_total": 10_030_000} for point in results()]]
    assert list(dict.fromkeys(row.run for row in compare(points))) == ["hnerv-boost-3M", "hnerv-boost-10M"]


def test_the_text_has_a_line_a_row() -> None:
    rows = compare([result(), result("Jockey", 33.0), result("bunny", 30.0)])
    heading, *lines, end = comparison_text(rows, 0.2).splitlines()
    assert re.split(r"\s{2,}", heading) == [
        "video", "run", "parameters (M)", "published at (M)", "ours (dB)", "published (dB)", "difference (dB)",
    ]  # fmt: skip
    assert [re.split(r"\s{2,}", line) for line in lines] == [
        ["Beauty", "hnerv-boost-3M", "3.05", "3.05", "33.80", "33.80", "+0.00", "within"],
        ["Jockey", "hnerv-boost-3M", "3.05", "3.05", "33.00", "34.29", "-1.29", "outside"],
        ["bunny", "hnerv-boost-3M", "3.05", "–", "30.00", "–", "–", "not published"],
    ]
    assert end == (
        "2 of 3 rows compared, 1 outside 0.2 dB. "
        "PSNR is that of the unquantised model; published in TCNeRV (2026) table 1."
    )
    assert comparison_text(rows[2:], 0.2).splitlines()[-1] == NOTHING


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run ``boostnerv check`` in this process on an experiment of two videos: (exit code, stdout, stderr)."""
    videos = [{"path": f"{name}.mp4", "name": name} for name in ("Beauty", "Jockey")]
    models = [{"name": "hnerv-boost", "total_m": [3.0]}]
    settings = {"name": "uvg-regression", "own_videos": videos, "models": models, "finetuning": None}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(settings))

    def run(points: list[Point] | Path, *arguments: object) -> tuple[int, str, str]:
        path = points if isinstance(points, Path) else tmp_path / "points.csv"
        if not isinstance(points, Path):
            write_points(points, path)
        given = ("boostnerv", "check", tmp_path / "x.yaml", "--published", path, *arguments)
        monkeypatch.setattr(sys, "argv", list(map(str, given)))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_within_the_tolerance_is_0_and_outside_is_1(check: Callable[..., tuple[int, str, str]]) -> None:
    points = results(-0.1, ("Beauty", "Jockey"))
    code, out, _ = check(points)
    assert code == 0
    assert "2 of 2 rows compared, 0 outside 0.2 dB." in out
    code, out, _ = check(points, "--tolerance-db", 0.05)
    assert code == 1
    assert out.count("outside\n") == 2
    assert "2 of 2 rows compared, 2 outside 0.05 dB." in out
    assert check(results(0.3, ("Beauty", "Jockey")))[0] == 1


def test_nothing_comparable_is_said_and_is_0(check: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = check([result(height=720, width=1280)])
    assert code == 0
    assert out.splitlines()[-1] == NOTHING
    assert "not published" in out
    assert re.search(r"Jockey .* no result", out)


def test_the_comparison_for_programs(check: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, _ = check([result(psnr_float_db=34.3)], "--json", "-o", tmp_path / "comparison.json")
    assert code == 1
    beauty, jockey = json.loads(out)
    assert beauty["difference_db"] == pytest.approx(0.5)
    assert beauty["published"] == {
        "model": "HNeRV-Boost", "params_m": 3.05, "video": "Beauty", "psnr_db": 33.8,
        "source": "TCNeRV (2026) table 1", "column": "psnr_float_db", "shape": [600, 1080, 1920], "macs_g": 131.0,
        "others": [],
    }  # fmt: skip
    assert (beauty["verdict"], jockey["verdict"], jockey["published"]) == ("outside", "no result", None)
    assert len(json.loads((tmp_path / "comparison.json").read_text())) == 2


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ([], "no points"),
        ([result(experiment="another")], "experiment 'another', not of 'uvg-regression'"),
        ("nowhere.csv", r"nowhere\.csv does not exist"),
        ("folder", r"folder cannot be read"),
        ("broken.csv", r"broken\.csv has an unknown column 'b'"),
    ],
)
def test_bad_input_is_2(
    check: Callable[..., tuple[int, str, str]], tmp_path: Path, points: list[Point] | str, sentence: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.csv").write_text("b\n1\n")
    code, out, error = check(tmp_path / points if isinstance(points, str) else points, "-o", tmp_path / "c.json")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"boostnerv: [^\n]+\n", error)
    assert re.search(sentence, error)
    assert not (tmp_path / "c.json").exists()


def test_a_tolerance_below_zero_is_2(check: Callable[..., tuple[int, str, str]]) -> None:
    assert check([result()], "--tolerance-db", -1)[0] == 2
