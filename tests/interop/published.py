"""Files as the published programs write them, made from recorded weights or from a model of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from tests.conftest import Golden
from tests.golden.models import with_prefix

FILES = {
    "nerv": "nerv",
    "e-nerv": "enerv",
    "hnerv": "hnerv",
    "nerv-boost": "nerv_boost",
    "e-nerv-boost": "enerv_boost",
    "hnerv-boost": "hnerv_boost",
}
FRAMES = 132  # of the video that the recorded weights are of
HEIGHT, WIDTH = 180, 320


def recorded(golden: Golden, model: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All recorded tensors of a model, and its weights under their original names."""
    tensors = golden.tensors(FILES[model])
    return tensors, with_prefix(tensors, "param.")


def namespace(golden: Golden, name: str, **changes: Any) -> dict[str, Any]:
    """The original arguments as a training writes them."""
    given = golden.manifest[FILES[name]]["reference_args"]
    return {**given, "crop_list": f"{HEIGHT}_{WIDTH}", "full_data_length": FRAMES, **changes}


def write_arguments(folder: Path, given: Mapping[str, Any]) -> None:
    (folder / "args.yaml").write_text(yaml.safe_dump(dict(given)))


def write_training(path: Path, weights: Mapping[str, Tensor], prefix: str = "") -> Path:
    """A training checkpoint with the state of an optimiser, as after one step."""
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.Adam(parameters)
    parameters[0].grad = torch.ones(2)
    optimizer.step()
    state = {prefix + name: value for name, value in weights.items()}
    torch.save({"epoch": 300, "state_dict": state, "optimizer": optimizer.state_dict()}, path)
    return path


def quantized(tensor: Tensor, axis: int | None, kind: torch.dtype) -> dict[str, Tensor]:
    """A tensor on eight bits, with one range or one along all axes but `axis`."""
    if axis is None or axis >= tensor.ndim:
        lowest, highest = tensor.min(), tensor.max()
    else:
        lowest, highest = tensor.amin(axis, keepdim=True), tensor.amax(axis, keepdim=True)
    lowest, scale = lowest.to(kind), ((highest - lowest) / 255).to(kind)
    codes = ((tensor - lowest) / scale.clamp(min=1e-6)).round().clamp(0, 255)
    return {"quant": codes.to(torch.uint8), "min": lowest, "scale": scale}


def value_of(entry: Mapping[str, Tensor]) -> Tensor:
    """What a quantised tensor stands for, number by number in float32."""
    shape = entry["quant"].shape
    lowest, scale = (entry[key].to(torch.float32).expand(shape) for key in ("min", "scale"))
    return lowest + scale * entry["quant"].to(torch.float32)
