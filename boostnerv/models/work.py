"""What decoding a frame takes, counted on tensors without data before anything is allocated."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from boostnerv.models.architecture import Architecture, Spec
from boostnerv.models.clips import calls_per_frame, decoder_inputs, made_bytes


@dataclass(frozen=True)
class Work:
    """What decoding takes: bytes that the largest operation reads and writes, bytes that all of them do for one frame,
    and multiply–accumulates of one frame. A frame's share where several are made together."""

    largest_step_bytes: int
    moved_bytes: int
    macs: int


@cache
def decoding_work(entry: Architecture, spec: Spec) -> Work:
    """Work of decoding one frame; nothing is allocated."""
    with torch.device("meta"):
        decoder = entry.decoder(spec)
        with _Count() as counted, torch.inference_mode():
            decoder(*decoder_inputs(spec))
    calls = calls_per_frame(spec)
    largest_step_bytes = max(counted.largest_step_bytes, made_bytes(spec))
    return Work(largest_step_bytes, math.ceil(calls * counted.moved_bytes), math.ceil(calls * counted.macs))


def kmac_per_pixel(entry: Architecture, spec: Spec) -> float:
    """Thousand multiply–accumulates of decoding one frame, per pixel of the video; counted, not estimated."""
    return decoding_work(entry, spec).macs / (spec.height * spec.width) / 1000


class _Count(TorchDispatchMode):
    """Adds up what operations on tensors of the meta device would read, write and compute.

    Results of the usual operations in their usual forms are made here. PyTorch can make all of them, but its own way to
    most loads its compiler, which would be half of what a decoder takes to start.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest_step_bytes = self.moved_bytes = self.macs = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be skipped by the compiler would load it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, macs = _usual(func, args, kwargs or {}) or _any_other(func, *args, **(kwargs or {}))
        values = tree_leaves((args, kwargs, result))
        taken = sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))
        self.largest_step_bytes = max(self.largest_step_bytes, taken)
        self.moved_bytes += taken
        self.macs += macs
        return result


Made = tuple[Any, int]
"""The result of an operation, and its multiply–accumulates."""


def _usual(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Made | None:
    """What `_USUAL` makes; None where it knows the operation not, or not in this form."""
    make = _USUAL.get(func)
    if make is None:
        return None
    try:
        _signature(make).bind(*args, **kwargs)
    except TypeError:
        return None
    return make(*args, **kwargs)


_signature = cache(inspect.signature)


def _any_other(func: Any, *args: Any, **kwargs: Any) -> Made:
    if func.is_view or func == torch.ops.aten.empty.memory_format:
        return func(*args, **kwargs), 0
    with FlopCounterMode(display=False) as counter:
        result = func(*args, **kwargs)
    return result, counter.get_total_flops() // 2


def _function_of_one(x: Tensor, **_: object) -> Made:
    return x.new_empty(x.shape), 0


def _function_of_two(x: Tensor, y: Tensor | float) -> Made | None:
    if not x.is_floating_point():
        return None
    shape = np.broadcast_shapes(x.shape, y.shape) if isinstance(y, Tensor) else x.shape
    return x.new_empty(shape, dtype=torch.result_type(x, y)), 0


def _moments(x: Tensor, dim: Sequence[int], *, correction: int | None = None, keepdim: bool = False) -> Made | None:
    if not keepdim:
        return None
    shape = [1 if axis in dim else length for axis, length in enumerate(x.shape)]
    return (x.new_empty(shape), x.new_empty(shape)), 0


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Made | None:
    first = tensors[0]
    if any((each.shape, each.dtype) != (first.shape, first.dtype) for each in tensors):
        return None
    shape = list(first.shape)
    shape.insert(dim if dim >= 0 else dim + len(shape) + 1, len(tensors))
    return first.new_empty(shape), 0


def _concatenation(tensors: Sequence[Tensor], dim: int = 0) -> Made | None:
    if any((each.dim(), each.dtype) != (tensors[0].dim(), tensors[0].dtype) for each in tensors):
        return None
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return tensors[0].new_empty(shape), 0


def _pixel_shuffle(x: Tensor, stride: int) -> Made:
    *first, channels, rows, columns = x.shape
    return x.new_empty((*first, channels // stride**2, rows * stride, columns * stride)), 0


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Made:
    made = x.new_empty((*x.shape[:-1], weight.shape[0]))
    return made, made.numel() * weight.shape[1]


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Made | None:
    if x.dim() != weight.dim() or x.shape[1] != weight.shape[1] * groups:
        return None
    size = [
        (length + 2 * pad - spread * (kernel - 1) - 1) // step + 1
        for length, kernel, step, pad, spread in zip(
            x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    if min(size) < 1:
        return None
    made = x.new_empty((x.shape[0], weight.shape[0], *size))
    return made, made.numel() * weight[0].numel()


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Made:
    made = query.new_empty((*query.shape[:-1], value.shape[-1]))
    return made, (query.numel() + made.numel()) * key.shape[-2]


_aten = torch.ops.aten
_FUNCTIONS_OF_ONE = (
    _aten.cos.default,
    _aten.gelu.default,
    _aten.relu.default,
    _aten.rsqrt.default,
    _aten.sin.default,
    _aten.tanh.default,
)
_USUAL: dict[Any, Callable[..., Made | None]] = {
    **dict.fromkeys(_FUNCTIONS_OF_ONE, _function_of_one),
    **dict.fromkeys((_aten.add.Tensor, _aten.div.Tensor, _aten.mul.Tensor, _aten.sub.Tensor), _function_of_two),
    _aten.cat.default: _concatenation,
    _aten.conv2d.default: _convolution,
    _aten.linear.default: _linear,
    _aten.pixel_shuffle.default: _pixel_shuffle,
    _aten.scaled_dot_product_attention.default: _attention,
    _aten.stack.default: _stack,
    _aten.var_mean.correction: _moments,
}
