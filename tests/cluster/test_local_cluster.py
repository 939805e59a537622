"""The test cluster itself: a job runs on it and sees the GPUs it asked for."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = pytest.mark.cluster


def test_a_job_sees_its_gpu(cluster: dict[str, str]) -> None:
    done = subprocess.run(
        ["srun", "--partition", "gpu", "--gpus", "1", "--mem", "100", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"],
        env=cluster,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in {"0", "1"}
