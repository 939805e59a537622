"""Min–max post-training quantization (PTQ) of a tensor, as in the pipeline of HNeRV.

``q = round((x − min)/scale)`` with ``scale = (max − min)/(2^bits − 1)``, clamped to [0, 2^bits − 1]; value
``min + scale·q``. Min and scale are computed over the whole tensor, or along one axis with a pair for every position of
the other axes; the candidate with the smallest mean absolute error is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boostnerv.errors import UserError

# An axis is a candidate if its number of min–scale pairs is below this share of the entries.
_PAIRS_PER_ENTRY = 0.02


@dataclass(frozen=True)
class MinMax:
    """A quantised tensor: `codes` int32 in its shape, at least 0, and the numbers to dequantise them.

    `axis` None: `minimum` and `scale` are float32 scalars ``[]``. Otherwise they are float16, in the shape of the
    tensor with one entry along `axis`. A file stores both as they are.
    """

    codes: NDArray[np.int32]
    axis: int | None
    minimum: NDArray[np.floating]
    scale: NDArray[np.floating]

    def dequantize(self) -> Tensor:
        """Values ``min + scale·code`` in float32, in the shape of the tensor."""
        return torch.from_numpy(dequantize(self.codes, self.minimum, self.scale))


def dequantize(
    codes: NDArray[np.int32], minimum: NDArray[np.floating], scale: NDArray[np.floating]
) -> NDArray[np.float32]:
    """``minimum + scale·codes`` in float32; shapes broadcast. Not finite for values beyond the range of float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.asarray(codes, dtype=np.float32) * scale.astype(np.float32)
        return np.asarray(product + minimum.astype(np.float32))


def quantize(tensor: Tensor, bits: int) -> MinMax:
    """Quantise to `bits` (1 to 16) bits; raises `UserError` if values are not finite or too far apart."""
    values = tensor.detach().to("cpu", torch.float32).numpy()
    axes = [axis for axis, length in enumerate(values.shape) if 1 / length < _PAIRS_PER_ENTRY]
    best, least_error = None, math.inf
    for axis in (None, *axes):
        candidate = _quantize_along(values, axis, bits)
        error = _mean_absolute_error(candidate, values)
        if error < least_error:  # never true for candidates that are not finite
            best, least_error = candidate, error
    if best is None:
        raise UserError(
            f"a tensor of shape {tuple(tensor.shape)} cannot be quantised: its values are not finite or too far apart; "
            "the training diverged, run it again with a lower learning rate"
        )
    return best


def side_shape(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    """Shape of minimum and scale of a tensor: ``[]``, or the tensor's with one entry along `axis`."""
    return () if axis is None else (*shape[:axis], 1, *shape[axis + 1 :])


def side_dtype(axis: int | None) -> np.dtype[np.floating]:
    """Stored type of minimum and scale: float32 for a whole tensor, float16 for an axis."""
    return np.dtype("<f4") if axis is None else np.dtype("<f2")


def _quantize_along(values: NDArray[np.float32], axis: int | None, bits: int) -> MinMax:
    largest_code = 2**bits - 1
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = values.min(axis=axis, keepdims=axis is not None), values.max(axis=axis, keepdims=axis is not None)
        minimum = np.asarray(low, dtype=side_dtype(axis))
        scale = np.asarray((high - low) / np.float32(largest_code), dtype=side_dtype(axis))
        # Equal values, and those whose scale underflows the type, have code 0.
        steps = np.zeros_like(values)
        np.divide(values - minimum.astype(np.float32), scale.astype(np.float32), out=steps, where=scale > 0)
        codes = np.asarray(np.rint(steps).clip(0, largest_code), dtype=np.int32)
    return MinMax(codes, axis, minimum, scale)


def _mean_absolute_error(candidate: MinMax, values: NDArray[np.float32]) -> float:
    with np.errstate(invalid="ignore"):
        errors = np.abs(dequantize(candidate.codes, candidate.minimum, candidate.scale) - values)
    return float(errors.mean(dtype=np.float64))
