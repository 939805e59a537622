"""What a published checkpoint was made with: flags first, then its ``args.yaml``, then the shapes of its tensors.

The original programs write the namespace of their command line as ``args.yaml`` beside their checkpoints. What the
shapes of tensors say (widths, levels of the positional encoding) is not asked for; what they do not say (strides,
frame size, number of frames) must stand in one of the other two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from boostnerv.config import read_yaml
from boostnerv.errors import UserError, nearest
from boostnerv.interop import d_nerv
from boostnerv.interop.boosting_nerv import our_name
from boostnerv.interop.clips import clip_fields
from boostnerv.models.architecture import Architecture, Spec, architecture

_ORIGINAL_MODELS = {"": "hnerv", "hnerv": "hnerv", "nerv": "nerv", "enerv": "e-nerv"}
_WITH_ENCODER = ("hnerv", "hnerv-boost")

# Where the shape of a tensor says a field of the spec: (our name, axis, divisor).
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
_READ: dict[str, _Read] = {
    "nerv": {"fc_dim": ("decoder.stages.0.conv.weight", 1, 1), "levels": ("decoder.stem.0.weight", 1, 2)},
    "e-nerv": {"fc_dim": ("decoder.stages.0.block.upsample.conv.weight", 1, 1), **_CONDITION, **_TOKENS},
    "hnerv": _ENCODED,
    "nerv-boost": {
        "fc_dim": ("decoder.stages.0.upsample.conv.weight", 1, 1),
        "stem_width": ("decoder.stem.0.weight", 0, 1),
        **_CONDITION,
    },
    "e-nerv-boost": {"fc_dim": ("decoder.expand.upsample.conv.weight", 1, 1), **_CONDITION, **_TOKENS},
    "hnerv-boost": {**_ENCODED, **_CONDITION},
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is known of an architecture; None is not known."""

    model: str | None = None
    strides: tuple[int, ...] | None = None
    height: int | None = None  # of the video in pixels
    width: int | None = None
    frames: int | None = None
    fc_dim: int | None = None
    grid: tuple[int, int] | None = None  # rows and columns of the first feature map
    lengths: tuple[int, ...] | None = None  # frames of each video, for models of many
    size: str | None = None  # of D-NeRV, as published
    dataset: str | None = None  # of D-NeRV
    options: Mapping[str, Any] = field(default_factory=dict)  # further fields of the spec

    def over(self, other: Arguments) -> Arguments:
        """These, and those of `other` where these say nothing."""
        said = {key.name: getattr(self, key.name) for key in dataclasses.fields(self)}
        known = {key: value for key, value in said.items() if value is not None}
        return dataclasses.replace(other, **known | {"options": {**other.options, **self.options}})


def make_spec(
    path: Path, flags: Arguments, tensors: Mapping[str, Tensor], embedded: Sequence[int] | None = None
) -> tuple[Architecture, Spec]:
    """Architecture and spec of the tensors (original names) of the file `path`.

    `embedded` is the shape ``(T, e, h, w)`` of stored embeddings, where the file has them: it says the number of
    frames and the frame size as well. Raises `UserError` for what is unknown, contradictory or not supported.
    """
    recorded = read_arguments(path)
    known = flags.over(recorded)
    if known.model is None:
        raise _missing(path, ["--model"])
    entry = architecture(known.model)
    types = {key.name: str(key.type) for key in dataclasses.fields(entry.spec)}
    if entry.name in d_nerv.RULES:
        return entry, _clip_spec(path, entry, flags, tensors, types)
    if entry.name not in _READ:
        raise UserError(f"no original checkpoint layout is known for model '{entry.name}'; known: {', '.join(_READ)}")
    if (flags.lengths, flags.size, flags.dataset) != (None, None, None):
        raise UserError(
            f"--lengths, --size and --dataset are of models of many videos, not of {entry.name}; leave them out"
        )
    # The file may say more than this model has; the user may not.
    usable = {key: value for key, value in recorded.options.items() if key in types}
    options = {**usable, **_checked_options(entry.name, flags.options, types)}
    shapes = {our_name(entry.name, name): tensor.shape for name, tensor in tensors.items()}
    read = _from_shapes(_READ[entry.name], shapes)
    known = dataclasses.replace(known, options=options).over(_from_embeddings(entry.name, embedded))
    # Without it nothing fits, and the sentence about that names the tensors.
    fc_dim = known.fc_dim or read.pop("fc_dim", 1)
    read.pop("fc_dim", None)
    fields = {**read, **known.options, **_sizes(path, known), "fc_dim": fc_dim}
    return entry, entry.spec(**fields)


def _clip_spec(
    path: Path, entry: Architecture, flags: Arguments, tensors: Mapping[str, Tensor], types: Mapping[str, str]
) -> Spec:
    given = {key: getattr(flags, key) for key in ("strides", "height", "width", "frames", "fc_dim", "lengths")}
    said = {key: value for key, value in given.items() if value is not None}
    said |= _checked_options(entry.name, flags.options, types)
    shapes = {our_name(entry.name, name): tensor.shape for name, tensor in tensors.items()}
    return entry.spec(**clip_fields(path, entry.name, shapes, size=flags.size, dataset=flags.dataset, said=said))


def read_arguments(path: Path) -> Arguments:
    """Of the ``args.yaml`` beside the file `path`; nothing is known where there is none."""
    beside = path.with_name("args.yaml")
    return from_namespace(read_yaml(beside, "arguments"), str(beside)) if beside.exists() else Arguments()


def from_namespace(given: Mapping[str, Any], where: str) -> Arguments:
    """Arguments of an original command line; raises `UserError` for those that our models cannot follow."""
    model = _value(given, where, "model", lambda _: _model(given)) if {"model", "embed"} & set(given) else None
    if model is not None:
        _check_behaviour(given, model, where)
    height, width = _value(given, where, "crop_list", lambda _: _frame_size(given)) or (None, None)
    indexed = model is not None and model not in _WITH_ENCODER
    return Arguments(
        model=model,
        strides=_value(given, where, "dec_strds", lambda value: tuple(map(int, value))),
        height=height,
        width=width,
        frames=_value(given, where, "full_data_length", int),
        fc_dim=_value(given, where, "fc_dim", int),
        grid=_value(given, where, "fc_hw", _pair) if indexed else None,
        options={
            **_numbers(given, where, "reduce", lambda value: _reduction(value, where)),
            **_numbers(given, where, "lower_width", lambda value: {"lower_width": int(value)}),
            **_numbers(given, where, "ks", _kernels),
            **_numbers(given, where, "embed", _encoding),
        },
    )


def _reduction(value: Any, where: str) -> dict[str, float]:
    if float(value) == -1:
        raise UserError(
            f"{where} says reduce = -1, widths divided by the square root of the stride: "
            "that is not supported, every stage here divides by the same number"
        )
    return {"reduce": float(value)}


def _model(given: Mapping[str, Any]) -> str:
    """Our name of the original model; NeRV is the one called HNeRV that is given a positional encoding."""
    name = str(given.get("model") or "").lower().replace("-", "").replace("_", "")
    boosted = name.endswith("boost") and given.get("sft_block") != "none"
    plain = _ORIGINAL_MODELS[name.removesuffix("boost")]
    if plain == "hnerv" and not name.endswith("boost") and str(given.get("embed") or "").startswith("pe"):
        plain = "nerv"
    return f"{plain}-boost" if boosted else plain


def _check_behaviour(given: Mapping[str, Any], model: str, where: str) -> None:
    """Refuse what changes the output of a network without changing the shape of any tensor."""
    wanted = {
        "act": "sin" if model.endswith("boost") else "gelu",
        "norm": "none",
        "out_bias": "tanh",
        "lfreq": "pi",
    }
    for key, value in wanted.items():
        if str(given.get(key, value)) != value:
            raise UserError(f"{where}: {key} = {given[key]!r} is not what {model} does here ({value}); not supported")
    strides = given.get("enc_strds")
    if strides and strides != given.get("dec_strds", strides):
        raise UserError(f"{where}: enc_strds = {strides} differ from dec_strds = {given['dec_strds']}; not supported")


def _frame_size(given: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width after the original loader: cropped, then resized, unless the crop comes ``last``."""
    crop, resize = str(given["crop_list"]), str(given.get("resize_list", "-1"))
    if resize != "-1" and "last" not in crop:
        return _pair(resize) if "_" in resize else None
    return None if crop == "-1" else _pair(crop)


def _pair(value: Any) -> tuple[int, int]:
    first, second = str(value).split("_")[:2]
    return int(first), int(second)


def _kernels(value: Any) -> dict[str, int]:
    """``0_1_5``: encoder, first and largest kernel of the decoder."""
    _, smallest, largest = map(int, str(value).split("_"))
    return {"kernel_smallest": smallest, "kernel_largest": largest}


def _encoding(value: Any) -> dict[str, float]:
    """``pe_1.25_80``: base and levels of the positional encoding; empty for none."""
    if not value:
        return {}
    base, levels = str(value).split("_")[-2:]
    return {"base": float(base), "levels": int(levels)}


def _numbers(
    given: Mapping[str, Any], where: str, key: str, read: Callable[[Any], Mapping[str, float]]
) -> Mapping[str, float]:
    return _value(given, where, key, read) or {}


def _value(given: Mapping[str, Any], where: str, key: str, read: Callable[[Any], Any]) -> Any:
    """What `read` makes of a value; None where there is none, a `UserError` where it cannot be read."""
    if given.get(key) is None and key != "model":
        return None
    try:
        return read(given.get(key))
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{where}: {key} = {given.get(key)!r} is not understood; correct it there") from error


def _checked_options(name: str, given: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Options of the user with the types of the spec's fields; those with a flag of their own are none."""
    own = {key.name for key in dataclasses.fields(Arguments)}
    free = sorted(key for key, kind in types.items() if kind in ("int", "float") and key not in own)
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if key not in free:
            raise UserError(f"model {name} has no option '{key}': {nearest(key, free)}")
        kind = float if types[key] == "float" else int
        try:
            checked[key] = kind(value)
        except ValueError as error:
            raise UserError(
                f"model {name}: option {key} = {value!r} is not of type {types[key]}; correct it"
            ) from error
    return checked


def _from_shapes(places: _Read, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    return {
        key: shapes[name][axis] // divisor
        for key, (name, axis, divisor) in places.items()
        if name in shapes and len(shapes[name]) > axis
    }


def _from_embeddings(name: str, shape: Sequence[int] | None) -> Arguments:
    if shape is None:
        return Arguments()
    grid = (shape[2], shape[3]) if name in _WITH_ENCODER and len(shape) == 4 else None
    return Arguments(frames=shape[0], grid=grid)


def _sizes(path: Path, known: Arguments) -> dict[str, Any]:
    """Strides, frames, height and width of a spec; the grid of the first map stands in for a missing frame size."""
    height, width = known.height, known.width
    if known.grid is not None and known.strides is not None:
        step = math.prod(known.strides)
        height, width = height or known.grid[0] * step, width or known.grid[1] * step
    found = {"strides": known.strides, "frames": known.frames, "height": height, "width": width}
    missing = [f"--{key}" for key, value in found.items() if value is None]
    if missing:
        raise _missing(path, missing)
    return found


def _missing(path: Path, flags: Sequence[str]) -> UserError:
    return UserError(
        f"{path} does not say all of its architecture: give {', '.join(flags)}, "
        "or put the args.yaml of its training beside it"
    )
