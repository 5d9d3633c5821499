"""Gx's convolutions, 1 x 1 as matrix products and 3 x 3 with a fast gradient of the filters.

On processors without AVX-512, oneDNN takes three to ten times as long for that gradient as for the
convolution itself if maps lie channels last: half of an iteration. The gradient is a sum over all
positions of the map's channels around a position times the output's gradient there, which makes
nine matrix products. Three neighbours in a row are put side by side, so that there are three, of
matrices wide enough for BLAS to be at its best. `python benchmarks/convolution.py` compares.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

POSITIONS = 4096  # gathered at a time: in float32, 6 MB for 128 channels


def apply_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Compute ``conv(x)`` for a convolution of Gx, 1 x 1, or 3 x 3 with reflection padding."""
    if conv.kernel_size == (1, 1):
        channels_last = x.permute(0, 2, 3, 1)
        return F.linear(channels_last, conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    return conv2d(padded, conv.weight, conv.bias, conv.stride[0])


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    """Convolve by 3 x 3 filters without padding, as `torch.nn.functional.conv2d` does.

    Parameters
    ----------
    x : (1, C, H, W) float tensor
        The padded map.
    weight : (O, C, 3, 3) float tensor
        The filters.
    bias : (O,) float tensor, optional
        Added to each output channel.
    stride : int
        1 or 2.

    Returns
    -------
    (1, O, h, w) float tensor
        The convolved map.
    """
    if not filter_gradient_is_slow(x):
        return F.conv2d(x, weight, bias, stride)
    out: Tensor = Convolution.apply(x, weight, bias, stride)  # type: ignore[no-untyped-call]
    return out


def conv_transpose2d(x: Tensor, weight: Tensor, output_padding: tuple[int, int]) -> Tensor:
    """Apply a transposed 3 x 3 convolution of stride 2 and padding 1.

    Parameters
    ----------
    x : (1, C, h, w) float tensor
        The map.
    weight : (C, O, 3, 3) float tensor
        The filters, in the layout of `torch.nn.functional.conv_transpose2d`.
    output_padding : tuple of int
        Rows and columns, 0 or 1, by which the result is larger than 2 h - 1 and 2 w - 1.

    Returns
    -------
    (1, O, 2 h - 1 + output_padding[0], 2 w - 1 + output_padding[1]) float tensor
        The map of twice the size.
    """
    if not filter_gradient_is_slow(x):
        return F.conv_transpose2d(x, weight, None, 2, 1, output_padding)
    out: Tensor = TransposedConvolution.apply(x, weight, output_padding)  # type: ignore[no-untyped-call]
    return out


def filter_gradient_is_slow(x: Tensor) -> bool:
    """Whether oneDNN is slow at the filters' gradient (in bfloat16 this was not measured)."""
    return (
        x.device.type == "cpu"
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and not torch.is_autocast_enabled("cpu")
    )


class Convolution(torch.autograd.Function):
    """`conv2d` with the filters' gradient by `filter_gradient`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, bias, stride)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = conv2d_input(x.shape, weight, grad, ctx.stride)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, filter_gradient(x, grad, ctx.stride), grad_bias, None


class TransposedConvolution(torch.autograd.Function):
    """`conv_transpose2d`, whose gradients are those of a convolution of stride 2 in other roles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, output_padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight, None, 2, 1, output_padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        padded = F.pad(grad, (1, 1, 1, 1))
        return F.conv2d(padded, weight, stride=2), filter_gradient(padded, x, stride=2), None


def filter_gradient(x: Tensor, grad: Tensor, stride: int) -> Tensor:
    """Compute the gradient of `conv2d` with respect to the filters.

    Parameters
    ----------
    x : (1, C, H, W) float tensor
        The map that was convolved.
    grad : (1, O, h, w) float tensor
        The gradient with respect to the result.
    stride : int
        The convolution's stride.

    Returns
    -------
    (O, C, 3, 3) float tensor
        The gradient.
    """
    x, grad = x[0].permute(1, 2, 0), grad[0].permute(1, 2, 0)
    (height, width, out_channels), channels = grad.shape, x.shape[2]
    products = x.new_zeros(3, 3 * channels, out_channels)
    length = max(1, POSITIONS // width)
    for top in range(0, height, length):
        part = grad[top : top + length]
        rows = part.shape[0]
        part = part.flatten(0, 1)
        # With a stride of 2, filter rows 0 and 2 see every other row of the map, row 1 the rest.
        for phase in range(stride):
            met = x[stride * top + phase : stride * (top + rows - 1) + 3 : stride]
            neighbours = torch.cat(
                [met[:, tap : tap + stride * (width - 1) + 1 : stride] for tap in range(3)], dim=2
            ).flatten(0, 1)
            for tap in range(phase, 3, stride):
                first = tap // stride * width
                products[tap].addmm_(neighbours[first : first + rows * width].mT, part)
    gradient = products.view(3, 3, channels, out_channels).permute(3, 2, 0, 1)
    return gradient.contiguous(memory_format=torch.channels_last)
