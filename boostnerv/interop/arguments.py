"""The architecture of a published checkpoint: from flags, then its ``args.yaml``, then the shapes of its tensors.

The original programs write the namespace of their command line as ``args.yaml`` beside their checkpoints. Widths and
levels of the positional encoding follow from tensor shapes; strides, frame size and number of frames do not, and must
be in one of the other two.
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
from boostnerv.interop import d_nerv_names
from boostnerv.interop.boosting_nerv import our_name
from boostnerv.interop.d_nerv_arguments import clip_fields
from boostnerv.interop.shapes import READ, fields_from_shapes
from boostnerv.models.architecture import Architecture, Spec, architecture

_ORIGINAL_MODELS = {"": "hnerv", "hnerv": "hnerv", "nerv": "nerv", "enerv": "e-nerv"}
_WITH_ENCODER = ("hnerv", "hnerv-boost")

_PIXEL_SHUFFLE, _PIXEL_SHUFFLE_AT_MOST_3 = "pshuffel", "pshuffel_3x3"
_LIST = "tuple[int, ...]"
_COLOURS = {"mean_e4", "deviation_e4"}  # set by --dataset


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The known part of an architecture; None means unknown."""

    model: str | None = None
    strides: tuple[int, ...] | None = None
    height: int | None = None  # of the video in pixels
    width: int | None = None
    frames: int | None = None
    fc_dim: int | None = None
    grid: tuple[int, int] | None = None  # rows and columns of the first feature map
    lengths: tuple[int, ...] | None = None  # frames of each video, for multi-video models
    size: str | None = None  # of D-NeRV, as published
    dataset: str | None = None  # of D-NeRV
    options: Mapping[str, Any] = field(default_factory=dict)  # further fields of the spec

    def over(self, other: Arguments) -> Arguments:
        """These arguments, completed by those of `other`."""
        values = {key.name: getattr(self, key.name) for key in dataclasses.fields(self)}
        known = {key: value for key, value in values.items() if value is not None}
        return dataclasses.replace(other, **known | {"options": {**other.options, **self.options}})


def make_spec(
    path: Path, flags: Arguments, tensors: Mapping[str, Tensor], embedded: Sequence[int] | None = None
) -> tuple[Architecture, Spec]:
    """Architecture and spec of the tensors (by original names) of the file `path`.

    `embedded` is the shape ``(T, e, h, w)`` of stored embeddings, if any, which also gives the number of frames and the
    frame size. Raises `UserError` for unknown, contradictory or unsupported arguments.
    """
    recorded = read_arguments(path)
    known = flags.over(recorded)
    if known.model is None:
        raise _missing(path, ["--model"])
    entry = architecture(known.model)
    types = {key.name: str(key.type) for key in dataclasses.fields(entry.spec)}
    if entry.name in d_nerv_names.RULES:
        return entry, _clip_spec(path, entry, flags, tensors, types)
    if entry.name not in READ:
        raise UserError(f"no original checkpoint layout is known for model '{entry.name}'; known: {', '.join(READ)}")
    if (flags.lengths, flags.size, flags.dataset) != (None, None, None):
        raise UserError(
            f"--lengths, --size and --dataset are of models of many videos, not of {entry.name}; leave them out"
        )
    # The file may have options that this model lacks; the user may not give any.
    usable = {key: value for key, value in recorded.options.items() if key in types}
    options = {**usable, **_checked_options(entry.name, flags.options, types)}
    read = fields_from_shapes(entry.name, {name: tensor.shape for name, tensor in tensors.items()}, known.strides)
    known = dataclasses.replace(known, options=options).over(_from_embeddings(entry.name, embedded))
    # Without a width no tensor fits, and that error names the tensors.
    fc_dim = known.fc_dim or read.pop("fc_dim", 1)
    read.pop("fc_dim", None)
    fields = {**read, **known.options, **_sizes(path, known), "fc_dim": fc_dim}
    return entry, entry.spec(**fields)


def _clip_spec(
    path: Path, entry: Architecture, flags: Arguments, tensors: Mapping[str, Tensor], types: Mapping[str, str]
) -> Spec:
    sizes = {key: getattr(flags, key) for key in ("strides", "height", "width", "frames", "fc_dim", "lengths")}
    fields = {key: value for key, value in sizes.items() if value is not None}
    fields |= _checked_options(entry.name, flags.options, types)
    shapes = {our_name(entry.name, name): tensor.shape for name, tensor in tensors.items()}
    return entry.spec(**clip_fields(path, entry.name, shapes, size=flags.size, dataset=flags.dataset, fields=fields))


def read_arguments(path: Path) -> Arguments:
    """Arguments from the ``args.yaml`` beside the file `path`; unknown if there is none."""
    beside = path.with_name("args.yaml")
    return from_namespace(read_yaml(beside, "arguments"), str(beside)) if beside.exists() else Arguments()


def from_namespace(given: Mapping[str, Any], where: str) -> Arguments:
    """Arguments of an original command line; raises `UserError` for unsupported ones."""
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
            **_fields(given, where, "reduce", lambda value: _reduction(value, where)),
            **_fields(given, where, "lower_width", lambda value: {"lower_width": int(value)}),
            **_fields(given, where, "expansion", lambda value: {"expansion": float(value)}),
            **_fields(given, where, "ks", lambda value: _kernels(value, given, model, where)),
            **_fields(given, where, "embed", _encoding),
            **_fields(given, where, "enc_dim", lambda value: {"encoder_width": int(float(str(value).split("_")[0]))}),
            **_fields(given, where, "num_blks", lambda value: _blocks_of_all_stages(value, given)),
            **_fields(given, where, "enc_blks", lambda value: {"encoder_blocks": int(value)}),
            **_fields(given, where, "dec_blks", lambda value: _blocks_of_each_stage(value, given, where)),
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
    """Our name of the original model; NeRV is called HNeRV there, with a positional encoding."""
    name = str(given.get("model") or "").lower().replace("-", "").replace("_", "")
    boosted = name.endswith("boost") and given.get("sft_block") != "none"
    plain = _ORIGINAL_MODELS[name.removesuffix("boost")]
    if plain == "hnerv" and not name.endswith("boost") and str(given.get("embed") or "").startswith("pe"):
        plain = "nerv"
    return f"{plain}-boost" if boosted else plain


def _check_behaviour(given: Mapping[str, Any], model: str, where: str) -> None:
    """Reject arguments that change the output of a network without changing any tensor shape."""
    supported = {
        "act": "sin" if model.endswith("boost") else "gelu",
        "norm": "none",
        "out_bias": "tanh",
        "lfreq": "pi",
    }
    for key, value in supported.items():
        if str(given.get(key, value)) != value:
            raise UserError(f"{where}: {key} = {given[key]!r} is not what {model} does here ({value}); not supported")
    _check_convolutions(given, model, where)
    strides = given.get("enc_strds")
    if strides and strides != given.get("dec_strds", strides):
        raise UserError(f"{where}: enc_strds = {strides} differ from dec_strds = {given['dec_strds']}; not supported")


def _check_convolutions(given: Mapping[str, Any], model: str, where: str) -> None:
    """Reject unsupported convolutions: ``conv_type`` names that of the encoder, then that of the decoder."""
    kinds = _value(given, where, "conv_type", lambda value: (str(value[0]), str(value[1])))
    if kinds is None:
        return
    if model in _WITH_ENCODER and kinds[0] != "convnext":
        raise UserError(f"{where}: conv_type has an encoder of '{kinds[0]}', {model} has convnext here; not supported")
    if kinds[1] not in (_PIXEL_SHUFFLE, _PIXEL_SHUFFLE_AT_MOST_3):
        raise UserError(
            f"{where}: conv_type has a decoder of '{kinds[1]}', {model} has {_PIXEL_SHUFFLE} or "
            f"{_PIXEL_SHUFFLE_AT_MOST_3} here; not supported"
        )


def _frame_size(given: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width after the original loader, which crops, then resizes, unless the crop comes ``last``."""
    crop, resize = str(given["crop_list"]), str(given.get("resize_list", "-1"))
    if resize != "-1" and "last" not in crop:
        return _pair(resize) if "_" in resize else None
    return None if crop == "-1" else _pair(crop)


def _pair(value: Any) -> tuple[int, int]:
    first, second = str(value).split("_")[:2]
    return int(first), int(second)


def _kernels(value: Any, given: Mapping[str, Any], model: str | None, where: str) -> dict[str, int]:
    """``0_1_5``: kernel of the encoder, first and largest kernel of the decoder, as its convolutions use them."""
    _, smallest, largest = map(int, str(value).split("_"))
    boosted = model is not None and model.endswith("boost")
    usual = _PIXEL_SHUFFLE_AT_MOST_3 if boosted else _PIXEL_SHUFFLE
    kind = _value(given, where, "conv_type", lambda kinds: str(kinds[1])) or usual
    if kind == usual:
        return {"kernel_smallest": smallest, "kernel_largest": largest}
    if boosted:
        return {"kernel_smallest": smallest, "kernel_largest": largest, "kernel_limit": max(largest, 3)}
    return {"kernel_smallest": min(smallest, 3), "kernel_largest": min(largest, 3)}


def _blocks_of_all_stages(value: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """``1_2``: blocks per stage of the encoder and of the decoder, in HNeRV's notation."""
    of_encoder, of_decoder = map(int, str(value).split("_"))
    return {"encoder_blocks": of_encoder, "stage_blocks": (of_decoder,) * len(given.get("dec_strds") or ())}


def _blocks_of_each_stage(value: Any, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``[1, 1, 2]``: blocks of each stage of the decoder; entries past the last stage are ignored."""
    blocks = tuple(map(int, value))
    stages = len(given.get("dec_strds") or blocks)
    if len(blocks) < stages:
        raise UserError(f"{where} says dec_blks = {list(blocks)} for {stages} dec_strds; give one for each")
    return {"stage_blocks": blocks[:stages]}


def _encoding(value: Any) -> dict[str, float]:
    """``pe_1.25_80``: base and levels of the positional encoding; empty for none."""
    if not value:
        return {}
    base, levels = str(value).split("_")[-2:]
    return {"base": float(base), "levels": int(levels)}


def _fields(
    given: Mapping[str, Any], where: str, key: str, read: Callable[[Any], Mapping[str, Any]]
) -> Mapping[str, Any]:
    return _value(given, where, key, read) or {}


def _value(given: Mapping[str, Any], where: str, key: str, read: Callable[[Any], Any]) -> Any:
    """A value as `read` parses it; None if absent. Raises `UserError` if it cannot be parsed."""
    if given.get(key) is None and key != "model":
        return None
    try:
        return read(given.get(key))
    except (TypeError, ValueError, LookupError) as error:
        raise UserError(f"{where}: {key} = {given.get(key)!r} is not understood; correct it there") from error


def _checked_options(name: str, given: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """The user's options with the types of the spec's fields; fields with a flag of their own are not allowed."""
    own = {key.name for key in dataclasses.fields(Arguments)} | _COLOURS
    free = sorted(key for key, kind in types.items() if kind in ("int", "float", _LIST) and key not in own)
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if key not in free:
            raise UserError(f"model {name} has no option '{key}': {nearest(key, free)}")
        try:
            checked[key] = _option(value, types[key])
        except ValueError as error:
            expected = "a list of whole numbers like 1,1,2" if types[key] == _LIST else f"of type {types[key]}"
            raise UserError(f"model {name}: option {key} = {value!r} is not {expected}; correct it") from error
    return checked


def _option(value: Any, kind: str) -> Any:
    if kind == _LIST:
        return tuple(map(int, value.split(",") if isinstance(value, str) else value))
    return float(value) if kind == "float" else int(value)


def _from_embeddings(name: str, shape: Sequence[int] | None) -> Arguments:
    if shape is None:
        return Arguments()
    grid = (shape[2], shape[3]) if name in _WITH_ENCODER and len(shape) == 4 else None
    return Arguments(frames=shape[0], grid=grid)


def _sizes(path: Path, known: Arguments) -> dict[str, Any]:
    """Strides, frames, height and width of a spec; a missing frame size follows from the grid of the first map."""
    height, width = known.height, known.width
    if known.grid is not None and known.strides is not None:
        step = math.prod(known.strides)
        height, width = height or known.grid[0] * step, width or known.grid[1] * step
    sizes = {"strides": known.strides, "frames": known.frames, "height": height, "width": width}
    missing = [f"--{key}" for key, value in sizes.items() if value is None]
    if missing:
        raise _missing(path, missing)
    return sizes


def _missing(path: Path, flags: Sequence[str]) -> UserError:
    return UserError(
        f"{path} does not say all of its architecture: give {', '.join(flags)}, "
        "or put the args.yaml of its training beside it"
    )
