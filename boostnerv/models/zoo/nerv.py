"""NeRV: the first network of this family, as in the HNeRV code base.

Chen et al., "NeRV: Neural Representations for Videos", NeurIPS 2021, section 3.1 and figure 2.

    t ─ PE ─ linear 2L→h·w·C ─ GELU ─ reshape ─ [N, C, h, w] ─ conv, PixelShuffle, GELU per stage ─ conv3×3 ─ RGB

The image is ``0.5·tanh + 0.5`` of the last convolution. No training recipe was published for it with the
boosted models; the settings used in the experiments here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from boostnerv.models.architecture import Architecture, StackBudget, StagedSpec
from boostnerv.models.convolution import Convolution
from boostnerv.models.layers import GELU, MLP, PositionalEncoding, plain_stages, rounded_widths, stage_kernels, to_image


@dataclass(frozen=True, kw_only=True)
class NeRVSpec(StagedSpec):
    """Settings of NeRV; the defaults are those of the HNeRV code base."""

    reduce: float = 2.0  # width divisor of every stage
    lower_width: int = 12  # smallest width
    kernel_smallest: int = 3
    kernel_largest: int = 3
    levels: int = 80  # L of the positional encoding
    base: float = 1.25  # growth of its frequencies

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return rounded_widths(self.fc_dim, self.strides, self.reduce, self.lower_width)

    @property
    def stack(self) -> StackBudget:
        kernels = stage_kernels(len(self.strides), self.kernel_smallest, self.kernel_largest)
        rows, columns = self.grid
        return StackBudget(kernels, self.strides, self.reduce, 0.0, 2 * self.levels * rows * columns)


class NeRVDecoder(nn.Module):
    """t ``[N]`` in (0, 1] → RGB ``[N, 3, H', W']`` in (0, 1), H' and W' padded to the strides."""

    def __init__(self, spec: NeRVSpec) -> None:
        super().__init__()
        self.grid = spec.grid
        rows, columns = spec.grid
        self.encoding = PositionalEncoding(spec.base, spec.levels)
        self.stem = MLP((2 * spec.levels, rows * columns * spec.fc_dim), GELU)
        self.stages = plain_stages(spec.fc_dim, spec.widths, spec.stack.kernels, spec.strides, GELU, spec.blocks)
        self.head = Convolution(spec.widths[-1], 3, 3, padding=1)

    def forward(self, t: Tensor, embedding: None = None) -> Tensor:
        x = self.stem(self.encoding(t)).unflatten(1, (-1, *self.grid))
        return to_image(self.head(self.stages(x)))


ARCHITECTURE = Architecture(name="nerv", wire_id=1, spec=NeRVSpec, decoder=NeRVDecoder)
