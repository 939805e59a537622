from __future__ import annotations

import csv
from pathlib import Path

import pytest

from boostnerv.errors import UserError
from boostnerv.report.tables import published_csv, time_text, write_tables
from tests.report.results import anchor_points, model_points, point, trained, trained_points


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


def test_costs_and_further_measures_stand_where_they_were_measured(tmp_path: Path) -> None:
    costs = {"kmac_per_pixel": 12.34, "peak_memory_mib": 1234.5, "decode_warm_fps": 61.5, "vmaf": 71.234}
    yuv = {"psnr_y_db": 30.0, "psnr_u_db": 35.0, "psnr_v_db": 36.0, "psnr_yuv_db": 31.375}
    model = model_points()[0] | costs | yuv | {"device": "cuda (A100)"}
    anchor = anchor_points()[0] | {"peak_memory_mib": 99.6, "device": "cpu", "overhead_bytes": 70}
    write_tables([model, anchor], tmp_path / "points.md", tmp_path / "summary.csv")
    heading, _, *lines = table(tmp_path / "points.md")
    found = [dict(zip(heading, line, strict=True)) for line in lines]
    names = ("kMAC/pixel", "peak memory (MiB)", "decoding, warm (fps)", "VMAF", "device", "PSNR YUV (dB)")
    assert [found[0][name] for name in names] == ["12.3", "1,234", "61.5", "71.23", "cuda (A100)", "31.38"]
    assert [found[1][name] for name in names] == ["–", "100", "–", "–", "cpu", "–"]
    with open(tmp_path / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["overhead_bytes"] for row in rows] == ["", "70.0"]
    assert rows[0]["decode_warm_fps"] == "61.5"
    assert {"PSNR Y (dB)", "PSNR U (dB)", "PSNR V (dB)"} < set(heading)


def test_where_nothing_was_coded_nothing_is_said_of_files(tmp_path: Path) -> None:
    write_tables(trained_points("nerv-boost"), tmp_path / "points.md", tmp_path / "summary.csv")
    heading, _, *lines = table(tmp_path / "points.md")
    assert heading == ["codec", "size", "parameters", "PSNR (dB)", "MS-SSIM", "PSNR float (dB)", "training"]
    assert lines[0] == ["nerv-boost", "1.5M", "1,502,331", "32.10", "0.9321", "32.12", "50 min 00 s"]
    text = (tmp_path / "points.md").read_text()
    assert "Nothing was coded" in text
    assert "The task is regression." in text
    assert not any(word in text for word in ("Rate is", "decoded", "fine-tuning", "Published"))
    with open(tmp_path / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["bpp"], rows[0]["params_total"], rows[0]["task"]) == ("", "1502331.0", "regression")


def test_models_without_a_rate_stand_beside_anchors_with_one(tmp_path: Path) -> None:
    points = [*trained_points("nerv-boost"), *anchor_points("Beauty")]
    write_tables(points, tmp_path / "points.md", tmp_path / "summary.csv")
    heading, _, *lines = table(tmp_path / "points.md")
    model, anchor = (dict(zip(heading, line, strict=True)) for line in (lines[0], lines[-1]))
    assert "PSNR float → quantised → decoded (dB)" not in heading
    assert (model["file (bytes)"], model["bpp"], model["encoding"], model["PSNR float (dB)"]) == (
        "–",
        "–",
        "–",
        "32.12",
    )
    assert (anchor["parameters"], anchor["file (bytes)"], anchor["PSNR float (dB)"]) == ("–", "46,290", "–")
    assert "Rows without a rate are models measured as trained" in (tmp_path / "points.md").read_text()


def test_the_chain_is_of_coded_models_and_float_of_the_others(tmp_path: Path) -> None:
    points = [model_points()[0], trained("nerv", "3M", 3_000_000, 30.0, video="bunny")]
    write_tables(points, tmp_path / "points.md", tmp_path / "summary.csv")
    heading, _, *lines = table(tmp_path / "points.md")
    coded, other = (dict(zip(heading, line, strict=True)) for line in lines)
    chain = "PSNR float → quantised → decoded (dB)"
    assert (coded["PSNR float (dB)"], coded[chain]) == ("–", "25.11 → 24.61 → 24.61")
    assert (other["PSNR float (dB)"], other[chain]) == ("30.02", "–")


def test_what_a_task_withheld_is_shown_with_its_deviation(tmp_path: Path) -> None:
    points = [
        p | {"psnr_hidden_db": 20.0 + seed, "psnr_visible_db": 34.0}
        for seed in (1, 2)
        for p in trained_points(suffix=f"-s{seed}", seed=seed, task="inpainting-center")
    ] + [
        p | {"psnr_seen_db": 33.0, "psnr_unseen_db": 25.0, "ms_ssim_seen": 0.95, "ms_ssim_unseen": 0.9}
        for p in trained_points("e-nerv", task="interpolation")
    ]
    write_tables(points, tmp_path / "points.md", tmp_path / "summary.csv")
    heading, _, *lines = table(tmp_path / "points.md")
    seen, hidden = (dict(zip(heading, line, strict=True)) for line in (lines[0], lines[-1]))
    assert (hidden["PSNR hidden (dB)"], hidden["PSNR visible (dB)"]) == ("21.50 ± 0.71", "34.00 ± 0.00")
    assert (hidden["PSNR unseen (dB)"], seen["PSNR hidden (dB)"]) == ("–", "–")
    assert (seen["codec"], seen["PSNR seen (dB)"], seen["PSNR unseen (dB)"]) == (
        "e-nerv-interpolation",
        "33.00",
        "25.00",
    )
    assert (seen["MS-SSIM seen"], seen["MS-SSIM unseen"]) == ("0.9500", "0.9000")
    assert hidden["parameters"] == "5,012,345"


def test_published_figures_stand_beside_ours_and_are_never_filled_in(tmp_path: Path) -> None:
    videos = ("Beauty", "Bosphorus", "HoneyBee", "Jockey", "ReadySteadyGo", "ShakeNDry", "YachtRide")
    points = [
        p
        for video in videos
        for p in trained_points(video=video, dataset="uvg", frames=300 if video == "ShakeNDry" else 600)
    ]
    write_tables(points, tmp_path / "points.md", tmp_path / "summary.csv")
    sections = (tmp_path / "points.md").read_text().split("## ")[1:]
    assert len(sections) == 8
    columns = {
        section.splitlines()[0]: [
            [cell.strip() for cell in line.split("|")[-5:-2]] for line in section.splitlines() if line.startswith("| ")
        ]
        for section in sections
    }
    headings = ["PSNR published (dB)", "ours (dB)", "difference (dB)"]
    assert columns["Beauty"] == [headings, ["", "", ""], ["33.80", "33.77", "-0.03"], ["34.14", "34.32", "+0.18"]]
    assert columns["ReadySteadyGo"][1:] == [["", "", ""], ["28.13", "33.77", "+5.64 ⚠"], ["30.36", "34.32", "+3.96 ⚠"]]
    assert columns["mean of 7 videos"][1:] == [["", "", ""], ["33.88", "33.77", "-0.11"], ["35.06", "34.32", "-0.74 ⚠"]]
    assert all("TCNeRV (2026) table 1; ours beside it is that of the unquantised model." in text for text in sections)
    assert "⚠ marks a difference of more than 0.2 dB." not in sections[0]
    assert "⚠ marks a difference of more than 0.2 dB." in sections[1]
    write_tables([p for p in points if p["video"] != "Jockey"], tmp_path / "points.md", tmp_path / "summary.csv")
    assert "published" not in (tmp_path / "points.md").read_text().split("## mean")[1]


def test_ours_beside_published_for_programs() -> None:
    points = trained_points(video="Jockey", dataset="uvg")
    lines = list(csv.DictReader(published_csv([*points, *anchor_points("Jockey")]).splitlines()))
    assert [line["run"] for line in lines] == ["hnerv-boost-1.5M", "hnerv-boost-3M", "hnerv-boost-5M"]
    assert (lines[0]["published_psnr_db"], lines[0]["difference_db"], lines[0]["verdict"]) == ("", "", "not published")
    assert {name: value for name, value in lines[1].items() if value} == {
        "video": "Jockey", "run": "hnerv-boost-3M", "params_m": "3.051234", "ours_db": "33.77",
        "published_model": "HNeRV-Boost", "published_params_m": "3.05", "published_macs_g": "131.0",
        "published_psnr_db": "34.29", "published_source": "TCNeRV (2026) table 1",
        "difference_db": repr(33.77 - 34.29), "verdict": "outside",
    }  # fmt: skip


def test_all_that_is_published_of_models_of_many_stands_beside_ours(tmp_path: Path) -> None:
    shape = {"frames": 3900, "height": 1024, "width": 1920}
    ours = {"bpp": 0.04, "ms_ssim": 0.9504, "file_bytes": 38_000_000, "entropy_efficiency": 0.9, "psnr_db": 35.5}
    coded = trained("d-nerv-post-training", "M", 24_000_000, 35.5, video="uvg") | shape | ours
    write_tables([coded], tmp_path / "points.md", tmp_path / "summary.csv")
    text = (tmp_path / "points.md").read_text()
    for figures in (
        "bpp | 0.0400 | 0.0383 | +0.0017",
        "MS-SSIM | 0.9504 | 0.9604 | -0.0100",
        "file (bytes) | 38,000,000 | 36,700,000 | +1,300,000",
        "entropy efficiency | 0.900 | 0.880 | +0.020",
    ):
        assert f"| d-nerv-post-training | M | {figures} |" in text
    (line,) = csv.DictReader(published_csv([coded]).splitlines())
    assert (line["published_bpp"], line["difference_bpp"]) == ("0.0383", repr(0.04 - 0.0383))
    assert (line["file_bytes"], line["published_file_bytes"]) == ("38000000.0", "36700000.0")


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


def test_the_gain_of_each_boost_is_that_of_its_pair(tmp_path: Path) -> None:
    pairs = [
        point("nerv", "nerv-0.3M", "0.3M", 10_000, 25.0, ms_ssim=0.8),
        point("nerv-boost", "nerv-boost-0.3M", "0.3M", 11_000, 26.5, ms_ssim=0.85),
        point("nerv-boost", "nerv-boost-0.6M", "0.6M", 20_000, 27.5, ms_ssim=0.9),  # no plain one of this size
        point("hnerv", "hnerv-0.6M", "0.6M", 20_000, 27.5),
    ]
    write_tables(pairs, tmp_path / "a.md", tmp_path / "a.csv")
    text = (tmp_path / "a.md").read_text()
    assert "| nerv-boost | nerv | 0.3M | +1.50 | +0.0500 | +10.0% |" in text
    assert text.count("| nerv-boost | nerv |") == 1
    write_tables(pairs[2:], tmp_path / "b.md", tmp_path / "b.csv")
    assert "Gain of" not in (tmp_path / "b.md").read_text()


def test_gains_are_between_equal_lengths_of_training(tmp_path: Path) -> None:
    pairs = [
        point(codec, f"{codec}-1.5M-e{epochs}", "1.5M", 10_000, psnr_db)
        for codec, epochs, psnr_db in [("hnerv", 300, 30.0), ("hnerv", 600, 31.0), ("hnerv-boost", 300, 33.0)]
    ]
    write_tables(pairs, tmp_path / "a.md", tmp_path / "a.csv")
    assert "| hnerv-boost-e300 | hnerv-e300 | 1.5M | +3.00 |" in (tmp_path / "a.md").read_text()


def test_a_training_that_went_back_says_so(tmp_path: Path) -> None:
    runs = [
        point("hnerv", f"hnerv-1.5M-s{seed}", "1.5M", 10_000, 30.0, seed=seed, returns=returns)
        for seed, returns in [(1, 0), (2, 2)]
    ]
    write_tables(runs, tmp_path / "a.md", tmp_path / "a.csv")
    text = (tmp_path / "a.md").read_text()
    assert "| returns |" in text
    assert "| 2 |" in text
    assert "Returns: how often a training collapsed" in text
    write_tables(runs[:1], tmp_path / "b.md", tmp_path / "b.csv")
    assert "eturns" not in (tmp_path / "b.md").read_text()


def test_rows_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    runs = [point("hnerv", f"hnerv-1.5M-e{epochs}", "1.5M", 10_000, 30.0) for epochs in (4800, 300, 1200)]
    write_tables(runs, tmp_path / "a.md", tmp_path / "a.csv")
    rows = [line.split("|")[1].strip() for line in (tmp_path / "a.md").read_text().splitlines() if "| hnerv-e" in line]
    assert rows == ["hnerv-e300", "hnerv-e1200", "hnerv-e4800"]
