"""What jobs ask for follows from frames, pixels, epochs and model, in the way that the cluster wants it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.test_dag import snakemake

Asked = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def data_set(tmp_path: Path) -> None:
    """Two videos that are known and not here: a small one and a large one."""
    source = {"kind": "local", "candidates": ["{name}.mp4"], "download": "https://example.org"}
    videos = [
        {"name": "small", "source": source, "frames": 100, "height": 72, "width": 128},
        {"name": "large", "source": source, "frames": 600, "height": 1080, "width": 1920},
    ]
    (tmp_path / "config/datasets").mkdir(parents=True)
    (tmp_path / "config/datasets/mine.yaml").write_text(yaml.safe_dump({"name": "mine", "videos": videos}))


def asked(folder: Path, video: str, *arguments: str, gpu: int = 1, epochs: int = 300) -> Asked:
    """Resources of every rule of the plan for one video."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "dataset": "mine",
        "videos": [video],
        "models": [{"name": "hnerv-boost", "total_m": [3], "gpu": gpu}],
        "training": {"epochs": epochs, "batch_size": gpu},
        "anchors": [{"codec": "x264", "qualities": [30]}],
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", done.stdout, re.M)
    return {
        rule: dict(pair.split("=", 1) for line in re.findall(r"resources: (.*)", text) for pair in line.split(", "))
        | dict(re.findall(r"(threads): (\d+)", text))
        for rule, text in jobs
    }


def test_larger_videos_and_longer_trainings_ask_for_more(tmp_path: Path) -> None:
    small, large = asked(tmp_path, "small"), asked(tmp_path, "large")
    for rule in ("train", "finetune", "encode", "decode"):
        assert int(large[rule]["mem_mb"]) > int(small[rule]["mem_mb"]), rule
        assert int(large[rule]["runtime"]) > int(small[rule]["runtime"]), rule
    longer = asked(tmp_path, "large", epochs=600)
    assert int(longer["train"]["runtime"]) == pytest.approx(2 * int(large["train"]["runtime"]), abs=1)
    assert longer["finetune"] == large["finetune"]
    assert int(large["train"]["threads"]) > 1
    # 600 frames of full HD are 3.7 GB.
    assert int(large["train"]["mem_mb"]) > 2 * 3732
    assert int(large["extract_frames"]["disk_mb"]) > 3732


def test_every_job_of_a_cluster_says_what_it_needs(tmp_path: Path) -> None:
    for rule, resources in asked(tmp_path, "small").items():
        if rule != "all":
            assert int(resources["mem_mb"]) >= 300, rule
            assert int(resources["runtime"]) >= 10, rule


def test_steps_of_a_run_share_the_longest_time(tmp_path: Path) -> None:
    limited = asked(tmp_path, "large", "--config", "cluster={max_runtime_min: 1440}")
    chain = [int(limited[rule]["runtime"]) for rule in ("train", "finetune", "encode", "decode", "evaluate")]
    assert 1400 < sum(chain) <= 1440
    assert max(chain) == chain[0]
    assert min(chain) >= 1
    assert int(limited["encode_anchor"]["runtime"]) <= 1440


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("{}", {"gpu": "2"}),
        ("{gpu_model: a100}", {"gpu": "2", "gpu_model": "a100"}),
        ("{gpu_style: gres}", {"gres": "gpu:2"}),
        ("{gpu_style: gres, gpu_model: a100}", {"gres": "gpu:a100:2"}),
        ("{gpu_style: none}", {}),
    ],
)
def test_gpus_in_the_way_of_the_cluster(tmp_path: Path, settings: str, expected: dict[str, str]) -> None:
    found = asked(tmp_path, "small", "--config", f"cluster={settings}", gpu=2)["train"]
    assert {name: found[name] for name in ("gpu", "gpu_model", "gres") if name in found} == expected
    assert found["processes"] == "2"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("{gpu_stile: gres}", "unknown key 'gpu_stile': did you mean 'gpu_style'?"),
        ("{gpu_style: gras}", "gpu_style"),
        ("{max_runtime_min: 0}", "max_runtime_min"),
    ],
)
def test_mistakes_in_a_profile_are_one_sentence(tmp_path: Path, settings: str, sentence: str) -> None:
    (tmp_path / "tiny.yaml").write_text("name: tiny\ndataset: mine\nanchors: [{codec: x264, qualities: [30]}]\n")
    done = snakemake(tmp_path, "--dry-run", "--config", f"cluster={settings}")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
