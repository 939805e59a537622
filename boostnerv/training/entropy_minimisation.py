"""Consistent entropy minimisation (CEM): joint distortion and rate of the quantised model."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor, nn

from boostnerv.codec.container.bitstream import coded_bytes
from boostnerv.codec.encoder import Quantized, encode_segment, snap
from boostnerv.codec.entropy.entropy_models import temporal_process
from boostnerv.codec.entropy.estimates import frame_moments, gaussian_bits, segment_moments
from boostnerv.codec.entropy.payloads import DEFAULT_GROUP
from boostnerv.codec.quantizers.trained import EmbeddingQuantizer, WeightQuantizers, round_straight_through
from boostnerv.config import Finetuning
from boostnerv.errors import UserError
from boostnerv.training.rate_control import measurement_due, step_scale, wanted_bits
from boostnerv.training.tasks import Fit, Objective


class EntropyMinimisation(Objective):
    """Consistent entropy minimisation (CEM): distortion + λ·R, with all values quantised as they will be stored.

    Zhang et al., CVPR 2024, section 3.4. ``R = (bits of all weights + T·bits of the frame's embedding)/(H·W)``;
    it counts while ``R/T`` exceeds ``target_bits·(decoder parameters + embeddings)/(T·H·W)``. `task` decodes and
    compares frames; keyframes are already coded and do not count.
    """

    pays_with_quality = True
    target_rate: Tensor

    def __init__(self, task: Objective, settings: Finetuning) -> None:
        model = task.model
        super().__init__(model)
        # In a tuple, since its model is already a submodule of this one.
        self._tasks = (task,)
        on_grid = settings.quantizer_steps == "grid"
        self.weight_quantizers = WeightQuantizers(
            model.decoder.named_parameters(), settings.weight_bits, settings.weight_quantizer, on_grid
        )
        self._settings = settings
        embeddings = self.embeddings()
        self.process = None
        self.embedding_quantizer = (
            None
            if embeddings is None
            else EmbeddingQuantizer(embeddings, settings.embedding_bits, settings.embedding_quantizer, on_grid)
        )
        if self.embedding_quantizer is not None and settings.embedding_rate == "temporal":
            self.process = TemporalProcess(self._all_embedding_codes())
        self._coded_numbers = int(self.weight_quantizers.counts.sum()) + model.spec.embedding_parameters
        target_rate = settings.target_bits * self._coded_numbers / (model.spec.height * model.spec.width)
        self.register_buffer("target_rate", torch.tensor(target_rate))

    @property
    def task(self) -> Objective:
        """The task that decodes and compares frames."""
        return self._tasks[0]

    @property
    def evaluated_samples(self) -> range:
        return self.task.evaluated_samples

    def expect(self, batches: list[Tensor]) -> None:
        self.task.expect(batches)

    def target(self, indices: Tensor) -> Tensor:
        return self.task.target(indices)

    def fit(self, indices: Tensor, noise: torch.Generator) -> Fit:
        codes, frames = self._weight_codes(), self.target(indices)
        embedding_codes = self._embedding_codes(indices)
        prediction = self._decode(indices, *self._rounded(codes, embedding_codes))
        distortion = self.frame_losses(self._settings.loss, prediction, frames).mean()
        bits = self._weight_bits(add_noise(codes, noise), codes)
        if embedding_codes is not None:
            noisy = add_noise(embedding_codes, noise)
            before = None if self.process is None else self._embedding_codes((indices - 1).clamp_min(0))
            bits = bits + self.model.spec.frames * self._embedding_bits(indices, noisy, embedding_codes, before).mean()
        rate = bits / (self.model.spec.height * self.model.spec.width)
        # Compared on the device: the host never waits for the rate.
        active = (rate > self.target_rate).to(rate.dtype)
        return Fit(distortion + self._settings.lambda_rate * active * rate, prediction, frames)

    @torch.no_grad()
    def reconstruct(self, indices: Tensor) -> Tensor:
        return self._decode(indices, *self._rounded(self._weight_codes(), self._embedding_codes(indices)))

    def after_step(self) -> None:
        self.weight_quantizers.keep_away_from_zero()
        if self.embedding_quantizer is not None:
            self.embedding_quantizer.keep_away_from_zero()

    @torch.no_grad()
    def after_epoch(self, epoch: int, epochs: int) -> bool:
        changed = self._control_rate(epoch, epochs) if self._settings.rate_control == "target" else False
        if self.process is not None:
            self.process.fit(self._all_embedding_codes())
        return changed

    def _control_rate(self, epoch: int, epochs: int) -> bool:
        """Compare the real file with the target; returns whether the steps were changed."""
        if not measurement_due(epoch, epochs):
            return False
        quantized, target_bits = self.quantized(), self._settings.target_bits * self._coded_numbers
        try:
            file_bits = self._file_bits(quantized)
        except UserError:
            return False  # unbounded codes: the training diverged, which the guard detects
        # The rate in the loss is only an estimate, so its target is scaled to the real file size.
        pixels = self.model.spec.height * self.model.spec.width
        self.target_rate.fill_(sum(self.summary().values()) / file_bits * target_bits / pixels)
        wanted = self._wanted_bits(file_bits, target_bits, epoch, epochs)
        if wanted is None:
            return False
        self._scale_steps(quantized, file_bits, wanted)
        return True

    def _wanted_bits(self, file_bits: int, target_bits: float, epoch: int, epochs: int) -> float | None:
        """Bits to which the steps are scaled after this epoch; None if they stay."""
        return wanted_bits(file_bits, target_bits, epoch, epochs)

    def _scale_steps(self, quantized: Quantized, bits: int, target_bits: float) -> None:
        """Scale all steps of a model whose file has `bits` towards `target_bits`."""
        weights, codes = self.weight_quantizers, self.embedding_quantizer

        def file_bits(factor: float) -> float:
            if factor == 1:
                return bits
            steps = weights.stored(weights.scaled_steps(factor)).abs().tolist()
            step = quantized.embedding_step if codes is None else float(codes.stored(codes.scaled_step(factor)).abs())
            try:
                return self._file_bits(dataclasses.replace(quantized, steps=steps, embedding_step=step))
            except UserError:
                return math.inf  # steps so fine that a code exceeds the largest one

        factor = step_scale(file_bits, target_bits, self._coded_numbers)
        self._set_steps(weights.scaled_steps(factor), None if codes is None else codes.scaled_step(factor))

    def _set_steps(self, steps: Tensor, embedding_step: Tensor | None) -> None:
        """Replace the quantiser steps δ of the weights ``[S]``, and that of the embeddings."""
        self.weight_quantizers.steps.copy_(steps)
        if self.embedding_quantizer is not None and embedding_step is not None:
            self.embedding_quantizer.step.copy_(embedding_step)

    def _file_bits(self, quantized: Quantized) -> int:
        """Size of the coded file in bits, without the parts that do not depend on the weights."""
        entry, spec, choice = self.model.architecture, self.model.spec, self._settings.entropy_model
        return 8 * coded_bytes(encode_segment(entry, spec, snap(quantized), entropy_model=choice))

    @torch.no_grad()
    def summary(self) -> dict[str, float]:
        """Estimated bits of the rounded codes, for weights and embeddings separately."""
        codes = self._weight_codes()
        bits = {"estimated_weights_bits": float(self._weight_bits(torch.round(codes), codes))}
        if self.embedding_quantizer is not None:
            codes = self._all_embedding_codes()
            frames = torch.arange(len(codes), device=codes.device)
            before = torch.round(torch.cat([codes[:1], codes[:-1]]))
            bits["estimated_embedding_bits"] = float(
                self._embedding_bits(frames, torch.round(codes), codes, before).sum()
            )
        return bits

    def embeddings(self) -> Tensor | None:
        """Embeddings of all frames ``[T, e, h, w]``; None without an encoder."""
        return all_embeddings(self.task)

    @torch.no_grad()
    def quantized(self) -> Quantized:
        """Weights, embeddings and quantisers for the encoder."""
        quantizer, embeddings = self.embedding_quantizer, self.embeddings()
        if quantizer is not None and embeddings is not None:
            embeddings = quantizer.representable(embeddings)
        step, offset = (1.0, 0.0) if quantizer is None else (float(value) for value in quantizer.used())
        return Quantized(
            weights=self.weight_quantizers.representable(self.model.decoder.named_parameters()),
            steps=self.weight_quantizers.used_steps().abs().tolist(),
            embeddings=embeddings,
            embedding_step=abs(step),
            embedding_offset=offset,
        )

    def _weight_codes(self) -> Tensor:
        return self.weight_quantizers.codes(self.weight_quantizers.flatten(self.model.decoder.parameters()))

    def _embedding_codes(self, indices: Tensor) -> Tensor | None:
        if self.embedding_quantizer is None:
            return None
        embedding = self.task.embedding(indices)
        assert embedding is not None
        return self.embedding_quantizer.codes(embedding)

    def _rounded(self, codes: Tensor, embedding_codes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Both rounded, with the gradient of the identity."""
        rounded = None if embedding_codes is None else round_straight_through(embedding_codes)
        return round_straight_through(codes), rounded

    def _decode(self, indices: Tensor, codes: Tensor, embedding_codes: Tensor | None) -> Tensor:
        """Frames decoded from codes that stand for rounded ones."""
        weights = self.weight_quantizers.dequantize(codes)
        embedding = None
        if embedding_codes is not None:
            assert self.embedding_quantizer is not None
            embedding = self.embedding_quantizer.dequantize(embedding_codes)
        return self.task.decode(indices, weights, embedding)

    def _weight_bits(self, values: Tensor, codes: Tensor) -> Tensor:
        segment = self.weight_quantizers.segment
        mean, sigma = segment_moments(codes, segment, self.weight_quantizers.counts)
        return gaussian_bits(values, mean[segment], sigma[segment]).sum()

    def _embedding_bits(self, indices: Tensor, values: Tensor, codes: Tensor, before: Tensor | None) -> Tensor:
        """Bits of each frame's embedding ``[N]``, given the codes `before` of the previous frames where used."""
        if self.process is None or before is None:
            return _frame_bits(values, codes)
        return self.process.bits(indices, values, round_straight_through(before))

    def _all_embedding_codes(self) -> Tensor:
        embeddings = self.embeddings()
        assert self.embedding_quantizer is not None
        assert embeddings is not None
        return self.embedding_quantizer.codes(embeddings).detach()


def _frame_bits(values: Tensor, codes: Tensor) -> Tensor:
    """Bits of each frame ``[N]``, with the moments of its own unrounded codes."""
    mean, sigma = frame_moments(codes)
    return gaussian_bits(values.flatten(1), mean[:, None], sigma[:, None]).sum(1)


@torch.no_grad()
def all_embeddings(task: Objective) -> Tensor | None:
    """Embeddings of all frames ``[T, e, h, w]``, computed one frame at a time; None without an encoder."""
    if task.model.encoder is None:
        return None
    device = next(task.model.parameters()).device
    embeddings = [task.embedding(torch.tensor([index], device=device)) for index in task.evaluated_samples]
    return torch.cat([embedding for embedding in embeddings if embedding is not None])


class TemporalProcess(nn.Module):
    """Rate of embedding codes under the entropy model ``temporal``: given the previous frame.

    The process is fitted to the codes of all frames and stays fixed until it is fitted again.
    """

    mean: Tensor
    first_sigma: Tensor
    slope: Tensor
    later_sigma: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        for name in ("mean", "first_sigma", "slope", "later_sigma"):
            self.register_buffer(name, torch.zeros_like(codes[:1]))
        self.fit(codes)

    def fit(self, codes: Tensor) -> None:
        """Fit the process to unrounded codes ``[T, e, h, w]``."""
        parameters = temporal_process(torch.round(codes).to(torch.int32).cpu().numpy(), DEFAULT_GROUP)
        for name, values in zip(("mean", "first_sigma", "slope", "later_sigma"), parameters, strict=True):
            buffer: Tensor = getattr(self, name)
            buffer.copy_(torch.from_numpy(np.array(values)))

    def bits(self, indices: Tensor, values: Tensor, before: Tensor) -> Tensor:
        """Bits ``[N]`` of the codes of frames, given the rounded codes of the previous frames; all ``[N, e, h, w]``."""
        starts = (indices % DEFAULT_GROUP == 0).view(-1, 1, 1, 1)
        mean = torch.where(starts, self.mean, self.mean + self.slope * (before - self.mean))
        sigma = torch.where(starts, self.first_sigma, self.later_sigma)
        return gaussian_bits(values, mean, sigma).flatten(1).sum(1)


def add_noise(codes: Tensor, noise: torch.Generator) -> Tensor:
    """Codes plus uniform noise in [−½, ½), which replaces rounding in the training rate."""
    return codes + (torch.rand(codes.shape, generator=noise, device=codes.device) - 0.5)
