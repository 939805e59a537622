"""What stands beside points: which runs and frames are chosen, where frames are most wrong, and that bits add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.errors import UserError
from boostnerv.report import plots
from boostnerv.report.bits import KINDS, Part, bits_figure, by_layer
from boostnerv.report.crops import SMALL_SIDE, ComparedFrame, Crops, crops_figure, error_map, worst_window
from boostnerv.report.curves import curve_looks
from boostnerv.report.frame_curves import frames_figure
from boostnerv.report.names import run_figure_files
from boostnerv.report.runs import best_run, chosen_frames, nearest_anchor, read_frames, runs_by_curve, runs_of
from boostnerv.report.summaries import over_seeds
from boostnerv.video.info import Window
from tests.report.results import anchor_points, model_points, trained_points

FRAMES = (30.0, 31.0, 29.0, 31.0, 29.0, 30.5)


def all_runs():
    points = [*model_points(), *anchor_points()]
    return runs_of(points, [FRAMES] * len(points))


def test_the_first_of_equal_frames_and_the_lower_median_are_chosen() -> None:
    assert chosen_frames(FRAMES) == {"best": 1, "median": 0, "worst": 2}
    assert chosen_frames([5.0]) == {"best": 0, "median": 0, "worst": 0}
    assert chosen_frames([1.0, 2.0]) == {"best": 1, "median": 0, "worst": 0}


@given(st.lists(st.floats(0, 60), min_size=1, max_size=20))
def test_chosen_frames_are_what_they_are_called(psnr_db: list[float]) -> None:
    chosen = chosen_frames(psnr_db)
    assert chosen["best"] == psnr_db.index(max(psnr_db))
    assert chosen["worst"] == psnr_db.index(min(psnr_db))
    assert psnr_db[chosen["median"]] == sorted(psnr_db)[(len(psnr_db) - 1) // 2]


def test_the_best_run_and_the_anchor_nearest_in_size() -> None:
    runs = all_runs()
    best = best_run(runs)
    assert best is not None
    assert best.name == "hnerv-boost-0.27M"
    nearest = nearest_anchor(best, runs)
    assert nearest is not None
    assert nearest.name == "x265-q18"
    small = next(run for run in runs if run.name == "hnerv-boost-0.08M")
    # 35.4 kB and 26.0 kB are nearest to 33.1 kB.
    assert nearest_anchor(small, runs).name == "x264-q18"  # type: ignore[union-attr]
    assert nearest_anchor(best, [best]) is None
    assert best_run(runs_of(trained_points(), [()] * 3)) is None


def test_one_run_a_curve_is_shown() -> None:
    assert [run.name for run in runs_by_curve(all_runs())] == [
        "hnerv-boost-0.27M",
        "nerv-boost-0.27M",
        "x264-q18",
        "x265-q18",
    ]


def test_a_line_a_curve_over_all_frames() -> None:
    runs = all_runs()
    looks = curve_looks(over_seeds([run.point for run in runs]))
    figure = frames_figure(runs, looks)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == [
        "hnerv-boost-0.27M, 122 kB",
        "nerv-boost-0.27M, 159 kB",
        "x264-q18, 35.4 kB",
        "x265-q18, 46.3 kB",
    ]
    assert all(tuple(line.get_ydata()) == FRAMES for line in axes.lines)
    assert [line.get_linestyle() for line in axes.lines] == ["-", "-", "--", "--"]


def test_runs_without_frames_are_named_and_nothing_to_show_is_said() -> None:
    runs = runs_of([*model_points(), *anchor_points()], [FRAMES] * 5 + [()] * 8)
    looks = curve_looks(over_seeds([run.point for run in runs]))
    assert "without PSNR of frames: x264-q18, x265-q18" in frames_figure(runs, looks).axes[0].get_xlabel()
    empty = frames_figure(runs_of(model_points(), [()] * 5), looks)
    assert [text.get_text() for text in empty.axes[0].texts] == ["no run has the PSNR of its frames"]


def test_frames_are_read_and_broken_tables_named(tmp_path: Path) -> None:
    path = tmp_path / "frames.csv"
    path.write_text("frame,psnr_db,ms_ssim\n0,30.25,\n1,31.5,0.9\n")
    assert read_frames(path) == (30.25, 31.5)
    for text in ("frame,ms_ssim\n0,1\n", "frame,psnr_db\n0,much\n", "frame,psnr_db\n0\n"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"frames\.csv is not a table of frames"):
            read_frames(path)
    with pytest.raises(UserError, match="does not exist"):
        read_frames(tmp_path / "none.csv")


# --- bits -------------------------------------------------------------------------------------------------------

TENSORS = [
    Part("weights", "condition.0.weight", 800),
    Part("weights", "stem.0.weight", 4000),
    Part("weights", "stem.2.bias", 80),
    Part("weights", "stages.0.conv.weight", 80_000),
    Part("weights", "stages.1.conv.weight", 40_000),
    Part("weights", "head.weight", 1600),
    Part("embeddings", "", 24_000),
    Part("keyframes", "", 0),
    Part("side", "", 1000),
    Part("header", "", 520),
]


def test_layers_stand_in_order_and_lose_no_bit() -> None:
    layers = by_layer(TENSORS)
    assert [part.name for part in layers if part.kind == "weights"] == [
        "condition",
        "stem",
        "stage 1",
        "stage 2",
        "head",
    ]
    assert next(part.bits for part in layers if part.name == "stem") == 4080
    assert list(dict.fromkeys(part.kind for part in layers)) == list(KINDS)
    assert sum(part.bits for part in layers) == sum(part.bits for part in TENSORS) == 152_000


def test_bars_are_as_long_as_files() -> None:
    figure = bits_figure([("a", by_layer(TENSORS)), ("b", by_layer(TENSORS[:3]))], "clip")
    (axes,) = figure.axes
    ends = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        assert bar.get_x() == pytest.approx(ends.get(row, 0.0))  # none lies on another
        ends[row] = bar.get_x() + bar.get_width()
    assert ends == {0: pytest.approx(19.0), 1: pytest.approx(0.61)}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    shown = [text.get_text() for text in axes.texts]
    assert " 19.0 kB" in shown
    assert "stage 1" in shown
    # A kind that no file has is not in the legend.
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["weights, by layer", "embeddings", "side information", "header"]


def test_no_file_is_said() -> None:
    assert [text.get_text() for text in bits_figure([], "clip").axes[0].texts] == ["no run was coded to a file"]


# --- crops ------------------------------------------------------------------------------------------------------


def grey(level: int, height: int = 120, width: int = 150) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def test_the_window_is_where_errors_are_largest() -> None:
    source, test = grey(100), grey(100)
    test[90:100, 130:140] += 50
    window = worst_window(source, test)
    assert (window.height, window.width) == (40, 50)
    # All of the error is inside; of the many windows that have it, the topmost and leftmost.
    assert (window.top, window.left) == (60, 90)
    assert error_map(source, test)[95, 135] == 50
    assert window.of(error_map(source, test)).sum() == 50 * 100
    assert worst_window(source, source) == Window(0, 0, 40, 50)


def test_small_frames_are_shown_whole() -> None:
    assert worst_window(grey(1, SMALL_SIDE - 1), grey(2, SMALL_SIDE - 1)) == Window(0, 0, SMALL_SIDE - 1, 150)


@pytest.mark.parametrize("with_anchor", [True, False])
def test_a_row_a_frame_and_a_column_a_picture(with_anchor: bool) -> None:
    anchor = grey(103) if with_anchor else None
    shown = tuple(
        ComparedFrame(why, number, grey(100), grey(110), anchor)
        for why, number in (("best", 3), ("median", 1), ("worst", 0))
    )
    figure = crops_figure(Crops("hnerv-boost-3M", "x265-q28", shown), "clip")
    *pictures, _bar = figure.axes
    assert len(pictures) == 3 * (5 if with_anchor else 3)
    columns = ["source", "hnerv-boost-3M", "x265-q28", "error of model", "error of anchor"]
    titles = [axes.get_title() for axes in pictures if axes.get_title()]
    assert titles == (columns if with_anchor else [columns[0], columns[1], columns[3]])
    assert [axes.get_ylabel() for axes in pictures if axes.get_ylabel()] == [
        "best\nframe 3",
        "median\nframe 1",
        "worst\nframe 0",
    ]
    written = [axes.get_xlabel() for axes in pictures if axes.get_xlabel()]
    assert written == ["28.13 dB", *(["38.59 dB"] if with_anchor else [])] * 3
    assert pictures[0].images[0].get_array().shape == (40, 50, 3)
    assert pictures[-1].images[0].get_array().shape == (40, 50)


def test_all_figures_of_a_video_are_written_alike_even_with_nothing_to_show(tmp_path: Path) -> None:
    full = [("hnerv-boost-0.27M", TENSORS)]
    frames = tuple(ComparedFrame("best", 0, grey(1), grey(2), grey(3)) for _ in range(2))
    for name, runs, parts, crops in (
        ("full", all_runs(), full, Crops("model", "anchor", frames)),
        ("empty", runs_of(trained_points(), [()] * 3), [], Crops(missing="no run was coded to a file")),
    ):
        first = plots.plot_runs(runs, parts, crops, "clip", tmp_path / name)
        assert [path.name for path in first] == list(run_figure_files(["clip"]))
        again = plots.plot_runs(runs, parts, crops, "clip", tmp_path / f"{name}-again")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
