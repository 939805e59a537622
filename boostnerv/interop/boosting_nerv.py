"""Mapping tensors between published checkpoints and our models: names, and shapes that differ.

The names here are Boosting-NeRV's and HNeRV's; D-NeRV's are in `boostnerv.interop.d_nerv_names`.

The published modules hold 1×1 convolutions on 1×1 maps where ours hold linear maps; `from_original` and
`to_original` reshape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from boostnerv.errors import UserError
from boostnerv.interop import d_nerv_names
from boostnerv.interop.d_nerv_names import Rules
from boostnerv.models.architecture import VideoModel

# Original name → ours, applied in order.
_AFFINE: Rules = [
    (
        r"sft_block\.sft([01])\.SFT_(scale|shift)_conv([01])",
        lambda m: f"residual.affine{m[1]}.{m[2]}.{2 * int(m[3])}",
    ),
    (r"sft_block\.conv([01])", r"residual.conv\1"),
]
_BLOCK: Rules = [*_AFFINE, (r"conv\.upconv\.0", "upsample.conv")]
_ENCODER: Rules = [
    (r"^encoder\.downsample_layers\.(\d+)\.([01])", lambda m: f"encoder.stages.{2 * int(m[1])}.{m[2]}"),
    # Further blocks of a stage are stored separately from the first.
    (r"^encoder\.stages\.(\d+)\.([1-9]\d*)\.(?=[dnpg])", lambda m: f"encoder.further.{m[1]}.{int(m[2]) - 1}."),
    (r"^encoder\.stages\.(\d+)\.0\.(?=[dnpg])", lambda m: f"encoder.stages.{2 * int(m[1]) + 1}."),
    (r"dwconv", "depthwise"),
    (r"pwconv1", "expand"),
    (r"pwconv2", "project"),
    (r"gamma$", "layer_scale"),
]
_HEAD: Rules = [(r"^head_layer", "decoder.head"), (r"^stem_t", "decoder.condition")]
_DISENTANGLED: Rules = [
    (r"^stem_t\.", "decoder.stem.time."),
    (r"^stem_xy\.", "decoder.stem.space."),
    (r"^t_branch\.", "decoder.condition."),
    (r"^toconv\.", "decoder.stem.project."),
    (r"^trans1\.", "decoder.stem.before."),
    (r"^trans2\.", "decoder.stem.after."),
    (r"attn\.to_qkv", "attention.query_key_value"),
    (r"attn\.to_out\.0", "attention.output"),
    (r"ffn\.net\.0", "feed_forward.0"),
    (r"ffn\.net\.3", "feed_forward.2"),
    (r"^head_layer", "decoder.head"),
]
_PLAIN: Rules = [
    (r"^decoder\.0\.conv\.downconv", "decoder.stem.0"),
    (r"conv\.upconv\.0", "conv"),
    (r"^decoder\.(\d+)\.", lambda m: f"decoder.stages.{int(m[1]) - 1}."),
]


def _first_stage(original: str, ours: str) -> Rules:
    """Convolutions of a block of E-NeRV's first stage: it upsamples, then widens, or narrows, then upsamples."""
    return [
        (original + r"conv1\.upconv\.0", ours + "upsample.conv"),
        (original + r"conv2\.upconv\.0", ours + "enlarge.conv"),
        (original + r"conv1\.(?=[wb])", ours + "narrow."),
        (original + r"conv2\.(?=[wb])", ours + "widen."),
    ]


_RULES: dict[str, Rules] = {
    "nerv": [*_HEAD, *_PLAIN],
    "e-nerv": [
        *_DISENTANGLED,
        *_first_stage(r"^layers\.(\d+)\.", r"decoder.stages.\1.block."),
        (r"^layers\.(\d+)\.conv\.upconv\.0", r"decoder.stages.\1.block.conv"),
        (r"^t_layers\.(\d+)\.", r"decoder.stages.\1.modulation."),
    ],
    "hnerv": [*_ENCODER, *_HEAD, *_PLAIN],
    "e-nerv-boost": [
        *_DISENTANGLED,
        *_first_stage(r"^layers\.0\.", "decoder.expand."),
        *_first_stage(r"^layers\.(\d+)\.", r"layers.\1.expand."),
        *_BLOCK,
        (r"^layers\.0\.residual", "decoder.expand_residual"),
        (r"^layers\.(\d+)\.", lambda m: f"decoder.stages.{int(m[1]) - 1}."),
    ],
    "nerv-boost": [*_BLOCK, *_HEAD, (r"^stem\.", "decoder.stem."), (r"^layers\.", "decoder.stages.")],
    "hnerv-boost": [
        *_ENCODER,
        *_HEAD,
        (r"^decoder\.0\.conv\.downconv", "decoder.stem.0"),
        (r"^decoder\.0\.sft_block", "decoder.0.stem_block.sft_block"),
        *_BLOCK,
        (r"^decoder\.0\.stem_block\.residual", "decoder.stem_residual"),
        (r"^decoder\.(\d+)\.", lambda m: f"decoder.stages.{int(m[1]) - 1}."),
    ],
    **d_nerv_names.RULES,
}

# Our name → the original, applied in order.
_TO_BLOCK: Rules = [
    (
        r"residual\.affine([01])\.(scale|shift)\.([02])",
        lambda m: f"sft_block.sft{m[1]}.SFT_{m[2]}_conv{int(m[3]) // 2}",
    ),
    (r"residual\.conv([01])", r"sft_block.conv\1"),
    (r"upsample\.conv", "conv.upconv.0"),
]
_TO_ENCODER: Rules = [
    (r"^encoder\.stages\.(\d+)\.([01])\.", lambda m: f"encoder.downsample_layers.{int(m[1]) // 2}.{m[2]}."),
    (r"^encoder\.stages\.(\d+)\.", lambda m: f"encoder.stages.{int(m[1]) // 2}.0."),
    (r"^encoder\.further\.(\d+)\.(\d+)\.", lambda m: f"encoder.stages.{m[1]}.{int(m[2]) + 1}."),
    (r"depthwise", "dwconv"),
    (r"expand\.(?=[wb])", "pwconv1."),
    (r"project\.(?=[wb])", "pwconv2."),
    (r"layer_scale$", "gamma"),
]
_TO_HEAD: Rules = [(r"^decoder\.head", "head_layer"), (r"^decoder\.condition", "stem_t")]
_TO_DISENTANGLED: Rules = [
    (r"^decoder\.stem\.time\.", "stem_t."),
    (r"^decoder\.stem\.space\.", "stem_xy."),
    (r"^decoder\.condition\.", "t_branch."),
    (r"^decoder\.stem\.project\.", "toconv."),
    (r"^decoder\.stem\.before\.", "trans1."),
    (r"^decoder\.stem\.after\.", "trans2."),
    (r"attention\.query_key_value", "attn.to_qkv"),
    (r"attention\.output", "attn.to_out.0"),
    (r"feed_forward\.0", "ffn.net.0"),
    (r"feed_forward\.2", "ffn.net.3"),
    (r"^decoder\.head", "head_layer"),
]
_TO_PLAIN: Rules = [
    *_TO_HEAD,
    (r"^decoder\.stem\.0", "decoder.0.conv.downconv"),
    (r"^decoder\.stages\.(\d+)\.conv", lambda m: f"decoder.{int(m[1]) + 1}.conv.upconv.0"),
]


def _to_first_stage(ours: str, original: str) -> Rules:
    return [
        (ours + r"upsample\.conv", original + "conv1.upconv.0"),
        (ours + r"enlarge\.conv", original + "conv2.upconv.0"),
        (ours + r"narrow\.", original + "conv1."),
        (ours + r"widen\.", original + "conv2."),
    ]


_RULES_BACK: dict[str, Rules] = {
    "nerv": _TO_PLAIN,
    "e-nerv": [
        *_TO_DISENTANGLED,
        *_to_first_stage(r"^decoder\.stages\.(\d+)\.block\.", r"layers.\1."),
        (r"^decoder\.stages\.(\d+)\.block\.conv", r"layers.\1.conv.upconv.0"),
        (r"^decoder\.stages\.(\d+)\.modulation\.", r"t_layers.\1."),
    ],
    "hnerv": [*_TO_ENCODER, *_TO_PLAIN],
    "e-nerv-boost": [
        *_TO_DISENTANGLED,
        *_to_first_stage(r"^decoder\.expand\.", "layers.0."),
        (r"^decoder\.expand_residual", "layers.0.residual"),
        (r"^decoder\.stages\.(\d+)\.", lambda m: f"layers.{int(m[1]) + 1}."),
        *_to_first_stage(r"^layers\.(\d+)\.expand\.", r"layers.\1."),
        *_TO_BLOCK,
    ],
    "nerv-boost": [*_TO_HEAD, (r"^decoder\.stem\.", "stem."), (r"^decoder\.stages\.", "layers."), *_TO_BLOCK],
    "hnerv-boost": [
        *_TO_ENCODER,
        *_TO_HEAD,
        (r"^decoder\.stem\.0", "decoder.0.conv.downconv"),
        (r"^decoder\.stem_residual", "decoder.0.residual"),
        (r"^decoder\.stages\.(\d+)\.", lambda m: f"decoder.{int(m[1]) + 1}."),
        *_TO_BLOCK,
    ],
    **d_nerv_names.RULES_BACK,
}
# Linear maps in the originals; all our other linear maps are 1×1 convolutions there.
_LINEAR_THERE = re.compile(r"pwconv|attn\.|ffn\.")
_WITH_TRANSFORMERS = ("e-nerv", "e-nerv-boost")
_HEAD_WIDTH = 64  # of their attention
_OUTPUT_MAP = "trans1.attn.to_out.0"


def our_name(model: str, original: str) -> str:
    """Our name of an original tensor, e.g. ``head_layer.weight`` → ``decoder.head.weight``."""
    return _renamed(original, _RULES[model])


def original_name(model: str, ours: str) -> str:
    """The original name of one of our tensors, e.g. ``decoder.head.weight`` → ``head_layer.weight``."""
    return _renamed(ours, _RULES_BACK[model])


def from_original(model: VideoModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict for `model` from original names; raises `UserError` with the first three mismatches."""
    name = _known(model)
    expected = model.state_dict()
    if _without_output_map(model):
        tensors = {**_identity_map(expected), **tensors}
    renamed = {our_name(name, original): tensor for original, tensor in tensors.items()}
    problems = [f"{key} is missing" for key in expected if key not in renamed]
    problems += [f"{key} is not in the model" for key in renamed if key not in expected]
    problems += [
        f"{key} has shape {list(renamed[key].shape)}, the model {list(value.shape)}"
        for key, value in expected.items()
        if key in renamed and _without_ones(renamed[key]) != _without_ones(value)
    ]
    if problems:
        raise UserError(f"the checkpoint does not fit {name}: " + "; ".join(problems[:3]))
    return {key: renamed[key].reshape(value.shape).to(torch.float32) for key, value in expected.items()}


def to_original(model: VideoModel) -> dict[str, Tensor]:
    """The tensors of `model` under their original names and in their original shapes, detached copies on the CPU.

    Raises `UserError` for a network that the original program cannot build.
    """
    name = _known(model)
    renamed = {original_name(name, ours): tensor for ours, tensor in model.state_dict().items()}
    if _without_output_map(model):
        for key, value in _identity_map(model.state_dict()).items():
            if not torch.equal(renamed.pop(key).cpu(), value):
                raise UserError(
                    f"the original {name} with tokens of {_HEAD_WIDTH} has no {key}, which was trained here: it cannot "
                    "be exported; train it with another token_width"
                )
    return {original: _original_shape(name, original, tensor).cpu().clone() for original, tensor in renamed.items()}


def _without_output_map(model: VideoModel) -> bool:
    """Whether the original omits the output map of its first attention, which has a single head."""
    return model.architecture.name in _WITH_TRANSFORMERS and getattr(model.spec, "token_width", 0) == _HEAD_WIDTH


def _identity_map(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The omitted output map, by its original names: the identity."""
    width = len(ours["decoder.stem.before.attention.output.bias"])
    return {f"{_OUTPUT_MAP}.weight": torch.eye(width), f"{_OUTPUT_MAP}.bias": torch.zeros(width)}


def _original_shape(model: str, original: str, tensor: Tensor) -> Tensor:
    if model in d_nerv_names.RULES:
        return d_nerv_names.original_shape(model, original, tensor)
    convolved = tensor.ndim == 2 and not _LINEAR_THERE.search(original)
    return tensor[:, :, None, None] if convolved else tensor


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _known(model: VideoModel) -> str:
    name = model.architecture.name
    if name not in _RULES:
        raise UserError(f"no original checkpoint layout is known for model '{name}'; known: {', '.join(_RULES)}")
    return name


def _without_ones(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]
