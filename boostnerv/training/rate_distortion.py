"""Training for rate and distortion together, from a short warm-up on.

The published order, regression first and CEM afterwards, gives back what the training gained once the file has few bits
a parameter: the network learned to use a precision that it then loses. Here all stored numbers have noisy codes for
most of the training, and their rate is in the loss from the start. The mechanisms are those of C3 (Kim et al., CVPR
2024) and NVRC (Kwan et al., NeurIPS 2024), applied to convolutional decoders:

* soft rounding with noise (`boostnerv.codec.quantizers.soft_rounding`), annealed; the last epochs round in earnest;
* one optimiser for everything: quantiser steps are trained as logarithms, so that the rate of the network suits them;
* the weight λ of the rate is steered towards the target, in place of scaling all steps afterwards.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from boostnerv.codec.quantizers.soft_rounding import kumaraswamy_noise, noisy_codes
from boostnerv.codec.quantizers.trained import round_straight_through
from boostnerv.config import Finetuning
from boostnerv.training.entropy_minimisation import EntropyMinimisation, add_noise
from boostnerv.training.tasks import Fit, Objective

# Share of a deviation from the wanted rate that is corrected in a step, and the largest change of log steps in it.
_CORRECTION, _LARGEST_SHIFT = 0.03, 0.02
# Change of log λ over a whole training whose steps are too fine for λ throughout.
_GAIN = 60.0
# The rate's share of the first distortion, from which λ is set.
_FIRST_SHARE = 0.01


class RateDistortion(EntropyMinimisation):
    """Distortion + λ·R over all stored numbers; ``finetuning.rate_distortion`` has the settings.

    R is that of `EntropyMinimisation`. With ``rate_control: target`` two quantities are controlled, not learned:

    * A common factor on all steps δ keeps the rate on its way down to the target. Doubling them saves a bit per number,
      so the control is exact within a few steps.
    * λ is what makes this factor optimal: there the derivative of the loss by its logarithm vanishes. A positive one
      says that the steps are too coarse for λ, which grows then.

    The target is corrected by the size of the real file ten times per training.
    """

    log_lambda: Tensor
    rate: Tensor
    first_rate: Tensor
    known: Tensor | None

    def __init__(self, task: Objective, settings: Finetuning) -> None:
        super().__init__(task, settings)
        assert settings.rate_distortion is not None, "the settings of rate-distortion training"
        self._noise_settings = settings.rate_distortion
        parametrize.register_parametrization(self.weight_quantizers, "steps", _Exponential())
        if self.embedding_quantizer is not None:
            parametrize.register_parametrization(self.embedding_quantizer, "step", _Exponential())
            # Codes are the same up to whole steps wherever β is, so nothing is to be learned of it.
            self.embedding_quantizer.offset.requires_grad_(False)
        steered = settings.rate_control == "target"
        self.register_buffer("log_lambda", torch.tensor(-math.inf if steered else math.log(settings.lambda_rate)))
        self.register_buffer("rate", self.target_rate.clone())
        self.register_buffer("first_rate", torch.tensor(math.inf))
        # The latest embeddings of all frames.
        self.register_buffer("known", None if self.process is None else self.embeddings())
        self._progress = self._share = 0.0

    def quantizer_parameters(self) -> list[nn.Parameter]:
        """Logarithms of all steps δ."""
        modules = [self.weight_quantizers, *([self.embedding_quantizer] if self.embedding_quantizer else [])]
        return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def begin_step(self, progress: float, share: float) -> None:
        self._progress, self._share = progress, share
        if self._settings.rate_control == "target":
            excess_bits = (self.rate - self._present_target()) * self._bits_per_rate
            shift = (_CORRECTION * math.log(2) * excess_bits).clamp(-_LARGEST_SHIFT, _LARGEST_SHIFT)
            shift = torch.where(self.log_lambda.isfinite(), shift, 0.0)  # no rate is known before the first step
            for logarithm in self.quantizer_parameters():
                logarithm.add_(shift)

    def fit(self, indices: Tensor, noise: torch.Generator) -> Fit:
        codes, frames = self._weight_codes(), self.target(indices)
        embedding_codes, before = self._codes_in_order(indices)
        values = self._training_codes(codes, noise)
        embedding_values = None if embedding_codes is None else self._training_codes(embedding_codes, noise)
        prediction = self._decode(indices, values, embedding_values)
        distortion = self.frame_losses(self._settings.loss, prediction, frames).mean()
        bits = self._weight_bits(self._rated_codes(codes, values, noise), codes)
        if embedding_codes is not None and embedding_values is not None:
            rated = self._rated_codes(embedding_codes, embedding_values, noise)
            bits = bits + self.model.spec.frames * self._embedding_bits(indices, rated, embedding_codes, before).mean()
        rate = bits / (self.model.spec.height * self.model.spec.width)
        weight = self._weight(distortion.detach(), rate.detach())
        return Fit(distortion + weight * rate, prediction, frames)

    def _codes_in_order(self, indices: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Unrounded embedding codes of frames, and those of the frames before, which have no gradient.

        The embeddings of the frames before are the last ones known: to compute them again costs a pass of the encoder.
        """
        embedding, quantizer = self.task.embedding(indices), self.embedding_quantizer
        if embedding is None or quantizer is None:
            return None, None
        codes = quantizer.codes(embedding)
        if self.known is None:
            return codes, None
        with torch.no_grad():
            self.known[indices] = embedding
            return codes, quantizer.codes(self.known[(indices - 1).clamp_min(0)])

    def _weight(self, distortion: Tensor, rate: Tensor) -> Tensor:
        """λ, a scalar tensor; also notes the rate for the next step."""
        if self._settings.rate_control == "target":
            # The first λ is a share of the distortion, whose scale depends on the loss.
            first = torch.log(_FIRST_SHARE * distortion / self.target_rate)
            self.log_lambda.copy_(torch.where(self.log_lambda.isfinite(), self.log_lambda, first))
            self.first_rate.copy_(torch.where(self.first_rate.isfinite(), self.first_rate, rate))
            self.rate.copy_(rate)
        return self.log_lambda.exp()

    def _present_target(self) -> Tensor:
        """The rate wanted now: it falls geometrically from the first one to the target."""
        descent = self._noise_settings.descent
        left = max(1 - self._progress / descent, 0.0) if descent else 0.0
        return self.target_rate * (self.first_rate / self.target_rate).clamp_min(1) ** left

    @property
    def _bits_per_rate(self) -> float:
        """Bits per stored number of a unit of the rate."""
        return self.model.spec.height * self.model.spec.width / self._coded_numbers

    @property
    def _rounds(self) -> bool:
        """Whether codes are rounded in earnest: towards the end, or from the start with that ``rounding``."""
        settings = self._noise_settings
        return settings.rounding == "straight-through" or self._progress >= 1 - settings.hard_share

    def _training_codes(self, codes: Tensor, noise: torch.Generator) -> Tensor:
        """What stands for the rounded codes in the forward pass, shape unchanged."""
        settings = self._noise_settings
        if self._rounds:
            return round_straight_through(codes)
        if settings.rounding == "noise":
            return add_noise(codes, noise)
        elapsed = self._progress / max(1 - settings.hard_share, 1e-9)
        temperature, shape = (
            first + elapsed * (last - first) for first, last in (settings.temperature, settings.shape)
        )
        return noisy_codes(codes, temperature, kumaraswamy_noise(codes, shape, noise))

    def _rated_codes(self, codes: Tensor, values: Tensor, noise: torch.Generator) -> Tensor:
        """Codes whose bits are counted: those of the forward pass, or noisy ones where these are rounded."""
        return add_noise(codes, noise) if self._rounds else values

    @torch.no_grad()
    def after_step(self) -> None:
        """Adapt λ; logarithms keep steps positive, and the rate keeps them from getting too fine."""
        if self._settings.rate_control != "target":
            return
        slopes = [parameter.grad.sum() for parameter in self.quantizer_parameters() if parameter.grad is not None]
        if slopes:
            # Of λ·R alone it would be about −1.
            relative = torch.stack(slopes).sum() * math.log(2) * self._bits_per_rate / self.log_lambda.exp()
            self.log_lambda += self._share * _GAIN * relative.clamp(-1, 1)

    def _set_steps(self, steps: Tensor, embedding_step: Tensor | None) -> None:
        # The setter of the parametrization takes the logarithm.
        self.weight_quantizers.steps = steps  # type: ignore[assignment]
        if self.embedding_quantizer is not None and embedding_step is not None:
            self.embedding_quantizer.step = embedding_step  # type: ignore[assignment]

    def _wanted_bits(self, file_bits: int, target_bits: float, epoch: int, epochs: int) -> float | None:
        """Steps follow the rate all the time; they are scaled only if the last file misses its target."""
        return super()._wanted_bits(file_bits, target_bits, epoch, epochs) if epoch == epochs else None


class _Exponential(nn.Module):
    """A positive parameter, trained as its logarithm."""

    def forward(self, logarithm: Tensor) -> Tensor:
        return logarithm.exp()

    def right_inverse(self, value: Tensor) -> Tensor:
        return value.log()
