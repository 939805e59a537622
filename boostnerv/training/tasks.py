"""What is minimised: an objective turns numbers of samples into a loss. The loop knows nothing else of a task.

A sample is what a batch has several of: a frame here, a clip of a patch in `boostnerv.training.clip_tasks`. Frames
live as uint8 ``[T, H, W, 3]`` on the training device; batches leave it as float ``[N, 3, H, W]`` in [0, 1], channels
last.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from boostnerv.codec.container.bitstream import coded_bytes
from boostnerv.codec.encoder import Quantized, encode_segment, snap
from boostnerv.codec.entropy.entropy_models import temporal_process
from boostnerv.codec.entropy.estimates import frame_moments, gaussian_bits, segment_moments
from boostnerv.codec.entropy.payloads import DEFAULT_GROUP
from boostnerv.codec.quantizers.trained import EmbeddingQuantizer, WeightQuantizers, round_straight_through
from boostnerv.config import Finetuning, Training
from boostnerv.errors import UserError
from boostnerv.models.architecture import VideoModel, crop_to_video, frame_time
from boostnerv.training.losses import frame_losses
from boostnerv.training.rate_control import measurement_due, step_scale, wanted_bits
from boostnerv.video.masks import hidden_pixels


class ResidentVideo:
    """The frames of a video for a device: all of them there, or in their file, a batch at a time on the device."""

    def __init__(self, pixels: NDArray[np.uint8], device: torch.device, *, in_file: bool = False) -> None:
        self.device = device
        self._file = pixels if in_file else None
        # A copy: the file may be read-only.
        self._pixels = None if in_file else torch.from_numpy(np.array(pixels)).to(device)
        self._frames = len(pixels)

    def __len__(self) -> int:
        return self._frames

    def batch(self, indices: Tensor) -> Tensor:
        """Frames ``[N, 3, H, W]`` float32 in [0, 1], channels last in memory."""
        if self._pixels is not None:
            return self._pixels[indices].permute(0, 3, 1, 2) / 255
        assert self._file is not None
        found = torch.from_numpy(self._file[indices.cpu().numpy()]).to(self.device)
        return found.permute(0, 3, 1, 2) / 255


@dataclass(frozen=True)
class Fit:
    """What a batch came to: the scalar loss, and what it compared, frames ``[M, 3, H, W]`` in [0, 1]."""

    loss: Tensor
    prediction: Tensor
    target: Tensor


class Objective(nn.Module):
    """A module whose parameters are trained; tasks derive from it. ``indices`` are numbers of samples ``[N]`` int64."""

    pays_with_quality = False
    """Whether a falling PSNR may be what is wanted."""

    frame_losses: Callable[[Mapping[str, float], Tensor, Tensor], Tensor] = staticmethod(frame_losses)
    """The loss of each frame; may be compiled (`boostnerv.training.computing`)."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    @property
    def trained_samples(self) -> range:
        """Samples that training sees."""
        return self.evaluated_samples

    @property
    def evaluated_samples(self) -> range:
        """Samples that `reconstruct` can make: all that the model is of."""
        return range(self.model.spec.frames)

    @property
    def unseen_frames(self) -> tuple[int, ...]:
        """Frame numbers that are evaluated and that training does not see."""
        return ()

    def expect(self, batches: list[Tensor]) -> None:
        """Told which batches will come, in this order, so that they can be made ready."""

    def share(self, own: Tensor, batch: Tensor) -> float | Tensor:
        """How much of a batch's frames is in the part of it that one process has."""
        return len(own) / len(batch)

    def fit(self, indices: Tensor, noise: torch.Generator) -> Fit:
        """Loss of a batch: the mean over its frames."""
        raise NotImplementedError

    def reconstruct(self, indices: Tensor) -> Tensor:
        """Frames of samples as they are evaluated, ``[M, 3, H, W]``, without gradients."""
        raise NotImplementedError

    def target(self, indices: Tensor) -> Tensor:
        """What the reconstruction is compared with, ``[M, 3, H, W]``."""
        raise NotImplementedError

    def embedding(self, indices: Tensor) -> Tensor | None:
        """Embeddings of samples, where the model has an encoder."""
        return None

    def decode(self, indices: Tensor, weights: Mapping[str, Tensor], embedding: Tensor | None) -> Tensor:
        """Frames of samples ``[M, 3, H, W]`` by the decoder with these weights."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after each update of the parameters."""

    def after_epoch(self, epoch: int, epochs: int) -> bool:
        """Called after each epoch, counted from one; whether it changed the parameters."""
        return False

    def summary(self) -> dict[str, float]:
        """Numbers of the task for the log, taken when the PSNR of all frames is."""
        return {}


class FrameObjective(Objective):
    """An objective of one video, whose samples are its frames."""

    def __init__(self, model: VideoModel, video: ResidentVideo) -> None:
        super().__init__(model)
        self.video = video

    @property
    def unseen_frames(self) -> tuple[int, ...]:
        return tuple(index for index in self.evaluated_samples if index not in self.trained_samples)

    def target(self, indices: Tensor) -> Tensor:
        return self.video.batch(indices)

    def embedding(self, indices: Tensor) -> Tensor | None:
        return self.model.embed(self.video.batch(indices))

    def decode(self, indices: Tensor, weights: Mapping[str, Tensor], embedding: Tensor | None) -> Tensor:
        return crop_to_video(
            functional_call(self.model.decoder, dict(weights), (self.time(indices), embedding)), self.model.spec
        )

    def time(self, indices: Tensor) -> Tensor:
        """Normalised times ``[N]`` of frames."""
        return frame_time(indices, self.model.spec.frames)


class Regression(FrameObjective):
    """Fit the model to the video: the mean loss of the batch's frames."""

    def __init__(self, model: VideoModel, video: ResidentVideo, terms: Mapping[str, float]) -> None:
        super().__init__(model, video)
        self._terms = terms

    def fit(self, indices: Tensor, noise: torch.Generator) -> Fit:
        frames = self.shown(indices)
        prediction = self.model(self.time(indices), frames)
        return Fit(self.frame_losses(self._terms, prediction, frames).mean(), prediction, frames)

    @torch.no_grad()
    def reconstruct(self, indices: Tensor) -> Tensor:
        prediction: Tensor = self.model(self.time(indices), self.shown(indices))
        return prediction

    def shown(self, indices: Tensor) -> Tensor:
        """What the model is given of the frames, ``[N, 3, H, W]``."""
        return self.video.batch(indices)


class Inpainting(Regression):
    """Regression of what is seen: the hidden pixels are black in the model's input and on both sides of the loss.

    Zhang et al., CVPR 2024, section 4.4. The reconstruction is compared with the whole frame.
    """

    visible: Tensor

    def __init__(
        self, model: VideoModel, video: ResidentVideo, terms: Mapping[str, float], hidden: NDArray[np.bool_]
    ) -> None:
        super().__init__(model, video, terms)
        visible = torch.from_numpy(~hidden).to(video.device, torch.float32)
        self.register_buffer("visible", visible, persistent=False)

    def fit(self, indices: Tensor, noise: torch.Generator) -> Fit:
        frames = self.shown(indices)
        prediction = self.model(self.time(indices), frames) * self.visible
        return Fit(self.frame_losses(self._terms, prediction, frames).mean(), prediction, frames)

    def shown(self, indices: Tensor) -> Tensor:
        return self.video.batch(indices) * self.visible


class Interpolation(Regression):
    """Regression of every second frame; the others are made from the times between, or the embeddings' mean.

    Zhang et al., CVPR 2024, section 4.4: even frames are trained on; an odd frame of a model with embeddings is
    decoded from the mean of its neighbours' embeddings. Of an even number of frames the last is left out.
    """

    @property
    def trained_samples(self) -> range:
        return range(0, self.model.spec.frames, 2)

    @torch.no_grad()
    def reconstruct(self, indices: Tensor) -> Tensor:
        pairs = [self._embedding(index) for index in indices.tolist()]
        embedding = None if self.model.encoder is None else torch.cat([pair for pair in pairs if pair is not None])
        return crop_to_video(self.model.decoder(self.time(indices), embedding), self.model.spec)

    def _embedding(self, index: int) -> Tensor | None:
        neighbours = [index] if index % 2 == 0 else [index - 1, index + 1]
        found = self.model.embed(self.video.batch(torch.tensor(neighbours, device=self.video.device)))
        return None if found is None else found.mean(0, keepdim=True)


def interpolated_frames(frames: int) -> int:
    """How many frames of a video interpolation uses: an odd number; raises `UserError` for fewer than three."""
    if frames < 3:
        raise UserError(f"interpolation needs three frames or more, this video has {frames}; choose another task")
    return frames if frames % 2 else frames - 1


def training_objective(model: VideoModel, video: ResidentVideo, training: Training) -> Regression:
    """The objective of a training's task."""
    if training.task == "interpolation":
        return Interpolation(model, video, training.loss)
    if training.mask is not None:
        hidden = hidden_pixels(training.mask, model.spec.height, model.spec.width)
        return Inpainting(model, video, training.loss, hidden)
    return Regression(model, video, training.loss)


class EntropyMinimisation(Objective):
    """Consistent entropy minimisation (CEM): distortion + λ·R with everything quantised as it will be stored.

    Zhang et al., CVPR 2024, section 3.4. ``R = (bits of all weights + T·bits of the frame's embedding)/(H·W)``;
    it counts while ``R/T`` is above ``target_bits·(decoder parameters + embeddings)/(T·H·W)``. `task` says what is
    decoded and compared; keyframes, which are coded already, count nowhere here.
    """

    pays_with_quality = True
    target_rate: Tensor

    def __init__(self, task: Objective, settings: Finetuning) -> None:
        model = task.model
        super().__init__(model)
        # In a tuple, as its model is a part of this module already.
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
        """What is decoded and compared."""
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
        prediction = self._decode(indices, codes, embedding_codes)
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
        return self._decode(indices, self._weight_codes(), self._embedding_codes(indices))

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
        """Compare the real file with the target; whether steps were changed."""
        if not measurement_due(epoch, epochs):
            return False
        quantized, target_bits = self.quantized(), self._settings.target_bits * self._coded_numbers
        try:
            file_bits = self._file_bits(quantized)
        except UserError:
            return False  # codes without bounds: the training diverged, and is watched for that
        # The rate of the loss is an estimate of its own kind: it counts where the real file is too large.
        pixels = self.model.spec.height * self.model.spec.width
        self.target_rate.fill_(sum(self.summary().values()) / file_bits * target_bits / pixels)
        wanted = wanted_bits(file_bits, target_bits, epoch, epochs)
        if wanted is None:
            return False
        self._scale_steps(quantized, file_bits, wanted)
        return True

    def _scale_steps(self, quantized: Quantized, bits: int, target_bits: float) -> None:
        """Scale all steps of what makes a file of `bits` towards `target_bits`."""
        weights, codes = self.weight_quantizers, self.embedding_quantizer

        def file_bits(factor: float) -> float:
            if factor == 1:
                return bits
            steps = weights.said(weights.scaled_steps(factor)).abs().tolist()
            step = quantized.embedding_step if codes is None else float(codes.said(codes.scaled_step(factor)).abs())
            try:
                return self._file_bits(dataclasses.replace(quantized, steps=steps, embedding_step=step))
            except UserError:
                return math.inf  # steps so fine that some code lies beyond the largest

        factor = step_scale(file_bits, target_bits, self._coded_numbers)
        weights.steps.copy_(weights.scaled_steps(factor))
        if codes is not None:
            codes.step.copy_(codes.scaled_step(factor))

    def _file_bits(self, quantized: Quantized) -> int:
        """Size of the file that these would make, less what is there whatever the weights."""
        entry, spec, choice = self.model.architecture, self.model.spec, self._settings.entropy_model
        return 8 * coded_bytes(encode_segment(entry, spec, snap(quantized), entropy_model=choice))

    @torch.no_grad()
    def summary(self) -> dict[str, float]:
        """Estimated bits of the rounded codes, weights and embeddings apart."""
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
        """What the encoder needs."""
        quantizer, embeddings = self.embedding_quantizer, self.embeddings()
        if quantizer is not None and embeddings is not None:
            embeddings = quantizer.representable(embeddings)
        step, offset = (1.0, 0.0) if quantizer is None else (float(each) for each in quantizer.used())
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

    def _decode(self, indices: Tensor, codes: Tensor, embedding_codes: Tensor | None) -> Tensor:
        weights = self.weight_quantizers.dequantize(round_straight_through(codes))
        embedding = None
        if embedding_codes is not None:
            assert self.embedding_quantizer is not None
            embedding = self.embedding_quantizer.dequantize(round_straight_through(embedding_codes))
        return self.task.decode(indices, weights, embedding)

    def _weight_bits(self, values: Tensor, codes: Tensor) -> Tensor:
        segment = self.weight_quantizers.segment
        mean, sigma = segment_moments(codes, segment, self.weight_quantizers.counts)
        return gaussian_bits(values, mean[segment], sigma[segment]).sum()

    def _embedding_bits(self, indices: Tensor, values: Tensor, codes: Tensor, before: Tensor | None) -> Tensor:
        """Bits of each frame's embedding ``[N]``; `before` are the codes of the frames before, where they tell."""
        if self.process is None or before is None:
            return _frame_bits(values, codes)
        return self.process.bits(indices, values, round_straight_through(before))

    def _all_embedding_codes(self) -> Tensor:
        embeddings = self.embeddings()
        assert self.embedding_quantizer is not None
        assert embeddings is not None
        return self.embedding_quantizer.codes(embeddings).detach()


def _frame_bits(values: Tensor, codes: Tensor) -> Tensor:
    """Bits of each frame ``[N]``, under the moments of its own unrounded codes."""
    mean, sigma = frame_moments(codes)
    return gaussian_bits(values.flatten(1), mean[:, None], sigma[:, None]).sum(1)


@torch.no_grad()
def all_embeddings(task: Objective) -> Tensor | None:
    """Embeddings of all frames ``[T, e, h, w]``, computed one frame at a time; None without an encoder."""
    if task.model.encoder is None:
        return None
    device = next(task.model.parameters()).device
    found = [task.embedding(torch.tensor([index], device=device)) for index in task.evaluated_samples]
    return torch.cat([embedding for embedding in found if embedding is not None])


class TemporalProcess(nn.Module):
    """Codes of embeddings as the entropy model ``temporal`` codes them: as far as the frame before does not tell.

    The process is fitted to the codes of all frames and held until it is fitted again.
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
        found = temporal_process(torch.round(codes).to(torch.int32).cpu().numpy(), DEFAULT_GROUP)
        for name, values in zip(("mean", "first_sigma", "slope", "later_sigma"), found, strict=True):
            buffer: Tensor = getattr(self, name)
            buffer.copy_(torch.from_numpy(np.array(values)))

    def bits(self, indices: Tensor, values: Tensor, before: Tensor) -> Tensor:
        """Bits ``[N]`` of the codes of frames, given the rounded ones of the frames before; all ``[N, e, h, w]``."""
        starts = (indices % DEFAULT_GROUP == 0).view(-1, 1, 1, 1)
        mean = torch.where(starts, self.mean, self.mean + self.slope * (before - self.mean))
        sigma = torch.where(starts, self.first_sigma, self.later_sigma)
        return gaussian_bits(values, mean, sigma).flatten(1).sum(1)


def add_noise(codes: Tensor, noise: torch.Generator) -> Tensor:
    """Codes plus uniform noise in [−½, ½): the stand-in for rounding in the training rate."""
    return codes + (torch.rand(codes.shape, generator=noise, device=codes.device) - 0.5)
