"""Width for a parameter budget: the published formula, and an exact search for a total parameter count."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from boostnerv.config import ModelSettings, OptionValue
from boostnerv.errors import UserError, nearest
from boostnerv.models.architecture import Architecture, Spec, StackBudget, architecture, tensor_shapes

_WIDEST = 1 << 14
_FIRST_ROWS = 9
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


def resolve(
    settings: ModelSettings,
    frames: int,
    height: int,
    width: int,
    *,
    embedded_frames: int | None = None,
    shape_fields: Mapping[str, Any] = NO_FIELDS,
) -> Spec:
    """The spec for model settings and a video; the size counts the embeddings of `embedded_frames`, by default all.

    `modelsize_m` (millions of parameters) follows the papers' formula, which the actual count over- or undershoots;
    `total_m` finds the width whose count, embeddings included, is nearest; `fc_dim` is the width itself. `shape_fields`
    are further fields of the spec that follow from the videos: their lengths, patches and colours. Raises `UserError`
    if no width fits.
    """
    entry = architecture(settings.name)
    narrow = narrowest(settings, embedded_frames or frames, height, width, shape_fields)
    if settings.fc_dim is not None:
        return dataclasses.replace(narrow, fc_dim=settings.fc_dim, frames=frames)
    if settings.modelsize_m is not None:
        fc_dim = published_width(narrow.stack, settings.modelsize_m)
        target_m = settings.modelsize_m
    else:
        assert settings.total_m is not None
        fc_dim = width_for_total(entry, narrow, settings.total_m * 1e6)
        target_m = settings.total_m
    if fc_dim < 1:
        raise UserError(
            f"{target_m:g} M parameters are too few for {settings.name} with strides {list(settings.strides)} on "
            f"{frames} frames of {height}×{width}: the narrowest has "
            f"{total_parameters(entry, narrow) / 1e6:.3g} M; choose a larger size"
        )
    return dataclasses.replace(narrow, fc_dim=fc_dim, frames=frames)


def narrowest(
    settings: ModelSettings, frames: int, height: int, width: int, shape_fields: Mapping[str, Any] = NO_FIELDS
) -> Spec:
    """The spec of the narrowest model (`fc_dim` 1) with the options of `settings`, of any size; see `resolve`."""
    shape = {"frames": frames, "height": height, "width": width, **shape_fields}
    return _make_spec(architecture(settings.name), settings, shape)


def natural_strides(height: int, width: int) -> tuple[int, ...]:
    """Strides for a frame size: a first feature map of about nine rows, as in the papers, and minimal padding.

    The results for 720×1280, ``(5, 2, 2, 2, 2)``, and 1080×1920, ``(5, 3, 2, 2, 2)``, are those of the papers.
    """
    heads = [(5,), (5, 3), (4,), (4, 3), (3,), (3, 3), (2,)]
    choices = [head + (2,) * twos for head in heads for twos in range(7)]

    def cost(strides: tuple[int, ...]) -> float:
        step = math.prod(strides)
        rows, columns = -(-height // step), -(-width // step)
        padding = rows * columns * step**2 / (height * width) - 1
        return abs(math.log2(min(rows, columns) / _FIRST_ROWS)) + 4 * padding

    return min(choices, key=cost)


def published_width(stack: StackBudget, modelsize_m: float) -> int:
    """Width by the papers' formula: the larger root of ``a·x² + b·x = modelsize − embeddings``, rounded down.

    0 if the embeddings alone exceed the size.
    """
    ratio = 1 / stack.reduce
    quadratic = ratio * sum(
        ratio ** (2 * stage) * stride**2 * kernel**2
        for stage, (stride, kernel) in enumerate(zip(stack.strides, stack.kernels, strict=True))
    )
    rest = modelsize_m * 1e6 - stack.embedding_parameters
    if rest <= 0:
        return 0
    linear = stack.linear_factor
    return int((-linear + math.sqrt(linear**2 + 4 * quadratic * rest)) / (2 * quadratic))


def width_for_total(entry: Architecture, narrow: Spec, total: float) -> int:
    """Width whose total parameter count is nearest to `total`; 0 if even width 1 exceeds `total` by over 1 %.

    Raises `UserError` for more parameters than a width of 2^14 has.
    """
    smallest = total_parameters(entry, narrow)
    if smallest > total:
        return 1 if smallest <= 1.01 * total else 0

    def count(fc_dim: int) -> int:
        return total_parameters(entry, dataclasses.replace(narrow, fc_dim=fc_dim))

    low, high = 1, 2
    while count(high) <= total:
        low, high = high, 2 * high
        if high > _WIDEST:
            raise UserError(f"{total / 1e6:g} M parameters are too many for {entry.name}; choose a smaller size")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= total else (low, middle)
    return min(low, high, key=lambda fc_dim: abs(count(fc_dim) - total))


@cache
def decoder_parameters(entry: Architecture, spec: Spec) -> int:
    """Stored parameters of the decoder, counted on the module without allocating it."""
    return sum(shape.numel() for shape in tensor_shapes(entry, spec).values())


def stored_embeddings(task: str, spec: Spec) -> int:
    """Entries in the embeddings that a model keeps: for interpolation those of every second frame."""
    entries: int = spec.embedding_parameters
    return entries * ((spec.frames + 1) // 2) // spec.frames if task == "interpolation" else entries


def total_parameters(entry: Architecture, spec: Spec) -> int:
    """Decoder parameters plus embedding entries: the model size as the papers define it."""
    return decoder_parameters(entry, spec) + spec.embedding_parameters


def _make_spec(entry: Architecture, settings: ModelSettings, shape: Mapping[str, Any]) -> Spec:
    fields = {field.name: field for field in dataclasses.fields(entry.spec)}
    fixed: dict[str, Any] = {**shape, "strides": settings.strides, "fc_dim": 1}
    free = sorted(set(fields) - set(fixed))
    options: dict[str, Any] = {}
    for key, value in settings.options.items():
        if key not in free:
            raise UserError(f"model {settings.name} has no option '{key}': {nearest(key, free)}")
        options[key] = _option(settings.name, key, value, str(fields[key].type))
    return entry.spec(**fixed, **options)


def _option(model: str, key: str, value: OptionValue, kind: str) -> Any:
    """The value of an option, converted to the type of its field; raises `UserError` for another type."""
    is_list = isinstance(value, list)
    numbers: list[Any] = value if isinstance(value, list) else [value]
    convert = float if kind == "float" else int
    if is_list != kind.startswith("tuple") or any(
        isinstance(number, str) or convert(number) != number for number in numbers
    ):
        type_name = "a list of whole numbers" if kind.startswith("tuple") else f"of type {kind}"
        raise UserError(f"model {model}: option {key} = {value!r} is not {type_name}; correct it in options")
    return tuple(map(convert, numbers)) if is_list else convert(numbers[0])
