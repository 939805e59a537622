"""Common parts of multi-video models: clips of frames, patches of a frame, and keyframes.

He et al., "Towards Scalable Neural Representation for Diverse Videos", CVPR 2023, sections 3.2 and 4.1. Videos of one
size are concatenated. Each is divided into clips of D consecutive frames, the last of which may have fewer, and each
frame into a grid of patches, row by row; one forward pass produces one patch of a clip. Keyframes are the first frames
of the clips and the last frame of the video: a clip lies between its first frame and the next keyframe.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boostnerv.errors import UserError
from boostnerv.models.architecture import Spec, StackBudget, pad_to_grid

E4 = 10_000
# Limits for hostile files, far above any real use: frames per clip, patches per frame.
_MOST_CLIP_FRAMES, _MOST_PATCHES = 255, 4096


@dataclass(frozen=True)
class Clip:
    """Up to D consecutive frames of a video: number of the video, first frame within it, and number of frames."""

    video: int
    first: int
    count: int


@dataclass(frozen=True, kw_only=True)
class ClipSpec(Spec):
    """Settings of a multi-video model; `frames` counts all videos, `height` and `width` are those of a frame."""

    multi_video: ClassVar[bool] = True

    lengths: tuple[int, ...]  # frames of each video
    clip_frames: int = 8  # D
    patch_rows: int = 1  # rows of patches in a frame
    patch_columns: int = 1  # columns of patches in a frame
    mean_e4: tuple[int, ...] = (5000, 5000, 5000)  # mean of the videos' R, G and B in [0, 1], in units of 1e-4
    deviation_e4: tuple[int, ...] = (2500, 2500, 2500)  # standard deviation, in the same units

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(self.lengths) != self.frames:
            raise UserError(f"model setting lengths adds up to {sum(self.lengths)} frames, not to {self.frames}")
        if self.clip_frames > _MOST_CLIP_FRAMES or self.patches > _MOST_PATCHES:
            raise UserError(
                f"clips of {self.clip_frames} frames in {self.patches} patches are too many; choose at most "
                f"{_MOST_CLIP_FRAMES} frames and {_MOST_PATCHES} patches"
            )
        if self.height % self.patch_rows or self.width % self.patch_columns:
            raise UserError(
                f"{self.patch_rows}×{self.patch_columns} patches do not divide frames of {self.height}×{self.width}; "
                "choose a patch size that divides the frame, or crop the frames"
            )
        if len(self.mean_e4) != 3 or len(self.deviation_e4) != 3:
            raise UserError("model settings mean_e4 and deviation_e4 must have three numbers: R, G and B")

    @property
    def stack(self) -> StackBudget:
        raise UserError(
            "multi-video models have no published size formula; give fc_dim, or total_m, instead of modelsize_m"
        )

    @property
    def patches(self) -> int:
        """Number of patches in a frame."""
        return self.patch_rows * self.patch_columns

    @property
    def patch_height(self) -> int:
        return self.height // self.patch_rows

    @property
    def patch_width(self) -> int:
        return self.width // self.patch_columns

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return self.patch_height, self.patch_width

    @cached_property
    def clips(self) -> tuple[Clip, ...]:
        """Clips of all videos, in order."""
        return tuple(
            Clip(video, first, min(self.clip_frames, length - first))
            for video, length in enumerate(self.lengths)
            for first in range(0, length, self.clip_frames)
        )

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Index of each video's first frame among the frames of all videos, and their total."""
        return tuple(accumulate(self.lengths, initial=0))

    @cached_property
    def keyframe_starts(self) -> tuple[int, ...]:
        """Index of each video's first keyframe among the keyframes of all videos, and their total."""
        # Computed without listing them: a damaged file may claim any number of frames.
        counts = (-(-length // self.clip_frames) + ((length - 1) % self.clip_frames > 0) for length in self.lengths)
        return tuple(accumulate(counts, initial=0))

    def window(self, patch: int) -> tuple[slice, slice]:
        """Rows and columns of a patch in its frame; patches are numbered row by row."""
        row, column = divmod(patch, self.patch_columns)
        height, width = self.patch_height, self.patch_width
        return slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)

    def clip_of(self, frame: int) -> Clip:
        """The clip that contains `frame`, an index among the frames of all videos."""
        video = bisect_right(self.starts, frame) - 1
        first = (frame - self.starts[video]) // self.clip_frames * self.clip_frames
        return Clip(video, first, min(self.clip_frames, self.lengths[video] - first))

    @property
    def samples(self) -> int:
        """Patches of all clips."""
        return len(self.clips) * self.patches

    def frames_at_once(self, batch: int) -> int:
        """The frames of a clip, whatever the batch."""
        return self.clip_frames

    def inputs_at_once(self, batch: int) -> int:
        """One: patches of a clip are computed one by one."""
        return 1

    @property
    def calls_per_frame(self) -> Fraction:
        """Calls of the decoder for each frame: a call makes a patch of all frames of a clip."""
        return Fraction(self.patches, self.clip_frames)

    def decoder_inputs(self) -> tuple[Tensor | None, ...]:
        """Index ``[1, D]``, keyframes ``[1, 3, 2, H', W']`` or None, and distance ``[1, D]`` of a patch of a clip."""
        keyframes = torch.empty(1, 3, 2, *self.padded) if self.uses_keyframes else None
        return torch.empty(1, self.clip_frames), keyframes, torch.empty(1, self.clip_frames)

    def computed_with(self, frame: int, batch: int) -> range:
        """The frames of the clip that contains `frame`; `batch` is ignored."""
        clip = self.clip_of(frame)
        start = self.starts[clip.video] + clip.first
        return range(start, start + clip.count)

    def keyframes_of(self, video: int) -> tuple[int, ...]:
        """Indices of the keyframes within a video."""
        return keyframes_of(self.lengths[video], self.clip_frames)

    def keyframes_around(self, clip: Clip) -> tuple[int, int]:
        """Indices, among all keyframes, of the two around a clip; they are equal for a last clip of one frame."""
        first = self.keyframe_starts[clip.video] + clip.first // self.clip_frames
        return first, min(first + 1, self.keyframe_starts[clip.video + 1] - 1)

    def frame_indices(self, clip: Clip, patch: int) -> Tensor:
        """Normalised index of each frame of a clip, float32 ``[D]``: ``k / (T − 1)`` in the video, in [0, 1].

        Frames beyond the end of the video repeat the last one.
        """
        return _shares(self._frames(clip), self.lengths[clip.video])

    def distances(self, clip: Clip) -> Tensor:
        """Position of each frame between the two keyframes, float32 ``[D]`` in [0, 1], 0 at the first one.

        The last clip of a video ends with its second keyframe, at 1.
        """
        length = self.lengths[clip.video]
        gap = min(clip.first + self.clip_frames, length - 1) - clip.first
        return torch.tensor([(frame - clip.first) / max(gap, 1) for frame in self._frames(clip)])

    def _frames(self, clip: Clip) -> list[int]:
        last = clip.first + clip.count - 1
        return [min(clip.first + frame, last) for frame in range(self.clip_frames)]


def ten_thousandths(values: Sequence[float]) -> tuple[int, ...]:
    """Convert numbers in [0, 1] to integers in units of 1e-4, at least 1."""
    return tuple(max(round(value * E4), 1) for value in values)


def clip_keyframes(spec: ClipSpec, pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Keyframe patches as decoder input: uint8 ``[N, 2, h, w, 3]`` → RGB in [0, 1], ``[N, 3, 2, H', W']``."""
    images = torch.from_numpy(np.array(pixels)).to(device).flatten(0, 1).permute(0, 3, 1, 2) / 255
    return pad_to_grid(images, spec).unflatten(0, (-1, 2)).transpose(1, 2)


def keyframes_of(length: int, clip_frames: int) -> tuple[int, ...]:
    """Indices of the keyframes in a video of `length` frames: the first frame of each clip, and the last frame."""
    firsts = range(0, length, clip_frames)
    return tuple(firsts) if (length - 1) % clip_frames == 0 else (*firsts, length - 1)


def _shares(frames: list[int], length: int) -> Tensor:
    return torch.tensor([frame / max(length - 1, 1) for frame in frames])


@dataclass(frozen=True, kw_only=True)
class SharedIndexSpec(ClipSpec):
    """Settings of a model that distinguishes videos and patches by a single index over all of their frames."""

    def frame_indices(self, clip: Clip, patch: int) -> Tensor:
        """Normalised index of each frame of a clip, float32 ``[D]``, over all patches of all videos."""
        before = self.starts[clip.video] * self.patches + patch * self.lengths[clip.video]
        return _shares([before + frame for frame in self._frames(clip)], self.frames * self.patches)
