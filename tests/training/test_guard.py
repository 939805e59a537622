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
from boostnerv.training.log import last_record
from tests.training.conftest import Train, finetune_job, train_job
from tests.training.test_resume import Killed, kill_at


def record(psnr_db: float, loss: float = 1.0) -> dict[str, float]:
    return {"loss": loss, "train_psnr_db": psnr_db}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(20, math.nan), "the loss is not finite"),
        (record(20, math.inf), "the loss is not finite"),
        (record(math.nan), "the PSNR is not finite"),
        ({**record(20), "psnr_db": math.nan}, "the PSNR is not finite"),
    ],
)
@pytest.mark.parametrize("may_fall", [False, True])
def test_what_is_not_finite_is_never_good(bad: dict[str, float], reason: str, may_fall: bool) -> None:
    assert divergence(bad, [], may_fall=may_fall) == reason


@pytest.mark.parametrize("name", ["train_psnr_db", "psnr_db"])
def test_a_drop_counts_from_the_best_where_it_may_not_be(name: str) -> None:
    before = [{name: 10.0}, {name: 30.0}, {name: 28.0}, {"event": "return"}]
    assert divergence({"loss": 1.0, name: 27.0}, before, may_fall=False) is None
    fallen = {"loss": 1.0, name: 26.9}
    assert divergence(fallen, before, may_fall=False) == "the PSNR fell 3.1 dB under the best epoch's"
    assert divergence(fallen, before, may_fall=True) is None
    assert divergence(fallen, [], may_fall=False) is None


class Spikes:
    """Breaks the weights before (or after) chosen steps, the first time that each of them is taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: dict[int, float], *, after: bool = False) -> None:
        self.left = dict(steps)
        self.taken = 0
        self.after = after
        original = loop.train_step

        def step(objective: object, *arguments: object) -> object:
            self.taken += 1
            factor = self.left.pop(self.taken, 1.0)
            self._scale(objective, 1.0 if self.after else factor)
            values = original(objective, *arguments)  # type: ignore[arg-type]
            self._scale(objective, factor if self.after else 1.0)
            return values

        monkeypatch.setattr(loop, "train_step", step)

    @torch.no_grad()
    def _scale(self, objective: object, factor: float) -> None:
        if factor != 1.0:
            for parameter in objective.model.parameters():  # type: ignore[attr-defined]
                parameter.mul_(factor)


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
    assert result.is_kept()


@pytest.mark.parametrize("factor", [math.nan, 300.0])
@pytest.mark.parametrize("step", [16, 24])
def test_a_collapse_in_the_last_step_of_an_epoch_is_seen_before_it_is_kept(
    train: Train, monkeypatch: pytest.MonkeyPatch, factor: float, step: int
) -> None:
    # Only the evaluation shows it: the step's own loss is taken before its update. Step 24 is the very last.
    Spikes(monkeypatch, {step: factor}, after=True)
    result = train(train_job(epochs=6))
    events = [line for line in result.lines() if "event" in line]
    assert [(event["from_epoch"], event["to_step"]) for event in events] == [(step // 4, step - 8)]
    assert last_record(result.log)["psnr_db"] > 5


def test_fine_tuning_may_pay_for_rate_with_quality(
    train: Train, finetune: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train().checkpoint
    Spikes(monkeypatch, {6: 300.0})
    assert last_record(finetune(trained, finetune_job(epochs=3)).log)["returns"] == 0


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
