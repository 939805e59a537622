"""Fields of a spec from tensor shapes: widths, levels of the positional encoding, blocks per stage."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boostnerv.interop.boosting_nerv import our_name

Shapes = Mapping[str, Sequence[int]]

# The tensor dimension that gives a field of the spec: (our name, axis, divisor).
_Read = dict[str, tuple[str, int, int]]
_CONDITION: _Read = {
    "levels": ("decoder.condition.0.weight", 1, 2),
    "condition_width": ("decoder.condition.2.weight", 0, 1),
}
_TOKENS: _Read = {"token_width": ("decoder.stem.time.2.weight", 0, 1)}
_ENCODED: _Read = {
    "fc_dim": ("decoder.stem.0.weight", 0, 1),
    "embedding_width": ("decoder.stem.0.weight", 1, 1),
    "encoder_width": ("encoder.stages.0.0.weight", 0, 1),
}
READ: dict[str, _Read] = {
    "nerv": {"fc_dim": ("decoder.stages.0.conv.weight", 1, 1), "levels": ("decoder.stem.0.weight", 1, 2)},
    "e-nerv": {"fc_dim": ("decoder.stages.0.modulation.0.weight", 0, 2), **_CONDITION, **_TOKENS},
    "hnerv": _ENCODED,
    "nerv-boost": {
        "fc_dim": ("decoder.stages.0.upsample.conv.weight", 1, 1),
        "stem_width": ("decoder.stem.0.weight", 0, 1),
        **_CONDITION,
    },
    "e-nerv-boost": {"fc_dim": ("decoder.expand.upsample.conv.weight", 1, 1), **_CONDITION, **_TOKENS},
    "hnerv-boost": {**_ENCODED, **_CONDITION},
}
_NARROWING = "decoder.expand.narrow.weight"  # of E-NeRV-Boost, where the first stage has fewer channels than the stem
_UPSAMPLING = re.compile(r"^(?:layers|decoder)\.(\d+)\.(conv[12]?)\.upconv\.0\.weight$")
_ENCODER_BLOCK = re.compile(r"^encoder\.stages\.0\.(\d+)\.gamma$")


def fields_from_shapes(model: str, tensors: Shapes, strides: Sequence[int] | None) -> dict[str, Any]:
    """Fields of the spec of `model` that follow from the shapes of its tensors (by original names).

    With its `strides`, the blocks per stage follow too, unless a stride is 1.
    """
    ours = {our_name(model, name): shape for name, shape in tensors.items()}
    fields: dict[str, Any] = {
        key: ours[name][axis] // divisor
        for key, (name, axis, divisor) in READ[model].items()
        if name in ours and len(ours[name]) > axis
    }
    if len(ours.get(_NARROWING, ())) == 4:
        fields["fc_dim"] = ours[_NARROWING][1]
    encoder_blocks = len({match[1] for match in map(_ENCODER_BLOCK.match, tensors) if match})
    if encoder_blocks:
        fields["encoder_blocks"] = encoder_blocks
    return fields | _stage_blocks(tensors, strides)


def _stage_blocks(tensors: Shapes, strides: Sequence[int] | None) -> dict[str, tuple[int, ...]]:
    """Blocks of each stage: every upsampling block begins one. Empty if that contradicts the `strides`."""
    steps = _block_strides(tensors)
    starts = [number for number, step in enumerate(steps) if step > 1]
    if strides is None or 1 in strides or [steps[start] for start in starts] != list(strides) or starts[0] > 0:
        return {}
    return {"stage_blocks": tuple(end - start for start, end in zip(starts, [*starts[1:], len(steps)], strict=True))}


@dataclass(frozen=True)
class _Block:
    """Channels of a decoder's block: its inputs, and the outputs of its upsampling convolution.

    `shuffled` are the channels after PixelShuffle; None if these are the inputs of the next block.
    """

    inputs: int
    outputs: int
    shuffled: int | None


def _block_strides(tensors: Shapes) -> list[int]:
    """Upsampling factors of the blocks of a decoder, in order; empty for other kinds of tensors."""
    matches = {int(match[1]): match for match in map(_UPSAMPLING.match, tensors) if match}
    convolutions = [name for match in matches.values() for name in (match[0], _first_convolution(match))]
    head = tensors.get("head_layer.weight", ())
    if any(len(tensors.get(name, ())) != 4 for name in convolutions) or len(head) != 4:
        return []
    blocks = [_block(tensors, matches[number]) for number in sorted(matches)]
    following = [*(block.inputs for block in blocks[1:]), head[1]]
    return [
        math.isqrt(block.outputs // max(block.shuffled or width, 1))
        for block, width in zip(blocks, following, strict=True)
    ]


def _first_convolution(upsampling: re.Match[str]) -> str:
    """The first convolution of a block; E-NeRV's blocks of two may upsample in the second."""
    return upsampling[0].replace("conv2.upconv.0", "conv1")


def _block(tensors: Shapes, upsampling: re.Match[str]) -> _Block:
    outputs, inputs = tensors[upsampling[0]][:2]
    if upsampling[2] == "conv1":
        return _Block(inputs, outputs, inputs // 4)
    if upsampling[2] == "conv2":
        return _Block(tensors[_first_convolution(upsampling)][1], outputs, inputs)
    return _Block(inputs, outputs, None)
