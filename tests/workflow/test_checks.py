"""What ends a run before it has begun: one sentence, exit code 2, no lock, and a dry run all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.test_dag import RUN, _wait_for, command, experiment, make_clip, snakemake

# At the end: --quiet would take a target for one of its values.
QUIET = ("--scheduler", "greedy", "--quiet", "all")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_clip(tmp_path)
    experiment(tmp_path, anchors=[])
    return tmp_path


def ended(done: subprocess.CompletedProcess[str]) -> str:
    """The sentence that a run ended with, and nothing beside it."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("boostnerv: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainning": {}}, "unknown key 'trainning': did you mean 'training'?"),
        ({"own_videos": [], "dataset": "uvg"}, "Beauty"),
        (
            {"own_videos": [], "dataset": "bunny", "models": [{"name": "hnerv-boost", "total_m": [0.0001]}]},
            "choose a larger size",
        ),
    ],
)
def test_mistakes_are_one_sentence_and_leave_no_lock(folder: Path, changes: dict, sentence: str) -> None:
    experiment(folder, **changes)
    assert sentence in ended(snakemake(folder, *QUIET))
    assert not (folder / ".snakemake/locks").exists()
    assert not list(folder.glob(".snakemake/boostnerv-run*"))


def test_links_of_dvc_end_a_run_but_no_dry_run(folder: Path) -> None:
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[cache]\n    type = hardlink,symlink\n")
    assert "dvc config --unset cache.type" in ended(snakemake(folder, *QUIET))
    assert snakemake(folder, *QUIET, "--dry-run").returncode == 0


def test_a_machine_without_slurm_plans_but_does_not_run(folder: Path) -> None:
    (folder / "bin").mkdir()
    for name in ("bash", "sh", "which", "git"):
        (folder / "bin" / name).symlink_to(f"/usr/bin/{name}")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{folder / 'bin'}"}
    arguments = [*command(folder, *QUIET), "--executor", "slurm", "--jobs", "1"]
    planned = subprocess.run([*arguments, "-n"], env=environment, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert "sbatch is not on this machine" in ended(done)
    assert "--profile profiles/local" in done.stderr
    assert not (folder / ".snakemake/locks").exists()


def test_a_lock_is_told_whose_it_is_and_how_to_clear_it(folder: Path) -> None:
    experiment(folder, anchors=[], training={"epochs": 50_000, "loss": {"l1": 1.0}})
    target = str(RUN / "train.jsonl")
    first = subprocess.Popen(command(folder, target, *QUIET), stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for(folder / ".snakemake", "boostnerv-run-tiny.json", first)
        holder = json.loads((folder / ".snakemake/boostnerv-run-tiny.json").read_text())
        assert holder["pid"] == first.pid
        assert "is still running; wait until it has ended" in ended(snakemake(folder, target, *QUIET))
        # Frames that are being written are incomplete for Snakemake; a training has no file yet.
        _wait_for(folder / RUN / "state", "train-*/log.jsonl", first)
        assert snakemake(folder, target, "--dry-run", *QUIET).returncode == 0
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    experiment(folder, anchors=[])
    sentence = ended(snakemake(folder, target, *QUIET))
    assert f"process {first.pid} of " in sentence
    assert "ended without clearing its lock" in sentence
    assert "--unlock`, then run the same command again" in sentence
    assert snakemake(folder, *QUIET, "--unlock").returncode == 0
    done = snakemake(folder, target, "--rerun-incomplete", *QUIET)
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob(".snakemake/boostnerv-run*"))
