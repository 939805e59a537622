from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.config import LearningRate
from boostnerv.training.schedules import learning_rate
from tests.conftest import Golden

ORIGINAL = {
    "cosine_0.1_1_0.1": LearningRate(peak=2.0, warmup=0.1, start=0.1),
    "cosine_0_1_0.1": LearningRate(peak=2.0, warmup=0.0, start=0.1),
    "hybrid_0.2_1_1_0.1_0.1": LearningRate(peak=2.0, shape="hybrid", warmup=0.2, start=0.1, end=0.1),
}


@pytest.mark.parametrize("name", ORIGINAL)
def test_every_recorded_value(golden: Golden, name: str) -> None:
    recorded = golden.manifest["lr_schedule"]
    assert set(recorded) == set(ORIGINAL)
    for progress, factor in recorded[name]:
        assert learning_rate(ORIGINAL[name], progress) == pytest.approx(2.0 * factor, rel=1e-9), progress


def test_the_schedule_of_d_nerv(golden: Golden) -> None:
    """Warm-up over a fifth from a tenth; recorded at whole epochs of 1600, of which the progress is the share done."""
    settings = LearningRate(peak=5e-4, warmup=0.2, start=0.1)
    recorded = golden.manifest["dnerv_lr_schedule"]
    assert len(recorded) > 5
    for epoch, rate in recorded:
        assert learning_rate(settings, epoch / 1600) == pytest.approx(rate, rel=1e-9), epoch


def test_the_published_recipes_are_the_defaults() -> None:
    from boostnerv.config import Finetuning, Training

    assert Training(epochs=1).lr == LearningRate(peak=3e-3, warmup=0.1, start=0.1)
    assert Finetuning().lr == LearningRate(peak=5e-4, warmup=0.0)


@given(
    shape=st.sampled_from(["cosine", "hybrid", "constant"]),
    warmup=st.floats(0, 0.9),
    power=st.floats(0.2, 5),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
    progress=st.floats(0, 1, exclude_max=True),
)
def test_a_rate_lies_between_zero_and_the_peak(
    shape: str, warmup: float, power: float, start: float, end: float, progress: float
) -> None:
    settings = LearningRate(
        peak=1.0, shape=shape, warmup=warmup, warmup_power=power, decay_power=power, start=start, end=end
    )
    assert 0 <= learning_rate(settings, progress) <= 1 + 1e-9
    if progress < warmup:
        assert learning_rate(settings, progress) >= start - 1e-9
    elif shape == "constant":
        assert learning_rate(settings, progress) == 1
