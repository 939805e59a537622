"""A training that goes wrong returns to its last good state, a few times, and says so."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch

from boostnerv.training import loop
from boostnerv.training.guard import divergence
from boostnerv.training.run import last_record
from tests.training.conftest import Train, train_job
from tests.training.test_resume import Killed, kill_at


def record(psnr_db: float, loss: float = 1.0) -> dict[str, float]:
    return {"loss": loss, "train_psnr_db": psnr_db}


@pytest.mark.parametrize("bad", [record(20, math.nan), record(20, math.inf), record(math.nan)])
@pytest.mark.parametrize("warmed_up", [False, True])
def test_what_is_not_finite_is_never_good(bad: dict[str, float], warmed_up: bool) -> None:
    assert divergence(bad, [], warmed_up=warmed_up) == "the loss is not finite"


def test_a_drop_counts_after_the_warm_up_and_from_the_best() -> None:
    before = [record(10), record(30), record(28), {"event": "return"}]
    assert divergence(record(27.0), before, warmed_up=True) is None
    assert divergence(record(26.9), before, warmed_up=True) == "the PSNR fell 3.1 dB under the best epoch's"
    assert divergence(record(5), before, warmed_up=False) is None
    assert divergence(record(5), [], warmed_up=True) is None


class Spikes:
    """Breaks the weights before chosen steps, the first time that each of them is taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: dict[int, float]) -> None:
        self.left = dict(steps)
        self.taken = 0
        original = loop.train_step

        def step(objective: object, *arguments: object) -> object:
            self.taken += 1
            factor = self.left.pop(self.taken, None)
            if factor is not None:
                with torch.no_grad():
                    for parameter in objective.model.parameters():  # type: ignore[attr-defined]
                        parameter.mul_(factor)
            return original(objective, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "train_step", step)


# Four steps an epoch; good states at step 0 and, evaluated every second epoch, at 8, 16, 24.
@pytest.mark.parametrize(
    ("factor", "reason"), [(math.nan, "the loss is not finite"), (300.0, "the PSNR fell [0-9.]+ dB under the best")]
)
def test_it_returns_and_ends(train: Train, monkeypatch: pytest.MonkeyPatch, factor: float, reason: str) -> None:
    Spikes(monkeypatch, {18: factor})
    result = train(train_job(epochs=6))
    lines = result.lines()
    events = [line for line in lines if "event" in line]
    assert len(events) == 1
    assert re.match(reason, events[0]["reason"])
    assert (events[0]["from_epoch"], events[0]["to_step"], events[0]["rate_factor"]) == (5, 16, 0.5)
    assert [line["epoch"] for line in lines[:-1] if "epoch" in line] == [1, 2, 3, 4, 5, 6]
    assert last_record(result.log)["returns"] == 1
    undisturbed = train(train_job(epochs=6), folder=result.log.parent / "whole").lines()
    assert lines[3] == undisturbed[3] | {"wall_s": lines[3]["wall_s"]}
    assert lines[5]["lr"] == pytest.approx(undisturbed[4]["lr"] / 2)
    assert not result.state.exists()


def test_before_the_first_good_state_it_returns_to_the_beginning(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    Spikes(monkeypatch, {2: math.nan})
    events = [line for line in train(train_job(epochs=3)).lines() if "event" in line]
    assert [(event["from_epoch"], event["to_step"]) for event in events] == [(1, 0)]


def test_a_kill_after_a_return_changes_nothing(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Spikes(monkeypatch, {18: math.nan})
    whole = train(train_job(epochs=6), folder=tmp_path / "whole")
    monkeypatch.undo()
    Spikes(monkeypatch, {18: math.nan})
    with pytest.raises(Killed):
        train(train_job(epochs=6), folder=tmp_path / "killed", progress=kill_at(22), save_every_s=0.0)
    monkeypatch.undo()
    resumed = train(train_job(epochs=6), folder=tmp_path / "killed")
    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert resumed.records() == whole.records()


def test_while_it_runs_the_log_follows_the_return(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Spikes(monkeypatch, {14: math.nan})
    with pytest.raises(Killed):
        train(train_job(epochs=6), folder=tmp_path / "x", progress=kill_at(17))
    live = [json.loads(line) for line in next((tmp_path / "x").rglob("log.jsonl")).read_text().splitlines()]
    assert ["event" in line for line in live] == [False, False, True, False, False]
    assert [line.get("epoch") for line in live] == [1, 2, None, 3, 4]
