"""The NeRV baseline of D-NeRV: one index over all frames of all videos, no keyframes.

He et al., "Towards Scalable Neural Representation for Diverse Videos", CVPR 2023, section 4; NeRV: Chen et al.,
"NeRV: Neural Representations for Videos", NeurIPS 2021.

    index ─ PE ─ linear ─ linear ─ reshape ─ conv, PixelShuffle, GELU per stage ─ conv3×3 ─ 0.5·tanh+0.5 ─ RGB
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from boostnerv.models.architecture import Architecture
from boostnerv.models.clips import SharedIndexSpec
from boostnerv.models.convolution import Convolution
from boostnerv.models.layers import GELU, plain_stages, to_image
from boostnerv.models.temporal import ClipStem, stage_widths


@dataclass(frozen=True, kw_only=True)
class DNeRVBaselineSpec(SharedIndexSpec):
    """Settings of the baseline; the defaults are the published ones."""

    stem_width: int = 512
    expansion: float = 2.0  # width of the first stage over fc_dim
    lower_width: int = 32  # smallest width
    levels: int = 240  # L of the positional encoding
    base: float = 1.25  # growth of its frequencies

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return stage_widths(max(int(self.fc_dim * self.expansion), 1), self.strides, self.lower_width)


class DNeRVBaselineDecoder(nn.Module):
    """A patch of clips: index ``[N, D]`` in [0, 1] → RGB in (0, 1) ``[N, D, 3, H', W']``, H' and W' the size of a
    patch, padded to the strides. Keyframes and distance are ignored."""

    def __init__(self, spec: DNeRVBaselineSpec) -> None:
        super().__init__()
        self.stem = ClipStem(spec.base, spec.levels, spec.stem_width, spec.fc_dim, spec.grid)
        self.stages = plain_stages(spec.fc_dim, spec.widths, (3,) * len(spec.strides), spec.strides, GELU)
        self.head = Convolution(spec.widths[-1], 3, 3, padding=1)

    def forward(self, index: Tensor, keyframes: Tensor | None = None, distance: Tensor | None = None) -> Tensor:
        return to_image(self.head(self.stages(self.stem(index)))).unflatten(0, index.shape)


ARCHITECTURE = Architecture(
    name="d-nerv-baseline", wire_id=8, spec=DNeRVBaselineSpec, decoder=DNeRVBaselineDecoder, channels_last=False
)
