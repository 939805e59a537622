"""Two processes train as one does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from boostnerv import steps
from boostnerv.config import TrainJob, parse
from boostnerv.errors import UserError
from boostnerv.files import canonical_json
from boostnerv.host.machine import Host
from boostnerv.training.distributed import Group, joined, only_alone
from boostnerv.training.lease import hold
from tests import many
from tests.training.conftest import Result, Train, place, train_job


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def torchrun(
    clip: Path, folder: Path, settings: str, *more: str, by_itself: bool = False
) -> subprocess.CompletedProcess[str]:
    """Two processes; `by_itself`, the training starts them."""
    folder.mkdir(exist_ok=True)
    command = torchrun_command(clip, folder, settings, *more, by_itself=by_itself)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def torchrun_command(clip: Path, folder: Path, settings: str, *more: str, by_itself: bool = False) -> list[str]:
    port = ("--master-port", str(free_port()))
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", *port, "-m", "--", "boostnerv", "train")
    return [
        *(sys.executable, *(("-m", "boostnerv", "train", "--processes", "2") if by_itself else torchrun)),
        *("--frames", str(clip), "--settings", settings, "--device", "cpu"),
        *("--output", str(folder / "model.safetensors"), "--log", str(folder / "train.jsonl")),
        *("--state", str(folder / "state"), "--threads", "1", *more),
    ]


# Four frames: batches of two and two, and of three and one, where a process has nothing to do.
@pytest.mark.parametrize("batch_size", [2, 3])
def test_two_processes_give_the_result_of_one(train: Train, clip: Path, tmp_path: Path, batch_size: int) -> None:
    job = train_job(batch_size=batch_size, clip_norm=1.0)
    alone = train(job, folder=tmp_path / "alone")
    settings = canonical_json(job.model_dump(mode="json"))
    done = torchrun(clip, tmp_path / "two", settings, by_itself=batch_size == 3)
    assert done.returncode == 0, done.stderr
    ours, theirs = load_file(alone.checkpoint), load_file(tmp_path / "two/model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        scale = float(value.abs().max())
        assert float((value - theirs[name]).abs().max()) <= 1e-5 * max(scale, 1e-2), name
    lines = [json.loads(line) for line in (tmp_path / "two/train.jsonl").read_text().splitlines()]
    assert lines[-1]["processes"] == 2
    for ours_line, line in zip(alone.lines()[:-1], lines[:-1], strict=True):
        assert line["loss"] == pytest.approx(ours_line["loss"], rel=1e-5)
        assert line["train_psnr_db"] == pytest.approx(ours_line["train_psnr_db"], rel=1e-5)
    assert Result(tmp_path / "two/model.safetensors", tmp_path / "two/train.jsonl", tmp_path / "two/state").is_kept()


def test_code_in_the_current_folder_is_not_run(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by torchrun nor by the processes it starts; the first one is this test's own."""
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    settings = canonical_json(train_job(batch_size=2).model_dump(mode="json"))
    command = torchrun_command(clip, tmp_path / "two", settings, by_itself=True)
    (tmp_path / "two").mkdir()
    done = subprocess.run([command[0], "-P", *command[1:]], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two/model.safetensors").exists()


def test_all_processes_wait_for_a_training_and_take_its_result(train: Train, clip: Path, tmp_path: Path) -> None:
    job = train_job(batch_size=2)
    alone, folder = train(job, folder=tmp_path / "alone"), tmp_path / "two"
    command = torchrun_command(clip, folder, canonical_json(job.model_dump(mode="json")))
    with hold(folder / "state"):
        waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        told = next(line for line in waiting.stderr if "being trained by" in line)
        assert f"being trained by process {os.getpid()} on " in told
        # As if it were trained here: the state is the other training's, and then its result is.
        for path in alone.state.iterdir():
            shutil.copy(path, folder / "state")
    _, errors = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, errors
    assert f"{folder}/model.safetensors: found finished in {folder}/state, nothing is trained again" in errors
    found = Result(folder / "model.safetensors", folder / "train.jsonl", folder / "state")
    assert found.checkpoint.read_bytes() == alone.checkpoint.read_bytes()
    assert found.lines() == alone.lines()
    assert found.is_kept()


def test_two_processes_count_the_frames_of_short_clips(tmp_path: Path) -> None:
    """Clips of one, two and four frames in batches of five, so that shares differ in clips and in frames."""
    many.write_videos(tmp_path)
    videos = many.gather(tmp_path)
    keyframes = many.code_keyframes(videos, tmp_path / "keyframes.json")
    settings = many.train_job("d-nerv")
    settings["training"] |= {"batch_size": 5, "clip_norm": 1.0, "lr": {"peak": 1e-3}}
    done = torchrun(videos, tmp_path / "two", json.dumps(settings), "--keyframes", str(keyframes))
    assert done.returncode == 0, done.stderr
    alone = place(tmp_path, "alone")
    outputs = {"model": alone.checkpoint, "log": alone.log, "state": alone.state}
    job_files = steps.TrainFiles(frames=videos, keyframes=keyframes, **outputs)
    steps.train(job_files, parse(TrainJob, settings, "job"), Host("cpu", threads=1))
    ours, theirs = load_file(alone.checkpoint), load_file(tmp_path / "two/model.safetensors")
    for name, value in ours.items():
        assert float((value - theirs[name]).abs().max()) <= 1e-4 * max(float(value.abs().max()), 1e-2), name
    lines = [json.loads(line) for line in (tmp_path / "two/train.jsonl").read_text().splitlines()]
    for ours_line, line in zip(alone.lines()[:-1], lines[:-1], strict=True):
        assert line["loss"] == pytest.approx(ours_line["loss"], rel=1e-5)
        assert line["train_psnr_db"] == pytest.approx(ours_line["train_psnr_db"], rel=1e-5)


def test_a_batch_that_cannot_be_shared(clip: Path, tmp_path: Path) -> None:
    done = torchrun(clip, tmp_path / "two", canonical_json(train_job().model_dump(mode="json")))
    assert done.returncode != 0
    assert "training.batch_size = 1 cannot be shared by 2 processes" in done.stderr
    assert not (tmp_path / "two/model.safetensors").exists()


def test_a_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(torch.device("cpu")) as group:
        assert (group, group.leads) == (Group(0, 1), True)
        assert group.largest(15, torch.device("cpu")) == 15
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="finetune runs in one process; start it without torchrun"):
        only_alone("finetune")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_the_batch(size: int) -> None:
    batch = torch.arange(5)
    shares = torch.cat([Group(rank, size).share(batch) for rank in range(size)])
    assert sorted(shares.tolist()) == batch.tolist()
