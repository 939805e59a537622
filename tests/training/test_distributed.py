"""Two processes train as one does."""

from __future__ import annotations

import json
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
from boostnerv.training.distributed import Group, join, only_alone
from tests import many
from tests.training.conftest import Train, place, train_job


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def torchrun(clip: Path, folder: Path, settings: str, *more: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())),
        *("-m", "--", "boostnerv", "train", "--frames", str(clip), "--settings", settings, "--device", "cpu"),
        *("--output", str(folder / "model.safetensors"), "--log", str(folder / "train.jsonl")),
        *("--state", str(folder / "state"), "--threads", "1", *more),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


# Four frames: batches of two and two, and of three and one, where a process has nothing to do.
@pytest.mark.parametrize("batch_size", [2, 3])
def test_two_processes_give_the_result_of_one(train: Train, clip: Path, tmp_path: Path, batch_size: int) -> None:
    job = train_job(batch_size=batch_size, clip_norm=1.0)
    alone = train(job, folder=tmp_path / "alone")
    done = torchrun(clip, tmp_path / "two", canonical_json(job.model_dump(mode="json")))
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
    assert not (tmp_path / "two/state").exists()


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
    given = (videos, parse(TrainJob, settings, "job"), alone.checkpoint, alone.log, alone.state)
    steps.train(*given, device="cpu", threads=1, keyframes=keyframes)
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
    group = join(torch.device("cpu"), 1)
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
