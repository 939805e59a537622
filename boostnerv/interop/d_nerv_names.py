"""Names of the tensors in D-NeRV's checkpoints, and their shapes.

The published modules are 3-D convolutions with kernels of one frame, and 1-D ones where ours are linear maps; the
temporal MLP is a 2-D convolution with a group for every channel.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

Rules = list[tuple[str, str | Callable[[re.Match[str]], str]]]

# Original name → ours, and back, applied in order.
RULES: dict[str, Rules] = {
    "d-nerv": [
        (r"^stem\.", "decoder.stem."),
        (r"^encoder\.head\.", "decoder.encoder.head."),
        (r"^encoder\.body\.", "decoder.encoder.stages."),
        (r"^flow_pred_list\.(\d+)\.conv\.", r"decoder.flows.\1.predict."),
        (r"^decoder_list\.(\d+)\.to_style\.", r"decoder.stages.\1.fusion."),
        (r"^decoder_list\.(\d+)\.tfc\.", r"decoder.stages.\1.temporal."),
        (r"^decoder_list\.(\d+)\.conv\.", r"decoder.stages.\1.upsample.conv."),
        (r"^rgb_head_layer\.conv\.", "decoder.head."),
    ],
    "d-nerv-baseline": [
        (r"^stem\.", "decoder.stem."),
        (r"^layers\.", "decoder.stages."),
        (r"^head_layer\.", "decoder.head."),
    ],
}
RULES_BACK: dict[str, Rules] = {
    "d-nerv": [
        (r"^decoder\.stem\.", "stem."),
        (r"^decoder\.encoder\.head\.", "encoder.head."),
        (r"^decoder\.encoder\.stages\.", "encoder.body."),
        (r"^decoder\.flows\.(\d+)\.predict\.", r"flow_pred_list.\1.conv."),
        (r"^decoder\.stages\.(\d+)\.fusion\.", r"decoder_list.\1.to_style."),
        (r"^decoder\.stages\.(\d+)\.temporal\.", r"decoder_list.\1.tfc."),
        (r"^decoder\.stages\.(\d+)\.upsample\.conv\.", r"decoder_list.\1.conv."),
        (r"^decoder\.head\.", "rgb_head_layer.conv."),
    ],
    "d-nerv-baseline": [
        (r"^decoder\.stem\.", "stem."),
        (r"^decoder\.stages\.", "layers."),
        (r"^decoder\.head\.", "head_layer."),
    ],
}
_GROUPED = re.compile(r"\.tfc\.weight$")


def original_shape(model: str, original: str, tensor: Tensor) -> Tensor:
    """A tensor of `model` in the shape that its original has."""
    if tensor.ndim == 2:
        return tensor[:, :, None, None] if _GROUPED.search(original) else tensor[:, :, None]
    return tensor[:, :, None] if tensor.ndim == 4 and model == "d-nerv" else tensor
