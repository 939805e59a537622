"""The ConvNeXt encoder that maps a frame to its embedding; it trains with the decoder and is never stored.

Liu et al., "A ConvNet for the 2020s", CVPR 2022, by default with one block per stage, as used by HNeRV (Chen et al.,
CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boostnerv.models.convolution import Convolution

_EPS = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``[N, C, H, W]``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7×7, layer norm, ×4 MLP, layer scale, residual; shape unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = Convolution(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.expand = nn.Linear(width, 4 * width)
        self.project = nn.Linear(4 * width, width)
        self.layer_scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.layer_scale * self.project(F.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtEncoder(nn.Module):
    """RGB ``[N, 3, H', W']`` in [0, 1] → embedding ``[N, e, H'/∏s, W'/∏s]``.

    All stages have width `hidden` except the last, which has the width of the embedding, `outputs`. The stem is a
    convolution followed by a norm, later downsampling a norm followed by a convolution, kernel = stride. A stage has
    `blocks` blocks.
    """

    def __init__(self, strides: Sequence[int], hidden: int, outputs: int, blocks: int = 1) -> None:
        super().__init__()
        widths = [hidden] * (len(strides) - 1) + [outputs]
        stages: list[nn.Module] = []
        inputs = 3
        for index, (stride, width) in enumerate(zip(strides, widths, strict=True)):
            convolution = Convolution(inputs, width, stride, stride)
            if index == 0:
                down = nn.Sequential(convolution, ChannelNorm(width, eps=_EPS))
            else:
                down = nn.Sequential(ChannelNorm(inputs, eps=_EPS), convolution)
            stages += [down, ConvNeXtBlock(width)]
            inputs = width
        self.stages = nn.Sequential(*stages)
        # Separate from the first blocks, which keep the parameter names of networks with one block per stage.
        self.further = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(width) for _ in range(blocks - 1))) for width in widths
        )
        self.apply(_initialise)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames
        for stage, further in enumerate(self.further):
            x = further(self.stages[2 * stage + 1](self.stages[2 * stage](x)))
        return x


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
