"""The objective of a multi-video model, whose samples are clips of patches, numbered clip by clip.

Clips are prefetched from disk; no others are in memory. Frames past the end of a video, in its last clip, count neither
in the loss nor in quality.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from boostnerv.models.architecture import VideoModel, crop_to_video
from boostnerv.models.clips import ClipSpec, clip_keyframes
from boostnerv.training.clip_reader import ClipBatch, ClipReader, Prefetcher
from boostnerv.training.tasks import Fit, Objective


class ClipRegression(Objective):
    """Fit the model to all videos: the mean loss of the batch's frames.

    He et al., CVPR 2023, section 3.3.
    """

    _counts: Tensor

    def __init__(self, model: VideoModel, reader: ClipReader, device: torch.device, terms: Mapping[str, float]) -> None:
        super().__init__(model)
        assert isinstance(model.spec, ClipSpec)
        self._spec, self._reader, self._device, self._terms = model.spec, reader, device, terms
        counts = torch.tensor([clip.count for clip in self._spec.clips]).repeat_interleave(self._spec.patches)
        self.register_buffer("_counts", counts.to(device), persistent=False)
        self._coming: Prefetcher | None = None
        self._expected: deque[list[int]] = deque()
        self._read: tuple[list[int], ClipBatch] | None = None

    @property
    def evaluated_samples(self) -> range:
        return range(len(self._reader))

    def expect(self, batches: list[Tensor]) -> None:
        if self._coming is not None:
            self._coming.close()
        units = [batch.tolist() for batch in batches if len(batch)]
        self._expected, self._coming = deque(units), Prefetcher(self._reader.read, units)

    def share(self, own: Tensor, batch: Tensor) -> Tensor:
        return self._counts[own].sum() / self._counts[batch].sum()

    def fit(self, indices: Tensor, noise: torch.Generator) -> Fit:
        prediction, target = self._reconstruct(indices), self.target(indices)
        return Fit(self.frame_losses(self._terms, prediction, target).mean(), prediction, target)

    @torch.no_grad()
    def reconstruct(self, indices: Tensor) -> Tensor:
        return self._reconstruct(indices)

    def decode(self, indices: Tensor, weights: Mapping[str, Tensor], embedding: Tensor | None) -> Tensor:
        return self._reconstruct(indices, lambda inputs: functional_call(self.model.decoder, dict(weights), inputs))

    def target(self, indices: Tensor) -> Tensor:
        return self._frames(self._batch(indices.tolist()))

    def _batch(self, units: list[int]) -> ClipBatch:
        """The clips of a batch, prefetched if it is the next one; the last batch read is kept."""
        if self._read is None or self._read[0] != units:
            if self._coming is not None and self._expected and self._expected[0] == units:
                self._expected.popleft()
                self._read = (units, next(self._coming))
            else:
                self._read = (units, self._reader.read(units))
        return self._read[1]

    def _reconstruct(self, indices: Tensor, decoder: Callable[[tuple[Any, ...]], Tensor] | None = None) -> Tensor:
        """The reconstructed frames of a batch ``[M, 3, h, w]``."""
        batch = self._batch(indices.tolist())
        keyframes = None if batch.keyframes is None else clip_keyframes(self._spec, batch.keyframes, self._device)
        index, distance = (torch.as_tensor(values).to(self._device) for values in (batch.index, batch.distance))
        inputs = (index, keyframes, distance)
        clips = self.model.decoder(*inputs) if decoder is None else decoder(inputs)
        return self._valid(crop_to_video(clips, self._spec).flatten(0, 1), batch)

    def _frames(self, batch: ClipBatch) -> Tensor:
        """The frames of a batch ``[M, 3, h, w]`` in [0, 1], channels last in memory."""
        pixels = torch.from_numpy(batch.frames).to(self._device)
        return self._valid(pixels.flatten(0, 1).permute(0, 3, 1, 2), batch) / 255

    def _valid(self, frames: Tensor, batch: ClipBatch) -> Tensor:
        """The frames ``[N·D, …]`` that belong to a video."""
        if batch.valid.all():
            return frames
        return frames[torch.from_numpy(np.flatnonzero(batch.valid)).to(self._device)]
