"""What goes wrong on a cluster: each time the run ends, repeats nothing that was saved, and ends equal to the byte."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflow.test_dag import ROOT, RUN, experiment, make_clip

pytestmark = pytest.mark.cluster

EPOCHS = 60
TRAINING = {"epochs": EPOCHS, "loss": {"l1": 1.0}}
FINETUNING = {"epochs": 40, "loss": {"l1": 1.0}}
MODEL, FINETUNED, BITSTREAM = RUN / "model.safetensors", RUN / "finetuned.safetensors", RUN / "video.bnv"
PATIENCE_S = 400


@dataclass
class Workflow:
    """`snakemake --profile slurm` on the tiny experiment, in a folder of its own."""

    folder: Path
    environment: dict[str, str]
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    def start(self, *targets: str | Path) -> None:
        command = [
            *(sys.executable, "-m", "snakemake", *map(str, targets), "--snakefile", str(ROOT / "Snakefile")),
            *("--profile", str(ROOT / "slurm"), "--configfile", str(self.folder / "tiny.yaml")),
            *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"),
            *("--slurm-keep-successful-logs", *self.arguments),
        ]
        log = open(self.folder / "snakemake.log", "a")  # noqa: SIM115  (the process has it)
        self.process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def wait(self) -> None:
        assert self.process is not None
        assert self.process.wait(timeout=PATIENCE_S) == 0, self.text()

    def text(self) -> str:
        """All that was printed, by Snakemake and by its jobs."""
        logs = [self.folder / "snakemake.log", *sorted((self.folder / ".snakemake/slurm_logs").rglob("*.log"))]
        return "\n".join(log.read_text() for log in logs if log.exists())

    def slurm(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def holder(self, step: str = "train") -> dict[str, str]:
        """Who trains, once its log shows epochs."""
        for log in self._wait_for(f"results/tiny/clip/*/state/{step}-*/log.jsonl"):
            if len(log.read_text().splitlines()) >= 12:
                found: dict[str, str] = json.loads((log.parent / "lock").read_text())
                return found
        raise AssertionError(f"no {step} was seen:\n{self.text()}")

    def _wait_for(self, pattern: str) -> Iterator[Path]:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            yield from self.folder.glob(pattern)
            time.sleep(0.1)


def workflow(folder: Path, cluster: dict[str, str], *arguments: str) -> Workflow:
    make_clip(folder)
    experiment(folder, training=TRAINING, finetuning=FINETUNING, anchors=[])
    return Workflow(folder, {**cluster, "OMP_NUM_THREADS": "1"}, arguments)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same experiment where nothing happens, without a cluster."""
    folder = tmp_path_factory.mktemp("undisturbed")
    make_clip(folder)
    experiment(folder, training=TRAINING, finetuning=FINETUNING, anchors=[])
    command = [
        *(sys.executable, "-m", "snakemake", str(BITSTREAM), "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"),
        *("--configfile", str(folder / "tiny.yaml")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def check_equal(folder: Path, undisturbed: Path, *names: Path) -> None:
    for name in names:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def resumed(found: Workflow) -> list[int]:
    """Steps at which trainings went on; eight are an epoch."""
    return [int(step) for step in re.findall(r"goes on at (\d+) of", found.text())]


def test_a_cancelled_training(tmp_path: Path, cluster: dict[str, str], undisturbed: Path) -> None:
    found = workflow(tmp_path, cluster)
    found.start(BITSTREAM)
    found.slurm("scancel", found.holder()["job"])
    found.wait()
    check_equal(tmp_path, undisturbed, MODEL, FINETUNED, BITSTREAM)
    # The signal saved what there was.
    assert resumed(found)[0] >= 8 * 12


def test_a_killed_finetuning_repeats_no_training(tmp_path: Path, cluster: dict[str, str], undisturbed: Path) -> None:
    found = workflow(tmp_path, cluster)
    found.start(BITSTREAM)
    os.kill(int(found.holder("finetune")["pid"]), signal.SIGKILL)
    found.wait()
    check_equal(tmp_path, undisturbed, MODEL, FINETUNED, BITSTREAM)
    assert "nothing is trained again" in found.text()
    assert resumed(found)[0] >= 8 * 10


def test_a_requeued_training(tmp_path: Path, cluster: dict[str, str], undisturbed: Path) -> None:
    found = workflow(tmp_path, cluster)
    found.start(BITSTREAM)
    job = found.holder()["job"]
    found.slurm("scontrol", "requeue", job)
    # SLURM begins it again only after two minutes.
    end = time.monotonic() + PATIENCE_S
    while "JobState=PENDING" not in found.slurm("scontrol", "show", "job", job) and time.monotonic() < end:
        time.sleep(0.2)
    found.slurm("scontrol", "update", f"jobid={job}", "starttime=now")
    found.wait()
    check_equal(tmp_path, undisturbed, MODEL, FINETUNED, BITSTREAM)
    assert resumed(found)[0] >= 8 * 12


def test_a_training_at_its_time_limit(tmp_path: Path, cluster: dict[str, str], undisturbed: Path) -> None:
    limits = ("train:runtime=2 if attempt < 2 else 10", "train:slurm_extra='--signal=USR1@30'")
    found = workflow(tmp_path, cluster, "--set-resources", *limits)
    found.start(MODEL)
    # The signal comes at some time up to a minute early: the training is held until it does.
    pid = int(found.holder()["pid"])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + PATIENCE_S
    while not _pending(pid, signal.SIGUSR1) and time.monotonic() < end:
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    found.wait()
    check_equal(tmp_path, undisturbed, MODEL)
    assert "stopped by SIGUSR1" in found.text()
    assert resumed(found)[0] >= 8 * 12


def _pending(pid: int, number: signal.Signals) -> bool:
    """Whether the stopped process `pid` will get the signal when it goes on."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:  # it got it before it was stopped
        return True
    masks = [int(mask, 16) for mask in re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)", status, re.M)]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_a_training_out_of_memory(tmp_path: Path, cluster: dict[str, str], undisturbed: Path) -> None:
    found = workflow(tmp_path, cluster, "--set-resources", "train:mem_mb=350 if attempt < 2 else 3000")
    found.start(MODEL)
    found.wait()
    check_equal(tmp_path, undisturbed, MODEL)
    assert "exceeded memory limit" in found.text()


def test_a_killed_workflow(tmp_path: Path, cluster: dict[str, str], undisturbed: Path) -> None:
    """The job of the first one goes on; that of the second waits for it and takes what it made."""
    found = workflow(tmp_path, cluster)
    found.start(BITSTREAM)
    holder = found.holder()
    assert found.process is not None
    found.process.kill()
    found.process.wait()
    shutil.rmtree(tmp_path / ".snakemake/locks")
    # Held until the second is there, for less than the minute after which it would be taken for dead.
    os.kill(int(holder["pid"]), signal.SIGSTOP)
    found.start(BITSTREAM)
    end = time.monotonic() + 50
    while f"(job {holder['job']})" not in found.text() and time.monotonic() < end:
        time.sleep(0.2)
    os.kill(int(holder["pid"]), signal.SIGCONT)
    found.wait()
    check_equal(tmp_path, undisturbed, MODEL, FINETUNED, BITSTREAM)
    text = found.text()
    assert f"(job {holder['job']})" in text
    assert "waiting for it to end" in text
    assert "nothing is trained again" in text
    assert resumed(found) == []
