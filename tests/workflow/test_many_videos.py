"""Models of many videos in the workflow, beside models of one: what is planned, what is made, what is made again."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.models.tiny import CLIP_OPTIONS, OPTIONS
from tests.workflow.test_dag import ROOT, jobs, planned, snakemake

# One worker makes what the tests share.
pytestmark = pytest.mark.xdist_group("many")

LENGTHS = {"first": 9, "mine": 6}
RESULTS = Path("results/tiny")
# A video has the name of the data set, which all of them as one then have not.
ALL = RESULTS / "mine-all"
CODED = {"encode_after_training", "decode", "evaluate"}
REPORT = {"collect", "tabulate", "plot", "plot_runs", "page"}


def experiment(folder: Path, *, quality: int = 50, **changes: object) -> None:
    names = ("d-nerv", "d-nerv-baseline", "nerv")
    models = {name: {"name": name, "fc_dim": {"S": 3}, "options": (OPTIONS | CLIP_OPTIONS)[name]} for name in names}
    models["d-nerv"]["post_training"] = {"quantizer": "slices"}
    settings = {
        "name": "tiny",
        "dataset": "mine",
        "strides": [2, 2],
        "clips": {"frames": 4, "patches": {"height": 16, "width": 20}, "keyframes": {"quality": quality}},
        "models": list(models.values()),
        "training": {"epochs": 1, "batch_size": 4, "loss": {"l1": 1.0}},
        "finetuning": None,
        **changes,
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    size = {"height": 32, "width": 40}
    videos = [
        {"name": name, "source": {"path": str(folder / name), "kind": "path"}, "frames": count, **size}
        for name, count in LENGTHS.items()
    ]
    (folder / "config/datasets").mkdir(parents=True, exist_ok=True)
    (folder / "config/datasets/mine.yaml").write_text(yaml.safe_dump({"name": "mine", "videos": videos}))


def make_clips(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for name, count in LENGTHS.items():
        (folder / name).mkdir()
        for index in range(count):
            pixels = np.kron(rng.integers(0, 256, (8, 10, 3)), np.ones((4, 4, 1))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many videos")
    make_clips(folder)
    experiment(folder)
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def points(folder: Path) -> list[dict[str, str]]:
    with open(folder / RESULTS / "points.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_point_is_there_once(finished: Path) -> None:
    found = Counter((row["video"], row["kind"], row["codec"]) for row in points(finished))
    codecs = ["d-nerv", "d-nerv-post-training", "d-nerv-baseline"]
    expected = [("mine-all", "model", codec) for codec in codecs]
    expected += [(video, "part", codec) for video in LENGTHS for codec in codecs]
    expected += [(video, "model", "nerv") for video in LENGTHS]
    assert found == Counter(expected)
    for row in points(finished):
        assert (row["height"], row["width"]) == ("32", "40")
        assert bool(row["psnr_patches_db"]) == (row["video"] == "mine-all")


@pytest.mark.slow
def test_the_rate_of_all_videos_is_that_of_their_file(finished: Path) -> None:
    (row,) = (row for row in points(finished) if row["file_bytes"])
    assert (row["video"], row["run"], row["frames_match_encoder"]) == ("mine-all", "d-nerv-S-post-training", "true")
    file = finished / ALL / row["run"] / "video.bnv"
    assert int(row["file_bytes"]) == file.stat().st_size
    assert float(row["bpp"]) == pytest.approx(8 * file.stat().st_size / (15 * 32 * 40))
    images = json.loads(next((finished / "data/keyframes").rglob("*.json")).read_text())["image_bytes"]
    counted = int(row["params_decoder"]) * float(row["entropy_efficiency"]) + images
    assert float(row["published_bytes"]) == pytest.approx(counted)


@pytest.mark.slow
def test_the_quality_of_all_videos_is_the_mean_over_their_frames(finished: Path) -> None:
    for row in points(finished):
        if row["video"] == "mine-all":
            parts = [each for each in points(finished) if (each["run"], each["kind"]) == (row["run"], "part")]
            mean = sum(int(part["frames"]) * float(part["psnr_db"]) for part in parts) / 15
            assert float(row["psnr_db"]) == pytest.approx(mean, abs=1e-9)


@pytest.mark.slow
def test_tables_and_figures_have_both_kinds(finished: Path) -> None:
    table = (finished / RESULTS / "tables/points.md").read_text()
    headings = re.findall(r"^## (.+)$", table, re.MULTILINE)
    assert headings == ["first", "mine", "mine-all", "mean of 2 videos", "Each video of a model of many"]
    assert "mine-all: 15 frames of 32×40" in table
    # A mean over videos is of models of one; a model of many has its mean in itself.
    mean = table.split("## mean of 2 videos")[1].split("## Each")[0]
    assert "Mean of 2 videos: first, mine." in mean
    assert "| nerv | S |" in mean
    assert "d-nerv" not in mean
    apart = table.split("## Each video")[1]
    assert len(re.findall(r"^\| (first|mine) \| d-nerv", apart, re.MULTILINE)) == 6
    figures = sorted(path.name for path in (finished / RESULTS / "figures").glob("psnr-*.svg"))
    assert figures == ["psnr-first.svg", "psnr-mean-over-videos.svg", "psnr-mine-all.svg", "psnr-mine.svg"]
    assert '"curve-d-nerv-post-training"' in (finished / RESULTS / "figures/psnr-mine-all.svg").read_text()


@pytest.mark.slow
def test_plan_has_the_sizes_of_both_kinds(finished: Path) -> None:
    runs = json.loads((finished / RESULTS / "plan.json").read_text())["runs"]
    counts = {(row["video"], row["run"]): row["params_total"] for row in runs}
    assert {video for video, _ in counts} == {"first", "mine", "2 videos"}
    for row in points(finished):
        if row["kind"] == "model":
            video = "2 videos" if row["video"] == "mine-all" else row["video"]
            assert int(row["params_total"]) == counts[video, row["run"]]


@pytest.mark.slow
def test_nothing_is_left_to_do(finished: Path) -> None:
    assert planned(finished) == set()


@pytest.mark.slow
def test_another_quality_of_keyframes_replans_them_and_what_sees_them(finished: Path) -> None:
    experiment(finished, quality=20)
    try:
        found = jobs(finished)
    finally:
        experiment(finished)
    # Those of d-nerv, and not of the models without keyframes.
    chain = {"code_keyframes", "train", "evaluate_model"} | CODED | REPORT | {"all"}
    assert found == Counter(dict.fromkeys(chain, 1))


@pytest.mark.slow
def test_a_changed_frame_replans_all_that_saw_its_video(finished: Path) -> None:
    frame = finished / "first" / "3.png"
    before = frame.read_bytes()
    Image.new("RGB", (40, 32)).save(frame)
    try:
        found = jobs(finished)
    finally:
        frame.write_bytes(before)
    # Two models of many, and the model of the first video.
    assert (found["extract_frames"], found["split_patches"], found["gather_videos"], found["train"]) == (1, 1, 1, 3)


def test_mistakes_end_before_training_with_a_sentence(tmp_path: Path) -> None:
    make_clips(tmp_path)
    for changes, sentence in (
        ({"clips": {"frames": 4, "patches": {"height": 15, "width": 20}}}, "15 does not divide its height 32"),
        ({"clips": {"frames": 8}}, "a clip of 8 frames is longer than video 'mine', which has 6"),
    ):
        experiment(tmp_path, **changes)
        done = snakemake(tmp_path)
        assert done.returncode != 0
        assert sentence in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert not list(tmp_path.rglob("*.safetensors"))


# --- the experiments of the repository ------------------------------------------------------------------------


def test_the_plan_of_the_quick_experiment(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text((ROOT / "config/dnerv-quick.yaml").read_text())
    # Bunny's file, and that of both parts of the film; four models; the keyframes of two qualities.
    assert jobs(tmp_path) == Counter(
        {
            "all": 1, "fetch_source": 3, "extract_frames": 3, "split_patches": 3, "gather_videos": 1,
            "code_keyframes": 2, "train": 4, "encode_after_training": 4, "decode": 4, "evaluate": 4,
            "evaluate_model": 4, "collect": 1, "tabulate": 1, "plot": 1, "plot_runs": 1, "preview_source": 1, "page": 1,
        }
    )  # fmt: skip
    text = snakemake(tmp_path, "--dry-run").stdout
    for coding in ("avif-q40-d8", "avif-q55-d8"):
        assert re.search(rf"data/keyframes/clips/256x320-crop-resize-f0-40-ffmpeg-128x160-\w+-{coding}\.json", text), (
            text
        )
    assert "results/dnerv-quick/clips/d-nerv-S-post-training/video.bnv" in text


def test_a_list_of_videos_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text((ROOT / "config/dnerv-ucf101.yaml").read_text())
    done = snakemake(tmp_path, "--dry-run")
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "needs the list of its videos, data/raw/ucf101-train/ucfTrainTestlist/trainlist01.txt, which is" in text
    assert "Traceback" not in text
