"""Building blocks of D-NeRV: clips of frames between two keyframes.

He et al., "Towards Scalable Neural Representation for Diverse Videos", CVPR 2023, sections 3.2 to 3.4.

Shapes: N clips of D frames, C channels, h×w feature maps, L positional levels. The frames of all clips are on the first
axis, ``[N·D, C, h, w]``, clip by clip. Everything is float32 unless the caller casts it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boostnerv.models.clips import E4
from boostnerv.models.layers import MLP


class InterleavedEncoding(nn.Module):
    """Alternating sine and cosine of ``t · base^i · π`` for ``i = 0 … levels-1``.

    The highest frequency is about 1e24, so the order of rounding determines the value: ``base^i``, its product with t,
    and the product of that with π are each rounded to float32, as in the published model.

    Input: t, any shape ``[…]``, float32. Output: ``[…, 2·levels]``.
    """

    bases: Tensor

    def __init__(self, base: float, levels: int) -> None:
        super().__init__()
        bases = torch.tensor([base**level for level in range(levels)], dtype=torch.float32)
        self.register_buffer("bases", bases, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angle = t[..., None] * self.bases * torch.pi
        return torch.stack((torch.sin(angle), torch.cos(angle)), dim=-1).flatten(-2)


class Colours(nn.Module):
    """Mean and deviation of the videos' pixels, to normalise keyframes and denormalise frames."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean_e4: Sequence[int], deviation_e4: Sequence[int]) -> None:
        super().__init__()
        for name, values in (("mean", mean_e4), ("deviation", deviation_e4)):
            self.register_buffer(name, torch.tensor([value / E4 for value in values]), persistent=False)

    def normalize(self, images: Tensor) -> Tensor:
        """Normalise RGB in [0, 1], channels on axis 1, by mean and standard deviation."""
        mean, deviation = self._along(images)
        return (images - mean) / deviation

    def denormalize(self, images: Tensor) -> Tensor:
        """Inverse of `normalize`, clamped to [0, 1]."""
        mean, deviation = self._along(images)
        return (images * deviation + mean).clamp(0, 1)

    def _along(self, images: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, 3, *(1,) * (images.dim() - 2))
        return self.mean.view(shape), self.deviation.view(shape)


class ClipStem(nn.Module):
    """First feature map of each frame from its index: ``[N, D] → [N·D, C, h, w]``.

    Positional encoding, then two linear maps, both with GELU; frames are independent.
    """

    def __init__(self, base: float, levels: int, width: int, outputs: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.encoding = InterleavedEncoding(base, levels)
        self.mlp = MLP((2 * levels, width, outputs * grid[0] * grid[1]), nn.GELU)

    def forward(self, index: Tensor) -> Tensor:
        x: Tensor = self.mlp(self.encoding(index.flatten()))
        return x.unflatten(1, (-1, *self.grid))


class KeyframeEncoder(nn.Module):
    """The paper's visual content encoder: feature maps of keyframes at the input size of each stage.

    Input: normalised pixels ``[K, 3, H, W]``. Output: a map ``[K, C, h, w]`` for each stage, coarsest first.
    """

    def __init__(self, width: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.GELU())
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, stride, stride), nn.GELU()) for stride in reversed(strides)
        )

    def forward(self, keyframes: Tensor) -> list[Tensor]:
        x = self.head(keyframes)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[::-1]


class ContentFlow(nn.Module):
    """Keyframe features warped to each frame by flow predicted from the frame's features, then blended.

    Input: x ``[N·D, C, h, w]``, keyframe features ``[N, 2, K, h, w]``, distance ``[N, D]``, the position of the frame
    between the keyframes in [0, 1]. Output: ``[N·D, K, h, w]``. Flow is in pixels: forward (x, y) for the first
    keyframe, backward for the second.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.predict = head(inputs, 4)

    def forward(self, x: Tensor, keys: Tensor, distance: Tensor) -> Tensor:
        flow = self.predict(x).unflatten(0, distance.shape)
        first = flow_warp(keys[:, 0], flow[:, :, :2])
        second = flow_warp(keys[:, 1], flow[:, :, 2:])
        weight = distance[:, :, None, None, None]
        return (first * (1 - weight) + second * weight).flatten(0, 1)


def head(inputs: int, outputs: int) -> nn.Sequential:
    """1×1 convolution to a quarter of the channels, GELU, 3×3 convolution to `outputs`."""
    middle = max(inputs // 4, 1)
    return nn.Sequential(nn.Conv2d(inputs, middle, 1), nn.GELU(), nn.Conv2d(middle, outputs, 3, padding=1))


def flow_warp(features: Tensor, flow: Tensor) -> Tensor:
    """Sample features bilinearly at positions displaced by flow; outside, the border is repeated.

    Features ``[N, C, H, W]``, flow ``[N, D, 2, H, W]`` in pixels, x before y; the result ``[N, D, C, H, W]`` applies D
    flows to the same features.
    """
    clips, frames, _, height, width = flow.shape
    positions = torch.meshgrid(
        *(torch.arange(size, dtype=flow.dtype, device=flow.device) for size in (height, width)), indexing="ij"
    )
    # Map the centres of the outermost pixels to −1 and 1.
    rows = (flow[:, :, 1] + positions[0]) / (max(height - 1, 1) / 2) - 1
    columns = (flow[:, :, 0] + positions[1]) / (max(width - 1, 1) / 2) - 1
    # Stack the D frames vertically, so that the features are neither copied nor repeated.
    grid = torch.stack((columns, rows), dim=-1).flatten(1, 2)
    warped = F.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return warped.view(clips, -1, frames, height, width).transpose(1, 2)


class SpatialFusion(nn.Module):
    """Spatially-adaptive fusion: ``x·(scale + 1) + shift`` with maps computed from content by a 1×1 convolution.

    x ``[N, C, h, w]``, content ``[N, K, h, w]``; the result has the shape of x.
    """

    def __init__(self, content_width: int, width: int) -> None:
        super().__init__()
        self.conv = xavier(nn.Conv2d(content_width, 2 * width, 1))

    def forward(self, x: Tensor, content: Tensor) -> Tensor:
        scale, shift = self.conv(content).chunk(2, dim=1)
        result: Tensor = x * (scale + 1) + shift
        return result


class GlobalTemporalMLP(nn.Module):
    """A linear map across the D frames of a clip, separate for every channel, added to its input.

    ``weight`` is ``[C·D, D]``: row ``c·D + d`` computes frame d of channel c; ``bias`` ``[C·D]``. Initialised as
    PyTorch initialises a convolution with D inputs. Input and output: ``[N·D, C, h, w]``.
    """

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.weight = nn.Parameter(torch.empty(width * frames, frames).uniform_(-(frames**-0.5), frames**-0.5))
        self.bias = nn.Parameter(torch.empty(width * frames).uniform_(-(frames**-0.5), frames**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        # Ones on the diagonal add the input; clip by clip, so that results do not depend on the other clips.
        weight = self.weight.unflatten(0, (-1, self.frames)) + torch.eye(self.frames, device=x.device)
        bias = self.bias.view(-1, self.frames, 1)
        mixed = [torch.baddbmm(bias, weight, clip.transpose(0, 1).flatten(2)) for clip in x.split(self.frames)]
        return torch.stack(mixed).transpose(1, 2).reshape(x.shape)


def clip_norm(x: Tensor, frames: int) -> Tensor:
    """Zero mean and unit variance per channel over the frames and pixels of a clip: ``[N·D, C, h, w]`` unchanged."""
    clips = x.unflatten(0, (-1, frames))
    variance, mean = torch.var_mean(clips, dim=(1, 3, 4), correction=0, keepdim=True)
    return ((clips - mean) * torch.rsqrt(variance + 1e-5)).flatten(0, 1)


def between(keys: Tensor, frames: int) -> Tensor:
    """Keyframe features interpolated at the times of the frames: ``[N, 2, C, h, w] → [N·D, C, h, w]``.

    Linear between the midpoints of the two halves of the clip, constant before and after.
    """
    weights = ((torch.arange(frames, device=keys.device) + 0.5) * (2 / frames) - 0.5).clamp(0, 1)
    return torch.lerp(keys[:, :1], keys[:, 1:], weights.to(keys.dtype)[:, None, None, None]).flatten(0, 1)


def xavier(conv: nn.Conv2d) -> nn.Conv2d:
    """Initialise a convolution with Xavier-uniform weights and zero bias; returns it."""
    nn.init.xavier_uniform_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def stage_widths(first: int, strides: Sequence[int], lowest: int) -> tuple[int, ...]:
    """Channels of each stage: after the first, divided by the stride, rounded half to even, at least `lowest`."""
    return tuple(
        itertools.accumulate(strides[1:], lambda width, stride: max(round(width / stride), lowest), initial=first)
    )
