"""Building blocks shared by the models.

Shapes: N batch, C channels, H W pixels, L positional levels, s stride. Everything is float32 unless the
caller casts it; no block depends on files, training or quantisers.
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
"""Constructor of a block's activation, e.g. ``nn.GELU``."""


class Sine(nn.Module):
    """``sin(x)``: the activation of every boosted block."""

    fused = in_place = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and torch.is_grad_enabled():
            result: Tensor = _Sine.apply(x)  # type: ignore[no-untyped-call]
            return result
        return x.sin_() if self.fused and self.in_place and torch.is_inference_mode_enabled() else torch.sin(x)


class _Sine(torch.autograd.Function):
    """``sin`` whose gradient reuses the memory of the cosines."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.cos(x).mul_(gradients[0])


class GELU(nn.GELU):
    """``torch.nn.GELU``, faster for channels-last features after `boostnerv.models.convolution.fuse`."""

    fused = in_place = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and x.dim() == 4 and not x.is_contiguous():
            # In memory order: the faster oneDNN accepts only contiguous tensors.
            if self.in_place and torch.is_inference_mode_enabled():
                return torch.ops.aten.gelu_(x.permute(0, 2, 3, 1), approximate=self.approximate).permute(0, 3, 1, 2)
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return super().forward(x)


def in_place(activation: nn.Module) -> nn.Module:
    """Let a sine or GELU overwrite its input during decoding; only valid if nothing else reads that input."""
    if isinstance(activation, Sine | GELU):
        activation.in_place = True
    return activation


class PositionalEncoding(nn.Module):
    """Sines, then cosines, of ``t · base^i · π`` for ``i = 0 … levels-1``.

    The highest frequency is about 1e8, so that the order of rounding determines the value: every factor and product
    is rounded to float32, as in the published models.

    Input: t ``[N]`` float32. Output: ``[N, 2·levels]``.
    """

    frequencies: Tensor

    def __init__(self, base: float, levels: int) -> None:
        super().__init__()
        # On the CPU, because powers on the meta device cost seconds of imports.
        with torch.device("cpu"):
            frequencies = _powers(base, levels) * torch.pi
        self.register_buffer("frequencies", frequencies.to(torch.get_default_device()), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angle = t[:, None] * self.frequencies
        return torch.cat((torch.sin(angle), torch.cos(angle)), dim=1)


def _powers(base: float, levels: int) -> Tensor:
    """``base^i`` for ``i = 0 … levels-1`` in float32, identical on every processor.

    Powers computed in float32 may be off by one unit in the last place, depending on the processor; they are computed
    in float64 and rounded. The published models come from processors on which 1.25^45 is one unit too small, which is
    reproduced here.
    """
    powers = (torch.tensor(base, dtype=torch.float32).double() ** torch.arange(levels)).float()
    if base == 1.25 and levels > 45:
        powers[45] = torch.nextafter(powers[45], torch.tensor(0.0))
    return powers


class MLP(nn.Sequential):
    """Linear maps between `widths`, all followed by the activation, including the last: ``[N, a] → [N, z]``."""

    def __init__(self, widths: Sequence[int], activation: Activated) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), activation()]
        super().__init__(*layers)


class UpsampleBlock(nn.Module):
    """Convolution to ``C_out·s²`` channels, PixelShuffle(s), activation.

    Input: ``[N, C_in, H, W]``. Output: ``[N, C_out, s·H, s·W]``. The kernel is odd; padding preserves the size.
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
    """Kernel size of each stage, growing by two per stage: ``min(smallest + 2·stage, largest)``."""
    return tuple(min(smallest + 2 * stage, largest) for stage in range(stages))


def floored_widths(first: int, strides: Sequence[int], reduce: float, lowest: int) -> tuple[int, ...]:
    """Channels of each stage in Boosting-NeRV's index models, divided by `reduce` if it upsamples, rounded down."""
    widths = [first]
    for stride in strides[1:]:
        divisor = 1 if stride == 1 else reduce
        widths.append(int(max(widths[-1] // divisor, lowest)))
    return tuple(widths)


def rounded_widths(fc_dim: int, strides: Sequence[int], reduce: float, lowest: int) -> tuple[int, ...]:
    """Channels of each stage in HNeRV's code, divided by `reduce` in every stage, rounded half to even."""
    widths = [fc_dim]
    for _ in strides:
        widths.append(int(max(round(widths[-1] / reduce), lowest)))
    return tuple(widths[1:])


def plain_stages(
    inputs: int,
    widths: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    activation: Activated,
    blocks: Sequence[int] | None = None,
) -> nn.Sequential:
    """The stages of a decoder without condition: upsampling blocks, by default one per stage."""
    layouts = block_layout(inputs, widths, kernels, strides, blocks or [1] * len(widths))
    return nn.Sequential(
        *(UpsampleBlock(layout.inputs, layout.outputs, layout.kernel, layout.stride, activation) for layout in layouts)
    )


@dataclass(frozen=True)
class BlockLayout:
    """A block of a decoder: its stage, channels, kernel and stride."""

    stage: int
    inputs: int
    outputs: int
    kernel: int
    stride: int


def block_layout(
    inputs: int, widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int], blocks: Sequence[int]
) -> Iterator[BlockLayout]:
    """Yield all blocks of a decoder in order; the first block of each stage upsamples, the others have stride 1."""
    for stage, (width, kernel, stride, count) in enumerate(zip(widths, kernels, strides, blocks, strict=True)):
        for index in range(count):
            yield BlockLayout(stage, inputs, width, kernel, stride if index == 0 else 1)
            inputs = width
