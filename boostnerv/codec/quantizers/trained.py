"""Learned uniform quantisers of consistent entropy minimisation (CEM), and the integer grid of their steps.

Zhang et al., CVPR 2024, section 3.4. A tensor x is coded as integers ``round(q)``:

    scale       weights, biases   q = x / δ                               value  δ·round(q)       one δ per tensor
    scalebeta   embeddings        q = (x − β) / δ                         value  δ·round(q) + β   one δ, β per video
    lsq         weights, biases   q = clamp(x / δ, −2^(b−1), 2^(b−1)−1)   as scale                Esser et al., 2020
    lsqv2       embeddings        q = clamp((x − β) / δ, 0, 2^b − 1)      as scalebeta            Bhalgat et al., 2020

δ and β are trained; rounding uses the straight-through estimator. The first two, which the papers' codec uses, do not
clamp. The others do, and scale the gradients of δ and β by ``1/√(entries · largest code)``.

A file stores δ and β on grids (`boostnerv.codec.quantizers.grids`). With `on_grid`, quantisers compute with the stored
values, gradients passing straight through, so that the network trains with the values that will be decoded. The
published training does not; its δ and β are rounded afterwards.

A trained δ may change sign, which flips the signs of the codes and changes no value. It may also come so close to zero
that codes grow without bound; `keep_away_from_zero` excludes that band, another deviation from the published training.

All weights of a decoder are quantised at once as one flat vector: a decoder has some 150 small tensors, and a loop over
them would cost as much as the network itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from boostnerv.codec.quantizers.grids import OFFSET_UNITS_PER_STEP, STEP_GRID

# A tensor whose entries are all equal has no range; any positive step will do.
_SMALLEST_STEP = 1e-8
_LARGEST_INITIAL_CODE = 1 << 18
# A step this much finer than the initial one adds four bits to every code without visible benefit.
_FINEST_SHARE = 1 / 16


@dataclass(frozen=True)
class Kind:
    """What tells quantisers of the catalogue apart: whether they clamp codes to their bits (and scale gradients)."""

    clamps: bool


WEIGHT_KINDS = {"scale": Kind(clamps=False), "lsq": Kind(clamps=True)}
EMBEDDING_KINDS = {"scalebeta": Kind(clamps=False), "lsqv2": Kind(clamps=True)}


def round_straight_through(x: Tensor) -> Tensor:
    """Round to the nearest integer (half to even), shape unchanged, with the gradient of the identity."""
    return _straight_to(torch.round(x), x)


def step_on_grid(step: Tensor) -> Tensor:
    """The nearest steps δ that a file can store, signs and shape unchanged, with the gradient of the identity."""
    # Rounds the bits of a float32, carrying into the exponent: identical on every device, unlike powers of two.
    dropped = 23 - STEP_GRID.mantissa_bits
    bits = step.detach().float().view(torch.int32)
    nearest = ((bits + (1 << (dropped - 1))) & -(1 << dropped)).view(torch.float32)
    return _straight_to(nearest.to(step.dtype), step)


def offset_on_grid(offset: Tensor, step: Tensor) -> Tensor:
    """The nearest offset β that a file can store with the step δ on its grid, with the gradient of the identity."""
    unit = step.detach() / OFFSET_UNITS_PER_STEP
    return _straight_to(torch.round(offset.detach() / unit) * unit, offset)


def _straight_to(value: Tensor, x: Tensor) -> Tensor:
    return x + (value - x).detach()


class _ScaledGradient(torch.autograd.Function):
    """The identity with its gradient multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


class WeightQuantizers(nn.Module):
    """One quantiser step δ for each tensor of a decoder, applied to all of them as one flat vector.

    Attributes: `names` and `shapes` of the tensors in order, `steps` δ ``[S]`` float32, `segment` the tensor
    number of each of the P entries ``[P]`` int64, `counts` the entries per tensor ``[S]``.
    """

    segment: Tensor
    counts: Tensor
    _finest: Tensor
    _factor: Tensor

    def __init__(
        self,
        named: Iterable[tuple[str, Tensor]],
        bits: int,
        kind: str = "scale",
        on_grid: bool = False,
    ) -> None:
        super().__init__()
        self._on_grid = on_grid
        self._range = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if WEIGHT_KINDS[kind].clamps else None
        tensors = list(named)
        self.names = tuple(name for name, _ in tensors)
        self.shapes = tuple(tensor.shape for _, tensor in tensors)
        sizes = torch.tensor([tensor.numel() for _, tensor in tensors])
        self.register_buffer("segment", torch.repeat_interleave(torch.arange(len(tensors)), sizes), False)
        self.register_buffer("counts", sizes, False)
        self.steps = nn.Parameter(torch.stack([initial_step(tensor, bits) for _, tensor in tensors]))
        self.register_buffer("_finest", self.steps.detach() * _FINEST_SHARE, False)
        self.register_buffer("_factor", (sizes * (2 ** (bits - 1) - 1)).to(torch.float32).rsqrt(), False)

    def keep_away_from_zero(self) -> None:
        """Push steps out of the band around zero; call after each update."""
        _keep_away_from_zero(self.steps, self._finest)

    def scaled_steps(self, factor: float) -> Tensor:
        """Steps ``[S]`` times a factor, kept out of the band around zero; clamping quantisers never get finer."""
        return _scaled(self.steps, factor, self._finest, self._range)

    def flatten(self, tensors: Iterable[Tensor]) -> Tensor:
        """Concatenate tensors in the order of `names` to ``[P]``."""
        return torch.cat([tensor.reshape(-1) for tensor in tensors])

    def codes(self, flat: Tensor) -> Tensor:
        """Unrounded codes q ``[P]`` of flat weights ``[P]``."""
        codes = flat / self.used_steps()[self.segment]
        return codes if self._range is None else codes.clamp(*self._range)

    def dequantize(self, codes: Tensor) -> dict[str, Tensor]:
        """Tensors by name from rounded codes ``[P]``."""
        flat = codes * self.used_steps()[self.segment]
        parts = torch.split(flat, self.counts.tolist())
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def representable(self, named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors clipped to the quantiser's range, not rounded."""
        tensors = dict(named)
        return tensors if self._range is None else self.dequantize(self.codes(self.flatten(tensors.values())))

    def used_steps(self) -> Tensor:
        """The steps ``[S]`` used in computations."""
        steps = self.steps if self._range is None else _scaled_gradient(self.steps, self._factor)
        return self.stored(steps)

    def stored(self, steps: Tensor) -> Tensor:
        """The steps used in place of `steps`: with `on_grid`, the nearest that a file can store."""
        return step_on_grid(steps) if self._on_grid else steps


class EmbeddingQuantizer(nn.Module):
    """Trained step δ and offset β for the embeddings of all frames."""

    _finest: Tensor
    _factor: Tensor

    def __init__(
        self,
        embeddings: Tensor,
        bits: int,
        kind: str = "scalebeta",
        on_grid: bool = False,
    ) -> None:
        super().__init__()
        self._on_grid = on_grid
        self._range = (0, 2**bits - 1) if EMBEDDING_KINDS[kind].clamps else None
        self.step = nn.Parameter(initial_step(embeddings, bits))
        self.offset = nn.Parameter(embeddings.detach().min().clone())
        self.register_buffer("_finest", self.step.detach() * _FINEST_SHARE, False)
        self.register_buffer("_factor", torch.tensor(embeddings.numel() * (2**bits - 1.0)).rsqrt(), False)

    def keep_away_from_zero(self) -> None:
        """Push the step out of the band around zero; call after each update."""
        _keep_away_from_zero(self.step, self._finest)

    def scaled_step(self, factor: float) -> Tensor:
        """The step times a factor, kept out of the band around zero; clamping quantisers never get finer."""
        return _scaled(self.step, factor, self._finest, self._range)

    def codes(self, embeddings: Tensor) -> Tensor:
        """Unrounded codes, shape unchanged."""
        step, offset = self.used()
        codes = (embeddings - offset) / step
        return codes if self._range is None else codes.clamp(*self._range)

    def dequantize(self, codes: Tensor) -> Tensor:
        """Values of rounded codes, shape unchanged."""
        step, offset = self.used()
        return codes * step + offset

    def representable(self, embeddings: Tensor) -> Tensor:
        """Embeddings clipped to the quantiser's range, not rounded."""
        return embeddings if self._range is None else self.dequantize(self.codes(embeddings))

    def used(self) -> tuple[Tensor, Tensor]:
        """The step δ and offset β used in computations."""
        step: Tensor = self.step
        offset: Tensor = self.offset
        if self._range is not None:
            step, offset = _scaled_gradient(step, self._factor), _scaled_gradient(offset, self._factor)
        step = self.stored(step)
        return step, offset_on_grid(offset, step) if self._on_grid else offset

    def stored(self, step: Tensor) -> Tensor:
        """The step used in place of `step`: with `on_grid`, the nearest that a file can store."""
        return step_on_grid(step) if self._on_grid else step


def _scaled_gradient(x: Tensor, factor: Tensor) -> Tensor:
    result: Tensor = _ScaledGradient.apply(x, factor)  # type: ignore[no-untyped-call]
    return result


def initial_step(tensor: Tensor, bits: int) -> Tensor:
    """``(max − min) / (2^bits − 1)`` as a scalar tensor, above zero and large enough to keep all codes within ±2^18."""
    values = tensor.detach()
    step = (values.max() - values.min()) / (2**bits - 1)
    return torch.maximum(step, values.abs().max() / _LARGEST_INITIAL_CODE).clamp_min(_SMALLEST_STEP)


def _scaled(steps: Tensor, factor: float, finest: Tensor, limits: tuple[int, int] | None) -> Tensor:
    scaled = steps.detach() * (factor if limits is None else max(factor, 1.0))
    _keep_away_from_zero(scaled, finest)
    return scaled


@torch.no_grad()
def _keep_away_from_zero(steps: Tensor, finest: Tensor) -> None:
    steps.copy_(torch.where(steps < 0, torch.minimum(steps, -finest), torch.maximum(steps, finest)))
