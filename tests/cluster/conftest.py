"""A real SLURM cluster of one node, started once for all tests that are marked `cluster`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "slurm" / "local-cluster.sh"


def free_ports() -> int:
    """The first of two neighbouring ports that nobody listens on."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of processes that talk to the cluster; its partition is `gpu`, its node has two GPUs."""
    if os.geteuid() != 0:
        pytest.skip("only root can start the test cluster; run make test-cluster as root or in a container")
    for daemon in ("slurmctld", "slurmd", "munged"):
        if shutil.which(daemon) is None:
            pytest.skip(f"{daemon} is missing; install Debian's slurm-wlm and munge")
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    environment = {**os.environ, "BOOSTNERV_CLUSTER": str(folder), "BOOSTNERV_CLUSTER_PORT": str(free_ports())}
    started = subprocess.run([SCRIPT, "start"], env=environment, capture_output=True, text=True, check=False)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    finally:
        subprocess.run([SCRIPT, "stop"], env=environment, capture_output=True, check=False)
