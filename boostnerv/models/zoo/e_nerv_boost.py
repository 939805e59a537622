"""E-NeRV-Boost: E-NeRV with the conditional decoder.

Zhang et al., "Boosting Neural Representations for Videos with a Conditional Decoder", CVPR 2024, section 3;
E-NeRV: Li et al., ECCV 2022.

    t ─ PE ─┬─ disentangled stem ─ [N, C, h, w] ─ expanding stage ─ TAT block ─ conditional blocks ─ conv1×1 ─ RGB
            └─ MLP 2L→64→32 = c ───────────────────────────────────────┴─────────────┘

The image is ``0.5·tanh + 0.5`` of the last convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from boostnerv.models.architecture import Architecture, StackBudget, not_stored
from boostnerv.models.conditional import ConditionalBlock, ConditionalSpec, TATResidualBlock
from boostnerv.models.convolution import Convolution
from boostnerv.models.disentangled import EXPANSION, DisentangledStem, first_upsample, first_width
from boostnerv.models.layers import (
    MLP,
    BlockLayout,
    PositionalEncoding,
    Sine,
    block_layout,
    floored_widths,
    stage_kernels,
    to_image,
)


@dataclass(frozen=True, kw_only=True)
class ENeRVBoostSpec(ConditionalSpec):
    """Settings of E-NeRV-Boost; the defaults are the published ones."""

    reduce: float = 2.0  # width divisor of every upsampling stage except the first
    lower_width: int = 12  # smallest width
    kernel_smallest: int = 3
    kernel_largest: int = 3
    levels: int = 80  # L of the positional encoding
    base: float = 1.25  # growth of its frequencies
    token_width: int = 128  # D of the transformers
    condition_width: int = 32
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


class ENeRVBoostDecoder(nn.Module):
    """t ``[N]`` in (0, 1] → RGB ``[N, 3, H', W']`` in (0, 1), H' and W' padded to the strides."""

    def __init__(self, spec: ENeRVBoostSpec) -> None:
        super().__init__()
        self.encoding = PositionalEncoding(spec.base, spec.levels)
        self.stem = DisentangledStem(spec.grid, self.encoding, spec.token_width, spec.fc_dim, Sine)
        self.condition = MLP((2 * spec.levels, 2 * spec.condition_width, spec.condition_width), Sine)
        first, *further = block_layout(spec.fc_dim, spec.widths, spec.kernels, spec.strides, spec.blocks)
        self.expand = first_upsample(first.inputs, first.outputs, first.kernel, first.stride, Sine)
        self.expand_residual = TATResidualBlock(first.outputs, spec.condition_width)
        self.stages = nn.ModuleList(_block(layout, spec.condition_width) for layout in further)
        self.head = Convolution(spec.widths[-1], 3, 1)

    def forward(self, t: Tensor, embedding: None = None) -> Tensor:
        encoded = self.encoding(t)
        condition = self.condition(encoded)
        x = self.expand_residual(self.expand(self.stem(encoded)), condition)
        for block in self.stages:
            x = block(x, condition)
        return to_image(self.head(x))


class _FirstStageBlock(nn.Module):
    """A further block of the first stage: ``[N, C, H, W] → [N, C, H, W]``."""

    def __init__(self, layout: BlockLayout, condition_width: int) -> None:
        super().__init__()
        self.expand = first_upsample(layout.inputs, layout.outputs, layout.kernel, layout.stride, Sine)
        self.residual = TATResidualBlock(layout.outputs, condition_width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        result: Tensor = self.residual(self.expand(x), condition)
        return result


def _block(layout: BlockLayout, condition_width: int) -> nn.Module:
    if layout.stage == 0:
        return _FirstStageBlock(layout, condition_width)
    return ConditionalBlock(layout.inputs, layout.outputs, layout.kernel, layout.stride, condition_width)


ARCHITECTURE = Architecture(name="e-nerv-boost", wire_id=5, spec=ENeRVBoostSpec, decoder=ENeRVBoostDecoder)
