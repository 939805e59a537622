"""From fine-tuned weights to the bytes of a ``.bnv`` file.

Everything that the decoder will know is snapped to the file's integer grids first, and codes are rounded
against the snapped steps: what the encoder measures is what the decoder shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boostnerv.codec import bitstream
from boostnerv.codec.entropy import LARGEST_CODE, STEP_GRID, GaussianGrid, encode_segments, gaussian_bits
from boostnerv.codec.quantizers import initial_step
from boostnerv.errors import UserError
from boostnerv.models.architecture import Architecture, Spec


@dataclass(frozen=True)
class Quantized:
    """Trained weights and embeddings with their learned quantisers, ready to be coded.

    `weights` in the order of the decoder's tensors; `steps` δ of each; `embeddings` float32 ``[T, e, h, w]``
    with `embedding_step` δ and `embedding_offset` β, or None.
    """

    weights: Mapping[str, Tensor]
    steps: Sequence[float]
    embeddings: Tensor | None
    embedding_step: float
    embedding_offset: float

    @staticmethod
    def after_training(weights: Mapping[str, Tensor], embeddings: Tensor | None, bits: int) -> Quantized:
        """Min–max quantisers for a model that was not fine-tuned."""
        steps = [float(initial_step(tensor, bits)) for tensor in weights.values()]
        if embeddings is None:
            return Quantized(weights, steps, None, 1.0, 0.0)
        step, offset = float(initial_step(embeddings, bits)), float(embeddings.min())
        return Quantized(weights, steps, embeddings, step, offset)


@dataclass(frozen=True)
class Encoded:
    """A finished file and what the encoder knows about it."""

    data: bytes
    weight_codes: list[NDArray[np.int32]]
    embedding_codes: list[NDArray[np.int32]]
    estimated_bits: float  # Gaussian bits of all codes under the stored μ, σ; side information not counted


def encode(entry: Architecture, spec: Spec, model: Quantized, *, fps: float, colour: str) -> Encoded:
    """Quantise, entropy-code and wrap; raises `UserError` for weights that are not finite."""
    if not np.isfinite([*model.steps, model.embedding_step, model.embedding_offset]).all():
        raise UserError(
            "the quantisers cannot be coded: a step or offset is not finite; the training diverged, "
            "run it again with a lower learning rate"
        )
    step_index = bitstream.snap_steps(np.array(model.steps))
    steps = STEP_GRID.decode(step_index)
    real_codes = [
        _real_codes(tensor, 0.0, step, name) for (name, tensor), step in zip(model.weights.items(), steps, strict=True)
    ]
    weight_codes, weight_grid = _fit(real_codes, origin=0, mean_bits=bitstream.MEAN_BITS_WEIGHTS)
    weight_side = bitstream.WeightSide(step_index, weight_grid)

    embedding_side: bitstream.EmbeddingSide | None = None
    embedding_codes: list[NDArray[np.int32]] = []
    embedding_data = b""
    if model.embeddings is not None:
        embedding_side, embedding_codes = _quantize_embeddings(model)
        embedding_data = encode_segments(embedding_codes, embedding_side.grid)
    stream = bitstream.Bitstream(
        header=bitstream.Header(entry, spec, fps, colour),
        weight_side=weight_side,
        embedding_side=embedding_side,
        weights=encode_segments(weight_codes, weight_grid),
        embeddings=embedding_data,
    )
    estimated = _estimate(weight_codes, weight_grid)
    if embedding_side is not None:
        estimated += _estimate(embedding_codes, embedding_side.grid)
    return Encoded(bitstream.write(stream), weight_codes, embedding_codes, estimated)


def _quantize_embeddings(model: Quantized) -> tuple[bitstream.EmbeddingSide, list[NDArray[np.int32]]]:
    assert model.embeddings is not None
    step_index = int(bitstream.snap_steps(np.array([model.embedding_step]))[0])
    step = float(STEP_GRID.decode(np.array(step_index)))
    offset_index = bitstream.snap_offset(model.embedding_offset, step)
    unfitted = bitstream.EmbeddingSide(step_index, offset_index, GaussianGrid.empty())
    real_codes = [_real_codes(frame, float(unfitted.offset), step, "embedding") for frame in model.embeddings]
    origin = round(float(np.mean([codes.mean() for codes in real_codes])))
    codes, grid = _fit(real_codes, origin=origin, mean_bits=bitstream.MEAN_BITS_FRAMES)
    return bitstream.EmbeddingSide(step_index, offset_index, grid), codes


def _real_codes(tensor: Tensor, offset: float, step: float, name: str) -> NDArray[np.float64]:
    """Unrounded codes, flat, float64."""
    values = (tensor.detach().cpu().numpy().astype(np.float64).reshape(-1) - offset) / step
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST_CODE:
        raise UserError(
            f"tensor {name} cannot be coded: its values are not finite or over {LARGEST_CODE} quantiser steps; "
            "the training diverged, run it again with a lower learning rate"
        )
    return values


def _fit(
    real_codes: list[NDArray[np.float64]], *, origin: int, mean_bits: int
) -> tuple[list[NDArray[np.int32]], GaussianGrid]:
    """Round codes and snap the moments of the unrounded ones, as the entropy model defines them."""
    codes = [np.rint(values).astype(np.int32) for values in real_codes]
    mean = np.array([values.mean() for values in real_codes])
    sigma = np.array([values.std(ddof=min(1, len(values) - 1)) for values in real_codes])
    return codes, GaussianGrid.fit(codes, mean, sigma, origin=origin, mean_bits=mean_bits)


def _estimate(codes: list[NDArray[np.int32]], grid: GaussianGrid) -> float:
    total = 0.0
    for values, mean, sigma in zip(codes, grid.mean, grid.sigma, strict=True):
        real = torch.from_numpy(values.astype(np.float64))
        total += float(gaussian_bits(real, torch.tensor(mean), torch.tensor(sigma)).sum())
    return total
