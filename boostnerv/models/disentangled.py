"""The stem of E-NeRV: space and time are embedded separately and joined by two small transformers.

Li et al., "E-NeRV: Expedite Neural Video Representation with Disentangled Spatial-Temporal Context", ECCV 2022,
section 3.2.

    row, column ─ PE ─ MLP 4L→D ─ transformer(1 head) ─(×)─ transformer(8 heads) ─ MLP D→C ─ [N, C, h, w]
    t ─ PE ─ MLP 2L→2D→D ───────────────────────────────┘

Shapes: P = h·w positions in row-major order, D the width of a token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boostnerv.models.convolution import Convolution
from boostnerv.models.layers import MLP, Activated, PositionalEncoding, UpsampleBlock, in_place

_HEAD_WIDTH = 64
EXPANSION = 3.0  # channels of the first stage over those of the stem


class Attention(nn.Module):
    """Self-attention over positions: ``[N, P, D] → [N, P, D]``; softmax scale ``64^-0.5``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * heads * _HEAD_WIDTH, bias=False)
        self.output = nn.Linear(heads * _HEAD_WIDTH, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.query_key_value(x).unflatten(-1, (3, self.heads, _HEAD_WIDTH)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result


class TransformerBlock(nn.Module):
    """``x + attention(x)``, then ``x + linear(gelu(linear(x)))``; no normalisation. ``[N, P, D] → [N, P, D]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.feed_forward = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        result: Tensor = x + self.feed_forward(x)
        return result


class DisentangledStem(nn.Module):
    """First feature map from encoded time: ``[N, 2L] → [N, C, h, w]``."""

    positions: Tensor

    def __init__(
        self, grid: tuple[int, int], encoding: PositionalEncoding, width: int, outputs: int, activation: Activated
    ) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("positions", _encoded_positions(grid, encoding), persistent=False)
        encoded = 2 * len(encoding.frequencies)
        self.time = MLP((encoded, 2 * width, width), activation)
        self.space = MLP((2 * encoded, width), activation)
        self.before = TransformerBlock(width, heads=1)
        self.after = TransformerBlock(width, heads=8)
        self.project = MLP((width, outputs), activation) if outputs != width else nn.Identity()

    def forward(self, encoded_time: Tensor) -> Tensor:
        space = self.before(self.space(self.positions)[None])
        x = self.project(self.after(space * self.time(encoded_time)[:, None]))
        return x.transpose(1, 2).unflatten(2, self.grid)


class ExpandingUpsample(nn.Module):
    """Block of E-NeRV's first stage: upsampling at a quarter of the channels, then a widening convolution.

    ``[N, C_in, H, W] → [N, C_out, s·H, s·W]``. `activation` comes last; there is none in between.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, activation: Activated) -> None:
        super().__init__()
        middle = max(inputs // 4, 1)
        self.upsample = UpsampleBlock(inputs, middle, kernel, stride, nn.Identity)
        self.widen = Convolution(middle, outputs, 3, padding=1)
        self.activation = in_place(activation())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.activation(self.widen(self.upsample(x)))
        return result


class NarrowingUpsample(nn.Module):
    """Block of E-NeRV's first stage if it has fewer channels than the stem: a narrowing convolution, then upsampling.

    ``[N, C_in, H, W] → [N, C_out, s·H, s·W]``. `activation` comes last; there is none in between.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, activation: Activated) -> None:
        super().__init__()
        self.narrow = Convolution(inputs, outputs, 3, padding=1)
        self.enlarge = UpsampleBlock(outputs, outputs, kernel, stride, activation)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.enlarge(self.narrow(x))
        return result


def first_upsample(inputs: int, outputs: int, kernel: int, stride: int, activation: Activated) -> nn.Module:
    """Block of E-NeRV's first stage, without modulation or alignment."""
    kind = ExpandingUpsample if inputs <= outputs else NarrowingUpsample
    return kind(inputs, outputs, kernel, stride, activation)


def first_width(fc_dim: int, expansion: float) -> int:
    """Channels of the first stage, at least 1."""
    return max(int(fc_dim * expansion), 1)


def _encoded_positions(grid: tuple[int, int], encoding: PositionalEncoding) -> Tensor:
    """Encodings of row ``r/h`` and column ``q/w`` of every position, ``[h·w, 4L]``.

    Uninitialised on the meta device, where arithmetic costs a second of imports.
    """
    if encoding.frequencies.is_meta:
        return torch.empty(grid[0] * grid[1], 4 * len(encoding.frequencies))
    rows, columns = (torch.arange(count, dtype=torch.float32) / count for count in grid)
    shape = (*grid, -1)
    encoded = encoding(rows)[:, None].expand(shape), encoding(columns)[None].expand(shape)
    return torch.cat(encoded, dim=-1).flatten(0, 1)
