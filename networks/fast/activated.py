"""Batch normalisation, leaky ReLU and a 1 x 1 convolution, without storing large maps between them.

On the way up this is done to maps of the image's full size, on which Gx spends most of its memory.
A 1 x 1 convolution treats each position separately, so a large map goes through all three a slice
of positions at a time, which stays in the processor's cache; the backward pass computes the slices
again. This takes 3 % more time, so small maps are done in one piece.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.fast.convolution import apply_conv
from networks.skip import SLOPE

aten = torch.ops.aten

SLICE = 2**19  # numbers; 2 MB in float32
LARGE = 2**24  # numbers; as in a map of 128 channels and 362 x 362


def norm_act(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Normalise a map and apply leaky ReLU."""
    return F.leaky_relu_(norm(x), SLOPE)


def norm_act_conv(
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
        Dtype of the convolution and of the result, if not the map's.

    Returns
    -------
    (1, O, H, W) float tensor
        The convolved map.
    """
    if x.device.type == "cpu" and x.numel() > LARGE:
        return sliced_norm_act_conv(x, norm, conv, dtype)
    activated = norm_act(x, norm)
    if dtype is None:
        return apply_conv(conv, activated)
    with torch.autocast(x.device.type, enabled=False):
        return apply_conv(conv, activated.to(dtype))


def sliced_norm_act_conv(
    x: Tensor, norm: nn.BatchNorm2d, conv: nn.Conv2d, dtype: torch.dtype | None = None
) -> Tensor:
    """Compute `norm_act_conv` by slices, keeping only `x` for the backward pass."""
    mean, variance = torch.batch_norm_update_stats(x.detach(), *running_statistics(norm))
    rstd = (variance + norm.eps).rsqrt()
    out: Tensor = SlicedNormActConv.apply(  # type: ignore[no-untyped-call]
        x, norm.weight, norm.bias, mean, rstd, conv.weight, conv.bias, dtype or x.dtype
    )
    return out


def running_statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, float]:
    """Count one more batch, and return running mean, running variance and momentum to update."""
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    return norm.running_mean, norm.running_var, norm.momentum


class SlicedNormActConv(torch.autograd.Function):
    """`norm_act_conv`, given the map's statistics; its gradient includes their dependence on it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        mean: Tensor,
        rstd: Tensor,
        weight: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
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
    """Go through maps (1, C, H, W), channels last, a few positions at a time: (n, C) of each."""
    length = max(1, SLICE // maps[0].shape[1])
    flat = (torch.split(x.permute(0, 2, 3, 1).flatten(0, 2), length) for x in maps)
    return zip(*flat, strict=True)
