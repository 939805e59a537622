"""NeRV-Boost: NeRV with the conditional decoder.

Zhang et al., "Boosting Neural Representations for Videos with a Conditional Decoder", CVPR 2024, section 3;
NeRV: Chen et al., NeurIPS 2021.

    t ─ PE ─┬─ MLP 2L→256→h·w·C ─ reshape ─ [N, C, h, w] ─ conditional blocks ─ conv1×1 ─ 0.5·tanh+0.5 ─ RGB
            └─ MLP 2L→64→32 = c ──────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from boostnerv.models.architecture import Architecture, StackBudget, not_stored
from boostnerv.models.conditional import ConditionalSpec, conditional_stages
from boostnerv.models.convolution import Convolution
from boostnerv.models.layers import MLP, PositionalEncoding, Sine, floored_widths, stage_kernels, to_image


@dataclass(frozen=True, kw_only=True)
class NeRVBoostSpec(ConditionalSpec):
    """Settings of NeRV-Boost; the defaults are the published ones."""

    reduce: float = 2.0  # width divisor of every upsampling stage except the first
    lower_width: int = 12  # smallest width
    kernel_smallest: int = 3
    kernel_largest: int = 3
    levels: int = 80  # L of the positional encoding
    base: float = 1.25  # growth of its frequencies
    stem_width: int = 256
    condition_width: int = 32
    expansion: float = not_stored(1.0)  # width of the first stage over fc_dim

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return floored_widths(max(int(self.fc_dim * self.expansion), 1), self.strides, self.reduce, self.lower_width)

    @property
    def stack(self) -> StackBudget:
        kernels = stage_kernels(len(self.strides), self.kernel_smallest, self.kernel_largest)
        rows, columns = self.grid
        return StackBudget(kernels, self.strides, self.reduce, 0.0, 2 * self.levels * rows * columns)


class NeRVBoostDecoder(nn.Module):
    """t ``[N]`` in (0, 1] → RGB ``[N, 3, H', W']`` in (0, 1), H' and W' padded to the strides."""

    def __init__(self, spec: NeRVBoostSpec) -> None:
        super().__init__()
        self.grid = spec.grid
        rows, columns = spec.grid
        inputs = 2 * spec.levels
        self.encoding = PositionalEncoding(spec.base, spec.levels)
        self.stem = MLP((inputs, spec.stem_width, rows * columns * spec.fc_dim), Sine)
        self.condition = MLP((inputs, 2 * spec.condition_width, spec.condition_width), Sine)
        self.stages = conditional_stages(
            spec.fc_dim, spec.widths, spec.kernels, spec.strides, spec.blocks, spec.condition_width
        )
        self.head = Convolution(spec.widths[-1], 3, 1)

    def forward(self, t: Tensor, embedding: None = None) -> Tensor:
        encoded = self.encoding(t)
        condition = self.condition(encoded)
        x = self.stem(encoded).unflatten(1, (-1, *self.grid))
        for block in self.stages:
            x = block(x, condition)
        return to_image(self.head(x))


ARCHITECTURE = Architecture(name="nerv-boost", wire_id=4, spec=NeRVBoostSpec, decoder=NeRVBoostDecoder)
