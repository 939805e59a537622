"""`boostnerv doctor --cluster` on a real cluster, and runs that end before their first job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from boostnerv.errors import UserError
from boostnerv.operations.cluster import Request, check_cluster
from tests.workflow.test_dag import ROOT, experiment, make_clip

pytestmark = pytest.mark.cluster


def doctor(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "boostnerv", "doctor", "--cluster"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_doctor_says_what_the_profile_lacks(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    profile = tmp_path / "slurm/config.yaml"
    profile.write_text("executor: slurm\ndefault-resources: {slurm_partition: gpuu}\n")
    done = doctor(tmp_path, cluster)
    assert done.returncode == 1, done.stderr
    for part in (
        "did you mean 'gpu'?",
        "--gpus and --gres work",
        "slurm-status-command: squeue",
        "default-resources: mem_mb: 1000",
        "gpu: 1 node, 1 up, with 2 × GPU each",
    ):
        assert part in done.stdout, done.stdout
    profile.write_text(
        "executor: slurm\nslurm-status-command: squeue\n"
        "default-resources: {slurm_partition: gpu, mem_mb: 1000, runtime: 30}\n"
        "config: ['cluster={max_runtime_min: 1440}']\n"
    )
    done = doctor(tmp_path, cluster)
    assert "wrong" not in done.stdout, done.stdout
    assert done.returncode == 0


def test_what_the_cluster_can_and_cannot_run(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", cluster["PATH"])
    check_cluster([Request("train", "gpu", 2, None, 1000, 1440), Request("encode")])
    with pytest.raises(UserError, match="largest node has 2"):
        check_cluster([Request("train", "gpu", 3)])


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        (["slurm_partition=gpuu"], "the cluster has no partition 'gpuu' (did you mean 'gpu'?)"),
        (["gpu_model=a100"], "wants 1 GPU of model 'a100' of partition 'gpu', but its nodes have none"),
    ],
)
def test_a_run_ends_before_its_first_job(
    cluster: dict[str, str], tmp_path: Path, resources: list[str], sentence: str
) -> None:
    make_clip(tmp_path)
    experiment(tmp_path)
    done = subprocess.run(
        [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path),
            "--configfile", str(tmp_path / "tiny.yaml"), "--executor", "slurm", "--jobs", "2", "--quiet", "all",
            "--scheduler", "greedy", "--default-resources", *resources,
        ],
        env=cluster,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("boostnerv: "), done.stderr
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / ".snakemake/locks").exists()
    assert not list((tmp_path / ".snakemake").glob("boostnerv-run*"))
    assert not (tmp_path / "results").exists()
