"""HNeRV-Boost: HNeRV with the conditional decoder.

Zhang et al., "Boosting Neural Representations for Videos with a Conditional Decoder", CVPR 2024, section 3;
HNeRV: Chen et al., CVPR 2023.

    frame ─ ConvNeXt ─ embedding [N, e, h, w] ─ conv1×1 ─ sin ─ TAT block ─ conditional blocks ─ conv3×3 ─ RGB
    t ─ PE ─ MLP 2L→64→32 = c ─────────────────────────────────────┴──────────────┘

The encoder is not stored; the embeddings are. The image is ``0.5·tanh + 0.5`` of the last convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from boostnerv.models.architecture import Architecture, StackBudget, check_blocks, not_stored
from boostnerv.models.conditional import ConditionalSpec, TATResidualBlock, conditional_stages
from boostnerv.models.convnext import ConvNeXtEncoder
from boostnerv.models.convolution import Convolution
from boostnerv.models.layers import MLP, PositionalEncoding, Sine, rounded_widths, stage_kernels, to_image


@dataclass(frozen=True, kw_only=True)
class HNeRVBoostSpec(ConditionalSpec):
    """Settings of HNeRV-Boost; the defaults are the published ones."""

    embedding_width: int = 16  # e
    encoder_width: int = 64
    reduce: float = 1.2  # width divisor of every stage
    lower_width: int = 12  # smallest width
    kernel_smallest: int = 1
    kernel_largest: int = 5  # used in the size formula; the convolutions have at most 3 by default
    levels: int = 80  # L of the positional encoding
    base: float = 1.25  # growth of its frequencies
    condition_width: int = 32
    encoder_blocks: int = not_stored(1, of_encoder=True)  # blocks per stage of the encoder

    def __post_init__(self) -> None:
        super().__post_init__()
        check_blocks("encoder_blocks", self.encoder_blocks)

    @property
    def embedding_shape(self) -> tuple[int, int, int]:
        return (self.embedding_width, *self.grid)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return rounded_widths(self.fc_dim, self.strides, self.reduce, self.lower_width)

    @property
    def stack(self) -> StackBudget:
        kernels = stage_kernels(len(self.strides), self.kernel_smallest, self.kernel_largest)
        return StackBudget(kernels, self.strides, self.reduce, self.embedding_parameters, 9 * self.embedding_width)


class HNeRVBoostDecoder(nn.Module):
    """t ``[N]`` in (0, 1], embedding ``[N, e, h, w]`` → RGB ``[N, 3, H', W']`` in (0, 1)."""

    def __init__(self, spec: HNeRVBoostSpec) -> None:
        super().__init__()
        self.encoding = PositionalEncoding(spec.base, spec.levels)
        self.condition = MLP((2 * spec.levels, 2 * spec.condition_width, spec.condition_width), Sine)
        self.stem = nn.Sequential(Convolution(spec.embedding_width, spec.fc_dim, 1), Sine())
        self.stem_residual = TATResidualBlock(spec.fc_dim, spec.condition_width)
        self.stages = conditional_stages(
            spec.fc_dim, spec.widths, spec.kernels, spec.strides, spec.blocks, spec.condition_width
        )
        self.head = Convolution(spec.widths[-1], 3, 3, padding=1)

    def forward(self, t: Tensor, embedding: Tensor) -> Tensor:
        condition = self.condition(self.encoding(t))
        x = self.stem_residual(self.stem(embedding), condition)
        for block in self.stages:
            x = block(x, condition)
        return to_image(self.head(x))


def _encoder(spec: HNeRVBoostSpec) -> ConvNeXtEncoder:
    return ConvNeXtEncoder(spec.strides, spec.encoder_width, spec.embedding_width, spec.encoder_blocks)


ARCHITECTURE = Architecture(
    name="hnerv-boost", wire_id=6, spec=HNeRVBoostSpec, decoder=HNeRVBoostDecoder, encoder=_encoder
)
