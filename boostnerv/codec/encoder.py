"""From trained weights to the segments of a ``.bnv`` file.

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

from boostnerv.codec.container.bitstream import Segment
from boostnerv.codec.entropy import payloads
from boostnerv.codec.entropy.entropy_models import Codes, Indices, models_of
from boostnerv.codec.entropy.estimates import frame_moments, gaussian_bits
from boostnerv.codec.quantizers import slices
from boostnerv.codec.quantizers.grids import LARGEST_CODE, STEP_GRID, offset_value, snap_offset, snap_steps, step_values
from boostnerv.codec.quantizers.min_max import quantize
from boostnerv.codec.quantizers.post_training import encode_tensors, published_bits
from boostnerv.codec.quantizers.trained import initial_step
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
        """Min–max quantisers for a model that was not fine-tuned, with steps that a file can say."""
        wanted = np.array([float(initial_step(tensor, bits)) for tensor in weights.values()])
        grid = STEP_GRID.decode(snap_steps(np.nan_to_num(wanted)))
        steps = np.where(np.isfinite(wanted), grid, wanted).tolist()  # what is not finite is refused later
        if embeddings is None:
            return Quantized(weights, steps, None, 1.0, 0.0)
        step, offset = float(initial_step(embeddings, bits)), float(embeddings.min())
        return Quantized(weights, steps, embeddings, step, offset)


@dataclass(frozen=True)
class Snapped:
    """Integers that a file stores: codes of each tensor and of the embeddings, and the grid indices of δ and β."""

    weight_codes: list[Codes]
    step_index: Indices
    embedding_codes: Codes | None
    embedding_step_index: int = 0
    embedding_offset_index: int = 0

    @property
    def estimated_bits(self) -> float:
        """Gaussian bits of all codes under their own moments; side information is not counted."""
        total = sum(_gaussian_bits(codes.reshape(1, -1)) for codes in self.weight_codes)
        if self.embedding_codes is not None:
            total += _gaussian_bits(self.embedding_codes.reshape(len(self.embedding_codes), -1))
        return total


def snap(model: Quantized) -> Snapped:
    """Round steps and offset to their grids, and weights and embeddings to codes.

    Codes of weights are those of the learned steps, to which fine-tuning fitted the network; the nearest step of the
    grid, at most 0.8 % off, then scales their tensor. Rounded anew by that step, codes would be others (seen: up to
    half of a tensor's, and 0.15 dB of 41.4 dB instead of 0.06). Raises `UserError` for what is not finite.
    """
    if not np.isfinite([*model.steps, model.embedding_step, model.embedding_offset]).all():
        raise UserError(
            "the quantisers cannot be coded: a step or offset is not finite; the training diverged, "
            "run it again with a lower learning rate"
        )
    step_index = snap_steps(np.array(model.steps))
    steps = STEP_GRID.decode(step_index)
    learned = np.where(np.isclose(model.steps, steps, rtol=STEP_GRID.spacing, atol=0), model.steps, steps)
    codes = [
        _codes(tensor, 0.0, step, name) for (name, tensor), step in zip(model.weights.items(), learned, strict=True)
    ]
    if model.embeddings is None:
        return Snapped(codes, step_index, None)
    embedding_step_index = int(snap_steps(np.array([model.embedding_step]))[0])
    step = np.float32(step_values(np.array(embedding_step_index)))
    offset_index = snap_offset(model.embedding_offset, float(step))
    embedding_codes = _codes(model.embeddings, float(offset_value(offset_index, step)), float(step), "embedding")
    return Snapped(codes, step_index, embedding_codes, embedding_step_index, offset_index)


def encode_segment(
    entry: Architecture,
    spec: Spec,
    snapped: Snapped,
    *,
    entropy_model: str = payloads.AUTO,
    group: int = payloads.DEFAULT_GROUP,
) -> Segment:
    """Entropy-code a segment under the model called `entropy_model`, or ``auto``: those that cost least.

    `group` is the number of frames whose embeddings are decoded together. Raises `UserError` for an unknown model.
    """
    payloads.check_choice(entropy_model)
    weights = payloads.write_weights(snapped.weight_codes, snapped.step_index, entropy_model)
    embeddings = b"" if snapped.embedding_codes is None else _write_embeddings(snapped, entropy_model, group)
    return Segment(entry, spec, "uniform", weights, embeddings)


def encode_after_training(
    entry: Architecture,
    spec: Spec,
    weights: Mapping[str, Tensor],
    embeddings: Tensor | None,
    *,
    weight_bits: int = 8,
    embedding_bits: int = 6,
) -> tuple[Segment, int]:
    """Code trained weights by the older pipeline, min–max quantisers and Huffman codes.

    Returns the segment, and its bits as the published pipeline counts them (HNeRV, Chen et al., CVPR 2023).
    """
    quantized = [quantize(tensor, weight_bits) for tensor in weights.values()]
    bits = published_bits(quantized)
    coded = b""
    if embeddings is not None:
        quantized_embeddings = [quantize(embeddings, embedding_bits)]
        bits += published_bits(quantized_embeddings)
        coded = encode_tensors(quantized_embeddings, embedding_bits)
    return Segment(entry, spec, "min-max", encode_tensors(quantized, weight_bits), coded), bits


def encode_slices_after_training(
    entry: Architecture, spec: Spec, weights: Mapping[str, Tensor], *, bits: int = 8
) -> tuple[Segment, float]:
    """Code trained weights by the pipeline of D-NeRV, quantisers by slices and a Huffman code; there are no embeddings.

    Returns the segment, and the efficiency that the published pipeline counts with (He et al., CVPR 2023). Slices are
    those of a weight's inputs in models with keyframes, of its outputs in the others.
    """
    axis = 1 if spec.uses_keyframes else 0
    quantized = [slices.quantize(tensor, axis, bits) for tensor in weights.values()]
    coded = slices.encode_slices(quantized, bits)
    return Segment(entry, spec, "slices", coded, b""), slices.entropy_efficiency(quantized, bits)


def payload_bytes(snapped: Snapped, group: int = payloads.DEFAULT_GROUP) -> dict[str, int]:
    """What each entropy model makes of the same codes: bytes of ``weights:NAME`` and ``embeddings:NAME``."""
    sizes_bytes = {
        f"weights:{model.name}": len(payloads.write_weights(snapped.weight_codes, snapped.step_index, model.name))
        for model in models_of("weights")
    }
    if snapped.embedding_codes is None:
        return sizes_bytes
    return sizes_bytes | {
        f"embeddings:{model.name}": len(_write_embeddings(snapped, model.name, group))
        for model in models_of("embeddings")
    }


def _write_embeddings(snapped: Snapped, entropy_model: str, group: int) -> bytes:
    assert snapped.embedding_codes is not None
    return payloads.write_embeddings(
        snapped.embedding_codes, snapped.embedding_step_index, snapped.embedding_offset_index, group, entropy_model
    )


def _codes(tensor: Tensor, offset: float, step: float, name: str) -> NDArray[np.int32]:
    values = (tensor.detach().cpu().numpy().astype(np.float64) - offset) / step
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST_CODE:
        raise UserError(
            f"tensor {name} cannot be coded: its values are not finite or over {LARGEST_CODE} quantiser steps; "
            "the training diverged, run it again with a lower learning rate"
        )
    return np.rint(values).astype(np.int32)


def _gaussian_bits(rows: Codes) -> float:
    codes = torch.from_numpy(rows.astype(np.float64))
    mean, sigma = frame_moments(codes)
    return float(gaussian_bits(codes, mean[:, None], sigma[:, None]).sum())
