"""The moving average of the weights, as an option."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from boostnerv.training import checkpoint, loop
from boostnerv.training.log import last_record
from tests.training.conftest import Train, train_job
from tests.training.test_resume import Killed, kill_at, same

DECAY = 0.9


def test_the_checkpoint_holds_the_average(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[list[torch.Tensor]] = []
    original = loop.train_step

    def step(objective: object, *arguments: object) -> object:
        if not seen:
            seen.append([p.detach().clone() for p in objective.parameters()])  # type: ignore[attr-defined]
        result = original(objective, *arguments)  # type: ignore[arg-type]
        seen.append([p.detach().clone() for p in objective.parameters()])  # type: ignore[attr-defined]
        return result

    monkeypatch.setattr(loop, "train_step", step)
    result = train(train_job(ema_decay=DECAY))
    expected, *later = seen
    for weights in later:
        expected = [DECAY * mean + (1 - DECAY) * weight for mean, weight in zip(expected, weights, strict=True)]
    _, model = checkpoint.restore(result.checkpoint)
    assert len(later) == 12
    for mean, kept in zip(expected, model.parameters(), strict=True):
        assert torch.allclose(mean, kept, rtol=1e-5, atol=1e-7)


def test_training_itself_is_not_changed_by_it(train: Train, tmp_path: Path) -> None:
    plain = train(train_job(), folder=tmp_path / "plain")
    averaged = train(train_job(ema_decay=DECAY), folder=tmp_path / "averaged")
    assert [line["loss"] for line in plain.lines()[:-1]] == [line["loss"] for line in averaged.lines()[:-1]]
    assert last_record(plain.log)["psnr_db"] != last_record(averaged.log)["psnr_db"]


@pytest.mark.parametrize("step", [3, 8, 11])
def test_it_survives_a_kill(train: Train, tmp_path: Path, step: int) -> None:
    job = train_job(ema_decay=DECAY)
    whole = train(job, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        train(job, progress=kill_at(step), save_every_s=0.0)
    same(train(job), whole)
