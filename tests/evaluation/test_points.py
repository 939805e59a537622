from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from boostnerv.errors import UserError
from boostnerv.evaluation.columns_page import columns_page
from boostnerv.evaluation.measure import bits_per_pixel
from boostnerv.evaluation.points import COLUMNS, Point, collect, read_points, write_points

IDENTITY = {
    "experiment": "demo",
    "dataset": "bunny",
    "video": "bunny",
    "kind": "model",
    "codec": "hnerv-boost",
}


def result(**changes: Any) -> dict[str, Any]:
    """A result with everything that is required, changed as asked; the rate follows the size."""
    values = {
        **IDENTITY, "run": "hnerv-boost-1.5M", "seed": 1, "frames": 4, "height": 10, "width": 20,
        "file_bytes": 100, "psnr_db": 30.5, "frames_sha256": "0" * 64, **changes,
    }  # fmt: skip
    if "bpp" not in values:
        values["bpp"] = bits_per_pixel(values["file_bytes"], values["frames"], 10, 20)
    return values


def written(folder: Path, *results: dict[str, Any]) -> list[Path]:
    paths = [folder / f"{index}.json" for index in range(len(results))]
    for path, value in zip(paths, results, strict=True):
        path.write_text(json.dumps(value))
    return paths


def cells(kind: str) -> st.SearchStrategy[Any]:
    return {
        "text": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        "int": st.integers(),
        "float": st.floats(allow_nan=False, allow_infinity=False),
        "bool": st.booleans(),
    }[kind]


@st.composite
def rows(draw: st.DrawFn) -> Point:
    optional = {column.name: draw(st.none() | cells(column.kind)) for column in COLUMNS if not column.required}
    return {column.name: result().get(column.name) for column in COLUMNS} | optional


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@example([{column.name: result(command='a\rb\n"c",').get(column.name) for column in COLUMNS}])
@given(st.lists(rows(), max_size=2))
def test_rows_come_back_as_they_were_written(tmp_path: Path, points: list[Point]) -> None:
    points = [row | {"video": f"video {number}"} for number, row in enumerate(points)]
    write_points(points, tmp_path / "points.csv")
    first = (tmp_path / "points.csv").read_bytes()
    again = read_points(tmp_path / "points.csv")
    assert again == points
    assert [[type(value) for value in row.values()] for row in again] == [
        [type(value) for value in row.values()] for row in points
    ]
    write_points(again, tmp_path / "points.csv")
    assert (tmp_path / "points.csv").read_bytes() == first


def test_the_page_of_columns_is_in_step() -> None:
    page = (Path(__file__).parents[2] / "docs/points.md").read_text(encoding="utf-8")
    assert page == columns_page(), "run: make docs"
    assert all(f"| `{column.name}` |" in page for column in COLUMNS)


def test_the_schema_is_frozen() -> None:
    """Tables, figures and published results read these names: add at the end, change nothing before."""
    names = " ".join(column.name for column in COLUMNS)
    assert names.startswith(
        "experiment dataset video kind codec run size_label seed frames height width fps "
        "file_bytes bpp header_bytes side_bytes weights_bytes embedding_bytes keyframes_bytes "
        "estimated_bytes psnr_db psnr_of_mean_mse_db ms_ssim psnr_float_db psnr_quantized_db "
        "params_total params_decoder params_embedding kmac_per_pixel train_s finetune_s encode_s "
        "decode_s decode_fps peak_memory_mib device "
        "config_sha256 frames_sha256 version commit deterministic frames_match_encoder command "
        "encoder_version threads task psnr_seen_db psnr_unseen_db ms_ssim_seen ms_ssim_unseen "
        "psnr_hidden_db psnr_visible_db returns entropy_models published_bytes weights_gaussian_bytes "
        "weights_gaussian_channel_bytes weights_laplace_bytes embeddings_gaussian_bytes "
        "embeddings_gaussian_channel_bytes embeddings_laplace_bytes embeddings_temporal_bytes "
        "psnr_patches_db ms_ssim_patches entropy_efficiency psnr_keyframes_db "
        "psnr_y_db psnr_u_db psnr_v_db psnr_yuv_db yuv_bits vmaf overhead_bytes decode_warm_fps decode_compute_fps "
        "colour preset pixel_format source decode_device decode_threads computing training_memory"
    )


def test_collect_sorts_and_leaves_out_what_is_no_column(tmp_path: Path) -> None:
    anchor = {"kind": "anchor", "codec": "x264", "seed": None}
    paths = written(
        tmp_path,
        result(**anchor, run="x264-q20", file_bytes=9),
        result(run="b", file_bytes=300, ms_ssim_missing="small", notes=[1]),
        result(run="a", file_bytes=70, psnr_db=30),
    )
    points = collect(paths)
    assert [point["run"] for point in points] == ["a", "b", "x264-q20"]
    assert points == collect(reversed(paths))
    assert all(list(point) == [column.name for column in COLUMNS] for point in points)
    assert isinstance(points[0]["psnr_db"], float)


def test_two_seeds_of_one_run_are_two_points(tmp_path: Path) -> None:
    points = collect(written(tmp_path, result(seed=2), result(seed=1)))
    assert [point["seed"] for point in points] == [1, 2]


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([result(run="a"), result(run="b", frames_sha256="1" * 64)], ["bunny", "different frames", "a", "b"]),
        ([result(), result()], ["0.json", "1.json", "same point"]),
        ([result(bpp=1.25)], ["bpp is 1.25", "1.0", "size of the file"]),
        ([result(psnr_db=None)], ["no 'psnr_db'"]),
        ([result(run="")], ["no 'run'"]),
        ([result(seed="one")], ["'seed' is 'one'", "whole number"]),
        ([result(seed=True)], ["'seed' is True"]),
        ([result(psnr_db=math.inf)], ["'psnr_db' is inf", "finite"]),
        ([result(deterministic="yes")], ["'deterministic' is 'yes'", "true or false"]),
        ([result(kind="codec")], ["kind is 'codec'", "model, anchor"]),
        ([result(frames=0, bpp=0.0)], ["0 frames"]),
    ],
)
def test_results_that_cannot_be_are_refused(tmp_path: Path, results: list[Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        collect(written(tmp_path, *results))
    assert all(word in str(caught.value) for word in words)


def test_missing_and_broken_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json does not exist"):
        collect([tmp_path / "none.json"])
    (tmp_path / "list.json").write_text("[7]")
    with pytest.raises(UserError, match=r"list\.json must hold keys and values"):
        collect([tmp_path / "list.json"])


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("frames_sha256", "1" * 64, "different frames: a with 000000000000, b with 111111111111"),
        ("colour", "bt601-limited", "different colour profiles: a with bt709-limited, b with bt601-limited"),
    ],
)
def test_a_table_with_several_sources_of_a_video_is_refused(
    tmp_path: Path, column: str, value: str, sentence: str
) -> None:
    one, other = (result(run=run, colour="bt709-limited") for run in "ab")
    points = collect(written(tmp_path, one, other))
    write_points([points[0], points[1] | {column: value}], tmp_path / "points.csv")
    with pytest.raises(UserError, match=sentence):
        read_points(tmp_path / "points.csv")
    with pytest.raises(UserError, match=sentence):
        collect(written(tmp_path, one, other | {column: value}))
    # A colour profile that an earlier version did not record is not another one.
    write_points([points[0], points[1] | {"colour": None}], tmp_path / "points.csv")
    assert len(read_points(tmp_path / "points.csv")) == 2


def test_the_same_video_of_two_data_sets_may_have_other_frames(tmp_path: Path) -> None:
    assert len(collect(written(tmp_path, result(), result(dataset="other", frames_sha256="1" * 64)))) == 2


def test_a_table_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    write_points(collect(written(tmp_path, result())), tmp_path / "points.csv")
    lines = (tmp_path / "points.csv").read_text().splitlines()
    (tmp_path / "old.csv").write_text("\n".join(line.rsplit(",", 2)[0] for line in lines) + "\n")
    assert read_points(tmp_path / "old.csv") == read_points(tmp_path / "points.csv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("psnr_db,", "psnr,", 1), ["unknown column 'psnr'", "psnr_db"]),
        (lambda text: text.replace("30.5", "good"), ["line 2", "'psnr_db' is 'good'"]),
        (lambda text: text.replace("30.5", "nan"), ["line 2", "'psnr_db' is nan"]),
        (lambda text: text.replace("30.5", ""), ["line 2", "no 'psnr_db'"]),
    ],
)
def test_a_table_that_was_edited_wrongly_is_refused(tmp_path: Path, change, words: list[str]) -> None:
    path = tmp_path / "points.csv"
    write_points(collect(written(tmp_path, result())), path)
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError) as caught:
        read_points(path)
    assert all(word in str(caught.value) for word in words)


def test_a_missing_table_names_its_step(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="collect"):
        read_points(tmp_path / "points.csv")
