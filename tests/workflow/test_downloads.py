"""Videos that people download: the plan is shown without them, nothing runs without them, nothing of them is lost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.workflow.test_dag import REPORT, ROOT, planned, snakemake

EXPERIMENTS = sorted({path.stem for path in (ROOT / "config").glob("*.yaml")} - {"dvc"})
# The others say the same of other names; each takes some seconds.
QUICK = ("uvg-interpolation", "bunny-tasks-quick")
NAMES = ("First", "Second")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set shaped like UVG and an experiment on it that codes nothing but an anchor."""
    source = {
        "kind": "local",
        "candidates": ["{name}_40x24.yuv", "{name}.y4m", "{name}"],
        "raw": {"width": 40, "height": 24, "pixel_format": "yuv420p", "fps": 120},
        "download": "https://example.org",
    }
    videos = [
        {"name": "First", "source": source, "frames": 8, "height": 24, "width": 40, "fps": 120},
        {"name": "Second", "aliases": ["Other"], "source": source, "frames": 8},
    ]
    (tmp_path / "config/datasets").mkdir(parents=True)
    (tmp_path / "config/datasets/mine.yaml").write_text(yaml.safe_dump({"name": "mine", "videos": videos}))
    experiment(tmp_path)
    return tmp_path


def experiment(folder: Path, *videos: str) -> None:
    settings = {
        "name": "tiny",
        "dataset": "mine",
        "videos": list(videos),
        "anchors": [{"codec": "x264", "qualities": [30]}],
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))


def put(folder: Path, name: str) -> Path:
    path = folder / "data/raw/mine" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(1).integers(16, 235, 8 * 24 * 40 * 3 // 2, np.uint8).tobytes())
    return path


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_without_the_files_there_is_a_plan_and_one_sentence(folder: Path) -> None:
    chain = {"extract_frames", "encode_anchor", "preview_source", *REPORT}
    assert planned(folder) == chain | {"downloaded_source"}
    done = snakemake(folder)
    text = outcome(done)
    assert done.returncode != 0
    wanted = "put into data/raw/mine/ First_40x24.yuv, Second_40x24.yuv (also as Other) (or NAME.y4m, NAME/) from https"
    assert text.count(wanted) == 1, text
    assert "Traceback" not in text
    assert not any((folder / name).exists() for name in ("data", "logs", "results"))

    # One of two: the other is asked for, and a plan for the first alone needs no more.
    put(folder, "First_40x24.yuv")
    text = outcome(snakemake(folder))
    assert "put into data/raw/mine/ Second_40x24.yuv (also as Other) (or" in text
    assert not (folder / "data/frames").exists()
    frames = "data/frames/mine/First/source-ffmpeg.json"
    assert snakemake(folder, frames).returncode == 0
    assert json.loads((folder / frames).read_text())["frames"] == 8


@pytest.mark.slow
def test_downloads_are_used_and_kept(folder: Path) -> None:
    first, second = put(folder, "First_40x24.yuv"), put(folder, "Other_40x24.yuv")
    experiment(folder, "Other", "First")
    done = snakemake(folder)
    assert done.returncode == 0, outcome(done)
    assert (folder / "results/tiny/anchors/Second/x264-q30.json").exists()
    assert planned(folder) == set()

    # A job that makes a file deletes it first; these are nobody's to make.
    assert "downloaded_source" not in outcome(snakemake(folder, "--dry-run", "--forceall"))
    done = snakemake(folder, "--forceall")
    assert done.returncode == 0, outcome(done)
    assert all(path.stat().st_size == 8 * 24 * 40 * 3 // 2 for path in (first, second))

    # Frames that were extracted need the download no more; a changed download replans.
    first.unlink()
    assert planned(folder) == set()
    put(folder, "First_40x24.yuv").write_bytes(bytes(8 * 24 * 40 * 3 // 2))
    assert planned(folder) == {"extract_frames", "encode_anchor", "preview_source", *REPORT}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in EXPERIMENTS],
)
def test_every_experiment_shows_its_whole_plan(name: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text((ROOT / "config" / f"{name}.yaml").read_text())
    settings = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    if settings["dataset"] == "ucf101-train":
        listed = tmp_path / "data/raw/ucf101-train/ucfTrainTestlist/trainlist01.txt"
        listed.parent.mkdir(parents=True)
        listed.write_text("YoYo/v_YoYo_g25_c05.avi 101\n")
    coded = settings.get("finetuning", {}) is not None
    rules = planned(tmp_path)
    chain = {"extract_frames", "train", "preview_source", *REPORT}
    chain |= {"finetune", "encode", "decode", "evaluate"} if coded else {"evaluate_model"}
    if any("post_training" in entry for entry in settings["models"]):
        chain |= {"encode_after_training", "decode", "evaluate"}
    if "clips" in settings:
        chain |= {"gather_videos", "code_keyframes"} | ({"split_patches"} if "patches" in settings["clips"] else set())
    chain |= {"encode_anchor"} if settings.get("anchors") else set()
    chain |= {"fetch_source" if settings["dataset"] in ("bunny", "clips") else "downloaded_source"}
    assert rules == chain
