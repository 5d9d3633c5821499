"""Batch normalisation, leaky ReLU and a 1 x 1 convolution, keeping no map between them if large.

On the way up this is done to maps of the image's full size, on which Gx spends most of its memory.
The 1 x 1 convolution treats each position alone, so all three are done to a slice of the positions
at a time, while it lies in the processor's cache; going back, they are done again. That takes 3 %
more time in all, so it is left to large maps.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

aten = torch.ops.aten

SLOPE = 0.2  # of leaky ReLU where its argument is negative
SLICE = 2**19  # numbers; 2 MB in float32
LARGE = 2**24  # numbers; as in a map of 128 channels and 362 x 362


def activate(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Normalise a map and apply leaky ReLU."""
    return F.leaky_relu_(norm(x), SLOPE)


def activated_conv(
    x: Tensor, norm: nn.BatchNorm2d, conv: nn.Conv2d, dtype: torch.dtype | None = None
) -> Tensor:
    """Normalise a map, apply leaky ReLU, and convolve it by 1 x 1.

    Parameters
    ----------
    x : (1, C, H, W) float tensor
        The map.
    norm : BatchNorm2d
        Of C channels, in training mode.
    conv : Conv2d
        From C to O channels, 1 x 1.
    dtype : torch.dtype, optional
        That of the convolution and the result, in place of the map's own.

    Returns
    -------
    (1, O, H, W) float tensor
        What the convolution gives.
    """
    if x.device.type == "cpu" and x.numel() > LARGE:
        return sliced_activated_conv(x, norm, conv, dtype)
    activated = activate(x, norm)
    if dtype is None:
        return conv(activated)
    with torch.autocast(x.device.type, enabled=False):
        return conv(activated.to(dtype))


def sliced_activated_conv(
    x: Tensor, norm: nn.BatchNorm2d, conv: nn.Conv2d, dtype: torch.dtype | None = None
) -> Tensor:
    """Do as `activated_conv` does, and keep nothing but the map for the gradients."""
    mean, variance = torch.batch_norm_update_stats(
        x.detach(), norm.running_mean, norm.running_var, norm.momentum
    )
    norm.num_batches_tracked += 1
    rstd = (variance + norm.eps).rsqrt()
    return SlicedActivatedConv.apply(
        x, norm.weight, norm.bias, mean, rstd, conv.weight, conv.bias, dtype or x.dtype
    )


class SlicedActivatedConv(torch.autograd.Function):
    """`activated_conv`, given the statistics of the map, through which the gradients reach too."""

    @staticmethod
    def forward(ctx, x, gamma, beta, mean, rstd, weight, bias, dtype):
        ctx.save_for_backward(x, gamma, beta, mean, rstd, weight)
        scale, shift = gamma * rstd, beta - mean * gamma * rstd
        filters, bias = weight.flatten(1).mT.to(dtype), bias.to(dtype)
        out = torch.empty(
            (1, weight.shape[0], *x.shape[2:]), dtype=dtype, memory_format=torch.channels_last
        )
        for part, out_part in slices(x, out):
            normed = torch.addcmul(shift, part.to(scale.dtype), scale)
            torch.addmm(bias, F.leaky_relu_(normed, SLOPE).to(dtype), filters, out=out_part)
        return out

    @staticmethod
    def backward(ctx, grad):
        x, gamma, beta, mean, rstd, weight = ctx.saved_tensors
        scale, shift = gamma * rstd, beta - mean * gamma * rstd
        filters = weight.flatten(1).to(grad.dtype)
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_normed = torch.empty_like(x)
        grad_filters = torch.zeros_like(weight).flatten(1)
        for part, grad_part, out in slices(x, grad, grad_normed):
            normed = torch.addcmul(shift, part.to(scale.dtype), scale)
            activated = F.leaky_relu_(normed, SLOPE).to(grad.dtype)
            grad_filters += grad_part.mT @ activated
            grad_activated = grad_part @ filters
            aten.leaky_relu_backward(grad_activated, activated, SLOPE, True, grad_input=out)
        grad_x, grad_gamma, grad_beta = aten.native_batch_norm_backward(
            grad_normed, x, gamma, None, None, mean, rstd, True, 0.0, [True] * 3
        )
        grad_bias = grad.sum((0, 2, 3), dtype=beta.dtype)
        grad_weight = grad_filters.view_as(weight)
        return grad_x, grad_gamma, grad_beta, None, None, grad_weight, grad_bias, None


def slices(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Go through maps (1, C, H, W), channels last, by the same few positions: (n, C) of each."""
    length = max(1, SLICE // maps[0].shape[1])
    flat = (x.permute(0, 2, 3, 1).flatten(0, 2).split(length) for x in maps)
    return zip(*flat, strict=True)
