"""The architecture of a published D-NeRV checkpoint: from flags, the shapes of its tensors, and its data set.

The files do not name their videos, but the published widths identify them: each belongs to one size on one data set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boostnerv.config import load_dataset
from boostnerv.errors import UserError, nearest

_WITH_KEYFRAMES = "d-nerv"
_EXPANSION, _LOWER_WIDTH = 2.0, 32  # of the published models


@dataclass(frozen=True)
class _Published:
    """A data set as the paper prepares it: fields of a spec, and the width of each size of each model."""

    fields: Mapping[str, Any]
    widths: Mapping[str, Mapping[str, int]]

    def size_of(self, model: str, fc_dim: int) -> str | None:
        return next((size for size, width in self.widths.get(model, {}).items() if width == fc_dim), None)


_DATASETS = {
    "uvg": _Published(
        {
            "height": 1024,
            "width": 1920,
            "patch_rows": 4,
            "patch_columns": 6,
            "mean_e4": (4519, 4505, 4519),
            "deviation_e4": (2434, 2547, 2958),
        },
        {"d-nerv": {"XS": 107, "S": 166, "M": 213, "L": 291, "XL": 382}},
    ),
    "ucf101-train": _Published(
        {"height": 256, "width": 320, "mean_e4": (3986, 3829, 3546), "deviation_e4": (2805, 2747, 2787)},
        {"d-nerv": {"S": 198, "M": 281, "L": 361}, "d-nerv-baseline": {"S": 465, "M": 510, "L": 562}},
    ),
}


def clip_fields(
    path: Path,
    model: str,
    shapes: Mapping[str, Sequence[int]],
    *,
    size: str | None,
    dataset: str | None,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """Fields of the spec of a multi-video model whose tensors (by our names) have these `shapes`.

    The user's `fields` take precedence. Raises `UserError` for missing fields, a `size` of another width, and an
    unknown `dataset`.
    """
    read = _from_shapes(model, shapes)
    fc_dim = fields.get("fc_dim", read.get("fc_dim", 1))
    published = _dataset(path, model, fc_dim, size, dataset)
    known = {**read, **published, **fields, "fc_dim": fc_dim}
    if "lengths" not in fields and "frames" in fields:
        known["lengths"] = (fields["frames"],)
    known["frames"] = fields.get("frames", sum(known.get("lengths", ())))
    missing = [f"--{key}" for key in ("strides", "height", "width", "lengths") if key not in known]
    if model == _WITH_KEYFRAMES and "mean_e4" not in known:
        missing.append(f"--dataset ({' or '.join(_DATASETS)}), whose colours the network was trained with")
    if missing:
        raise UserError(f"{path} does not say all of its architecture: give {', '.join(missing)}")
    return known


def _dataset(path: Path, model: str, fc_dim: int, size: str | None, dataset: str | None) -> dict[str, Any]:
    """Fields of the data set of that name, or of the one with that width; empty for an unknown width."""
    if dataset is not None and dataset not in _DATASETS:
        raise UserError(f"unknown data set '{dataset}' of D-NeRV: {nearest(dataset, _DATASETS)}")
    chosen = {name: entry for name, entry in _DATASETS.items() if dataset in (None, name)}
    sizes = {name: entry.size_of(model, fc_dim) for name, entry in chosen.items()}
    fitting = {name: chosen[name] for name, fitted in sizes.items() if fitted and size in (None, fitted)}
    if size is not None and not fitting:
        widths = [
            f"{entry.widths[model][size]} on {name}"
            for name, entry in chosen.items()
            if size in entry.widths.get(model, {})
        ]
        known = f"is {' and '.join(widths)}" if widths else "is not known"
        raise UserError(
            f"{path} has width {fc_dim}, but that of {model} at size {size} {known}; correct --size, or leave it out"
        )
    name = dataset or next(iter(fitting), None)
    if name is None:
        return {}
    lengths = tuple(video.frames for video in load_dataset(name).videos) if name == "uvg" else None
    return {**_DATASETS[name].fields, **({"lengths": lengths} if lengths else {})}


def _from_shapes(model: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Widths, strides and clip length, as far as tensor shapes give them."""

    def side(name: str, axis: int) -> int:
        shape = shapes.get(f"decoder.{name}.weight", ())
        return shape[axis] if len(shape) > axis else 0

    keyed = model == _WITH_KEYFRAMES
    block = "stages.{}.upsample.conv" if keyed else "stages.{}.conv"
    stages = next(count for count in range(len(shapes) + 1) if not side(block.format(count), 0))
    inputs = [side(block.format(stage), 1) for stage in range(stages)]
    inputs.append(side("head.0", 1) - 3 if keyed else side("head", 1))
    strides = [math.isqrt(side(block.format(stage), 0) // max(inputs[stage + 1], 1)) for stage in range(stages)]
    encoder_width = side("encoder.head.0", 0)
    fields: dict[str, Any] = {
        "fc_dim": inputs[0] - encoder_width,
        "stem_width": side("stem.mlp.0", 0),
        "levels": side("stem.mlp.0", 1) // 2,
    }
    if keyed:
        fields |= {"encoder_width": encoder_width, "clip_frames": side("stages.0.temporal", 1)}
    if strides and min(strides) > 0:
        fields |= {"strides": tuple(strides), **_width_rule(fields["fc_dim"], inputs[1:], strides)}
    return {key: value for key, value in fields.items() if isinstance(value, tuple) or value > 0}


def _width_rule(fc_dim: int, widths: Sequence[int], strides: Sequence[int]) -> dict[str, float]:
    """``expansion`` and ``lower_width`` that yield these stage widths, if the published ones do not."""
    rule: dict[str, float] = {}
    if fc_dim > 0 and widths[0] != int(fc_dim * _EXPANSION):
        ratio = widths[0] / fc_dim
        rule["expansion"] = ratio if int(fc_dim * ratio) == widths[0] else (widths[0] + 0.5) / fc_dim
    pairs = list(zip(widths, widths[1:], strides[1:], strict=False))
    if any(width != max(round(before / stride), _LOWER_WIDTH) for before, width, stride in pairs):
        rule["lower_width"] = min(width for _, width, _ in pairs)
    return rule
