"""3 x 3 convolutions whose filters' gradient is fast on processors without AVX-512, too.

With AVX2 alone, oneDNN's code for that gradient takes three to ten times as long as the convolution
itself where maps lie channels last: half of an iteration. The gradient is a sum over all positions
of the map's channels around a position times the gradient's at it, so it is nine matrix products.
Three neighbours in a row are put side by side, which makes them three, of matrices wide enough for
BLAS to be at its best. `python benchmarks/convolution.py` compares the two.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

POSITIONS = 4096  # gathered at a time: in float32, 6 MB for 128 channels


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """Convolve by 3 x 3 filters without padding, as `torch.nn.functional.conv2d` does.

    Parameters
    ----------
    x : (1, C, H, W) float tensor
        The map, its border included.
    weight : (O, C, 3, 3) float tensor
        The filters.
    bias : (O,) float tensor
        What is added to each channel.
    stride : int
        1 or 2.

    Returns
    -------
    (1, O, h, w) float tensor
        What the convolution gives.
    """
    if filter_gradient_is_slow(x):
        return Convolution.apply(x, weight, bias, stride)
    return F.conv2d(x, weight, bias, stride)


def stuffing_conv2d(x: Tensor, weight: Tensor, cut: tuple[int, int]) -> Tensor:
    """Put a zero between any two samples and convolve: a transposed convolution of stride 2.

    Parameters
    ----------
    x : (1, C, h, w) float tensor
        The map.
    weight : (C, O, 3, 3) float tensor
        The filters, as `torch.nn.functional.conv_transpose2d` takes them.
    cut : tuple of int
        The rows and columns, 0 or 1, by which the result is larger than 2 h - 1 and 2 w - 1.

    Returns
    -------
    (1, O, 2 h - 1 + cut[0], 2 w - 1 + cut[1]) float tensor
        What the convolution gives.
    """
    if filter_gradient_is_slow(x):
        return StuffingConvolution.apply(x, weight, cut)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=cut)


def filter_gradient_is_slow(x: Tensor) -> bool:
    """Tell whether oneDNN is slow at the filters' gradient; in bfloat16 it was not looked at."""
    return (
        x.device.type == "cpu"
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and not torch.is_autocast_enabled("cpu")
    )


class Convolution(torch.autograd.Function):
    """`conv2d`, with the filters' gradient by `filter_gradient`."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride):
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, bias, stride)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = conv2d_input(x.shape, weight, grad, ctx.stride)
        return grad_x, filter_gradient(x, grad, ctx.stride), grad.sum((0, 2, 3)), None


class StuffingConvolution(torch.autograd.Function):
    """`stuffing_conv2d`, whose gradients are those of a convolution of stride 2, in other roles."""

    @staticmethod
    def forward(ctx, x, weight, cut):
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=cut)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        padded = F.pad(grad, (1, 1, 1, 1))
        return F.conv2d(padded, weight, stride=2), filter_gradient(padded, x, stride=2), None


def filter_gradient(x: Tensor, grad: Tensor, stride: int) -> Tensor:
    """Compute the gradient with respect to the filters of `conv2d`.

    Parameters
    ----------
    x : (1, C, H, W) float tensor
        The map that was convolved.
    grad : (1, O, h, w) float tensor
        The gradient with respect to the result.
    stride : int
        That of the convolution.

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
        # With a stride of 2, filter rows 0 and 2 meet every other row of the map, 1 the others.
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
