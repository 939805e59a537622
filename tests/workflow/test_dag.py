"""The workflow itself, on eight tiny frames: it runs, it replans what it must and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.workflow.forked import run_snakemake

# One worker makes what the tests share.
pytestmark = pytest.mark.xdist_group("dag")

ROOT = Path(__file__).parents[2]
REPORT = {"collect", "tabulate", "plot", "plot_runs", "page"}
RUN = Path("results/tiny/clip/hnerv-boost-0.06M")
LONGEST_S = 600
"""No measurement: what hangs has to end, on a busy machine too."""


def experiment(folder: Path, **changes: object) -> Path:
    settings = {
        "name": "tiny",
        "own_videos": [{"path": str(folder / "clip"), "name": "clip"}],
        "strides": [2, 2],
        "models": [{"name": "hnerv-boost", "total_m": [0.06]}],
        "training": {"epochs": 2, "loss": {"l1": 1.0}},
        "finetuning": {"epochs": 1, "loss": {"l1": 1.0}},
        "anchors": [{"codec": "x264", "qualities": [30]}],
        **changes,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def make_clip(folder: Path) -> None:
    (folder / "clip").mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (8, 24, 40, 3), dtype=np.uint8)
    for index, frame in enumerate(noise):
        Image.fromarray(frame).save(folder / "clip" / f"{index}.png")


def options(folder: Path, *arguments: str) -> list[str]:
    return [
        "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(folder / "tiny.yaml"),
        "--cores", "2", "--max-checksum-file-size", "100GB", *arguments,
    ]  # fmt: skip


def command(folder: Path, *arguments: str) -> list[str]:
    """For tests to which the process itself matters."""
    return [sys.executable, "-m", "snakemake", *options(folder, *arguments)]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_snakemake(options(folder, *arguments), {**os.environ, "OMP_NUM_THREADS": "1"})


def jobs(folder: Path) -> Counter[str]:
    """How many jobs of each rule a dry run would execute."""
    done = snakemake(folder, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    if "Nothing to be done" in text:
        return Counter()
    table = text.split("Job stats:")[1].split("total")[0].splitlines()[3:]
    return Counter({line.split()[0]: int(line.split()[1]) for line in table if line.strip()})


def planned(folder: Path) -> set[str]:
    """Rules that a dry run would execute."""
    return set(jobs(folder)) - {"all"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workflow with space")
    make_clip(folder)
    experiment(folder)
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_result_is_there_and_adds_up(finished: Path) -> None:
    quality = json.loads((finished / RUN / "quality.json").read_text())
    file_bytes = (finished / RUN / "video.bnv").stat().st_size
    assert quality["file_bytes"] == file_bytes
    assert quality["bpp"] == 8 * file_bytes / (8 * 24 * 40)
    parts = ("header_bytes", "side_bytes", "weights_bytes", "embedding_bytes", "keyframes_bytes")
    assert sum(quality[part] for part in parts) == file_bytes
    assert quality["frames_match_encoder"] is True
    assert quality["psnr_quantized_db"] == pytest.approx(quality["psnr_db"], abs=1e-9)
    assert quality["ms_ssim"] is None
    assert "161" in quality["ms_ssim_missing"]
    assert not (finished / RUN / "decoded.npy").exists()
    assert not (finished / RUN / "state").exists()
    for name in (
        "points.csv",
        "tables/points.md",
        "figures/psnr-clip.svg",
        "figures/psnr-clip.png",
        "plan.json",
        "report/index.html",
    ):
        assert (finished / "results/tiny" / name).stat().st_size > 0


def test_nothing_is_left_to_do(finished: Path) -> None:
    assert planned(finished) == set()


def test_touched_payloads_replan_nothing(finished: Path) -> None:
    for path in (finished / "data/frames").rglob("*.npy"):
        os.utime(path)
    assert planned(finished) == set()


def test_a_recipe_value_replans_what_depends_on_it(finished: Path) -> None:
    experiment(finished, finetuning={"epochs": 2, "loss": {"l1": 1.0}})
    try:
        rules = planned(finished)
    finally:
        experiment(finished)
    assert {"finetune", "encode", "decode", "evaluate", *REPORT} == rules


def test_an_anchor_replans_no_training(finished: Path) -> None:
    experiment(finished, anchors=[{"codec": "x264", "qualities": [30, 40]}])
    try:
        rules = planned(finished)
    finally:
        experiment(finished)
    assert rules == {"encode_anchor", *REPORT}


@pytest.mark.slow
def test_a_changed_frame_replans_its_chain(tmp_path: Path) -> None:
    make_clip(tmp_path)
    experiment(tmp_path, models=[])
    assert snakemake(tmp_path).returncode == 0
    assert planned(tmp_path) == set()
    Image.new("RGB", (40, 24)).save(tmp_path / "clip" / "3.png")
    assert planned(tmp_path) == {"extract_frames", "encode_anchor", "preview_source", *REPORT}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainning": {}}, "unknown key 'trainning': did you mean 'training'?"),
        ({"models": [{"name": "hnerv-bost", "total_m": [1]}]}, "unknown model 'hnerv-bost': did you mean"),
        ({"models": [{"name": "hnerv-boost", "total_m": [0.001]}]}, "choose a larger size"),
        ({"own_videos": [{"path": "nowhere.mp4"}]}, "nowhere.mp4"),
        ({"own_videos": [], "dataset": "bunnny"}, "unknown data set 'bunnny': did you mean 'bunny'?"),
    ],
)  # fmt: skip
def test_mistakes_end_before_training_with_a_sentence(tmp_path: Path, changes: dict, sentence: str) -> None:
    make_clip(tmp_path)
    experiment(tmp_path, **changes)
    done = snakemake(tmp_path)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.slow
def test_a_killed_workflow_goes_on_and_ends_the_same(finished: Path, tmp_path: Path) -> None:
    """Killed in the middle of training, once with SIGTERM to the training itself; the weights end equal."""
    make_clip(tmp_path)
    experiment(tmp_path, training={"epochs": 80, "loss": {"l1": 1.0}})
    target = str(RUN / "train.jsonl")
    live = _interrupted(tmp_path, target, "log.jsonl", signal.SIGTERM)
    assert (live.parent / "state.pt").exists()
    assert not (tmp_path / RUN / "model.safetensors").exists()
    before = len(live.read_text().splitlines())

    again = snakemake(tmp_path, "--rerun-incomplete", target)
    assert again.returncode == 0, again.stdout + again.stderr
    records = [json.loads(line) for line in (tmp_path / target).read_text().splitlines()]
    assert [record["epoch"] for record in records[:-1]] == list(range(1, 81))
    assert 0 < before < 80
    assert not (tmp_path / RUN / "state").exists()

    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "clip").symlink_to(tmp_path / "clip")
    (whole / "tiny.yaml").write_text((tmp_path / "tiny.yaml").read_text())
    assert snakemake(whole, target).returncode == 0
    name = RUN / "model.safetensors"
    assert (whole / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.slow
def test_a_training_that_finished_is_not_made_again_with_the_fine_tuning(tmp_path: Path) -> None:
    """As in a group of jobs, all of which run again when the last one is killed."""
    make_clip(tmp_path)
    experiment(tmp_path, finetuning={"epochs": 60, "loss": {"l1": 1.0}})
    target = str(RUN / "finetune.jsonl")
    _interrupted(tmp_path, target, "finetune-*/log.jsonl", signal.SIGKILL)
    trained = (tmp_path / RUN / "train.jsonl").read_bytes()

    again = snakemake(tmp_path, "--rerun-incomplete", target, "--forcerun", "train")
    assert again.returncode == 0, again.stdout + again.stderr
    said = (tmp_path / RUN / "logs/train.log").read_text()
    assert re.fullmatch(r"\S+/model\.safetensors: found finished in \S+, nothing is trained again\n", said)
    assert (tmp_path / RUN / "train.jsonl").read_bytes() == trained
    assert not (tmp_path / RUN / "state").exists()


def test_there_is_no_default_profile() -> None:
    """Its keys would silently replace those of any --profile."""
    assert not (ROOT / "profiles" / "default").exists()


def _interrupted(folder: Path, target: str, log: str, number: signal.Signals) -> Path:
    """Run until the training with that log has made an epoch, and send it a signal; returns the path of the log."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(folder / "said.txt", "w") as said:
        running = subprocess.Popen(command(folder, target), env=environment, stdout=said, stderr=said)
    try:
        live = _wait_for(folder / RUN / "state", log, running)
        os.kill(json.loads((live.parent / "lock").read_text())["pid"], number)
        assert running.wait(LONGEST_S) != 0
    finally:
        running.kill()
    return live


def _wait_for(folder: Path, name: str, running: subprocess.Popen[Any]) -> Path:
    """The first file of that name with something in it, which appears while its process runs."""
    until_s = time.monotonic() + LONGEST_S
    while running.poll() is None and time.monotonic() < until_s:
        for path in folder.rglob(name) if folder.exists() else ():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size > 0:
                    return path
        time.sleep(0.01)
    raise AssertionError(f"{name} did not appear in {folder}; the exit code of its process is {running.returncode}")
