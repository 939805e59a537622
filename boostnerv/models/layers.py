"""Building blocks that the models share.

Shapes: N batch, C channels, H W pixels, L positional levels, s stride. Everything is float32 unless the
caller casts it; no block knows of files, training or quantisers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from boostnerv.models.convolution import Convolution

Activated = Callable[[], nn.Module]
"""Makes the activation of a block, e.g. ``nn.GELU``."""


class Sine(nn.Module):
    """``sin(x)``: the activation of every boosted block."""

    fused = in_place = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and torch.is_grad_enabled():
            result: Tensor = _Sine.apply(x)  # type: ignore[no-untyped-call]
            return result
        return x.sin_() if self.fused and self.in_place and torch.is_inference_mode_enabled() else torch.sin(x)


class _Sine(torch.autograd.Function):
    """``sin``, whose gradient takes the memory of the cosines that it is made of."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.cos(x).mul_(gradients[0])


class GELU(nn.GELU):
    """``torch.nn.GELU``, which `boostnerv.models.convolution.fuse` makes faster for channels-last features."""

    fused = in_place = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and x.dim() == 4 and not x.is_contiguous():
            # As they lie in memory: oneDNN, which is faster, takes no other tensors.
            if self.in_place and torch.is_inference_mode_enabled():
                return torch.ops.aten.gelu_(x.permute(0, 2, 3, 1), approximate=self.approximate).permute(0, 3, 1, 2)
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return super().forward(x)


def in_place(activation: nn.Module) -> nn.Module:
    """Let a sine or GELU overwrite its input in a decoder; right only where nothing else reads that input."""
    if isinstance(activation, Sine | GELU):
        activation.in_place = True
    return activation


class PositionalEncoding(nn.Module):
    """Sines, then cosines, of ``t · base^i · π`` for ``i = 0 … levels-1``.

    The highest frequency is about 1e8, so the order of rounding decides the value: every factor and product
    below is rounded to float32, as in the published models.

    Input: t ``[N]`` float32. Output: ``[N, 2·levels]``.
    """

    frequencies: Tensor

    def __init__(self, base: float, levels: int) -> None:
        super().__init__()
        # On the CPU, as a power on the meta device costs seconds of imports.
        with torch.device("cpu"):
            frequencies = _powers(base, levels) * torch.pi
        self.register_buffer("frequencies", frequencies.to(torch.get_default_device()), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angle = t[:, None] * self.frequencies
        return torch.cat((torch.sin(angle), torch.cos(angle)), dim=1)


def _powers(base: float, levels: int) -> Tensor:
    """``base^i`` for ``i = 0 … levels-1``, float32, the same on every processor.

    Powers in float32 are not: by processor some are a float beside the nearest one. Those in float64 are rounded to it.
    The published models had their powers from processors on which 1.25^45 is a float too small, and so it is here.
    """
    powers = (torch.tensor(base, dtype=torch.float32).double() ** torch.arange(levels)).float()
    if base == 1.25 and levels > 45:
        powers[45] = torch.nextafter(powers[45], torch.tensor(0.0))
    return powers


class MLP(nn.Sequential):
    """Linear maps between `widths`, each followed by the activation, the last included: ``[N, a] → [N, z]``."""

    def __init__(self, widths: Sequence[int], activation: Activated) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), activation()]
        super().__init__(*layers)


class UpsampleBlock(nn.Module):
    """Convolution to ``C_out·s²`` channels, PixelShuffle(s), activation.

    Input: ``[N, C_in, H, W]``. Output: ``[N, C_out, s·H, s·W]``. The kernel is odd, padding keeps the size.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, activation: Activated) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs * stride**2, kernel, padding=math.ceil((kernel - 1) / 2))
        self.shuffle = nn.PixelShuffle(stride) if stride > 1 else nn.Identity()
        self.activation = in_place(activation())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.activation(self.shuffle(self.conv(x)))
        return result


def to_image(x: Tensor) -> Tensor:
    """Map the head's output to RGB in (0, 1): ``0.5·tanh(x) + 0.5``."""
    return torch.tanh(x) * 0.5 + 0.5


def stage_kernels(stages: int, smallest: int, largest: int) -> tuple[int, ...]:
    """Kernel of each stage, growing by two a stage: ``min(smallest + 2·stage, largest)``."""
    return tuple(min(smallest + 2 * stage, largest) for stage in range(stages))


def floored_widths(first: int, strides: Sequence[int], reduce: float, lowest: int) -> tuple[int, ...]:
    """Channels of each stage in Boosting-NeRV's index models: stages that upsample divide, rounding down."""
    found = [first]
    for stride in strides[1:]:
        divisor = 1 if stride == 1 else reduce
        found.append(int(max(found[-1] // divisor, lowest)))
    return tuple(found)


def rounded_widths(fc_dim: int, strides: Sequence[int], reduce: float, lowest: int) -> tuple[int, ...]:
    """Channels of each stage in HNeRV's code: every stage divides, the first included, rounding to even."""
    found = [fc_dim]
    for _ in strides:
        found.append(int(max(round(found[-1] / reduce), lowest)))
    return tuple(found[1:])


def plain_stages(
    inputs: int,
    widths: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    activation: Activated,
    blocks: Sequence[int] | None = None,
) -> nn.Sequential:
    """Upsampling blocks alone, one a stage where `blocks` does not say how many: decoders without condition."""
    laid_out = block_layout(inputs, widths, kernels, strides, blocks or [1] * len(widths))
    return nn.Sequential(
        *(UpsampleBlock(each.inputs, each.outputs, each.kernel, each.stride, activation) for each in laid_out)
    )


@dataclass(frozen=True)
class BlockLayout:
    """A block of a decoder: the stage that it is of, its channels, kernel and stride."""

    stage: int
    inputs: int
    outputs: int
    kernel: int
    stride: int


def block_layout(
    inputs: int, widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int], blocks: Sequence[int]
) -> Iterator[BlockLayout]:
    """Yield all blocks of a decoder in order; the first block of a stage upsamples, the rest do not."""
    for stage, (width, kernel, stride, count) in enumerate(zip(widths, kernels, strides, blocks, strict=True)):
        for index in range(count):
            yield BlockLayout(stage, inputs, width, kernel, stride if index == 0 else 1)
            inputs = width
