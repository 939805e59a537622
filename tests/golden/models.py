"""Our models with the recorded weights of the original ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from boostnerv.interop.boosting_nerv import from_original
from boostnerv.models.architecture import VideoModel, architecture


def recorded_model(
    name: str, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor], *, frames: int
) -> VideoModel:
    """Build the model of the original `arguments` and give it the tensors ``param.*``, quantisers left out."""
    rows, columns = map(int, arguments["fc_hw"].split("_"))
    strides = tuple(arguments["dec_strds"])
    step = math.prod(strides)
    entry = architecture(name)
    spec = entry.spec(
        frames=frames, height=rows * step, width=columns * step, strides=strides, fc_dim=arguments["fc_dim"]
    )
    model = VideoModel(entry, spec)
    model.load_state_dict(from_original(model, with_prefix(tensors, "param.")))
    return model


def recorded_clip_model(name: str, recorded: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> VideoModel:
    """Build the model of clips of the `recorded` arguments and give it the tensors ``param.*``."""
    rows, columns = map(int, recorded["fc_hw"].split("_"))
    step = math.prod(recorded["strides"])
    entry = architecture(name)
    choices = {
        "lengths": (16,),
        "mean_e4": tuple(round(10_000 * value) for value in recorded["dataset_mean"]),
        "deviation_e4": tuple(round(10_000 * value) for value in recorded["dataset_std"]),
    }
    spec = entry.spec(
        frames=16,
        height=rows * step,
        width=columns * step,
        strides=tuple(recorded["strides"]),
        fc_dim=recorded["fc_dim"],
        **choices,
    )
    model = VideoModel(entry, spec)
    model.load_state_dict(from_original(model, with_prefix(tensors, "param.")))
    return model


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name begins with `prefix`, without it; those of quantisers left out."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix) and "quantizer" not in name
    }


def images(frames: Tensor) -> Tensor:
    """uint8 ``[N, H, W, 3]`` → float32 ``[N, 3, H, W]`` in [0, 1]."""
    return frames.permute(0, 3, 1, 2) / 255
