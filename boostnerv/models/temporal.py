"""Building blocks of D-NeRV: clips of frames between two keyframes.

He et al., "Towards Scalable Neural Representation for Diverse Videos", CVPR 2023, sections 3.2 to 3.4.

Shapes: N clips of D frames, C channels, h w a feature map, L positional levels. Frames of clips stand on the first
axis, ``[N·D, C, h, w]``, those of a clip one after the other. Everything is float32 unless the caller casts it.
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
    """Sine and cosine of ``t · base^i · π`` in turn, for ``i = 0 … levels-1``.

    The highest frequency is about 1e24, so the order of rounding decides the value: ``base^i``, its product with t, and
    the product of that with π are each rounded to float32, as in the published model.

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
    """Mean and standard deviation of the videos' pixels, by which keyframes go in and frames come out."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean_e4: Sequence[int], deviation_e4: Sequence[int]) -> None:
        super().__init__()
        for name, values in (("mean", mean_e4), ("deviation", deviation_e4)):
            self.register_buffer(name, torch.tensor([value / E4 for value in values]), persistent=False)

    def normalize(self, images: Tensor) -> Tensor:
        """RGB in [0, 1], channels on axis 1, less the mean, over the standard deviation."""
        mean, deviation = self._along(images)
        return (images - mean) / deviation

    def denormalize(self, images: Tensor) -> Tensor:
        """Inverse of `normalize`, kept in [0, 1]."""
        mean, deviation = self._along(images)
        return (images * deviation + mean).clamp(0, 1)

    def _along(self, images: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, 3, *(1,) * (images.dim() - 2))
        return self.mean.view(shape), self.deviation.view(shape)


class ClipStem(nn.Module):
    """First feature map of each frame from its index: ``[N, D] → [N·D, C, h, w]``.

    Positional encoding, then two linear maps with GELU each; frames do not see each other.
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
    """Feature maps of keyframes at the size of each stage's input: the paper's visual content encoder.

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
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found[::-1]


class ContentFlow(nn.Module):
    """Key features moved to each frame by flow that is predicted from the frame's features, and blended.

    Input: x ``[N·D, C, h, w]``, key features ``[N, 2, K, h, w]``, distance ``[N, D]``, the frame's place between the
    keyframes in [0, 1]. Output: ``[N·D, K, h, w]``. Flow is in pixels: forward (x, y) for the first keyframe, backward
    for the second.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.predict = head(inputs, 4)

    def forward(self, x: Tensor, keys: Tensor, distance: Tensor) -> Tensor:
        flow = self.predict(x).unflatten(0, distance.shape)
        first = flow_warp(keys[:, 0], flow[:, :, :2])
        second = flow_warp(keys[:, 1], flow[:, :, 2:])
        share = distance[:, :, None, None, None]
        return (first * (1 - share) + second * share).flatten(0, 1)


def head(inputs: int, outputs: int) -> nn.Sequential:
    """1×1 convolution to a quarter of the channels, GELU, 3×3 convolution to `outputs`."""
    middle = max(inputs // 4, 1)
    return nn.Sequential(nn.Conv2d(inputs, middle, 1), nn.GELU(), nn.Conv2d(middle, outputs, 3, padding=1))


def flow_warp(features: Tensor, flow: Tensor) -> Tensor:
    """Look up features at places moved by flow, bilinearly; outside, the border is repeated.

    Features ``[N, C, H, W]``, flow ``[N, D, 2, H, W]`` in pixels, x before y; result ``[N, D, C, H, W]``: each of the D
    flows on the same features.
    """
    clips, frames, _, height, width = flow.shape
    places = torch.meshgrid(
        *(torch.arange(size, dtype=flow.dtype, device=flow.device) for size in (height, width)), indexing="ij"
    )
    # From pixels to [−1, 1] between the centres of the outermost ones.
    rows = (flow[:, :, 1] + places[0]) / (max(height - 1, 1) / 2) - 1
    columns = (flow[:, :, 0] + places[1]) / (max(width - 1, 1) / 2) - 1
    # The D frames below each other, so that the features are neither copied nor repeated.
    grid = torch.stack((columns, rows), dim=-1).flatten(1, 2)
    found = F.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return found.view(clips, -1, frames, height, width).transpose(1, 2)


class SpatialFusion(nn.Module):
    """Spatially-adaptive fusion: ``x·(scale + 1) + shift`` with maps made from content by a 1×1 convolution.

    x ``[N, C, h, w]``, content ``[N, K, h, w]``; result in the shape of x.
    """

    def __init__(self, content_width: int, width: int) -> None:
        super().__init__()
        self.conv = xavier(nn.Conv2d(content_width, 2 * width, 1))

    def forward(self, x: Tensor, content: Tensor) -> Tensor:
        scale, shift = self.conv(content).chunk(2, dim=1)
        result: Tensor = x * (scale + 1) + shift
        return result


class GlobalTemporalMLP(nn.Module):
    """A linear map between the D frames of a clip, one of its own for every channel, added to its input.

    ``weight`` is ``[C·D, D]``: row ``c·D + d`` makes frame d of channel c; ``bias`` ``[C·D]``. PyTorch's initialisation
    of a convolution with D inputs. Input and output: ``[N·D, C, h, w]``.
    """

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.weight = nn.Parameter(torch.empty(width * frames, frames).uniform_(-(frames**-0.5), frames**-0.5))
        self.bias = nn.Parameter(torch.empty(width * frames).uniform_(-(frames**-0.5), frames**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        # The input is added by a one on the diagonal; clip by clip, so that none depends on its neighbours.
        weight = self.weight.unflatten(0, (-1, self.frames)) + torch.eye(self.frames, device=x.device)
        bias = self.bias.view(-1, self.frames, 1)
        mixed = [torch.baddbmm(bias, weight, clip.transpose(0, 1).flatten(2)) for clip in x.split(self.frames)]
        return torch.stack(mixed).transpose(1, 2).reshape(x.shape)


def clip_norm(x: Tensor, frames: int) -> Tensor:
    """Zero mean and unit variance of each channel over frames and pixels of a clip: ``[N·D, C, h, w]`` unchanged."""
    clips = x.unflatten(0, (-1, frames))
    variance, mean = torch.var_mean(clips, dim=(1, 3, 4), correction=0, keepdim=True)
    return ((clips - mean) * torch.rsqrt(variance + 1e-5)).flatten(0, 1)


def between(keys: Tensor, frames: int) -> Tensor:
    """Key features at the times of the frames: ``[N, 2, C, h, w] → [N·D, C, h, w]``.

    Linear between the middles of the two halves of the clip, constant before and after.
    """
    places = ((torch.arange(frames, device=keys.device) + 0.5) * (2 / frames) - 0.5).clamp(0, 1)
    return torch.lerp(keys[:, :1], keys[:, 1:], places.to(keys.dtype)[:, None, None, None]).flatten(0, 1)


def xavier(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution with Xavier-uniform weights and zero bias."""
    nn.init.xavier_uniform_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def stage_widths(first: int, strides: Sequence[int], lowest: int) -> tuple[int, ...]:
    """Channels of each stage: every later one divides by its stride, rounding to even, down to `lowest`."""
    return tuple(
        itertools.accumulate(strides[1:], lambda width, stride: max(round(width / stride), lowest), initial=first)
    )
