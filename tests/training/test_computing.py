"""Every way of computing ends where the plain one ends, and says what it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from boostnerv.config import Computing, Finetuning, Memory, Training
from boostnerv.models.layers import UpsampleBlock
from boostnerv.training.computing import PLAIN, Computation, _autocast, computation_of
from boostnerv.training.tasks import ResidentVideo
from tests.training.conftest import Result, Train, finetune_job, train_job

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def curve(result: Result) -> list[float]:
    return [record["loss"] for record in result.records() if "loss" in record]


# --- what settings come to -----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_cpu_computes_in_float32_whatever_is_said(precision: str) -> None:
    computation = computation_of(Computing(precision=precision), Memory(), CPU)
    assert (computation.precision, computation.label, computation.deterministic) == ("float32", "float32 fused", True)


def test_a_gpu_computes_as_is_said() -> None:
    computation = computation_of(Computing(precision="bf16", compile=True), Memory(), GPU)
    assert (computation.label, computation.deterministic) == ("bf16 plain compiled", False)
    assert computation_of(Computing(deterministic=True), Memory(), GPU).deterministic


def test_a_batch_is_cut_into_what_memory_allows() -> None:
    parts = Computation(frames_at_once=2).parts(torch.arange(5))
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    assert [part.tolist() for part in PLAIN.parts(torch.arange(5))] == [[0, 1, 2, 3, 4]]


def test_a_fine_tuning_has_whole_batches() -> None:
    with pytest.raises(ValueError, match="frames_at_once is for training"):
        Finetuning(memory={"frames_at_once": 1})


def test_the_fast_recipe_fills_in_what_is_not_said() -> None:
    fast = Training(epochs=5, recipe="fast")
    assert (fast.optimizer, fast.lr.peak) == ("soap", 1e-2)
    assert Training(epochs=5, recipe="fast", lr={"peak": 1.0}).lr.peak == 1.0
    assert (Training(epochs=5).optimizer, Training(epochs=5).lr.peak) == ("adan", 3e-3)


# --- trainings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nerv-boost", "e-nerv-boost", "hnerv-boost", "hnerv"])
def test_fused_kernels_have_the_loss_curve_of_plain_ones(name: str, train: Train, tmp_path: Any) -> None:
    jobs = {kernels: train_job(name, computing={"kernels": kernels}) for kernels in ("plain", "fused")}
    results = {kernels: train(job, folder=tmp_path / kernels) for kernels, job in jobs.items()}
    assert curve(results["fused"]) == pytest.approx(curve(results["plain"]), rel=1e-3)
    assert [results[kernels].lines()[-1]["computing"] for kernels in jobs] == ["float32 plain", "float32 fused"]


@pytest.mark.parametrize("name", ["nerv", "hnerv-boost"])
@pytest.mark.parametrize("memory", [{"checkpointing": True}, {"frames": "file"}])
def test_memory_changes_no_bit(name: str, memory: dict[str, Any], train: Train, tmp_path: Any) -> None:
    usual = train(train_job(name), folder=tmp_path / "usual")
    saving = train(train_job(name, memory=memory), folder=tmp_path / "saving")
    assert curve(saving) == curve(usual)
    assert usual.lines()[-1]["memory"] == ""


def test_checkpointing_changes_no_bit_of_a_fine_tuning(train: Train, finetune: Train, tmp_path: Any) -> None:
    trained = train().checkpoint
    usual = finetune(trained, finetune_job(), folder=tmp_path / "usual")
    saving = finetune(trained, finetune_job(memory={"checkpointing": True}), folder=tmp_path / "saving")
    assert curve(saving) == curve(usual)
    assert saving.lines()[-1]["memory"] == "checkpointing"


def test_parts_of_a_batch_add_up(train: Train, tmp_path: Any) -> None:
    whole = train(train_job(batch_size=3), folder=tmp_path / "whole")
    parts = train(train_job(batch_size=3, memory={"frames_at_once": 2}), folder=tmp_path / "parts")
    assert curve(parts) == pytest.approx(curve(whole), rel=1e-4)
    assert parts.lines()[-1]["memory"] == "2 at once"


@pytest.mark.slow
def test_a_compiled_training_has_the_loss_curve_of_an_eager_one(train: Train, tmp_path: Any) -> None:
    eager = train(train_job("nerv", epochs=2), folder=tmp_path / "eager")
    compiled = train(train_job("nerv", epochs=2, computing={"compile": True}), folder=tmp_path / "compiled")
    assert curve(compiled) == pytest.approx(curve(eager), rel=1e-3)
    assert compiled.lines()[-1]["computing"] == "float32 plain compiled"


# --- parts -----------------------------------------------------------------------------------------------------


def test_bfloat16_is_for_training_alone() -> None:
    torch.manual_seed(0)
    block, x = UpsampleBlock(8, 8, 3, 2, torch.nn.GELU), torch.randn(1, 8, 6, 6)
    exact = block(x)
    _autocast(block, CPU)
    assert block(x).dtype == torch.float32
    assert 0 < (block(x) - exact).abs().max() < 0.05
    with torch.no_grad():
        assert torch.equal(block(x), exact)


def test_frames_in_their_file_are_those_on_the_device() -> None:
    pixels = torch.randint(0, 256, (5, 4, 6, 3), dtype=torch.uint8).numpy()
    there, in_file = (ResidentVideo(pixels, CPU, in_file=choice) for choice in (False, True))
    indices = torch.tensor([3, 0])
    assert torch.equal(there.batch(indices), in_file.batch(indices))
    assert len(there) == len(in_file) == 5
