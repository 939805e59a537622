"""Cost of decoding a frame, counted on tensors without data before anything is allocated."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from boostnerv.models.architecture import Architecture, Spec

# Rates of one slow thread, part of the limits of the format. A convolution computes output channels in groups of 16,
# used or not, and large kernels miss oneDNN's fast code.
MACS_PER_S = 8e9
OUTPUTS_AT_ONCE = 16
SLOWER_BY_KERNEL = ((7, 1), (11, 4), (math.inf, 64))
BYTES_PER_S = 1e9
_S_PER_OPERATION = 5e-5
_S_BEFORE_CONVOLUTION = 5e-3  # oneDNN generates its code once


@dataclass(frozen=True)
class Work:
    """Cost of decoding.

    `peak_bytes` is the peak memory of all tensors during one forward pass, without weights. `moved_bytes` are read and
    written by all operations for one frame; `macs` are its multiply–accumulates. `nominal_s` are seconds per frame on
    one slow thread, `start_s` those before the first frame: estimates from shapes alone, the same on every machine. If
    one forward pass produces several frames, a frame has its share.
    """

    peak_bytes: int
    moved_bytes: int
    macs: int
    nominal_s: float
    start_s: float


@cache
def decoding_work(entry: Architecture, spec: Spec) -> Work:
    """Cost of decoding one frame, without allocating anything."""
    with torch.device("meta"):
        decoder = entry.decoder(spec)
        with _Count() as counted, torch.inference_mode():
            decoder(*spec.decoder_inputs())
    calls = spec.calls_per_frame
    return Work(
        peak_bytes=counted.peak_bytes,
        moved_bytes=math.ceil(calls * counted.moved_bytes),
        macs=math.ceil(calls * counted.macs),
        nominal_s=float(calls) * counted.nominal_s,
        start_s=_S_BEFORE_CONVOLUTION * counted.convolutions,
    )


def kmac_per_pixel(entry: Architecture, spec: Spec) -> float:
    """Thousands of multiply–accumulates per decoded pixel of the video; counted, not estimated."""
    return decoding_work(entry, spec).macs / (spec.height * spec.width) / 1000


class _Count(TorchDispatchMode):
    """Sums what operations on meta tensors would read, write and compute.

    Results of common operations in their common forms are constructed here. PyTorch could construct all of them, but
    for most it loads its compiler, which would take half of a decoder's start-up time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = self.moved_bytes = self.macs = 0
        self.convolutions = 0
        self.nominal_s = 0.0
        self._live: dict[StorageWeakRef, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping the compiler would load it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, macs = _usual(func, args, kwargs or {}) or _any_other(func, *args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        moved_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.moved_bytes += moved_bytes
        self.macs += macs
        self.convolutions += func in _CONVOLUTIONS
        self.nominal_s += _nominal_s(func, args, kwargs or {}, macs, moved_bytes)
        self._hold(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def _hold(self, results: Iterable[Tensor]) -> None:
        """Count the memory of results for as long as it is referenced."""
        self._live = {storage: size for storage, size in self._live.items() if not storage.expired()}
        for tensor in results:
            storage = tensor.untyped_storage()
            self._live[StorageWeakRef(storage)] = storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, sum(self._live.values()))


def _nominal_s(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], macs: int, moved_bytes: int) -> float:
    """Seconds of an operation on one slow thread."""
    memory_s = _S_PER_OPERATION + moved_bytes / BYTES_PER_S
    if func not in _CONVOLUTIONS:
        return memory_s + macs / MACS_PER_S
    weight = args[1]
    outputs = weight.shape[0] // _groups(args, kwargs)
    lanes = -(-outputs // OUTPUTS_AT_ONCE) * OUTPUTS_AT_ONCE
    slower = next(factor for largest, factor in SLOWER_BY_KERNEL if max(weight.shape[2:]) <= largest)
    return memory_s + slower * (lanes / outputs) * macs / MACS_PER_S


def _groups(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Groups of a convolution, its last argument."""
    named = kwargs.get("groups", 1)
    return int(args[6]) if len(args) == 7 else int(named)


Counted = tuple[Any, int]
"""The result of an operation, and its multiply–accumulates."""


def _usual(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Counted | None:
    """The result by `_USUAL`; None if it does not contain the operation, or not in this form."""
    make = _USUAL.get(func)
    if make is None:
        return None
    try:
        _signature(make).bind(*args, **kwargs)
    except TypeError:
        return None
    return make(*args, **kwargs)


_signature = cache(inspect.signature)


def _any_other(func: Any, *args: Any, **kwargs: Any) -> Counted:
    if func.is_view or func == torch.ops.aten.empty.memory_format:
        return func(*args, **kwargs), 0
    with FlopCounterMode(display=False) as counter:
        result = func(*args, **kwargs)
    return result, counter.get_total_flops() // 2


def _function_of_one(x: Tensor, *_: float, **__: object) -> Counted | None:
    return (x.new_empty(x.shape), 0) if x.is_floating_point() else None


def _function_of_two(x: Tensor, y: Tensor | float) -> Counted | None:
    if not (x.is_floating_point() or isinstance(y, float)):
        return None
    shape = np.broadcast_shapes(x.shape, y.shape) if isinstance(y, Tensor) else x.shape
    return x.new_empty(shape, dtype=torch.result_type(x, y)), 0


def _moments(x: Tensor, dim: Sequence[int], *, correction: int | None = None, keepdim: bool = False) -> Counted | None:
    if not keepdim:
        return None
    shape = [1 if axis in dim else length for axis, length in enumerate(x.shape)]
    return (x.new_empty(shape), x.new_empty(shape)), 0


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Counted | None:
    first = tensors[0]
    if any((tensor.shape, tensor.dtype) != (first.shape, first.dtype) for tensor in tensors):
        return None
    shape = list(first.shape)
    shape.insert(dim if dim >= 0 else dim + len(shape) + 1, len(tensors))
    return first.new_empty(shape), 0


def _concatenation(tensors: Sequence[Tensor], dim: int = 0) -> Counted | None:
    if any((tensor.dim(), tensor.dtype) != (tensors[0].dim(), tensors[0].dtype) for tensor in tensors):
        return None
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return tensors[0].new_empty(shape), 0


def _pixel_shuffle(x: Tensor, stride: int) -> Counted:
    *first, channels, rows, columns = x.shape
    return x.new_empty((*first, channels // stride**2, rows * stride, columns * stride)), 0


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Counted:
    result = x.new_empty((*x.shape[:-1], weight.shape[0]))
    return result, result.numel() * weight.shape[1]


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Counted | None:
    """Takes the arguments of PyTorch's operation."""
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
    result = x.new_empty((x.shape[0], weight.shape[0], *size))
    return result, result.numel() * weight[0].numel()


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Counted:
    result = query.new_empty((*query.shape[:-1], value.shape[-1]))
    return result, (query.numel() + result.numel()) * key.shape[-2]


def _range(*ends: Any, dtype: Any = None, device: Any = None, **_: object) -> Counted | None:
    if not all(isinstance(end, int) for end in ends):
        return None
    return torch.empty(len(range(*ends)), dtype=dtype or torch.int64, device=device), 0


def _identity(size: int, *, dtype: Any = None, device: Any = None, **_: object) -> Counted:
    return torch.empty(size, size, dtype=dtype or torch.float32, device=device), 0


def _matrix_product(added: Tensor, x: Tensor, y: Tensor, **_: object) -> Counted:
    """Batched matrix product plus `added`."""
    result = x.new_empty((*x.shape[:-1], y.shape[-1]))
    return result, result.numel() * x.shape[-1]


def _grid_sample(x: Tensor, grid: Tensor, *_: object) -> Counted:
    return x.new_empty((*x.shape[:2], *grid.shape[1:-1])), 0


def _mesh(axes: Sequence[Tensor], *, indexing: str) -> Counted | None:
    if indexing != "ij":
        return None
    shape = [len(axis) for axis in axes]
    return [x.view([-1 if i == axis else 1 for i in range(len(axes))]).expand(shape) for axis, x in enumerate(axes)], 0


def _lerp(start: Tensor, end: Tensor, weight: Tensor) -> Counted:
    return start.new_empty(np.broadcast_shapes(start.shape, end.shape, weight.shape)), 0


_aten = torch.ops.aten
_CONVOLUTIONS = (_aten.conv1d.default, _aten.conv2d.default, _aten.conv3d.default, _aten.convolution.default)
_FUNCTIONS_OF_ONE = (
    _aten.clamp.default,
    _aten.cos.default,
    _aten.gelu.default,
    _aten.relu.default,
    _aten.rsqrt.default,
    _aten.rsub.Scalar,
    _aten.sin.default,
    _aten.tanh.default,
)
_USUAL: dict[Any, Callable[..., Counted | None]] = {
    **dict.fromkeys(_FUNCTIONS_OF_ONE, _function_of_one),
    **dict.fromkeys((_aten.add.Tensor, _aten.div.Tensor, _aten.mul.Tensor, _aten.sub.Tensor), _function_of_two),
    **dict.fromkeys((_aten.arange.default, _aten.arange.start, _aten.arange.start_step), _range),
    _aten.baddbmm.default: _matrix_product,
    _aten.cat.default: _concatenation,
    _aten.conv2d.default: _convolution,
    _aten.eye.default: _identity,
    _aten.grid_sampler.default: _grid_sample,
    _aten.lerp.Tensor: _lerp,
    _aten.linear.default: _linear,
    _aten.meshgrid.indexing: _mesh,
    _aten.pixel_shuffle.default: _pixel_shuffle,
    _aten.scaled_dot_product_attention.default: _attention,
    _aten.stack.default: _stack,
    _aten.var_mean.correction: _moments,
}
