"""The older pipeline beside the usual one: a run of its own that codes the model which the other has trained."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.workflow.test_dag import REPORT, experiment, make_clip, planned, snakemake

# One worker makes what the tests share.
pytestmark = pytest.mark.xdist_group("older")

RESULTS = Path("results/tiny")
RUN = RESULTS / "clip/hnerv-0.02M"
CODED = RESULTS / "clip/hnerv-0.02M-post-training"
MODEL = {"name": "hnerv", "total_m": [0.02]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    make_clip(folder)
    experiment(folder, models=[{**MODEL, "post_training": {}}])
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def points(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / RESULTS / "points.csv", encoding="utf-8", newline="") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_it_has_a_file_of_its_own_and_no_training(finished: Path) -> None:
    assert sorted(path.name for path in (finished / CODED).iterdir()) == [
        *("decode.json", "encode.json", "frames.csv", "logs", "quality.json", "video.bnv")
    ]
    older, newer = (json.loads((finished / run / "quality.json").read_text()) for run in (CODED, RUN))
    assert older["file_bytes"] == (finished / CODED / "video.bnv").stat().st_size
    assert older["frames_match_encoder"] is True
    assert older["psnr_quantized_db"] == pytest.approx(older["psnr_db"], abs=1e-9)
    assert older["finetune_s"] == 0 < newer["finetune_s"]
    for same in ("psnr_float_db", "train_s", "params_total", "frames_sha256"):
        assert older[same] == newer[same]
    parts = ("header_bytes", "side_bytes", "weights_bytes", "embedding_bytes", "keyframes_bytes")
    assert sum(older[part] for part in parts) == older["file_bytes"]


@pytest.mark.slow
def test_its_row_has_what_the_published_pipeline_counts_beside_the_size_of_the_file(finished: Path) -> None:
    rows = points(finished)
    assert set(rows) == {"hnerv-0.02M", "hnerv-0.02M-post-training", "x264-q30"}
    older, newer = rows["hnerv-0.02M-post-training"], rows["hnerv-0.02M"]
    # The table of the Huffman code, heads and axes are counted in the file only.
    assert 0 < float(older["published_bytes"]) < int(older["file_bytes"])
    assert newer["published_bytes"] == ""
    assert (older["codec"], newer["codec"]) == ("hnerv-post-training", "hnerv")
    assert (older["entropy_models"], older["size_label"]) == ("huffman", "0.02M")
    assert (older["command"], newer["command"]) == ("boostnerv encode-after-training", "boostnerv encode")


@pytest.mark.slow
def test_tables_and_figures_name_both(finished: Path) -> None:
    table = (finished / RESULTS / "tables/points.md").read_text()
    figure = (finished / RESULTS / "figures/psnr-clip.svg").read_text()
    for curve in ("hnerv", "hnerv-post-training"):
        assert f"| {curve} | 0.02M |" in table
        assert f'"curve-{curve}"' in figure
    assert "post-training" not in (finished / RESULTS / "figures/training.svg").read_text()


@pytest.mark.slow
def test_its_settings_replan_its_file_and_no_training(finished: Path) -> None:
    assert planned(finished) == set()
    experiment(finished, models=[{**MODEL, "post_training": {"weight_bits": 7}}])
    try:
        rules = planned(finished)
    finally:
        experiment(finished, models=[{**MODEL, "post_training": {}}])
    assert rules == {"encode_after_training", "decode", "evaluate", *REPORT}
