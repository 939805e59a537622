"""The conditional decoder of Boosting-NeRV: features aligned to the frame by its index.

Zhang et al., "Boosting Neural Representations for Videos with a Conditional Decoder", CVPR 2024, section 3.

    x ─┬─ TAT ─ conv3×3 ─ GELU ─ TAT ─ conv3×3 ─(+)─ out        TAT residual block
       └─────────────────────────────────────────┘
          c ─┴────────────────────┘

Shapes: x ``[N, C, H, W]``, condition c ``[N, condition_width]``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from boostnerv.models.architecture import StagedSpec, not_stored
from boostnerv.models.convolution import Convolution
from boostnerv.models.layers import GELU, Sine, UpsampleBlock, block_layout, in_place


class TemporalAffine(nn.Module):
    """Temporal-aware affine transform (TAT): ``x·(scale(c) + 1) + shift(c)``, with one pair per channel."""

    def __init__(self, width: int, condition_width: int) -> None:
        super().__init__()
        self.scale = self._branch(width, condition_width)
        self.shift = self._branch(width, condition_width)

    @staticmethod
    def _branch(width: int, condition_width: int) -> nn.Sequential:
        # On a 1×1 map a convolution is a linear map, which is much faster to call.
        return nn.Sequential(nn.Linear(condition_width, condition_width), nn.ReLU(), nn.Linear(condition_width, width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.of(condition)
        return x * scale[:, :, None, None] + shift[:, :, None, None]

    def of(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The factor and the offset for features, both ``[N, C]``."""
        return self.scale(condition) + 1, self.shift(condition)


class TATResidualBlock(nn.Module):
    """``x + conv1(TAT1(gelu(conv0(TAT0(x, c))), c))``, both convolutions 3×3, width unchanged."""

    fused = False

    def __init__(self, width: int, condition_width: int) -> None:
        super().__init__()
        self.affine0 = TemporalAffine(width, condition_width)
        self.conv0 = Convolution(width, width, 3, padding=1)
        self.activation = in_place(GELU())
        self.affine1 = TemporalAffine(width, condition_width)
        self.conv1 = Convolution(width, width, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        if self.fused and len(x) == 1 and min(x.shape[2:]) > 1 and x.device.type == "cpu":
            y = self.activation(self.conv0.of_affine(x, *self.affine0.of(condition)))
            return self.conv1.of_affine(y, *self.affine1.of(condition)).add_(x)
        y = self.activation(self.conv0(self.affine0(x, condition)))
        residual: Tensor = self.conv1(self.affine1(y, condition))
        return x + residual


class ConditionalBlock(nn.Module):
    """Sinusoidal upsampling block, then a TAT residual block: ``[N, C_in, H, W] → [N, C_out, s·H, s·W]``."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, condition_width: int) -> None:
        super().__init__()
        self.upsample = UpsampleBlock(inputs, outputs, kernel, stride, Sine)
        self.residual = TATResidualBlock(outputs, condition_width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        result: Tensor = self.residual(self.upsample(x), condition)
        return result


@dataclass(frozen=True, kw_only=True)
class ConditionalSpec(StagedSpec):
    """The settings that the boosted models have in addition to those of the plain ones."""

    kernel_limit: int = not_stored(3)  # largest kernel of the convolutions; the size formula ignores it

    @staticmethod
    def published_blocks(stages: int) -> tuple[int, ...]:
        """1 1 2 2 2 …"""
        return tuple(1 if stage < 2 else 2 for stage in range(stages))

    @property
    def kernels(self) -> tuple[int, ...]:
        """Kernel size of the upsampling convolution of each stage."""
        return tuple(min(kernel, self.kernel_limit) for kernel in self.stack.kernels)


def conditional_stages(
    inputs: int,
    widths: tuple[int, ...],
    kernels: tuple[int, ...],
    strides: tuple[int, ...],
    blocks: tuple[int, ...],
    condition_width: int,
) -> nn.ModuleList:
    """All conditional blocks of a decoder in order; the first block of each stage upsamples."""
    layouts = block_layout(inputs, widths, kernels, strides, blocks)
    return nn.ModuleList(
        ConditionalBlock(layout.inputs, layout.outputs, layout.kernel, layout.stride, condition_width)
        for layout in layouts
    )
