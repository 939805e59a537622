"""Objectives against what the original implementations computed with the same weights and frames."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.entropy.estimates import coded_bits, frame_moments, gaussian_bits, segment_moments
from boostnerv.config import Computing, Finetuning, LearningRate, Training
from boostnerv.interop.boosting_nerv import from_original, our_name
from boostnerv.training import entropy_minimisation
from boostnerv.training.computing import prepare
from boostnerv.training.entropy_minimisation import EntropyMinimisation, add_noise
from boostnerv.training.loop import Step, make_optimizer, psnr_db, train_step
from boostnerv.training.losses import frame_losses
from boostnerv.training.tasks import FrameObjective, Regression, ResidentVideo
from tests.codec.tiny import encoded
from tests.conftest import Golden
from tests.golden.models import recorded_model, with_prefix
from tests.models.tiny import ALL, tiny_model

CPU = torch.device("cpu")
NO_NOISE = torch.Generator()
CEM_FILES = {"cem_nerv_boost": "nerv-boost", "cem_hnerv_boost": "hnerv-boost"}


# --- regression ---------------------------------------------------------------------------------------------


class EveryEleventh(Regression):
    """Regression of frames whose times are those of every eleventh frame of a video of 132."""

    def time(self, indices: Tensor) -> Tensor:
        return (11 * indices.float() + 1) / 132


@pytest.mark.parametrize("kernels", ["plain", "fused"])
def test_twelve_steps_end_where_the_original_ends(golden: Golden, kernels: Literal["plain", "fused"]) -> None:
    tensors, recorded = golden.tensors("trajectory"), golden.manifest["trajectory"]
    model = recorded_model("hnerv-boost", recorded["reference_args"], tensors, frames=4)
    rate = LearningRate(peak=recorded["lr"], shape="constant", warmup=0)
    recipe = Training(epochs=3, lr=rate, computing=Computing(kernels=kernels))
    objective = EveryEleventh(model, ResidentVideo(tensors["frames"].numpy(), CPU), recipe.loss)
    assert prepare(objective, recipe, CPU).kernels == kernels
    optimizer = make_optimizer(recipe, list(objective.parameters()))
    losses = [
        train_step(objective, optimizer, Step(torch.tensor([k]), recorded["lr"], NO_NOISE))[0].item()
        for _ in range(3)
        for k in range(4)
    ]
    assert losses == pytest.approx(recorded["losses"], rel=1e-3)
    final = from_original(model, with_prefix(tensors, "final."))
    for name, value in model.state_dict().items():
        assert (value - final[name]).abs().max() <= 1e-3, name


def test_adan_is_the_published_one() -> None:
    recipe = Training(epochs=1)
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = make_optimizer(recipe, [parameter])
    gradients = torch.tensor([[0.3, -1.0], [0.5, -1.5], [-0.2, 4.0]], dtype=torch.float64)
    b1, b2, b3 = 1 - 0.98, 1 - 0.92, 1 - 0.99
    x, m, v, n = parameter.detach().clone(), *torch.zeros(3, 2, dtype=torch.float64)
    previous = gradients[0]
    for step, gradient in enumerate(gradients, start=1):
        parameter.grad = gradient.clone()
        optimizer.step()
        change = gradient - previous
        m = (1 - b1) * m + b1 * gradient
        v = (1 - b2) * v + b2 * change
        n = (1 - b3) * n + b3 * (gradient + (1 - b2) * change) ** 2
        corrected = [value / (1 - beta**step) for value, beta in ((m, 0.98), (v, 0.92), (n, 0.99))]
        x = x - 3e-3 * (corrected[0] + 0.92 * corrected[1]) / (corrected[2].sqrt() + 1e-8)
        previous = gradient
        torch.testing.assert_close(parameter.detach(), x, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_where_asked(name: str, kind: type) -> None:
    optimizer = make_optimizer(Training(epochs=1, optimizer=name), [torch.nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is kind
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["weight_decay"] == 0


@pytest.mark.parametrize("name", ALL)
def test_a_step_lowers_the_loss_of_its_frame(name: str) -> None:
    video = ResidentVideo(np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8), CPU)
    objective = Regression(tiny_model(name), video, {"l2": 1.0})
    optimizer = make_optimizer(Training(epochs=1), list(objective.parameters()))
    indices = torch.tensor([1])
    before = objective.fit(indices, NO_NOISE).loss
    loss, psnr = train_step(objective, optimizer, Step(indices, 1e-3, NO_NOISE))
    after = objective.fit(indices, NO_NOISE).loss
    assert loss == before
    assert after < before
    assert psnr.item() == pytest.approx(-10 * np.log10(before.item() + 1e-9), rel=1e-5)


def test_gradients_are_clipped_where_asked() -> None:
    video = ResidentVideo(np.full((3, 5, 6, 3), 255, np.uint8), CPU)
    norms = []
    for clip in (None, 1e-3):
        objective = Regression(tiny_model("nerv-boost"), video, {"l2": 100.0})
        optimizer = make_optimizer(Training(epochs=1), list(objective.parameters()))
        train_step(objective, optimizer, Step(torch.tensor([0]), 1e-3, NO_NOISE, clip))
        gradients = [p.grad for p in objective.parameters() if p.grad is not None]
        norms.append(torch.cat([g.flatten() for g in gradients]).norm().item())
    assert norms[0] > 1e-2
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


def test_psnr_is_that_of_each_frame() -> None:
    target = torch.zeros(2, 3, 4, 4)
    shown = torch.stack([torch.full((3, 4, 4), 0.1), torch.zeros(3, 4, 4)])
    assert psnr_db(shown, target).tolist() == pytest.approx([20.0, 90.0], abs=1e-4)


def test_frames_are_bytes_until_they_are_needed() -> None:
    pixels = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    pixels.flags.writeable = False
    video = ResidentVideo(pixels, CPU)
    batch = video.batch(torch.tensor([1, 0]))
    assert batch.shape == (2, 3, 2, 3)
    assert torch.equal(batch, torch.from_numpy(pixels[::-1].copy()).permute(0, 3, 1, 2) / 255)
    assert len(video) == 2


# --- consistent entropy minimisation --------------------------------------------------------------------------


class CemStep:
    """The recorded step: our objective with the recorded weights and quantisers, and the loss of its frame."""

    def __init__(self, golden: Golden, file: str) -> None:
        self.tensors, self.recorded = golden.tensors(file), golden.manifest[file]
        self.name = CEM_FILES[file]
        model = recorded_model(self.name, self.recorded["reference_args"], self.tensors, frames=self.recorded["T"])
        settings = Finetuning(lambda_rate=self.recorded["lambda_rate"], quantizer_steps="free")
        self.video = ResidentVideo(self.tensors["frames"].numpy(), CPU)
        self.objective = EntropyMinimisation(FrameObjective(model, self.video), settings)
        self.original_steps = {
            our_name(self.name, key.removesuffix("_quantizer.scale").removeprefix("param.")): key.removeprefix("param.")
            for key in self.tensors
            if key.startswith("param.") and key.endswith("_quantizer.scale")
        }
        steps = [self.tensors[f"param.{self.original_steps[key]}"].reshape(()) for key in self.decoder_names()]
        with torch.no_grad():
            self.objective.weight_quantizers.steps.copy_(torch.stack(steps))
            if self.objective.embedding_quantizer is not None:
                self.objective.embedding_quantizer.step.copy_(self.tensors["param.embed_quantizer.scale"].reshape(()))
                self.objective.embedding_quantizer.offset.copy_(self.tensors["param.embed_quantizer.beta"].reshape(()))
        self.frame = torch.tensor([self.recorded["frame"]])

    def decoder_names(self) -> list[str]:
        return [f"decoder.{name}" for name in self.objective.weight_quantizers.names]

    def gradients(self) -> dict[str, Tensor]:
        """Our gradients by original name."""
        objective = self.objective
        named = {our_name(self.name, key): key for key in with_prefix(self.tensors, "grad.")}
        found = {named[key]: p.grad for key, p in objective.model.named_parameters()}
        steps = objective.weight_quantizers.steps.grad
        assert steps is not None
        found |= {self.original_steps[key]: step for key, step in zip(self.decoder_names(), steps, strict=True)}
        if objective.embedding_quantizer is not None:
            found["embed_quantizer.scale"] = objective.embedding_quantizer.step.grad
            found["embed_quantizer.beta"] = objective.embedding_quantizer.offset.grad
        return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize("file", CEM_FILES)
def test_initial_quantisers_are_those_of_the_original(golden: Golden, file: str) -> None:
    step = CemStep(golden, file)
    fresh = EntropyMinimisation(FrameObjective(step.objective.model, step.video), Finetuning())
    assert torch.equal(fresh.weight_quantizers.steps, step.objective.weight_quantizers.steps)


@pytest.mark.parametrize("file", CEM_FILES)
def test_one_step_is_that_of_the_original(golden: Golden, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy_minimisation, "add_noise", lambda codes, noise: codes)  # as it was recorded
    step = CemStep(golden, file)
    recorded = step.recorded
    fit = step.objective.fit(step.frame, NO_NOISE)
    loss, output = fit.loss, fit.prediction
    loss.backward()

    assert (output - step.tensors["output"]).abs().max() <= 1e-5
    distortion = frame_losses(Finetuning().loss, output.detach(), step.video.batch(step.frame)).mean().item()
    assert distortion == pytest.approx(recorded["distortion"], rel=1e-5)
    assert loss.item() == pytest.approx(recorded["loss"], rel=1e-5)
    assert (loss.item() - distortion) / recorded["lambda_rate"] == pytest.approx(recorded["rate_R"], rel=1e-5)

    expected = {key.removeprefix("grad."): value for key, value in step.tensors.items() if key.startswith("grad.")}
    found = step.gradients()
    assert set(found) == set(expected)
    difference = {key: (found[key].reshape(-1) - value.reshape(-1)).norm() for key, value in expected.items()}
    norm = {key: value.norm() for key, value in expected.items()}
    assert torch.stack([*difference.values()]).norm() <= 1e-4 * torch.stack([*norm.values()]).norm()
    worst = {key: float(difference[key] / norm[key]) for key in expected if norm[key] > 1e-6}
    assert max(worst.values()) <= 2e-3, sorted(worst.items(), key=lambda item: -item[1])[:5]


@pytest.mark.parametrize("file", CEM_FILES)
def test_bits_of_every_tensor_are_those_of_the_original(golden: Golden, file: str) -> None:
    step = CemStep(golden, file)
    objective, quantizers = step.objective, step.objective.weight_quantizers
    with torch.no_grad():
        codes = quantizers.codes(quantizers.flatten(objective.model.decoder.parameters()))
        mean, sigma = segment_moments(codes, quantizers.segment, quantizers.counts)
        bits = gaussian_bits(codes.round(), mean[quantizers.segment], sigma[quantizers.segment])
        assert gaussian_bits(codes, mean[quantizers.segment], sigma[quantizers.segment]).sum().item() == pytest.approx(
            step.recorded["weight_bits"], rel=2e-6
        )
    evaluation: dict[str, Any] = step.recorded["evaluation"]
    seen = set()
    for number, name in enumerate(step.decoder_names()):
        original = step.original_steps[name].removesuffix("_quantizer.scale")
        seen.add(original)
        wanted, of_tensor = evaluation[original], quantizers.segment == number
        assert bits[of_tensor].sum().item() == pytest.approx(wanted["estimated_bits"], rel=2e-6), name
        integers = codes[of_tensor].round().numpy().astype(np.int32)
        assert coded_bits(integers, float(mean[number]), float(sigma[number])) == wanted["coded_bits"], name
    assert set(evaluation) - seen <= {"embed"}

    total = sum(evaluation[name]["estimated_bits"] for name in seen)
    summary = objective.summary()
    assert summary["estimated_weights_bits"] == pytest.approx(total, rel=2e-6)
    if objective.embedding_quantizer is not None:
        frames = objective.embeddings()
        assert frames is not None
        codes = objective.embedding_quantizer.codes(frames[step.frame])
        mean, sigma = frame_moments(codes)
        frame_bits = gaussian_bits(codes, mean[:, None, None, None], sigma[:, None, None, None]).sum()
        assert step.recorded["T"] * frame_bits.item() == pytest.approx(
            step.recorded["embedding_bits_times_T"], rel=2e-6
        )


def small_cem(name: str, **settings: Any) -> EntropyMinimisation:
    video = ResidentVideo(np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8), CPU)
    task = FrameObjective(tiny_model(name), video)
    return EntropyMinimisation(task, Finetuning(loss={"l1": 1.0}, **settings))


@pytest.mark.parametrize("name", ALL)
def test_the_rate_counts_only_above_its_target(name: str) -> None:
    losses = {}
    for target in (1e-3, 1e3):
        for weight in (0.0, 1.0):
            objective = small_cem(name, lambda_rate=weight, target_bits=target)
            losses[target, weight] = objective.fit(torch.tensor([1]), torch.Generator().manual_seed(0)).loss.item()
    assert losses[1e3, 0.0] == losses[1e3, 1.0] == losses[1e-3, 0.0]
    assert losses[1e-3, 1.0] > losses[1e-3, 0.0]


@pytest.mark.parametrize("name", ALL)
def test_the_rate_is_that_of_the_whole_video_per_pixel(name: str) -> None:
    objective = small_cem(name, lambda_rate=1.0, target_bits=1e-3)
    plain = small_cem(name, lambda_rate=0.0)
    seed = torch.Generator().manual_seed(0).get_state()
    rates = []
    for k in range(3):
        with_rate, without = (
            o.fit(torch.tensor([k]), torch.Generator().set_state(seed)).loss.item() for o in (objective, plain)
        )
        rates.append(with_rate - without)
    # Evaluation has rounded codes where training has noise: near, not equal.
    estimated = sum(objective.summary().values())
    assert np.mean(rates) * 5 * 6 == pytest.approx(estimated, rel=0.1)


def test_noise_is_uniform_around_zero_and_repeatable() -> None:
    codes = torch.zeros(100_000)
    noise = add_noise(codes, torch.Generator().manual_seed(3))
    assert torch.equal(noise, add_noise(codes, torch.Generator().manual_seed(3)))
    assert -0.5 <= noise.min() < -0.499
    assert 0.499 < noise.max() < 0.5
    assert abs(noise.mean()) < 0.01


@pytest.mark.parametrize(("quantizer_steps", "difference"), [("grid", 0.51 / 255), ("free", 0.02)])
@pytest.mark.parametrize("name", ALL)
def test_what_fine_tuning_shows_is_what_the_file_decodes_to(
    name: str, quantizer_steps: Literal["grid", "free"], difference: float, tmp_path: Any
) -> None:
    objective = small_cem(name, quantizer_steps=quantizer_steps)
    (tmp_path / "x.bnv").write_bytes(encoded(objective.model, objective.quantized()))
    decoded = torch.from_numpy(np.stack(list(VideoFile(tmp_path / "x.bnv").frames()))) / 255
    shown = objective.reconstruct(torch.arange(3)).permute(0, 2, 3, 1)
    # Free steps are rounded to a grid of 1/128 when they are stored; then the two are near, not equal.
    assert (shown - decoded).abs().max() <= difference


@pytest.mark.parametrize("quantizer_steps", ["grid", "free"])
@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_scaled_steps_make_the_file_that_was_measured(name: str, quantizer_steps: Literal["grid", "free"]) -> None:
    for share in (0.95, 0.85, 0.75):
        objective = small_cem(name, quantizer_steps=quantizer_steps)
        quantized = objective.quantized()
        bits = objective._file_bits(quantized)
        objective._scale_steps(quantized, bits, share * bits)
        assert 0.98 * share * bits <= objective._file_bits(objective.quantized()) <= share * bits


def test_negative_steps_code_the_same_values() -> None:
    objective = small_cem("hnerv-boost")
    before = objective.quantized()
    with torch.no_grad():
        objective.weight_quantizers.steps.neg_()
        assert objective.embedding_quantizer is not None
        objective.embedding_quantizer.step.neg_()
    after = objective.quantized()
    assert (before.steps, before.embedding_step) == (after.steps, after.embedding_step)
