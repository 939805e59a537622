"""Learned uniform quantisers of consistent entropy minimisation (CEM), and the integer grid of their steps.

Zhang et al., CVPR 2024, section 3.4. A tensor x is coded as integers ``round(q)``:

    weights, biases   q = x / δ            value  δ·round(q)            one δ a tensor
    embeddings        q = (x − β) / δ      value  δ·round(q) + β        one δ, β for all frames

δ and β are trained; rounding passes gradients straight through; codes are not clamped. A trained δ may change
its sign, which changes the signs of the codes and no value. It may also pass so close to zero that codes grow
without bound; `keep_away_from_zero` takes that band out, the one deviation from the published training.

All weights of a decoder are quantised at once on one flat vector: a decoder has some 150 small tensors, and
a loop over them would cost as much as the network itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# A tensor whose entries are all equal has no range; its step may be anything above zero.
_SMALLEST_STEP = 1e-8
_LARGEST_INITIAL_CODE = 1 << 18
# A step this much finer than the initial one adds four bits to every code and nothing anyone can see.
_FINEST_SHARE = 1 / 16


def round_straight_through(x: Tensor) -> Tensor:
    """Round to the nearest integer (half to even); the gradient is that of the identity."""
    return x + (torch.round(x) - x).detach()


class WeightQuantizers(nn.Module):
    """One quantiser step δ for each tensor of a decoder, applied to all of them on a flat vector.

    Attributes: `names` and `shapes` of the tensors in order, `steps` δ ``[S]`` float32, `segment` the tensor
    number of each of the P entries ``[P]`` int64, `counts` entries a tensor ``[S]``.
    """

    segment: Tensor
    counts: Tensor
    _finest: Tensor

    def __init__(self, named: Iterable[tuple[str, Tensor]], bits: int) -> None:
        super().__init__()
        tensors = list(named)
        self.names = tuple(name for name, _ in tensors)
        self.shapes = tuple(tensor.shape for _, tensor in tensors)
        sizes = torch.tensor([tensor.numel() for _, tensor in tensors])
        self.register_buffer("segment", torch.repeat_interleave(torch.arange(len(tensors)), sizes), False)
        self.register_buffer("counts", sizes, False)
        self.steps = nn.Parameter(torch.stack([initial_step(tensor, bits) for _, tensor in tensors]))
        self.register_buffer("_finest", self.steps.detach() * _FINEST_SHARE, False)

    def keep_away_from_zero(self) -> None:
        """Push steps out of the band around zero, after an update."""
        _keep_away_from_zero(self.steps, self._finest)

    def flatten(self, tensors: Iterable[Tensor]) -> Tensor:
        """Concatenate the tensors, in the order of `names`, to ``[P]``."""
        return torch.cat([tensor.reshape(-1) for tensor in tensors])

    def codes(self, flat: Tensor) -> Tensor:
        """Unrounded codes q ``[P]`` of flat weights ``[P]``."""
        return flat / self.steps[self.segment]

    def dequantize(self, codes: Tensor) -> dict[str, Tensor]:
        """Tensors by name from rounded codes ``[P]``."""
        flat = codes * self.steps[self.segment]
        parts = torch.split(flat, self.counts.tolist())
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}


class EmbeddingQuantizer(nn.Module):
    """Step δ and offset β of all frame embeddings, trained."""

    _finest: Tensor

    def __init__(self, embeddings: Tensor, bits: int) -> None:
        super().__init__()
        self.step = nn.Parameter(initial_step(embeddings, bits))
        self.offset = nn.Parameter(embeddings.detach().min().clone())
        self.register_buffer("_finest", self.step.detach() * _FINEST_SHARE, False)

    def keep_away_from_zero(self) -> None:
        """Push the step out of the band around zero, after an update."""
        _keep_away_from_zero(self.step, self._finest)

    def codes(self, embeddings: Tensor) -> Tensor:
        """Unrounded codes, shape unchanged."""
        return (embeddings - self.offset) / self.step

    def dequantize(self, codes: Tensor) -> Tensor:
        """Values of rounded codes, shape unchanged."""
        return codes * self.step + self.offset


def initial_step(tensor: Tensor, bits: int) -> Tensor:
    """``(max − min) / (2^bits − 1)`` as a scalar tensor, above zero and large enough for every entry to have a code."""
    values = tensor.detach()
    step = (values.max() - values.min()) / (2**bits - 1)
    return torch.maximum(step, values.abs().max() / _LARGEST_INITIAL_CODE).clamp_min(_SMALLEST_STEP)


@torch.no_grad()
def _keep_away_from_zero(steps: Tensor, finest: Tensor) -> None:
    steps.copy_(torch.where(steps < 0, torch.minimum(steps, -finest), torch.maximum(steps, finest)))
