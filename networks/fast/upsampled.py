"""Convolution of an upsampled map, without ever storing the upsampled map.

On the way up, a map is upsampled bilinearly to twice its size, normalised, and convolved by 3 x 3
filters. Bilinear upsampling inserts a zero between any two samples and smooths by (1, 3, 3, 1) / 4
in both directions. Smoothing and convolution commute, so the convolution may come first, while
three samples in four are zeros: it is then a transposed convolution of stride 2, with a quarter of
the products. The normalisation is an affine map of each channel, which the filters absorb. All of
this is exact up to rounding; `upsample_concat_conv` ends with the same in plain PyTorch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.fast.activated import running_statistics
from networks.fast.convolution import apply_conv, conv2d, conv_transpose2d

TAPS = (0.25, 0.75, 0.75, 0.25)


def upsample_concat_conv(
    skipped: Tensor, low: Tensor, norm: nn.BatchNorm2d, conv: nn.Conv2d
) -> Tensor:
    """Upsample a map, concatenate it to another, normalise, and convolve.

    Parameters
    ----------
    skipped : (1, S, H, W) float tensor
        The map that comes first.
    low : (1, C, ceil(H/2), ceil(W/2)) float tensor
        The map to upsample.
    norm : BatchNorm2d
        Of S + C channels, in training mode.
    conv : Conv2d
        From S + C to O channels, 3 x 3, with reflection padding.

    Returns
    -------
    (1, O, H, W) float tensor
        The convolved map.
    """
    if skipped.device.type == "cpu":
        return fast_upsample_concat_conv(skipped, low, norm, conv)
    height, width = skipped.shape[2:]
    upsampled = F.interpolate(low, scale_factor=2, mode="bilinear")[:, :, :height, :width]
    return apply_conv(conv, norm(torch.cat([skipped, upsampled], dim=1)))


def fast_upsample_concat_conv(
    skipped: Tensor, low: Tensor, norm: nn.BatchNorm2d, conv: nn.Conv2d
) -> Tensor:
    """Compute `upsample_concat_conv` without the upsampled map."""
    channels, (height, width) = skipped.shape[1], skipped.shape[2:]
    count = height * width
    mean, variance = UpsampledMoments.apply(low, height, width)  # type: ignore[no-untyped-call]
    running_mean, running_var, momentum = running_statistics(norm)
    with torch.no_grad():
        running_mean[channels:].lerp_(mean, momentum)
        running_var[channels:].lerp_(variance * (count / (count - 1)), momentum)
    normed = F.batch_norm(
        skipped,
        running_mean[:channels],
        running_var[:channels],
        norm.weight[:channels],
        norm.bias[:channels],
        training=True,
        momentum=momentum,
        eps=norm.eps,
    )
    scale = norm.weight[channels:] * (variance + norm.eps).rsqrt()
    shift = norm.bias[channels:] - mean * scale

    weight_skipped, weight_low = torch.split(conv.weight, [channels, low.shape[1]], dim=1)
    bias = conv.bias + weight_low.sum((2, 3)) @ shift
    base = conv2d(F.pad(normed, (1, 1, 1, 1), mode="reflect"), weight_skipped, bias)
    return add_upsampled_conv(base, low, weight_low * scale[:, None, None])


def add_upsampled_conv(base: Tensor, low: Tensor, weight: Tensor) -> Tensor:
    """Add the convolution of an upsampled map, with reflection padding, to another map in place.

    Parameters
    ----------
    base : (1, O, H, W) float tensor
        The map to add to; H is 2 h or 2 h - 1, W alike.
    low : (1, C, h, w) float tensor
        The map to upsample.
    weight : (O, C, 3, 3) float tensor
        The filters.

    Returns
    -------
    (1, O, H, W) float tensor
        `base`.
    """
    height, width = base.shape[2:]
    odd = height % 2, width % 2
    padded = F.pad(low, (1, 1 - odd[1], 1, 1 - odd[0]), mode="replicate")
    convolved = conv_transpose2d(padded, weight.flip(2, 3).transpose(0, 1), odd)
    base += Smoothing.apply(convolved)  # type: ignore[no-untyped-call]

    # So far the upsampled map's border was not its reflection. Only the outermost rows and columns
    # of the result see that border; they get what is missing.
    top, bottom, left, right = BorderStrips.apply(low)  # type: ignore[no-untyped-call]
    above, below = missing_border(top, bottom, height, width)
    before, after = missing_border(left.mT, right.mT, width, height)
    out: Tensor = AddEdges.apply(  # type: ignore[no-untyped-call]
        base,
        F.conv2d(above, weight[:, :, :1]),
        F.conv2d(below, weight[:, :, 2:]),
        F.conv2d(F.pad(before[..., 1:-1], (1, 1)).mT, weight[..., :1]),
        F.conv2d(F.pad(after[..., 1:-1], (1, 1)).mT, weight[..., 2:]),
    )
    return out


def missing_border(first: Tensor, last: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Compute what the rows around an upsampled map lack in `add_upsampled_conv`.

    A row there is the replicated border, upsampled like the rest; but after an odd number of rows
    it is 3/4 of the last row, its share in the row that was cut off. Columns are alike.

    Parameters
    ----------
    first, last : (1, C, 2, w) float tensor
        The first two and the last two rows of the small map.
    height, width : int
        Size of the upsampled map.

    Returns
    -------
    above, below : (1, C, 1, width + 2) float tensor
        The reflected row minus the row that was used, above the upsampled map and below it.
    """
    outermost = torch.stack([first[:, :, 0], first[:, :, -1], last[:, :, 0], last[:, :, -1]], dim=2)
    above, below = [0.75, 0.25, 0, 0], [0, 0, 0.75, 0.25] if height % 2 else [0, 0, 0.25, 0.75]
    used_above, used_below = [1, 0, 0, 0], [0, 0, 0, 0.75 if height % 2 else 1]
    weights = torch.tensor([above, below, used_above, used_below], dtype=first.dtype)
    rows = weights @ outermost
    upsampled = F.interpolate(rows, scale_factor=(1, 2), mode="bilinear")[..., :width]

    reflected = F.pad(upsampled[:, :, :2], (1, 1, 0, 0), mode="reflect")
    left, right = rows[:, :, 2:, :1], rows[:, :, 2:, -1:] * (0.75 if width % 2 else 1)
    missing = reflected - torch.cat([left, upsampled[:, :, 2:], right], dim=3)
    return missing[:, :, :1], missing[:, :, 1:]


class Smoothing(torch.autograd.Function):
    """Smooth each channel by (1, 3, 3, 1) / 4 in both directions, which takes three samples off.

    A convolution would store its input for the gradient of the taps, which nobody needs.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return smooth(x, padding=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return smooth(grad, padding=3)


def smooth(x: Tensor, padding: int) -> Tensor:
    """Convolve each channel by the outer product of the taps."""
    taps = torch.tensor(TAPS, dtype=x.dtype)
    filters = (taps[:, None] * taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, filters, padding=padding, groups=x.shape[1])


class AddEdges(torch.autograd.Function):
    """Add to the first and last row and the first and last column of a map, in place."""

    @staticmethod
    def forward(
        ctx: Any, base: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor
    ) -> Tensor:
        for edge, added in zip(borders(base, 1), (top, bottom, left, right), strict=True):
            edge += added
        ctx.mark_dirty(base)
        return base

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return grad, *borders(grad, 1)


class BorderStrips(torch.autograd.Function):
    """Take the first and last two rows and the first and last two columns of a map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x)
        return borders(x, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        for strip, grad in zip(borders(grad_x, 2), grads, strict=True):
            strip += grad
        return grad_x


def borders(x: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """View the first and last so many rows, and the first and last so many columns."""
    return x[:, :, :reach], x[:, :, -reach:], x[..., :reach], x[..., -reach:]


class UpsampledMoments(torch.autograd.Function):
    """Mean and biased variance of each channel of a map upsampled bilinearly and cut to size.

    In one dimension, let R be the matrix that upsamples and cuts. The upsampled map's sum weighs
    the samples x by the column sums of R, and its sum of squares is x^T (R^T R) x. Without a cut
    the column sums are all 2, and R^T R is the filter (3, 10, 3) / 8 with the border replicated.
    The sample that a cut takes off equals the last of x, so it takes 1 off the last column sum and
    off the last diagonal entry.
    """

    @staticmethod
    def forward(ctx: Any, low: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        ctx.dtype = low.dtype
        ctx.count = height * width
        low = low.to(torch.promote_types(low.dtype, torch.float32))
        weights = low.new_full(low.shape[2:], 4.0)
        weights[-1] *= 1 - height % 2 / 2
        weights[:, -1] *= 1 - width % 2 / 2
        mean = (low * weights).sum((0, 2, 3)) / ctx.count
        centred = low - mean[:, None, None]
        form = gram(gram(centred, 2, height % 2), 3, width % 2)
        variance = (centred * form).sum((0, 2, 3)) / ctx.count
        ctx.save_for_backward(form, weights)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> tuple[Tensor | None, ...]:
        form, weights = ctx.saved_tensors
        grad = form * (2 / ctx.count * grad_variance)[:, None, None]
        grad.addcmul_(weights, (grad_mean / ctx.count)[:, None, None])
        return grad.to(ctx.dtype), None, None


def gram(x: Tensor, dim: int, odd: int) -> Tensor:
    """Multiply a map by R^T R of `UpsampledMoments` along a dimension; `odd` if one is cut off."""
    size = x.shape[dim]
    product = 1.25 * x
    product.narrow(dim, 1, size - 1).add_(x.narrow(dim, 0, size - 1), alpha=0.375)
    product.narrow(dim, 0, size - 1).add_(x.narrow(dim, 1, size - 1), alpha=0.375)
    product.narrow(dim, 0, 1).add_(x.narrow(dim, 0, 1), alpha=0.375)
    product.narrow(dim, size - 1, 1).add_(x.narrow(dim, size - 1, 1), alpha=0.375 - odd)
    return product
