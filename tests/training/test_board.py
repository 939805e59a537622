"""Curves for TensorBoard, read back with its own reader."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from boostnerv.errors import UserError
from boostnerv.training.board import Board
from boostnerv.training.run import train_video
from boostnerv.training.setting import TrainingData, TrainingMachine
from boostnerv.video.frames import open_frames
from tests.training.conftest import place, train_job


def test_every_epoch_is_there(clip: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result, folder = place(tmp_path, "train"), tmp_path / "board"
    machine = TrainingMachine(torch.device("cpu"), tensorboard=folder)
    train_video(TrainingData(open_frames(clip)), train_job(), result.outputs, machine)
    found = EventAccumulator(str(folder.joinpath(*result.checkpoint.parent.parts[-2:], "train"))).Reload()
    epochs = [line for line in result.lines() if "epoch" in line]
    for name in ("loss", "lr", "train_psnr_db"):
        shown = [(event.step, event.value) for event in found.Scalars(name)]
        assert [step for step, _ in shown] == [line["step"] for line in epochs]
        assert [value for _, value in shown] == pytest.approx([line[name] for line in epochs], rel=1e-6)
    assert [event.step for event in found.Scalars("psnr_db")] == [line["step"] for line in epochs if "psnr_db" in line]


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write TensorBoard's files to .*file: .*; choose another folder"):
        Board(tmp_path / "file")


def test_without_the_package_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"TensorBoard is not installed: run pip install 'boostnerv\[tensorboard\]'"):
        Board(tmp_path)
