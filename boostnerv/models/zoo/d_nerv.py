"""D-NeRV: one network for many videos, which predicts clips from the keyframes at both of their ends.

He et al., "Towards Scalable Neural Representation for Diverse Videos", CVPR 2023, section 3 and figure 2.

    index ─ PE ─ linear ─ linear ─┐
    keyframes ─┬─ encoder ─┬─ interpolated ─(concatenate)─ norm ─ stage … stage ─(concatenate)─ conv1×1, conv3×3 ─ RGB
               │           └─ warped by flow, blended ────────────┘                 │
               └─ warped by flow, blended ──────────────────────────────────────────┘

A stage consists of the fusion with the blended keyframe features, 3×3 convolution, PixelShuffle, GELU, and the global
temporal MLP. Keyframes are coded as images alongside the network; their encoder is part of the stored decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from boostnerv.models.architecture import Architecture
from boostnerv.models.clips import ClipSpec
from boostnerv.models.layers import GELU, UpsampleBlock
from boostnerv.models.temporal import (
    ClipStem,
    Colours,
    ContentFlow,
    GlobalTemporalMLP,
    KeyframeEncoder,
    SpatialFusion,
    between,
    clip_norm,
    head,
    stage_widths,
    xavier,
)


@dataclass(frozen=True, kw_only=True)
class DNeRVSpec(ClipSpec):
    """Settings of D-NeRV; the defaults are the published ones."""

    stem_width: int = 512
    expansion: float = 2.0  # width of the first stage over fc_dim
    lower_width: int = 32  # smallest width
    levels: int = 240  # L of the positional encoding
    base: float = 1.25  # growth of its frequencies
    encoder_width: int = 64  # of the keyframe encoder

    @property
    def uses_keyframes(self) -> bool:
        return True

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return stage_widths(max(int(self.fc_dim * self.expansion), 1), self.strides, self.lower_width)


class DNeRVStage(nn.Module):
    """Fusion with content, upsampling, temporal MLP: ``[N·D, C_in, h, w] → [N·D, C_out, s·h, s·w]``."""

    def __init__(self, inputs: int, outputs: int, stride: int, spec: DNeRVSpec) -> None:
        super().__init__()
        self.fusion = SpatialFusion(spec.encoder_width, inputs)
        self.upsample = UpsampleBlock(inputs, outputs, 3, stride, GELU)
        xavier(self.upsample.conv)
        self.temporal = GlobalTemporalMLP(outputs, spec.clip_frames)

    def forward(self, x: Tensor, content: Tensor) -> Tensor:
        result: Tensor = self.temporal(self.upsample(self.fusion(x, content)))
        return result


class DNeRVDecoder(nn.Module):
    """A patch of clips: index ``[N, D]`` in [0, 1], keyframes RGB in [0, 1] ``[N, 3, 2, H', W']``, distance ``[N, D]``
    in [0, 1] → RGB in [0, 1] ``[N, D, 3, H', W']``; H' and W' are the size of a patch, padded to the strides."""

    def __init__(self, spec: DNeRVSpec) -> None:
        super().__init__()
        self.clip_frames = spec.clip_frames
        self.colours = Colours(spec.mean_e4, spec.deviation_e4)
        self.stem = ClipStem(spec.base, spec.levels, spec.stem_width, spec.fc_dim, spec.grid)
        self.encoder = KeyframeEncoder(spec.encoder_width, spec.strides)
        widths = (spec.fc_dim + spec.encoder_width, *spec.widths)
        self.flows = nn.ModuleList(map(ContentFlow, widths))
        self.stages = nn.ModuleList(
            DNeRVStage(inputs, outputs, stride, spec)
            for inputs, outputs, stride in zip(widths, widths[1:], spec.strides, strict=False)
        )
        self.head = head(widths[-1] + 3, 3)

    def encode(self, keyframes: Tensor) -> list[Tensor]:
        """Keyframe features for each stage, ``[N, 2, C, h, w]``, followed by the normalised pixels."""
        pixels = self.colours.normalize(keyframes).transpose(1, 2)
        features = self.encoder(pixels.flatten(0, 1))
        return [*(feature.unflatten(0, (-1, 2)) for feature in features), pixels]

    def decode(self, index: Tensor, keys: list[Tensor], distance: Tensor) -> Tensor:
        """Decode a patch of clips from the result of `encode`; shapes as in `forward`."""
        frames = self.clip_frames
        x = clip_norm(torch.cat((self.stem(index), between(keys[0], frames)), dim=1), frames)
        *stages, last = zip(self.flows, keys, strict=True)
        for stage, (flow, features) in zip(self.stages, stages, strict=True):
            x = stage(x, flow(x, features, distance))
        flow, pixels = last
        output = self.head(torch.cat((x, flow(x, pixels, distance)), dim=1))
        return self.colours.denormalize(output).unflatten(0, distance.shape)

    def forward(self, index: Tensor, keyframes: Tensor, distance: Tensor) -> Tensor:
        return self.decode(index, self.encode(keyframes), distance)


ARCHITECTURE = Architecture(name="d-nerv", wire_id=7, spec=DNeRVSpec, decoder=DNeRVDecoder, channels_last=False)
