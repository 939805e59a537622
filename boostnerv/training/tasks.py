"""Objectives: they turn sample numbers into a loss, which is all that the loop knows of a task.

A sample is an element of a batch: a frame here, a clip of a patch in `boostnerv.training.clip_tasks`. Frames are
stored as uint8 ``[T, H, W, 3]`` on the training device; batches leave it as float ``[N, 3, H, W]`` in [0, 1], channels
last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from boostnerv.config import Training
from boostnerv.errors import UserError
from boostnerv.models.architecture import VideoModel, crop_to_video, frame_time
from boostnerv.training.losses import frame_losses
from boostnerv.video.masks import hidden_pixels


class ResidentVideo:
    """The frames of a video for a device: all in its memory, or in their file with one batch at a time there."""

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
        pixels = torch.from_numpy(self._file[indices.cpu().numpy()]).to(self.device)
        return pixels.permute(0, 3, 1, 2) / 255


@dataclass(frozen=True)
class Fit:
    """The scalar loss of a batch, and the compared frames ``[M, 3, H, W]`` in [0, 1]."""

    loss: Tensor
    prediction: Tensor
    target: Tensor


class Objective(nn.Module):
    """A module whose parameters are trained; tasks derive from it. ``indices`` are sample numbers ``[N]`` int64."""

    pays_with_quality = False
    """Whether a falling PSNR may be intended."""

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
        """Samples that `reconstruct` can compute: all that the model represents."""
        return range(self.model.spec.frames)

    @property
    def unseen_frames(self) -> tuple[int, ...]:
        """Frame numbers that are evaluated and that training does not see."""
        return ()

    def quantizer_parameters(self) -> list[nn.Parameter]:
        """Parameters of quantisers that learn at a rate of their own, which does not follow the schedule."""
        return []

    def expect(self, batches: list[Tensor]) -> None:
        """Announces the coming batches, in order, so that they can be prefetched."""

    def share(self, own: Tensor, batch: Tensor) -> float | Tensor:
        """The share of a batch's frames in one process's `own` part of it."""
        return len(own) / len(batch)

    def begin_step(self, progress: float, share: float) -> None:
        """Called before each step: `progress` in [0, 1) is the share of all steps done, `share` that of one step."""

    def fit(self, indices: Tensor, noise: torch.Generator) -> Fit:
        """Loss of a batch: the mean over its frames."""
        raise NotImplementedError

    def reconstruct(self, indices: Tensor) -> Tensor:
        """Frames of samples as they are evaluated, ``[M, 3, H, W]``, without gradients."""
        raise NotImplementedError

    def target(self, indices: Tensor) -> Tensor:
        """Reference frames for the reconstruction, ``[M, 3, H, W]``."""
        raise NotImplementedError

    def embedding(self, indices: Tensor) -> Tensor | None:
        """Embeddings of samples, where the model has an encoder."""
        return None

    def decode(self, indices: Tensor, weights: Mapping[str, Tensor], embedding: Tensor | None) -> Tensor:
        """Frames of samples ``[M, 3, H, W]``, decoded with these weights."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after each update of the parameters."""

    def after_epoch(self, epoch: int, epochs: int) -> bool:
        """Called after each epoch, counted from one; returns whether it changed the parameters."""
        return False

    def summary(self) -> dict[str, float]:
        """Values for the log, computed along with the PSNR of all frames."""
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
        frames = self.visible_input(indices)
        prediction = self.model(self.time(indices), frames)
        return Fit(self.frame_losses(self._terms, prediction, frames).mean(), prediction, frames)

    @torch.no_grad()
    def reconstruct(self, indices: Tensor) -> Tensor:
        prediction: Tensor = self.model(self.time(indices), self.visible_input(indices))
        return prediction

    def visible_input(self, indices: Tensor) -> Tensor:
        """The frames as the model sees them, ``[N, 3, H, W]``."""
        return self.video.batch(indices)


class Inpainting(Regression):
    """Regression of the visible pixels: hidden ones are black in the model's input and on both sides of the loss.

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
        frames = self.visible_input(indices)
        prediction = self.model(self.time(indices), frames) * self.visible
        return Fit(self.frame_losses(self._terms, prediction, frames).mean(), prediction, frames)

    def visible_input(self, indices: Tensor) -> Tensor:
        return self.video.batch(indices) * self.visible


class Interpolation(Regression):
    """Regression of every second frame; the others are decoded from the times between, or from mean embeddings.

    Zhang et al., CVPR 2024, section 4.4: even frames are trained on; an odd frame of a model with embeddings is
    decoded from the mean of its neighbours' embeddings. The last of an even number of frames is omitted.
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
        embeddings = self.model.embed(self.video.batch(torch.tensor(neighbours, device=self.video.device)))
        return None if embeddings is None else embeddings.mean(0, keepdim=True)


def interpolated_frames(frames: int) -> int:
    """Number of frames that interpolation uses, which is odd; raises `UserError` for fewer than three."""
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
