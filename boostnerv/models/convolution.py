"""Convolutions on CPUs: gradients in the layout that is fastest for them, affine transforms folded into weights.

The numbers are those of PyTorch's own operations one by one, as other sums of the same products; what is gained stands
in docs/performance.md. Modules compute plainly until `fuse` is called on them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Below, copying to contiguous tensors costs more than their faster kernel saves.
_FEWEST_COPIED_CHANNELS = 16
# Up to so many, threads of a processor with AVX-512 share samples alone.
_MOST_STRIP_CHANNELS = 16
_COLOURS = 3


class Convolution(nn.Conv2d):
    """``torch.nn.Conv2d``, whose weight gradient `fuse` makes faster."""

    fused = False

    def forward(self, x: Tensor) -> Tensor:
        if not (self.fused and self._is_plain and x.device.type == "cpu" and torch.is_grad_enabled()):
            return super().forward(x)
        if self._makes_colours and x.is_contiguous(memory_format=torch.channels_last):
            return self._as_product(x)
        result: Tensor = _Convolve.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.stride, self.padding, self.groups
        )
        return result

    @property
    def _is_plain(self) -> bool:
        """Whether it is of the kind that `_Convolve` knows."""
        return self.dilation == (1, 1) and self.padding_mode == "zeros" and not isinstance(self.padding, str)

    @property
    def _makes_colours(self) -> bool:
        plain = (self.stride, self.padding, self.groups) == ((1, 1), (0, 0), 1)
        return self.out_channels == _COLOURS and self.kernel_size == (1, 1) and plain and self.bias is not None

    def _as_product(self, x: Tensor) -> Tensor:
        """A matrix product with pixels, which costs a third of a convolution to so few channels."""
        assert self.bias is not None
        pixels = x.permute(0, 2, 3, 1)
        made = torch.addmm(self.bias[:, None], self.weight.flatten(1), pixels.flatten(0, 2).t())
        return made.unflatten(1, pixels.shape[:3]).transpose(0, 1)

    def of_affine(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The convolution of ``x·scale + shift`` ``[1, C, H, W]``, scale and shift ``[1, C]``, for 3×3 kernels with
        padding 1 and a bias, where H and W are 2 or more; the affine map itself is never computed."""
        result: Tensor = _ConvolveAffine.apply(  # type: ignore[no-untyped-call]
            x, scale[0], shift[0], self.weight, self.bias
        )
        return result


def fuse(network: nn.Module) -> None:
    """Let `network` compute in the fast way where it runs on a CPU."""
    for module in network.modules():
        if hasattr(module, "fused"):
            module.fused = True  # type: ignore[assignment]


class _Convolve(torch.autograd.Function):
    """``conv2d`` with gradients to input, weight and bias; not differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        groups: int,
    ) -> Tensor:
        """Its arguments are those of PyTorch's operation, after the context."""
        ctx.save_for_backward(x, weight)
        ctx.shape = (stride, padding, groups)
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        of_x = _input_gradient(gradient, x, weight, *ctx.shape) if wants_x else None
        of_weight = of_bias = None
        if wants_weight or wants_bias:
            of_weight, of_bias = _weight_gradients(gradient, x, weight, *ctx.shape)
        return of_x, of_weight, of_bias if wants_bias else None, None, None, None


class _ConvolveAffine(torch.autograd.Function):
    """3×3 convolution, padding 1, of ``x·scale + shift`` for one sample.

    The scale is folded into the weights, the shift into the bias. At the border, where the padding is zero and not the
    shift, the bias lacks the taps that lie outside.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        scaled = weight * scale[:, None, None]
        taps = torch.einsum("oikl,i->okl", weight, shift)
        made = F.conv2d(x, scaled, taps.sum((1, 2)) + bias, padding=1)
        rows, columns, corners = _borders(made)
        rows -= taps[:, ::2].sum(2)[:, :, None]
        columns -= taps[:, :, ::2].sum(1)[:, None]
        corners += taps[:, ::2, ::2]
        ctx.save_for_backward(x, scale, shift, weight, scaled)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, scale, shift, weight, scaled) = gradients, ctx.saved_tensors
        of_x = _input_gradient(gradient, x, scaled, (1, 1), (1, 1), 1) if ctx.needs_input_grad[0] else None
        of_scaled, of_bias = _weight_gradients(gradient, x, scaled, (1, 1), (1, 1), 1)
        rows, columns, corners = _borders(gradient)
        inside = of_bias[:, None, None].repeat(1, 3, 3)  # what reaches each tap
        inside[:, ::2] -= rows.sum(2)[:, :, None]
        inside[:, :, ::2] -= columns.sum(1)[:, None]
        inside[:, ::2, ::2] += corners
        of_scale = (weight * of_scaled).sum((0, 2, 3))
        of_shift = torch.einsum("oikl,okl->i", weight, inside)
        of_weight = of_scaled * scale[:, None, None] + inside[:, None] * shift[:, None, None]
        return of_x, of_scale, of_shift, of_weight, of_bias


def _borders(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outermost rows ``[C, 2, W]``, columns ``[C, H, 2]`` and corners ``[C, 2, 2]`` of ``[1, C, H, W]``."""
    image = x[0]
    down, right = image.shape[1] - 1, image.shape[2] - 1
    return image[:, ::down], image[:, :, ::right], image[:, ::down, ::right]


def _input_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...], groups: int
) -> Tensor:
    return _gradients(gradient, x, weight, stride, padding, groups, (True, False, False))[0]


def _weight_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...], groups: int
) -> tuple[Tensor, Tensor]:
    """Of weight and bias. Without AVX-512, oneDNN's kernel for these alone is three to four times slower on
    channels-last tensors; with it, threads share samples but not the rows of one where channels are few."""
    channels = (gradient.shape[1], x.shape[1])
    if groups == 1 and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        if min(channels) >= _FEWEST_COPIED_CHANNELS:
            gradient, x, weight = _contiguous(gradient), _contiguous(x), weight.contiguous()
    elif len(x) == 1 and groups == 1 and set(stride) == {1} and max(channels) <= _MOST_STRIP_CHANNELS:
        gradient, x, padding = _in_strips(gradient, x, padding, torch.get_num_threads())
    return _gradients(gradient, x, weight, stride, padding, groups, (False, True, True))[1:]


def _in_strips(
    gradient: Tensor, x: Tensor, padding: tuple[int, ...], count: int
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """A sample of stride 1 as `count` samples of fewer rows, and the padding that is left; as it is where rows do not
    divide."""
    rows, above = gradient.shape[2], padding[0]
    if count == 1 or rows % count:
        return gradient, x, padding
    high = rows // count
    halo = x.shape[2] + 2 * above - rows
    padded = F.pad(x, (0, 0, above, above))
    strips = [padded[:, :, first : first + high + halo] for first in range(0, rows, high)]
    return torch.cat(gradient.split(high, 2)), torch.cat(strips), (0, *padding[1:])


def _gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    groups: int,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to x, weight and bias; its arguments are those of PyTorch's operation."""
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, weight.shape[:1], stride, padding, (1, 1), False, (0, 0), groups, wanted
    )
    return gradients


def _contiguous(x: Tensor) -> Tensor:
    """``x.contiguous()`` of ``[N, C, H, W]``, as transposes of matrices, which PyTorch copies in blocks."""
    if x.is_contiguous():
        return x
    images = [image.permute(1, 2, 0).flatten(0, 1).t().contiguous().unflatten(1, image.shape[1:]) for image in x]
    return torch.stack(images) if len(images) > 1 else images[0][None]
