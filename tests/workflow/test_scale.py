"""Plans of many videos: all of them, a part, and names that nobody has."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.workflow.test_dag import jobs, snakemake

VIDEOS = 110


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More videos than have their figures looked for one by one; one of them has sizes of its own."""
    folder = tmp_path_factory.mktemp("scale")
    source = {"kind": "local", "candidates": ["{name}.y4m"], "download": "https://example.org"}
    size = {"frames": 8, "height": 24, "width": 40}
    videos = [{"name": f"v{number}", "source": source, **size} for number in range(VIDEOS)]
    (folder / "config/datasets").mkdir(parents=True)
    (folder / "config/datasets/mine.yaml").write_text(yaml.safe_dump({"name": "mine", "videos": videos}))
    model = {"name": "hnerv-boost", "modelsize_m": {"S": 0.06}, "modelsize_m_for": {"v7": {"S": 0.07}}}
    settings = {"name": "tiny", "dataset": "mine", "strides": [2, 2], "models": [model], "finetuning": None}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_all_of_it_is_planned(folder: Path) -> None:
    every = dict.fromkeys(("downloaded_source", "extract_frames", "train", "evaluate_model", "plot_runs"), VIDEOS)
    assert jobs(folder) == {**every, "collect": 1, "tabulate": 1, "plot": 1, "preview_source": 24, "page": 1, "all": 1}


def test_a_batch_is_a_part(folder: Path) -> None:
    done = dry_run(folder, "results/tiny/points.csv", "--batch", "collect=1/10")
    assert re.search(rf"^train +{VIDEOS // 10}$", done.stdout + done.stderr, re.MULTILINE)


def test_a_video_may_have_a_size_of_its_own(folder: Path) -> None:
    for video, modelsize_m in (("v7", 0.07), ("v8", 0.06)):
        done = dry_run(folder, f"results/tiny/{video}/hnerv-boost-S/model.safetensors", "--printshellcmds")
        assert f'"modelsize_m":{modelsize_m}' in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("results/tiny/v7x/hnerv-boost-S/model.safetensors", "has no 'v7x': did you mean 'v7'?"),
        ("data/frames/mine/v7x/source-ffmpeg.json", "has no 'v7x': did you mean 'v7'?"),
        ("results/tiny/v7/hnerv-boost-M/model.safetensors", "No rule to produce"),
    ],
)
def test_names_that_nobody_has(folder: Path, target: str, sentence: str) -> None:
    done = snakemake(folder, "--dry-run", target)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr


def dry_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
