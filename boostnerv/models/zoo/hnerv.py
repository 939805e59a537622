"""HNeRV: content-adaptive embeddings from an encoder, and a plain decoder.

Chen et al., "HNeRV: A Hybrid Neural Representation for Videos", CVPR 2023, section 3 and figure 2.

    frame ─ ConvNeXt ─ embedding [N, e, h, w] ─ conv1×1 ─ GELU ─ conv, PixelShuffle, GELU per stage ─ conv3×3 ─ RGB

The encoder is not stored; the embeddings are. The image is ``0.5·tanh + 0.5`` of the last convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from boostnerv.models.architecture import Architecture, StackBudget, StagedSpec, check_blocks, not_stored
from boostnerv.models.convnext import ConvNeXtEncoder
from boostnerv.models.convolution import Convolution
from boostnerv.models.layers import GELU, plain_stages, rounded_widths, stage_kernels, to_image


@dataclass(frozen=True, kw_only=True)
class HNeRVSpec(StagedSpec):
    """Settings of HNeRV; the defaults are the published ones."""

    embedding_width: int = 16  # e
    encoder_width: int = 64
    reduce: float = 1.2  # width divisor of every stage
    lower_width: int = 12  # smallest width
    kernel_smallest: int = 1
    kernel_largest: int = 5
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


class HNeRVDecoder(nn.Module):
    """Embedding ``[N, e, h, w]`` → RGB ``[N, 3, H', W']`` in (0, 1); the time is ignored."""

    def __init__(self, spec: HNeRVSpec) -> None:
        super().__init__()
        self.stem = nn.Sequential(Convolution(spec.embedding_width, spec.fc_dim, 1), GELU())
        self.stages = plain_stages(spec.fc_dim, spec.widths, spec.stack.kernels, spec.strides, GELU, spec.blocks)
        self.head = Convolution(spec.widths[-1], 3, 3, padding=1)

    def forward(self, t: Tensor, embedding: Tensor) -> Tensor:
        return to_image(self.head(self.stages(self.stem(embedding))))


def _encoder(spec: HNeRVSpec) -> ConvNeXtEncoder:
    return ConvNeXtEncoder(spec.strides, spec.encoder_width, spec.embedding_width, spec.encoder_blocks)


ARCHITECTURE = Architecture(name="hnerv", wire_id=3, spec=HNeRVSpec, decoder=HNeRVDecoder, encoder=_encoder)
