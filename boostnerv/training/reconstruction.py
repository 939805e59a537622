"""Frames reconstructed by a trained model, as arrays for evaluation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from boostnerv.codec.decoder import render_clip, to_uint8
from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
from boostnerv.config import Training
from boostnerv.models.architecture import VideoModel, to_device
from boostnerv.models.clips import Clip, ClipSpec
from boostnerv.training.provenance_checks import check_keyframes
from boostnerv.training.tasks import (
    ResidentVideo,
    training_objective,
)
from boostnerv.video.patches import merge
from boostnerv.video.videos import Videos


class Reconstruction:
    """Reconstructed frames as an array: uint8 ``[T, H, W, 3]``, computed when a slice is taken."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, model: VideoModel, pixels: npt.NDArray[np.uint8], training: Training, device: torch.device
    ) -> None:
        video = ResidentVideo(pixels, device)
        self._objective = training_objective(to_device(model, device, model.architecture.name), video, training).to(
            device
        )
        self._device = device
        self.shape: tuple[int, ...] = (model.spec.frames, model.spec.height, model.spec.width, 3)
        self.size = math.prod(self.shape)

    @property
    def unseen_frames(self) -> tuple[int, ...]:
        """Frame numbers that training did not see."""
        return self._objective.unseen_frames

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> npt.NDArray[np.uint8]:
        # One frame at a time, as in a decoder.
        frames = [self._objective.reconstruct(torch.tensor([k], device=self._device)) for k in range(len(self))[part]]
        return np.concatenate([to_uint8(frame) for frame in frames])


class ClipReconstruction:
    """Reconstructed whole frames of all videos as an array: uint8 ``[T, H, W, 3]``, computed when a slice is taken.

    Raises `UserError` if the keyframes belong to other videos.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, model: VideoModel, videos: Videos, keyframes: KeyframeFile | None, device: torch.device) -> None:
        assert isinstance(model.spec, ClipSpec)
        check_keyframes(model.spec, keyframes, videos)
        self._decoder = to_device(model.decoder, device, model.architecture.name).eval()
        self._spec, self._keyframes = model.spec, keyframes
        self.shape: tuple[int, ...] = (self._spec.frames, self._spec.height, self._spec.width, 3)
        self.size = math.prod(self.shape)
        self._clip: tuple[range, npt.NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> npt.NDArray[np.uint8]:
        return np.stack([self._frame(number) for number in range(len(self))[part]])

    def _frame(self, number: int) -> npt.NDArray[np.uint8]:
        if self._clip is None or number not in self._clip[0]:
            clip = self._spec.clip_of(number)
            frames = render_clip(self._decoder, self._spec, clip, self._around(clip))
            self._clip = (self._spec.computed_with(number, 1), frames)
        frames_of_clip, frames = self._clip
        return frames[number - frames_of_clip.start]

    def _around(self, clip: Clip) -> list[npt.NDArray[np.uint8]] | None:
        if self._keyframes is None:
            return None
        grid = (self._spec.patch_rows, self._spec.patch_columns)
        stored = (self._keyframes.pixels[number] for number in self._spec.keyframes_around(clip))
        return [merge(patches[:, None], *grid)[0] for patches in stored]
