"""E-NeRV: space and time embedded separately, every stage normalised and modulated by time.

Li et al., "E-NeRV: Expedite Neural Video Representation with Disentangled Spatial-Temporal Context", ECCV 2022,
section 3, as implemented in Boosting-NeRV's code.

    t ─ PE ─┬─ disentangled stem ─ [N, C, h, w] ─ modulated stages ─ conv1×1 ─ RGB
            └─ MLP 2L→128→128 = c ─────────────────────┘

A modulated stage is instance normalisation, ``x·γ(c) + β(c)``, then the upsampling block with GELU; the image is
``0.5·tanh + 0.5`` of the last convolution. No training recipe was published for it with the
boosted models; the settings used in the experiments here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from boostnerv.models.architecture import Architecture, StackBudget, StagedSpec, not_stored
from boostnerv.models.convolution import Convolution
from boostnerv.models.disentangled import EXPANSION, DisentangledStem, first_upsample, first_width
from boostnerv.models.layers import (
    GELU,
    MLP,
    PositionalEncoding,
    UpsampleBlock,
    block_layout,
    floored_widths,
    stage_kernels,
    to_image,
)


@dataclass(frozen=True, kw_only=True)
class ENeRVSpec(StagedSpec):
    """Settings of E-NeRV; the defaults are those of Boosting-NeRV's code."""

    reduce: float = 2.0  # width divisor of every upsampling stage except the first
    lower_width: int = 12  # smallest width
    kernel_smallest: int = 3
    kernel_largest: int = 3
    levels: int = 80  # L of the positional encoding
    base: float = 1.25  # growth of its frequencies
    token_width: int = 128  # D of the transformers
    condition_width: int = 128
    expansion: float = not_stored(EXPANSION)  # width of the first stage over fc_dim

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return floored_widths(first_width(self.fc_dim, self.expansion), self.strides, self.reduce, self.lower_width)

    @property
    def stack(self) -> StackBudget:
        kernels = stage_kernels(len(self.strides), self.kernel_smallest, self.kernel_largest)
        rows, columns = self.grid
        return StackBudget(kernels, self.strides, self.reduce, 0.0, 2 * self.levels * rows * columns)


class ModulatedBlock(nn.Module):
    """Instance normalisation without learned scale, ``x·γ(c) + β(c)``, then `block`."""

    def __init__(self, inputs: int, condition_width: int, block: nn.Module) -> None:
        super().__init__()
        self.modulation = MLP((condition_width, 2 * inputs), GELU)
        self.block = block

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        result: Tensor = self.block(_instance_norm(x) * gain + bias)
        return result


def _instance_norm(x: Tensor) -> Tensor:
    """Zero mean and unit variance of each channel of each frame; unlike PyTorch's, it accepts one-pixel maps."""
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-5)


class ENeRVDecoder(nn.Module):
    """t ``[N]`` in (0, 1] → RGB ``[N, 3, H', W']`` in (0, 1), H' and W' padded to the strides."""

    def __init__(self, spec: ENeRVSpec) -> None:
        super().__init__()
        self.encoding = PositionalEncoding(spec.base, spec.levels)
        self.stem = DisentangledStem(spec.grid, self.encoding, spec.token_width, spec.fc_dim, GELU)
        self.condition = MLP((2 * spec.levels, spec.condition_width, spec.condition_width), GELU)
        stages = []
        for layout in block_layout(spec.fc_dim, spec.widths, spec.stack.kernels, spec.strides, spec.blocks):
            kind = first_upsample if layout.stage == 0 else UpsampleBlock
            block = kind(layout.inputs, layout.outputs, layout.kernel, layout.stride, GELU)
            stages.append(ModulatedBlock(layout.inputs, spec.condition_width, block))
        self.stages = nn.ModuleList(stages)
        self.head = Convolution(spec.widths[-1], 3, 1)

    def forward(self, t: Tensor, embedding: None = None) -> Tensor:
        encoded = self.encoding(t)
        condition = self.condition(encoded)
        x = self.stem(encoded)
        for stage in self.stages:
            x = stage(x, condition)
        return to_image(self.head(x))


ARCHITECTURE = Architecture(name="e-nerv", wire_id=2, spec=ENeRVSpec, decoder=ENeRVDecoder)
