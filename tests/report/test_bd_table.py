"""Tables of BD-rates from made points."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from boostnerv import steps
from boostnerv.errors import UserError
from boostnerv.evaluation.measure import bits_per_pixel
from boostnerv.evaluation.points import Point, Value, write_points
from boostnerv.evaluation.published import PublishedBdRate, published_curves
from boostnerv.report.bd_table import BdRow, bd_rows, beside_published, markdown, write_bd_tables
from tests.report.results import anchor_points, model_points, point

METHODS = ("cubic", "pchip", "akima")
LADDER = ((20_000, 30.0, 0.95), (40_000, 32.5, 0.97), (80_000, 34.5, 0.98), (160_000, 36.0, 0.985))


def ladder(codec: str, factor: float = 1.0, *, count: int = 4, **others: Value) -> list[Point]:
    """A model, or an anchor with `kind`, at up to four sizes, which need `factor` times the bits."""
    shape = tuple(int(str(others.get(name, size))) for name, size in (("frames", 16), ("height", 180), ("width", 320)))
    rows = []
    for step, (file_bytes, psnr_db, ms_ssim) in enumerate(LADDER[:count]):
        is_anchor = others.get("kind") == "anchor"
        run, label = (f"{codec}-q{step}", f"crf {step}") if is_anchor else (f"{codec}-{step}M", f"{step}M")
        size = round(file_bytes * factor)
        changes: dict[str, Value] = {"ms_ssim": ms_ssim, "bpp": bits_per_pixel(size, *shape), **others}
        rows.append(point(codec, run, label, size, psnr_db, **changes))
    return rows


def pairs(rows: list[BdRow], metric: str = "psnr_db") -> dict[tuple[str, str, str], BdRow]:
    return {(row.video, row.curve, row.anchor): row for row in rows if row.metric == metric}


def test_models_stand_against_anchors_and_boosted_ones_against_plain_ones() -> None:
    x264, x265 = ladder("x264", 2.0, kind="anchor"), ladder("x265", kind="anchor")
    rows = bd_rows([*ladder("hnerv", 1.5), *ladder("hnerv-boost", 0.75), *x264, *x265])
    found = {key[1:]: row.difference.rate_percent.values for key, row in pairs(rows).items()}
    assert set(found) == {
        ("hnerv", "x264"), ("hnerv", "x265"), ("hnerv-boost", "x264"), ("hnerv-boost", "x265"),
        ("hnerv-boost", "hnerv"), ("x264", "x265"), ("x265", "x264"),
    }  # fmt: skip
    for pair, percent in ((("hnerv", "x265"), 50.0), (("hnerv-boost", "hnerv"), -50.0), (("x264", "x265"), 100.0)):
        assert list(found[pair].values()) == pytest.approx([percent] * 3)
    by_ms_ssim = pairs(rows, "ms_ssim")[("bunny", "hnerv", "x265")].difference
    assert by_ms_ssim.rate_percent.values["pchip"] == pytest.approx(50.0)


def test_too_few_points_have_a_reason_and_no_plain_model(tmp_path: Path) -> None:
    points = [*ladder("nerv", count=3), *ladder("nerv-boost"), *ladder("x265", kind="anchor")]
    write_bd_tables(points, tmp_path / "bd.md", tmp_path / "bd.csv")
    assert set(pairs(bd_rows(points))) == {("bunny", "nerv", "x265"), ("bunny", "nerv-boost", "x265")}
    text = (tmp_path / "bd.md").read_text()
    assert "| nerv | x265 | nerv has 3 points, 4 are needed. | – | – | – | nerv has 3 points, 4 are needed. |" in text
    assert "| nerv-boost | x265 | 0.00 | 0.00 | 0.00 | 100 | 0.000 | 0.000 | 0.000 | 100 |" in text
    with open(tmp_path / "bd.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4
    assert [line["bd_rate_reason"] for line in lines[:2]] == ["nerv has 3 points, 4 are needed.", ""]
    assert all(lines[0][f"bd_rate_{method}_percent"] == "" for method in METHODS)
    assert all(abs(float(lines[1][f"bd_rate_{method}_percent"])) < 1e-9 for method in METHODS)
    assert (lines[1]["points"], lines[1]["quality_overlap_percent"]) == ("4", "100.0")


def test_every_quality_that_was_measured_has_its_own(tmp_path: Path) -> None:
    measured = [
        p | {"psnr_yuv_db": float(str(p["psnr_db"])) + 1, "vmaf": 2 * float(str(p["psnr_db"]))}
        for p in (*ladder("hnerv", 0.5), *ladder("x265", kind="anchor"))
    ]
    write_bd_tables(measured, tmp_path / "bd.md", tmp_path / "bd.csv")
    with open(tmp_path / "bd.csv", newline="") as file:
        lines = {line["metric"]: line for line in csv.DictReader(file)}
    assert [float(line["bd_rate_pchip_percent"]) for line in lines.values()] == pytest.approx([-50.0] * 4)
    units = {"psnr_db": "dB", "ms_ssim": "dB", "psnr_yuv_db": "dB", "vmaf": "points"}
    assert {metric: line["quality_unit"] for metric, line in lines.items()} == units
    # Twice the decibels are twice the gain at equal rate.
    gains = {metric: float(line["bd_quality_cubic"]) for metric, line in lines.items()}
    assert gains["vmaf"] == pytest.approx(2 * gains["psnr_db"])
    assert gains["psnr_yuv_db"] == pytest.approx(gains["psnr_db"])
    text = (tmp_path / "bd.md").read_text()
    assert "## bunny: VMAF\n" in text
    assert "BD-VMAF (points), cubic" in text


def test_seeds_are_averaged_before_a_curve_is_made() -> None:
    seeds = [
        p | {"seed": seed, "run": f"{p['run']}-s{seed}", "psnr_db": float(str(p["psnr_db"])) + gain}
        for seed, gain in ((1, 0.5), (2, -0.5))
        for p in ladder("hnerv")
    ]
    (row,) = pairs(bd_rows([*seeds, *ladder("x265", kind="anchor")])).values()
    assert (row.points, row.difference.rate_percent.values["cubic"]) == (4, pytest.approx(0.0, abs=1e-9))


def test_the_mean_is_that_of_the_videos_numbers() -> None:
    points = [
        p
        for video, factor in (("a", 1.1), ("b", 1.5))
        for p in (*ladder("hnerv", factor, video=video), *ladder("x265", kind="anchor", video=video))
    ]
    mean = pairs(bd_rows(points))[("mean of 2 videos", "hnerv", "x265")].difference
    assert mean.rate_percent.values["akima"] == pytest.approx(30.0)
    # A video without a number leaves no mean.
    fewer = pairs(bd_rows([p for p in points if (p["video"], p["run"]) != ("b", "hnerv-3M")]))
    reason = fewer[("mean of 2 videos", "hnerv", "x265")].difference.rate_percent
    assert (reason.values, reason.reason) == ({}, "1 of 2 videos have a number.")
    other = ladder("x265", kind="anchor", video="c")
    three = pairs(bd_rows([*points, *other]))[("mean of 3 videos", "hnerv", "x265")].difference.rate_percent
    assert three.reason == "2 of 3 videos have a number."


def test_a_model_of_many_takes_no_part_in_the_mean() -> None:
    points = [p for video in "ab" for p in (*ladder("hnerv", video=video), *ladder("x265", kind="anchor", video=video))]
    many = ladder("d-nerv-post-training", video="both")
    assert ("mean of 2 videos", "hnerv", "x265") in pairs(bd_rows([*points, *many]))


def test_curves_that_do_not_overlap_say_so() -> None:
    rows = bd_rows([*model_points(), *anchor_points()])
    found = pairs(rows)
    assert found[("bunny", "hnerv-boost", "x265")].difference.rate_percent.reason == "The qualities do not overlap."
    assert (
        found[("bunny", "nerv-boost", "x265")].difference.rate_percent.reason == "nerv-boost has 1 point, 4 are needed."
    )
    assert all(value < 0 for value in found[("bunny", "x265", "x264")].difference.rate_percent.values.values())


def test_what_was_not_coded_is_no_curve(tmp_path: Path) -> None:
    trained = [p | {"file_bytes": None, "bpp": None} for p in ladder("hnerv")]
    assert bd_rows(trained) == []
    assert bd_rows([*trained, *ladder("x265", kind="anchor")]) == []
    write_bd_tables(trained, tmp_path / "bd.md", tmp_path / "bd.csv")
    assert "There are no curves to compare" in (tmp_path / "bd.md").read_text()
    assert len((tmp_path / "bd.csv").read_text().splitlines()) == 1


def test_published_curves_stand_beside_those_of_whole_uvg_videos() -> None:
    whole: dict[str, Value] = {"dataset": "uvg", "video": "Beauty", "frames": 600, "height": 1080, "width": 1920}
    points = [*ladder("hnerv", **whole), *ladder("x265", kind="anchor", **whole)]
    found = pairs(bd_rows(points))
    assert {key[1:] for key in found} == {
        ("hnerv", "x265"), ("hnerv", "HiNeRV (published)"), ("hnerv", "HNeRV (published)"),
        ("HiNeRV (published)", "x265"), ("HNeRV (published)", "x265"),
    }  # fmt: skip
    row = found[("Beauty", "HNeRV (published)", "x265")]
    assert (row.points, row.difference.rate_percent.reason) == (3, "HNeRV (published) has 3 points, 4 are needed.")
    part = [p | {"frames": 60} for p in points]
    assert {key[1:] for key in pairs(bd_rows(part))} == {("hnerv", "x265")}


def whole_uvg() -> list[Point]:
    """Of UVG's seven videos, whole: a hnerv of twice the bits of the published HiNeRV, and an x265 of three times."""
    points = []
    for video in ("Beauty", "Bosphorus", "HoneyBee", "Jockey", "ReadySetGo", "ShakeNDry", "YachtRide"):
        frames = 300 if video == "ShakeNDry" else 600
        (hinerv, _) = published_curves(video, frames, 1080, 1920)
        for step, theirs in enumerate(hinerv.points):
            whole: dict[str, Value] = {"video": video, "frames": frames, "height": 1080, "width": 1920}
            quality = {"psnr_db": theirs.psnr_db, "ms_ssim": theirs.ms_ssim}
            hnerv = point("hnerv", f"hnerv-{step}M", f"{step}M", 1, 0.0)
            x265 = point("x265", f"x265-q{step}", f"crf {step}", 1, 0.0, kind="anchor")
            points.append(hnerv | whole | quality | {"bpp": theirs.bpp * 2})
            points.append(x265 | whole | quality | {"bpp": theirs.bpp * 3})
    return points


def test_published_bd_rates_have_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    points = whole_uvg()
    rows = bd_rows(points)
    text = markdown(rows, beside_published(rows, points))
    assert "| NVRC | HNeRV-Boost | RGB PSNR | -66.45 | – | – | NVRC (NeurIPS 2024) table 1 |" in text
    # A pair of which this experiment has both curves: HNeRV of two thirds of the bits of x265.
    known = PublishedBdRate("HNeRV", "x265 veryslow", "UVG", "RGB PSNR", -30.0, "somewhere")
    theirs = PublishedBdRate("HiNeRV", "x265 veryslow", "UVG", "RGB PSNR", -66.0, "somewhere")
    monkeypatch.setattr("boostnerv.report.bd_table.published_bd_rates", lambda: (known, theirs))
    found = beside_published(rows, points)
    assert [each.ours_percent for each in found] == pytest.approx([-100 / 3, -200 / 3])
    assert found[0].difference_percent == pytest.approx(-10 / 3)
    assert "| HNeRV | x265 veryslow | RGB PSNR | -30.00 | -33.33 | -3.33 | somewhere |" in markdown(rows, found)
    assert beside_published(rows, [each for each in points if each["video"] != "Jockey"]) == []


def test_the_step_writes_all_tables_from_points(tmp_path: Path) -> None:
    write_points([*ladder("hnerv", 1.5), *ladder("x265", kind="anchor")], tmp_path / "points.csv")
    fields = ["markdown", "csv", "metrics", "bd_markdown", "bd_csv", "published"]
    names = ["points.md", "points.table.csv", "metrics.json", "bd.md", "bd.csv", "published.csv"]
    tables = {field: tmp_path / "tables" / name for field, name in zip(fields, names, strict=True)}
    steps.tabulate(tmp_path / "points.csv", steps.TableFiles(**tables))
    assert "| hnerv | x265 | +50.00 | +50.00 | +50.00 | 100 |" in (tmp_path / "tables" / "bd.md").read_text()
    lines = (tmp_path / "tables" / "published.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["bunny", f"hnerv-{step}M"] for step in range(4)]
    some = {field: tmp_path / "some" / path.name for field, path in list(tables.items())[:2]}
    steps.tabulate(tmp_path / "points.csv", steps.TableFiles(**some))
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == sorted(names[:2])


def test_seven_whole_videos_have_a_published_mean_beside_ours() -> None:
    mean = pairs(bd_rows(whole_uvg()))[("mean of 7 videos", "hnerv", "HiNeRV (published)")].difference
    assert list(mean.rate_percent.values.values()) == pytest.approx([100.0] * 3)


def test_points_with_other_frames_are_on_no_curve(tmp_path: Path) -> None:
    points = [*ladder("hnerv"), *(p | {"frames_sha256": "1" * 64} for p in ladder("x265", kind="anchor"))]
    with pytest.raises(UserError, match="hnerv-0M with 000000000000, x265-q0 with 111111111111"):
        write_bd_tables(points, tmp_path / "bd.md", tmp_path / "bd.csv")
    with pytest.raises(UserError, match="no points"):
        write_bd_tables([], tmp_path / "bd.md", tmp_path / "bd.csv")
    assert list(tmp_path.iterdir()) == []
