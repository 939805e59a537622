"""Figures are read back: the SVG has every label and point, and no label lies on another or outside."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from boostnerv.errors import UserError
from boostnerv.evaluation.compare import Row
from boostnerv.evaluation.measure import Quality
from boostnerv.evaluation.published import published_curves
from boostnerv.report import plots, style
from boostnerv.report.comparison_figure import comparison_figure
from boostnerv.report.curves import PARAMETERS, TIME, Across, curve_looks, quality_figure
from boostnerv.report.names import FILE_PARTS, TRAINING_FILES, figure_files
from boostnerv.report.summaries import Summary, by_video, over_seeds, over_videos, size_text
from boostnerv.report.trainings import History, read_history, training_curves
from tests.report.results import ANCHORS, MODELS, anchor_points, model_points, point, trained, trained_points
from tests.report.test_bd_table import whole_uvg

ALL_SIZES = [file_bytes for _, _, file_bytes, _, _ in (*MODELS, *ANCHORS)]
PNG = b"\x89PNG\r\n\x1a\n"


def texts(svg: Path) -> list[str]:
    """Texts of an SVG; matplotlib draws them as outlines and keeps each as a comment."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text())


def drawn(points, metric: str = "psnr_db", across: Across | None = None) -> Figure:
    summaries = over_seeds(points)
    with matplotlib.rc_context(style.STYLE):
        return quality_figure(summaries, metric, curve_looks(summaries), across)


def log_file(path: Path, *, epochs: int = 4, psnr_every: int = 2) -> Path:
    lines = []
    for epoch, step in itertools.product(range(epochs), range(3)):
        line = {
            "epoch": epoch,
            "step": 3 * epoch + step,
            "loss": 10.0 - epoch + step - 1,
            "lr": 1e-3,
            "wall_s": 1.0,
        }
        if step == 2 and epoch % psnr_every == 0:
            line["psnr_db"] = 20.0 + epoch
        lines.append(json.dumps(line))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_point_is_drawn_and_labelled(tmp_path: Path) -> None:
    written = plots.plot_points([*model_points(), *anchor_points()], tmp_path)
    assert [path.name for path in written] == list(figure_files(["bunny"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    for part, axis in (("psnr", "PSNR (dB)"), ("ms-ssim", "MS-SSIM")):
        svg, png = tmp_path / f"{part}-bunny.svg", tmp_path / f"{part}-bunny.png"
        found = texts(svg)
        assert [found.count(size_text(size)) for size in ALL_SIZES] == [1] * 13
        names = {"hnerv-boost", "nerv-boost", "x264", "x265", axis, "bunny: 16 frames of 180×320, 25 fps"}
        assert names <= set(found)
        for name, count in (("hnerv-boost", 4), ("nerv-boost", 1), ("x264", 4), ("x265", 4)):
            group = re.search(rf'<g id="curve-{name}">(.*?)</g>\s*</g>', svg.read_text(), re.DOTALL)
            assert group
            assert len(re.findall("<use ", group[1])) == count
        assert png.read_bytes().startswith(PNG)
        assert png.stat().st_size > 20_000


def test_equal_points_give_equal_bytes(tmp_path: Path) -> None:
    points = [*model_points(), *anchor_points()]
    first = plots.plot_points(points, tmp_path / "a")
    second = plots.plot_points(points[::-1], tmp_path / "b")
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize("metric", ["psnr_db", "ms_ssim"])
@pytest.mark.parametrize("crowded", [False, True])
def test_labels_are_clear_of_each_other_and_of_the_border(metric: str, crowded: bool) -> None:
    points = [*model_points(), *anchor_points()]
    if crowded:
        points += [
            point(
                f"{codec}-near",
                f"{codec}-near-{label}",
                label,
                size + 900,
                psnr_db + 0.2,
                ms_ssim=ms_ssim + 1e-3,
            )
            for codec, label, size, psnr_db, ms_ssim in MODELS
        ]
    figure = drawn(points, metric)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    # The box of an annotation includes its leader; the label alone is the text's own.
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == len(points)
    for left, right in itertools.combinations(boxes, 2):
        assert not left.overlaps(right)
    for box in boxes:
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0
        assert box.y1 <= axes.bbox.y1
    whole = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert whole.x0 >= 0
    assert whole.y0 >= 0
    assert whole.x1 <= figure.bbox.x1
    assert whole.y1 <= figure.bbox.y1


def test_a_wide_range_of_rates_is_logarithmic_and_a_narrow_one_is_not() -> None:
    assert drawn([*model_points(), *anchor_points()]).axes[0].get_xscale() == "log"
    assert drawn(model_points()).axes[0].get_xscale() == "linear"


def test_models_are_solid_anchors_dashed_and_all_differ() -> None:
    looks = curve_looks(over_seeds([*anchor_points(), *model_points()]))
    assert {name: look.line for name, look in looks.items()} == {
        "hnerv-boost": "-",
        "nerv-boost": "-",
        "x264": "--",
        "x265": "--",
    }
    assert len({(look.colour, look.marker) for look in looks.values()}) == 4


def test_one_point_alone_is_a_figure() -> None:
    assert [text.get_text() for text in drawn(model_points()[:1]).axes[0].texts] == ["33.1 kB"]


def test_seeds_are_one_point_with_a_bar() -> None:
    points = [p for seed in (1, 2) for p in model_points(seed=seed, gain_db=seed * 0.5, suffix=f"-s{seed}")]
    figure = drawn(points)
    axes = figure.axes[0]
    assert len(axes.texts) == 5
    assert len(axes.containers) == 2
    segments = [line for container in axes.containers for line in container.lines[2][0].get_segments()]
    bars = [Bbox(axes.transData.transform(segment)) for segment in segments]
    assert len(bars) == 5
    labels = [Text.get_window_extent(text) for text in axes.texts]
    assert not any(label.overlaps(bar) for label in labels for bar in bars)


def test_fifty_curves_look_different() -> None:
    points = [point(f"codec-{index}", f"codec-{index}-1M", "1M", 100, 30.0) for index in range(50)]
    looks = curve_looks(over_seeds(points))
    assert len({(look.colour, look.marker) for look in looks.values()}) == 50


def test_small_frames_say_why_there_is_no_similarity(tmp_path: Path) -> None:
    points = [point("x264", "x264-q30", "crf 30", 900, 30.0, kind="anchor", height=64, width=96)]
    plots.plot_points(points, tmp_path)
    assert any("161 pixels" in text for text in texts(tmp_path / "ms-ssim-bunny.svg"))
    assert "900 B" in texts(tmp_path / "psnr-bunny.svg")


def test_several_videos_have_a_figure_each_and_their_mean(tmp_path: Path) -> None:
    points = [*model_points("a"), *model_points("b", gain_db=2.0), *anchor_points("a")]
    written = plots.plot_points(points, tmp_path)
    assert [path.name for path in written] == list(figure_files(["a", "b"]))
    mean = texts(tmp_path / "psnr-mean-over-videos.svg")
    assert "Mean of 2 videos: a, b" in mean
    # The anchors were run on one video only.
    assert "hnerv-boost" in mean
    assert "x264" not in mean
    assert len(over_videos(over_seeds(points))) == 5


def test_no_size_on_every_video_is_said(tmp_path: Path) -> None:
    plots.plot_points([*model_points("a")[:1], *model_points("b")[1:2]], tmp_path)
    assert "No size was run on every video" in texts(tmp_path / "psnr-mean-over-videos.svg")


def test_no_points_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no points"):
        plots.plot_points([], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_rates_quality_stands_over_parameters(tmp_path: Path) -> None:
    written = plots.plot_points([*trained_points(), *trained_points("nerv-boost", 1.2)], tmp_path)
    assert [path.name for path in written] == list(figure_files(["Beauty"]))
    found = texts(tmp_path / "psnr-Beauty.svg")
    assert {"parameters (millions)", "PSNR (dB)", "hnerv-boost", "nerv-boost"} <= set(found)
    assert [found.count(label) for label in ("1.50 M", "3.05 M", "5.01 M")] == [2, 2, 2]
    assert not any("rate" in text or "not shown" in text for text in found)
    axes = drawn(trained_points()).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [1.502331, 3.051234, 5.012345]
    assert axes.lines[0].get_ydata().tolist() == [32.1, 33.75, 34.3]


def test_anchors_beside_models_without_rates_are_named_not_drawn(tmp_path: Path) -> None:
    plots.plot_points([*trained_points(), *anchor_points("Beauty")], tmp_path)
    for part in ("psnr", "ms-ssim"):
        found = texts(tmp_path / f"{part}-Beauty.svg")
        assert {"parameters (millions)", "not shown, without parameters: x264, x265"} <= set(found)
        assert not {"x264", "x265"} & set(found)


def test_a_model_without_a_rate_beside_coded_ones_is_named_not_drawn() -> None:
    axes = drawn([*model_points()[:4], trained("e-nerv", "3M", 3_000_000, 30.0, video="bunny", task=None)]).axes[0]
    assert axes.get_xlabel() == "rate (bits per pixel)\nnot shown, without rate: e-nerv"
    assert len(axes.lines) == 1


def test_points_with_neither_rate_nor_parameters_say_so() -> None:
    point_alone = trained("e-nerv", "3M", 3_000_000, 30.0) | {"params_total": None}
    assert [text.get_text() for text in drawn([point_alone]).axes[0].texts] == ["no point has parameters"]


def test_anchors_alone_stand_over_rates() -> None:
    assert drawn(anchor_points()).axes[0].get_xlabel() == "rate (bits per pixel)"


def test_a_wide_range_of_parameters_is_logarithmic() -> None:
    axes = drawn([trained("nerv", "0.3M", 300_000, 28.0), trained("nerv", "3M", 3_000_000, 33.0)]).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "parameters (millions, logarithmic)"
    assert [text.get_text() for text in axes.texts] == ["300 k", "3.00 M"]


def test_parts_of_names_and_figures_are_the_same() -> None:
    assert tuple(plots._QUALITY) == FILE_PARTS


def test_coded_models_stand_over_parameters_as_well() -> None:
    points = [p | {"params_total": 1_000_000 + 10 * p["file_bytes"]} for p in model_points()]
    axes = drawn([*points, *anchor_points()], across=PARAMETERS).axes[0]
    assert axes.get_xlabel() == "parameters (millions)\nnot shown, without parameters: x264, x265"
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([1.3312, 1.51044, 1.8031, 2.218])
    assert [line.get_label() for line in axes.lines] == ["hnerv-boost", "nerv-boost"]
    assert axes.texts[0].get_text() == "1.33 M"


def test_time_is_that_of_training_finetuning_and_coding_and_of_anchors_their_encoding() -> None:
    axes = drawn([*model_points(), *anchor_points()], across=TIME).axes[0]
    assert {line.get_label(): set(line.get_xdata().tolist()) for line in axes.lines} == {
        "hnerv-boost": {365.42},
        "nerv-boost": {365.42},
        "x264": {1.5},
        "x265": {1.5},
    }
    assert [text.get_text() for text in axes.texts].count("33.1 kB") == 1
    alone = drawn(trained_points(), across=TIME).axes[0]
    assert set(alone.lines[0].get_xdata().tolist()) == {3000.0}
    assert [text.get_text() for text in alone.texts] == ["1.5M", "3M", "5M"]


def test_models_without_a_time_of_training_are_named_not_drawn() -> None:
    axes = drawn([p | {"train_s": None} for p in model_points()] + anchor_points(), across=TIME).axes[0]
    assert "not shown, without time of training and encoding: hnerv-boost, nerv-boost" in axes.get_xlabel()


def test_tasks_are_curves_of_their_own() -> None:
    points = [*trained_points(task="inpainting-center"), *trained_points(loss_db=2.0, task="interpolation")]
    for line in (figure := drawn(points)).axes[0].lines:
        assert len(line.get_xdata()) == 3
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels == ["hnerv-boost-inpainting-center", "hnerv-boost-interpolation"]
    assert figure.axes[0].get_title(loc="left") == "Beauty: 600 frames of 1080×1920, 120 fps"
    alone = drawn(points[:3]).axes[0]
    assert [line.get_label() for line in alone.lines] == ["hnerv-boost"]
    assert alone.get_title(loc="left").endswith(", inpainting-center")


def test_seeds_without_rates_have_bars_and_videos_their_mean(tmp_path: Path) -> None:
    points = [
        p
        for seed in (1, 2)
        for video in ("Beauty", "Jockey")
        for p in trained_points(loss_db=0.2 * seed, suffix=f"-s{seed}", seed=seed, video=video)
    ]
    axes = drawn([p for p in points if p["video"] == "Jockey"]).axes[0]
    assert len(axes.texts) == 3
    assert len(axes.containers) == 1
    plots.plot_points(points, tmp_path)
    mean = texts(tmp_path / "psnr-mean-over-videos.svg")
    assert {"Mean of 2 videos: Beauty, Jockey", "parameters (millions)", "3.05 M"} <= set(mean)


def test_training_shows_every_run(tmp_path: Path) -> None:
    logs = {name: log_file(tmp_path / f"{name}.jsonl") for name in ("first", "second")}
    written = plots.plot_training(logs, tmp_path / "figures" / "training")
    assert tuple(path.name for path in written) == TRAINING_FILES
    svg, png, time_svg, _ = written
    assert {"first", "second", "PSNR (dB)", "epoch"} <= set(texts(svg))
    assert {"first", "second", "PSNR (dB)", "wall time of training (seconds)"} <= set(texts(time_svg))
    assert png.read_bytes().startswith(PNG)
    again = plots.plot_training(logs, tmp_path / "figures-again" / "training")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


def test_a_training_over_time_has_its_epochs_at_their_times() -> None:
    history = History(loss={1: 5.0, 2: 4.0, 3: 3.0}, psnr_db={2: 20.0, 3: 21.0}, wall_s={1: 60.0, 2: 150.0, 3: 240.0})
    upper, lower = training_curves({"run": history}, over_time=True).axes
    assert upper.lines[0].get_xydata().tolist() == [[2.5, 20.0], [4.0, 21.0]]
    assert lower.lines[0].get_xydata().tolist() == [[1.0, 5.0], [2.5, 4.0], [4.0, 3.0]]
    assert lower.get_xlabel() == "wall time of training (minutes)"


def test_logs_without_times_say_so() -> None:
    upper, _ = training_curves({"run": History(loss={1: 5.0}, psnr_db={1: 20.0})}, over_time=True).axes
    assert [text.get_text() for text in upper.texts] == ["no log has times"]


def test_one_epoch_can_be_seen(tmp_path: Path) -> None:
    history = read_history(log_file(tmp_path / "train.jsonl", epochs=1))
    (line,) = training_curves({"run": history}).axes[1].get_lines()
    assert line.get_marker() == "o"


def test_history_is_the_mean_loss_of_each_epoch(tmp_path: Path) -> None:
    history = read_history(log_file(tmp_path / "train.jsonl"))
    assert history.loss == {0: 10.0, 1: 9.0, 2: 8.0, 3: 7.0}
    assert history.psnr_db == {0: 20.0, 2: 22.0}


def test_a_log_that_is_being_written_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = log_file(tmp_path / "train.jsonl")
    whole = read_history(path)
    with open(path, "a") as file:
        file.write('{"event": "resumed"}\n{"epoch": 0, "step": 0, "loss": 9.0}\n{"epoch": 4, "lo')
    # The step that was done again after the interruption counts once.
    assert read_history(path) == whole


def test_broken_and_missing_logs_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl does not exist"):
        plots.plot_training({"run": tmp_path / "none.jsonl"}, tmp_path / "training")
    (tmp_path / "broken.jsonl").write_text('{"epoch": 0, "lo\n{"epoch": 1, "loss": 1}\n')
    with pytest.raises(UserError, match=r"broken\.jsonl, line 1"):
        plots.plot_training({"run": tmp_path / "broken.jsonl"}, tmp_path / "training")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="no training steps"):
        plots.plot_training({"run": tmp_path / "empty.jsonl"}, tmp_path / "training")


@pytest.mark.parametrize("label", ["a", "hnerv-boost", "hnerv-boost-0.3M-inpainting-disperse"])
def test_the_legend_of_trainings_stays_inside_the_figure(label: str) -> None:
    histories = {f"{label}{index}": History(loss={1: 10.0**index}, psnr_db={1: 20.0}) for index in range(-3, 3)}
    figure = training_curves(histories)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert figure.axes[1].get_yscale() == "log"  # losses of five magnitudes


# --- comparison of files ----------------------------------------------------------------------------------------


def row(name: str, codec: str, bpp: float | None, psnr_db: float) -> Row:
    kind = "bnv" if name.endswith(".bnv") else "video"
    measured = Quality((psnr_db,) * 8, None, psnr_db, psnr_db, None, "too small")
    file_bytes = None if bpp is None else round(bpp * 1000)
    return Row(name, kind, codec, 8, 20, 50, file_bytes, bpp, "ffmpeg-default", measured)


ROWS = [
    row("x264-crf-18.mp4", "h264", 0.9, 41.0),
    row("x264-crf-28.mp4", "h264", 0.3, 35.0),
    row("x265-crf-28.mkv", "hevc", 0.29, 35.1),
    row("hnerv-boost-0.27M-s1/video.bnv", "hnerv-boost", 0.31, 34.9),
    row("hnerv-boost-3M-with-a-long-name-of-its-run/video.bnv", "hnerv-boost", 1.0, 38.0),
    row("frames", "png", None, 50.0),
]


def test_every_file_is_a_point_with_its_name(tmp_path: Path) -> None:
    plots.plot_comparison(ROWS, "clip.mp4: 8 frames of 20×50", tmp_path / "figure.svg")
    plots.plot_comparison(ROWS, "clip.mp4: 8 frames of 20×50", tmp_path / "figure.png")
    plots.plot_comparison(ROWS, "clip.mp4: 8 frames of 20×50", tmp_path / "again.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.svg", "figure.png", "figure.svg"]
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "figure.svg").read_bytes()
    assert (tmp_path / "figure.png").read_bytes().startswith(PNG)
    found = texts(tmp_path / "figure.svg")
    assert [found.count(shown.name) for shown in ROWS] == [1, 1, 1, 1, 1, 0]
    assert {"clip.mp4: 8 frames of 20×50", "PSNR (dB)", "not shown, without rate: frames"} <= set(found)
    assert {"hnerv-boost", "h264", "hevc"} <= set(found)
    assert "png" not in found


@pytest.mark.parametrize("count", [1, 2, 5])
def test_names_of_files_are_clear_of_each_other_and_of_the_border(count: int) -> None:
    with matplotlib.rc_context(style.STYLE):
        figure = comparison_figure(ROWS[:count], "clip")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == count
    assert not any(left.overlaps(right) for left, right in itertools.combinations(boxes, 2))
    for box in boxes:
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0
        assert box.y1 <= axes.bbox.y1
    points = {tuple(point) for line in axes.lines for point in line.get_xydata().tolist()}
    assert points == {(shown.bpp, shown.measured.psnr_db) for shown in ROWS[:count]}
    assert all(line.get_linestyle() == "None" for line in axes.lines)


def test_files_without_rates_are_no_points() -> None:
    axes = comparison_figure(ROWS[-1:], "clip").axes[0]
    assert [text.get_text() for text in axes.texts] == ["no point has rate"]


def test_published_curves_stand_in_figures_over_rate_of_whole_videos_and_their_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_two(summaries: list[Summary]) -> dict[str, list[Summary]]:
        groups = by_video(summaries)
        return {name: groups[name] for name in ("Beauty", "Jockey")}

    # The mean is that of all videos; figures of two show what those of all would.
    with monkeypatch.context() as patch:
        patch.setattr(plots, "by_video", of_two)
        plots.plot_points(whole_uvg(), tmp_path)
    for name in ("Jockey", "mean-over-videos"):
        for part, shown in (("psnr", True), ("ms-ssim", True), ("size", False), ("time", False)):
            text = (tmp_path / f"{part}-{name}.svg").read_text()
            assert ('id="curve-HiNeRV (published)"' in text) == shown, (part, name)
            assert 'id="curve-hnerv"' in text or not shown
    plots.plot_points([*model_points(), *anchor_points()], tmp_path)
    assert "published" not in (tmp_path / "psnr-bunny.svg").read_text()


def test_published_curves_are_neither_solid_nor_filled() -> None:
    points = [each for each in whole_uvg() if each["video"] == "Jockey"]
    published, summaries = published_curves("Jockey", 600, 1080, 1920), over_seeds(points)
    with matplotlib.rc_context(style.STYLE):
        figure = quality_figure(summaries, "psnr_db", curve_looks(summaries, published), published=published)
    lines = {line.get_gid(): line for line in figure.axes[0].lines}
    theirs = lines["curve-HiNeRV (published)"]
    assert (theirs.get_linestyle(), theirs.get_markerfacecolor()) == ("-.", "none")
    assert list(theirs.get_xdata()) == [point.bpp for point in published[0].points]
    assert [lines[f"curve-{name}"].get_linestyle() for name in ("hnerv", "x265")] == ["-", "--"]
