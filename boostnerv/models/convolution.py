"""Faster convolutions on CPUs: gradients in their fastest memory layout, affine transforms folded into weights.

Results equal those of PyTorch's own operations up to the order of summation; docs/performance.md has the gains. Modules
use the plain operations until `fuse` is called on them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# With fewer channels, copying to contiguous tensors costs more than their faster kernel saves.
_FEWEST_COPIED_CHANNELS = 16
# With at most this many channels, oneDNN on AVX-512 divides work among threads only by sample.
_MOST_STRIP_CHANNELS = 16
_COLOURS = 3


class Convolution(nn.Conv2d):
    """``torch.nn.Conv2d`` with a faster weight gradient after `fuse`."""

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
        """Whether `_Convolve` supports this convolution."""
        return self.dilation == (1, 1) and self.padding_mode == "zeros" and not isinstance(self.padding, str)

    @property
    def _makes_colours(self) -> bool:
        plain = (self.stride, self.padding, self.groups) == ((1, 1), (0, 0), 1)
        return self.out_channels == _COLOURS and self.kernel_size == (1, 1) and plain and self.bias is not None

    def _as_product(self, x: Tensor) -> Tensor:
        """The convolution as a matrix product over pixels, at a third of its cost for so few output channels."""
        assert self.bias is not None
        pixels = x.permute(0, 2, 3, 1)
        colours = torch.addmm(self.bias[:, None], self.weight.flatten(1), pixels.flatten(0, 2).t())
        return colours.unflatten(1, pixels.shape[:3]).transpose(0, 1)

    def of_affine(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The convolution of ``x·scale + shift`` ``[1, C, H, W]``, scale and shift ``[1, C]``, for 3×3 kernels with
        padding 1 and a bias, and H and W at least 2; the affine map is never computed separately."""
        result: Tensor = _ConvolveAffine.apply(  # type: ignore[no-untyped-call]
            x, scale[0], shift[0], self.weight, self.bias
        )
        return result


def fuse(network: nn.Module) -> None:
    """Switch all modules of `network` to their faster operations on CPUs."""
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
        """Takes the arguments of PyTorch's operation, after the context."""
        ctx.save_for_backward(x, weight)
        ctx.shape = (stride, padding, groups)
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        of_x = _input_gradient(gradient, x, weight, *ctx.shape) if needs_x else None
        of_weight = of_bias = None
        if needs_weight or needs_bias:
            of_weight, of_bias = _weight_gradients(gradient, x, weight, *ctx.shape)
        return of_x, of_weight, of_bias if needs_bias else None, None, None, None


class _ConvolveAffine(torch.autograd.Function):
    """3×3 convolution, padding 1, of ``x·scale + shift`` for one sample.

    The scale is folded into the weights, the shift into the bias. At the border, the padding is zero rather than the
    shift, so that the taps outside are subtracted from the bias.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        scaled = weight * scale[:, None, None]
        taps = torch.einsum("oikl,i->okl", weight, shift)
        output = F.conv2d(x, scaled, taps.sum((1, 2)) + bias, padding=1)
        rows, columns, corners = _borders(output)
        rows -= taps[:, ::2].sum(2)[:, :, None]
        columns -= taps[:, :, ::2].sum(1)[:, None]
        corners += taps[:, ::2, ::2]
        ctx.save_for_backward(x, scale, shift, weight, scaled)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, scale, shift, weight, scaled) = gradients, ctx.saved_tensors
        of_x = _input_gradient(gradient, x, scaled, (1, 1), (1, 1), 1) if ctx.needs_input_grad[0] else None
        of_scaled, of_bias = _weight_gradients(gradient, x, scaled, (1, 1), (1, 1), 1)
        rows, columns, corners = _borders(gradient)
        inside = of_bias[:, None, None].repeat(1, 3, 3)  # sum of the gradients that reach each tap
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
    """Gradients of weight and bias. Without AVX-512, oneDNN's kernel for these is three to four times slower on
    channels-last tensors; with it, threads do not share the rows of a sample if there are few channels."""
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
    """Divide one sample, at stride 1, into `count` strips of rows as separate samples; also returns their padding.

    Unchanged if `count` does not divide the rows.
    """
    rows, above = gradient.shape[2], padding[0]
    if count == 1 or rows % count:
        return gradient, x, padding
    strip_rows = rows // count
    halo = x.shape[2] + 2 * above - rows
    padded = F.pad(x, (0, 0, above, above))
    strips = [padded[:, :, first : first + strip_rows + halo] for first in range(0, rows, strip_rows)]
    return torch.cat(gradient.split(strip_rows, 2)), torch.cat(strips), (0, *padding[1:])


def _gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    groups: int,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias; takes the arguments of PyTorch's operation."""
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, weight.shape[:1], stride, padding, (1, 1), False, (0, 0), groups, needed
    )
    return result


def _contiguous(x: Tensor) -> Tensor:
    """``x.contiguous()`` for ``[N, C, H, W]``, by matrix transposes, which PyTorch copies in blocks."""
    if x.is_contiguous():
        return x
    images = [image.permute(1, 2, 0).flatten(0, 1).t().contiguous().unflatten(1, image.shape[1:]) for image in x]
    return torch.stack(images) if len(images) > 1 else images[0][None]
