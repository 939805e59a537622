"""`slurm/config.yaml` on a real cluster: what is asked of SLURM, and how many jobs a run is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.test_faults import Workflow
from tests.workflow.test_dag import RUN, experiment, make_clip

pytestmark = pytest.mark.cluster


def workflow(folder: Path, cluster: dict[str, str], *arguments: str, **settings: Any) -> Workflow:
    make_clip(folder)
    experiment(folder, anchors=[], **settings)
    return Workflow(folder, {**cluster, "OMP_NUM_THREADS": "1"}, ("--verbose", *arguments))


OF_A_VIDEO = ["extract_frames", "plot_runs", "preview_source"]
"""Rules whose jobs belong to no run."""


def submitted(found: Workflow) -> tuple[dict[str, str], list[str]]:
    """Options of every sbatch, without the command of the job: of single rules by their names, and of groups."""
    calls = re.findall(r"sbatch call: (sbatch .*?) --wrap", found.text())
    rules = {match[1]: call for call in calls if (match := re.search(r"slurm_logs/rule_(\w+)/", call))}
    groups = [call for call in calls if "slurm_logs/group_" in call]
    assert len(rules) + len(groups) == len(calls)
    return rules, groups


def test_a_run_is_one_job(tmp_path: Path, cluster: dict[str, str]) -> None:
    found = workflow(tmp_path, cluster)
    found.start()
    found.wait()
    rules, (run,) = submitted(found)
    assert sorted(rules) == OF_A_VIDEO
    assert not any("--gpus" in call for call in rules.values())
    for option in ("-p gpu", "--gpus=1", "-t 75", "--signal=USR1@60"):
        assert option in run
    assert re.search(r"--mem \d{4}", run)
    assert (tmp_path / RUN / "quality.json").exists()
    assert (tmp_path / "results/tiny/figures/psnr-clip.svg").exists()
    assert not (tmp_path / RUN / "state").exists()


def test_gres_is_one_for_all_that_follows_from_a_training(tmp_path: Path, cluster: dict[str, str]) -> None:
    models = [{"name": "hnerv-boost", "total_m": [0.06], "post_training": {}}]
    found = workflow(tmp_path, cluster, "--config", "cluster={gpu_style: gres, max_runtime_min: 40}", models=models)
    found.start()
    found.wait()
    rules, (run,) = submitted(found)
    assert sorted(rules) == OF_A_VIDEO
    assert not any("--gres" in call for call in rules.values())
    assert "--gpus" not in run
    assert "--gres=gpu:1" in run
    (minutes,) = re.findall(r"-t (\d+)", run)
    assert 20 < int(minutes) <= 40
    assert len(list((tmp_path / "results/tiny/clip").glob("*/quality.json"))) == 2


def test_a_cluster_without_gpus_is_asked_for_none(tmp_path: Path, cluster: dict[str, str]) -> None:
    found = workflow(tmp_path, cluster, "--config", "cluster={gpu_style: none}")
    found.start(RUN / "model.safetensors")
    found.wait()
    _, (run,) = submitted(found)
    assert "--ntasks=1" in run
    assert not re.search("--gpus|--gres", run)


def test_two_gpus_of_one_training_are_two_processes(tmp_path: Path, cluster: dict[str, str]) -> None:
    training = {"epochs": 2, "batch_size": 2, "loss": {"l1": 1.0}}
    models = [{"name": "hnerv-boost", "total_m": [0.06], "gpu": 2}]
    found = workflow(tmp_path, cluster, training=training, models=models)
    found.start(RUN / "model.safetensors")
    found.wait()
    _, (run,) = submitted(found)
    assert "--gpus=2" in run
    summary = json.loads((tmp_path / RUN / "train.jsonl").read_text().splitlines()[-1])
    assert summary["processes"] == 2


def test_small_runs_are_packed(tmp_path: Path, cluster: dict[str, str]) -> None:
    packing = ("--group-components", "run=4", "--set-resource-scopes", "gpu=local", "--resources", "gpu=1")
    found = workflow(tmp_path, cluster, *packing, models=[{"name": "hnerv-boost", "total_m": [0.06, 0.07]}])
    found.start()
    found.wait()
    rules, (run,) = submitted(found)
    assert sorted(rules) == OF_A_VIDEO
    assert "--gpus=1" in run
    assert len(list((tmp_path / "results/tiny/clip").glob("*/quality.json"))) == 2
