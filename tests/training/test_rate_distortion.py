"""Training for rate and distortion together."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from boostnerv.config import Finetuning
from boostnerv.errors import InterruptedBySignal
from boostnerv.training import loop
from boostnerv.training.rate_distortion import RateDistortion
from boostnerv.training.tasks import FrameObjective, ResidentVideo
from tests.codec.tiny import encoded
from tests.models.tiny import tiny_model
from tests.training.conftest import FRAMES, Train, finetune_job, place, train_job
from tests.training.test_resume import interrupted, same, signal_at

INDICES = torch.tensor([2])


def objective(name: str = "hnerv-boost", **settings: Any) -> RateDistortion:
    noise = np.random.default_rng(0).integers(0, 256, (5, 15, 22, 3), dtype=np.uint8)
    model = tiny_model(name, frames=5, height=15, width=22, strides=(3, 2), fc_dim=24)
    task = FrameObjective(model, ResidentVideo(noise, torch.device("cpu")))
    return RateDistortion(task, Finetuning(**{"loss": {"l1": 1.0}, "rate_distortion": {}, **settings}))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("rounding", ["soft", "noise"])
def test_codes_are_noisy_at_first_and_rounded_at_the_end(rounding: str) -> None:
    trained = objective(rate_distortion={"rounding": rounding, "hard_share": 0.25})
    for progress, rounds in ((0.0, False), (0.74, False), (0.75, True), (0.99, True)):
        trained.begin_step(progress, 0.01)
        prediction = trained.fit(INDICES, generator()).prediction.detach()
        assert torch.equal(prediction, trained.reconstruct(INDICES)) == rounds


def test_rounding_from_the_start() -> None:
    trained = objective(rate_distortion={"rounding": "straight-through"})
    trained.begin_step(0.0, 0.01)
    assert torch.equal(trained.fit(INDICES, generator()).prediction.detach(), trained.reconstruct(INDICES))


@pytest.mark.parametrize("name", ["hnerv-boost", "nerv-boost"])
def test_every_stored_number_is_trained(name: str) -> None:
    trained = objective(name)
    trained.begin_step(0.1, 0.01)
    trained.fit(INDICES, generator()).loss.backward()
    missing = [label for label, p in trained.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    steps = dict(trained.named_parameters())["weight_quantizers.parametrizations.steps.original"].grad
    assert steps is not None
    assert (steps != 0).all()


def steps_of(trained: RateDistortion) -> torch.Tensor:
    return torch.tensor(trained.quantized().steps)


@pytest.mark.parametrize(("target_bits", "direction"), [(1.0, 1), (14.0, -1)])
def test_steps_follow_the_wanted_rate(target_bits: float, direction: int) -> None:
    trained = objective(target_bits=target_bits, quantizer_steps="free", rate_distortion={"descent": 0.0})
    first = steps_of(trained)
    trained.begin_step(0.0, 0.001)
    assert torch.equal(steps_of(trained), first)  # no rate is known yet
    trained.fit(INDICES, generator())
    trained.begin_step(0.001, 0.001)
    factors = steps_of(trained) / first
    assert direction * (float(factors.mean()) - 1) > 0
    torch.testing.assert_close(factors, factors.mean().expand_as(factors))


def test_the_wanted_rate_falls_from_the_first_one() -> None:
    trained = objective(target_bits=1.0, quantizer_steps="free", rate_distortion={"descent": 0.5})
    trained.begin_step(0.0, 0.001)
    trained.fit(INDICES, generator())
    first = steps_of(trained)
    trained.begin_step(0.0, 0.001)
    torch.testing.assert_close(steps_of(trained), first)  # the present rate is the wanted one
    trained.begin_step(0.25, 0.001)
    assert (steps_of(trained) > first).all()


def test_the_weight_of_the_rate_ends_where_steps_are_optimal() -> None:
    """From a weight too small or too large by a factor of 400 it comes to the same one."""
    last = []
    for first in (-6.0, 6.0):
        trained = objective(weight_bits=5, loss={"l2": 1.0})
        for number in range(60):
            trained.begin_step(0.0, 0.01)
            trained.zero_grad()
            trained.fit(INDICES, torch.Generator().manual_seed(number)).loss.backward()
            if number == 0:
                trained.log_lambda += first
            trained.after_step()
        last.append(float(trained.log_lambda))
    assert abs(last[0] - last[1]) < 0.5


def test_a_fixed_weight_stays() -> None:
    trained = objective(target_bits=1.0, rate_control="published", lambda_rate=0.3)
    for progress in (0.0, 0.1):
        trained.begin_step(progress, 0.1)
        trained.fit(INDICES, generator())
    assert float(trained.log_lambda.exp()) == pytest.approx(0.3)
    assert not trained.after_epoch(10, 10)


@pytest.mark.parametrize("target_bits", [3.0, 5.0, 8.0])
def test_a_file_that_missed_its_size_is_scaled_at_the_end(target_bits: float) -> None:
    trained = objective(target_bits=target_bits)
    numbers = sum(p.numel() for p in trained.model.decoder.parameters()) + trained.model.spec.embedding_parameters
    assert not trained.after_epoch(9, 10)
    assert trained.after_epoch(10, 10)
    file_bits = 8 * len(encoded(trained.model, trained.quantized()))
    assert 0.97 * target_bits * numbers <= file_bits <= target_bits * numbers


def test_steps_stay_positive() -> None:
    trained = objective()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.sub_(3.0)
    assert all(step > 0 for step in trained.quantized().steps)


@pytest.mark.parametrize("step", [1, 5, 7])
def test_it_resumes_to_the_bit(step: int, train: Train, finetune: Train, tmp_path: Path) -> None:
    job = finetune_job(epochs=2, rate_distortion={"hard_share": 0.5})
    trained = train(train_job()).checkpoint
    whole = finetune(trained, job, folder=tmp_path / "whole")
    with pytest.raises(InterruptedBySignal):
        finetune(trained, job, progress=signal_at(step, signal.SIGTERM))
    interrupted(place(tmp_path, "finetune"))
    same(finetune(trained, job), whole)


def test_settings_of_cem_are_what_they_were() -> None:
    assert "rate_distortion" not in Finetuning().model_dump(mode="json")
    joint = Finetuning(rate_distortion={}, epochs=7)
    assert (joint.optimizer, joint.lr.peak, joint.embedding_rate) == ("soap", 6e-3, "temporal")
    assert Finetuning(**joint.model_dump(mode="json")) == joint
    assert Finetuning(rate_distortion={}, optimizer="adam").optimizer == "adam"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rate_distortion": {"shape": (0.5, 1)}}, "1 or more"),
        ({"rate_distortion": {"temperature": (0.5, 0)}}, "greater than 0"),
        ({"rate_distortion": {"hard_share": 1.1}}, "less than or equal to 1"),
        ({"rate_distortion": {}, "weight_quantizer": "lsq"}, "leave the others out"),
        ({"rate_distortion": {"rounding": "hard"}}, "'soft', 'noise' or 'straight-through'"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Finetuning(**settings)


def test_quantisers_learn_at_a_rate_of_their_own(
    train: Train, finetune: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[tuple[float, ...]] = []
    step = loop.train_step

    def watched(objective: Any, optimizer: torch.optim.Optimizer, *rest: Any) -> torch.Tensor:
        values = step(objective, optimizer, *rest)
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        return values

    monkeypatch.setattr(loop, "train_step", watched)
    job = finetune_job(epochs=5, rate_distortion={}, lr={"peak": 1e-3, "warmup": 0.0})
    finetune(train(train_job(epochs=1)).checkpoint, job)
    finetuning = rates[FRAMES:]
    assert len(finetuning) == 5 * FRAMES
    assert [steady for _, steady in finetuning[: 4 * FRAMES]] == [1e-3] * 4 * FRAMES
    assert finetuning[-1][1] == pytest.approx(1e-3 / FRAMES)
    assert finetuning[2 * FRAMES + 2][0] == pytest.approx(0.5e-3)  # half-way down the cosine
