"""Fine-tuning ends at the rate that was asked for, on the bytes of a real file."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.codec.encoder import snap
from boostnerv.codec.entropy.entropy_models import BY_NAME
from boostnerv.codec.entropy.payloads import DEFAULT_GROUP
from boostnerv.codec.entropy.symbols import SymbolWriter
from boostnerv.config import Finetuning
from boostnerv.training.entropy_minimisation import EntropyMinimisation, TemporalProcess
from boostnerv.training.rate_control import TOLERANCE, measurement_due, step_scale, wanted_bits
from boostnerv.training.tasks import FrameObjective, ResidentVideo
from tests.codec.tiny import encoded
from tests.models.tiny import ALL, tiny_model

PARAMETERS = 1000


def gaussian_like(sigma: float) -> Callable[[float], float]:
    """Bits of a thousand Gaussian codes whose steps are scaled: a bit an octave, less and less where few are left."""
    return lambda factor: PARAMETERS * 0.5 * math.log2(1 + 4 * (sigma / factor) ** 2) + 500


@given(sigma=st.floats(0.05, 500), target=st.floats(600, 9000))
def test_the_rate_is_met_from_below(sigma: float, target: float) -> None:
    file_bits = gaussian_like(sigma)
    factor = step_scale(file_bits, target, PARAMETERS)  # type: ignore[arg-type]
    reachable = file_bits(2.0**-6) >= target >= file_bits(2.0**6)
    if reachable:
        assert 0.99 * target <= file_bits(factor) <= target
    else:
        assert factor in (2.0**-6, 1.0, 2.0**6)


def test_a_rate_that_cannot_be_reached() -> None:
    assert step_scale(lambda factor: 700, 600, PARAMETERS) == 1
    assert step_scale(lambda factor: 500, 600, PARAMETERS) == 1 / 64


def test_when_the_file_is_measured() -> None:
    assert [epoch for epoch in range(1, 101) if measurement_due(epoch, 100)] == list(range(10, 101, 10))
    assert [epoch for epoch in range(1, 13) if measurement_due(epoch, 12)] == [2, 4, 6, 8, 10, 12]
    assert measurement_due(1, 1)


def test_a_file_that_is_too_large_comes_down_in_equal_parts() -> None:
    bits = 2200.0
    for epoch in (10, 20, 30, 40, 50, 60):
        wanted = wanted_bits(bits, 1000, epoch, 100)
        assert wanted == pytest.approx(2200 - 1200 * epoch / 60 if epoch < 60 else 985)
        bits = wanted or bits
    assert bits < 1000


@given(epochs=st.integers(1, 300), bits=st.floats(1, 1e9), target=st.floats(1, 1e9), data=st.data())
def test_what_is_wanted_is_never_further_off(epochs: int, bits: float, target: float, data: st.DataObject) -> None:
    epoch = data.draw(st.integers(1, epochs))
    wanted = wanted_bits(bits, target, epoch, epochs)
    if bits > target:
        assert wanted is not None
        assert wanted < bits
    if wanted is None:
        assert bits <= target
        assert bits >= (1 - TOLERANCE) * target or epoch < 0.6 * epochs
    if epoch == epochs:
        left = bits if wanted is None else wanted
        assert (1 - TOLERANCE) * target <= left <= target


def objective(name: str, **settings: Any) -> EntropyMinimisation:
    noise = np.random.default_rng(0).integers(0, 256, (5, 15, 22, 3), dtype=np.uint8)
    model = tiny_model(name, frames=5, height=15, width=22, strides=(3, 2), fc_dim=24)
    task = FrameObjective(model, ResidentVideo(noise, torch.device("cpu")))
    return EntropyMinimisation(task, Finetuning(loss={"l1": 1.0}, **settings))


def file_bits(found: EntropyMinimisation) -> int:
    return 8 * len(encoded(found.model, found.quantized()))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("target_bits", [5.0, 7.0, 9.0])
def test_the_file_has_the_bits_that_were_asked_for(name: str, target_bits: float) -> None:
    found = objective(name, target_bits=target_bits)
    numbers = sum(p.numel() for p in found.model.decoder.parameters()) + found.model.spec.embedding_parameters
    assert found.after_epoch(10, 10)
    assert file_bits(found) == pytest.approx(target_bits * numbers, rel=0.03)
    assert file_bits(found) <= target_bits * numbers


def test_early_on_steps_are_made_coarser_and_never_finer() -> None:
    for target_bits, mended in ((5.0, True), (12.0, False)):
        found = objective("hnerv-boost", target_bits=target_bits)
        before = found.weight_quantizers.steps.detach().clone()
        assert found.after_epoch(3, 10) is mended
        assert (found.weight_quantizers.steps > before).all() if mended else found.weight_quantizers.steps.equal(before)


def test_steps_are_left_alone_where_the_file_is_near_its_target() -> None:
    bits = file_bits(objective("hnerv-boost"))
    found = objective("hnerv-boost")
    numbers = sum(p.numel() for p in found.model.decoder.parameters()) + found.model.spec.embedding_parameters
    found = objective("hnerv-boost", target_bits=1.02 * bits / numbers)
    before = found.weight_quantizers.steps.detach().clone()
    assert not found.after_epoch(10, 10)
    assert torch.equal(found.weight_quantizers.steps, before)


def test_the_rate_counts_where_the_real_file_is_too_large() -> None:
    found = objective("hnerv-boost", target_bits=6.0, lambda_rate=1.0)
    estimated_bits = sum(found.summary().values())
    before = float(found.target_rate)
    bits = file_bits(found)
    found.after_epoch(1, 10)
    assert float(found.target_rate) == pytest.approx(before * estimated_bits / bits, rel=1e-5)
    assert "target_rate" in found.state_dict()


def test_the_published_way_leaves_the_steps_alone() -> None:
    found = objective("hnerv-boost", rate_control="published", target_bits=2.0)
    before = found.weight_quantizers.steps.detach().clone()
    assert not found.after_epoch(10, 10)
    assert torch.equal(found.weight_quantizers.steps, before)


def test_clamping_quantisers_are_never_made_finer() -> None:
    found = objective("hnerv-boost", weight_quantizer="lsq", embedding_quantizer="lsqv2", target_bits=12.0)
    before = [found.weight_quantizers.steps.detach().clone(), found.embedding_quantizer.step.detach().clone()]
    found.after_epoch(10, 10)
    assert torch.equal(found.weight_quantizers.steps, before[0])
    assert torch.equal(found.embedding_quantizer.step, before[1])


# --- the temporal model in the rate --------------------------------------------------------------------------


def walk(frames: int) -> torch.Tensor:
    """Codes that change little from frame to frame, and differ much between positions."""
    noise = torch.Generator().manual_seed(0)
    start = 40 * torch.randn(1, 4, 3, 5, generator=noise)
    return start + torch.cumsum(torch.randn(frames, 4, 3, 5, generator=noise), 0)


@pytest.mark.parametrize("frames", [1, 2, DEFAULT_GROUP, DEFAULT_GROUP + 1, 40])
def test_the_rate_that_training_sees_is_what_the_file_costs(frames: int) -> None:
    codes = walk(frames)
    process, indices = TemporalProcess(codes), torch.arange(frames)
    rounded = torch.round(codes)
    before = torch.cat([rounded[:1], rounded[:-1]])
    estimated = float(process.bits(indices, rounded, before).sum())
    integers = rounded.to(torch.int32).numpy()
    parameters = BY_NAME["temporal"].candidates(integers, "embeddings", DEFAULT_GROUP)[1]
    real = 0
    for first in range(0, frames, DEFAULT_GROUP):
        writer = SymbolWriter()
        parameters.encode(writer, integers[first : first + DEFAULT_GROUP], first, parameters.reach)
        real += writer.bits()
    # The coder starts every group with some bits of its own.
    assert estimated == pytest.approx(real, rel=0.02, abs=40 * -(-frames // DEFAULT_GROUP))


def test_what_the_frame_before_tells_is_not_paid_for() -> None:
    codes = torch.round(walk(DEFAULT_GROUP))
    process, later = TemporalProcess(codes), torch.arange(1, DEFAULT_GROUP)
    told = process.bits(later, codes[1:], codes[:-1]).mean()
    alone = process.bits(torch.zeros_like(later), codes[1:], codes[:-1]).mean()
    assert told < 0.7 * alone


def test_a_step_with_temporal_rate_pulls_frames_together() -> None:
    found = objective("hnerv-boost", embedding_rate="temporal", lambda_rate=1.0, target_bits=1e-3)
    seed = torch.Generator().manual_seed(0)
    loss = found.fit(torch.tensor([2]), seed).loss
    loss.backward()
    assert found.model.encoder is not None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in found.model.encoder.parameters())
    state = found.state_dict()
    assert {f"process.{name}" for name in ("mean", "first_sigma", "slope", "later_sigma")} <= set(state)


def test_the_process_follows_the_codes() -> None:
    found = objective("hnerv-boost", embedding_rate="temporal", rate_control="published")
    assert found.process is not None
    before = found.process.later_sigma.clone()
    with torch.no_grad():
        assert found.embedding_quantizer is not None
        found.embedding_quantizer.step.mul_(0.5)
    assert not found.after_epoch(1, 10)
    assert not torch.equal(found.process.later_sigma, before)


def test_imported_models_without_embeddings_have_no_process() -> None:
    assert objective("nerv-boost", embedding_rate="temporal").process is None
    assert snap(objective("nerv-boost").quantized()).embedding_codes is None


def test_steps_that_make_codes_impossible_are_not_taken() -> None:
    def bits(factor: float) -> float:
        return math.inf if factor < 0.3 else PARAMETERS * (5 - math.log2(factor))

    assert bits(step_scale(bits, 6000, PARAMETERS)) <= 6000
    assert step_scale(bits, 8000, PARAMETERS) >= 0.3


def test_a_file_that_cannot_get_small_enough_gets_as_small_as_it_can() -> None:
    assert step_scale(lambda factor: 900 + 4000 / factor, 600, PARAMETERS) == 64
    assert step_scale(lambda factor: 900 + 100 / factor, 600, PARAMETERS) == 1
