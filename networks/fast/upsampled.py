"""What Gx does with a map of half the size, without ever making it large.

On the way up, a map is enlarged bilinearly, normalised, and convolved by 3 x 3 filters. Enlarging
puts a zero between any two samples and smooths by (1, 3, 3, 1) / 4 in both directions. Smoothing
and convolution commute, so the convolution may go first, while three samples in four are zeros: it
is then a transposed convolution of stride 2, with a quarter of the products. The normalisation is
an affine map of each channel, which the filters take in. All of this is exact but for rounding;
`joined_conv` says the same in plain words.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.fast.convolution import conv2d, stuffing_conv2d

SMOOTHING = (0.25, 0.75, 0.75, 0.25)


def joined_conv(skipped: Tensor, low: Tensor, norm: nn.BatchNorm2d, conv: nn.Conv2d) -> Tensor:
    """Enlarge a map to twice its size, join it to another, normalise both, and convolve them.

    Parameters
    ----------
    skipped : (1, S, H, W) float tensor
        The map that comes first.
    low : (1, C, ceil(H/2), ceil(W/2)) float tensor
        The map to enlarge.
    norm : BatchNorm2d
        Of S + C channels, in training mode.
    conv : Conv2d
        From S + C to O channels, 3 x 3, reflecting the border.

    Returns
    -------
    (1, O, H, W) float tensor
        What the convolution gives.
    """
    if skipped.device.type == "cpu":
        return fast_joined_conv(skipped, low, norm, conv)
    height, width = skipped.shape[2:]
    enlarged = F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    # An odd size comes back one pixel larger; the centre crop by one pixel starts at 0.
    return conv(norm(torch.cat([skipped, enlarged[:, :, :height, :width]], dim=1)))


def fast_joined_conv(skipped: Tensor, low: Tensor, norm: nn.BatchNorm2d, conv: nn.Conv2d) -> Tensor:
    """Do as `joined_conv` does, without ever making the enlarged map."""
    channels, (height, width) = skipped.shape[1], skipped.shape[2:]
    mean, variance = UpsampledMoments.apply(low, height, width)
    count = height * width
    with torch.no_grad():
        norm.running_mean[channels:].lerp_(mean, norm.momentum)
        norm.running_var[channels:].lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
    scale = norm.weight[channels:] * (variance + norm.eps).rsqrt()
    shift = norm.bias[channels:] - mean * scale

    weight_skipped, weight_low = conv.weight.split([channels, low.shape[1]], dim=1)
    normed = F.batch_norm(
        skipped,
        norm.running_mean[:channels],
        norm.running_var[:channels],
        norm.weight[:channels],
        norm.bias[:channels],
        training=True,
        momentum=norm.momentum,
        eps=norm.eps,
    )
    base = conv2d(
        F.pad(normed, (1, 1, 1, 1), mode="reflect"),
        weight_skipped,
        conv.bias + weight_low.sum((2, 3)) @ shift,
    )
    return upsampled_conv(low, weight_low * scale[:, None, None], base)


def upsampled_conv(low: Tensor, weight: Tensor, base: Tensor) -> Tensor:
    """Enlarge a map, cut it to size, convolve it with a reflected border, and add it to another.

    Parameters
    ----------
    low : (1, C, h, w) float tensor
        The small map, 2 x 2 or more.
    weight : (O, C, 3, 3) float tensor
        The filters.
    base : (1, O, H, W) float tensor
        What the result is added to, in place; H is 2 h or 2 h - 1, W alike.

    Returns
    -------
    (1, O, H, W) float tensor
        `base`.
    """
    (height, width), (enlarged_height, enlarged_width) = low.shape[2:], base.shape[2:]
    cut = 2 * height - enlarged_height, 2 * width - enlarged_width
    padded = F.pad(low, (1, 1 - cut[1], 1, 1 - cut[0]), mode="replicate")
    stuffed = stuffing_conv2d(padded, weight.flip(2, 3).transpose(0, 1), cut)
    base += Smoothing.apply(stuffed)

    # What lies around the enlarged map is now not its reflection; what that lacks reaches the
    # outermost pixels only.
    first, last, left, right = BorderStrips.apply(low)
    above, below = missing_reflection(first, last, low.shape[2:], base.shape[2:])
    before, behind = missing_reflection(left.mT, right.mT, low.shape[:1:-1], base.shape[:1:-1])
    return AddEdges.apply(
        base,
        F.conv2d(above, weight[:, :, :1]),
        F.conv2d(below, weight[:, :, 2:]),
        F.conv2d(F.pad(before[..., 1:-1], (1, 1)).mT, weight[..., :1]),
        F.conv2d(F.pad(behind[..., 1:-1], (1, 1)).mT, weight[..., 2:]),
    )


def missing_reflection(
    first: Tensor, last: Tensor, size: tuple[int, int], enlarged_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Subtract what `upsampled_conv` takes to lie around an enlarged map from its reflection.

    Parameters
    ----------
    first, last : (1, C, 2, w) float tensor
        The small map's first and last two rows.
    size, enlarged_size : tuple of int
        The small map's height and width, and those of the enlarged one after the cut.

    Returns
    -------
    above, below : (1, C, 1, W + 2) float tensor
        The differences in the row above the enlarged map and in the one below it.
    """
    reflected, taken = (m.to(first) for m in bordered(size[0], enlarged_size[0]))
    reflected_row, taken_row = (m.to(first).mT for m in bordered(size[1], enlarged_size[1]))
    above = reflected[:1, :2] @ first @ reflected_row - taken[:1, :2] @ first @ taken_row
    below = reflected[-1:, -2:] @ last @ reflected_row - taken[-1:, -2:] @ last @ taken_row
    return above, below


@functools.lru_cache(maxsize=16)
def bordered(size: int, enlarged: int) -> tuple[Tensor, Tensor]:
    """Give the matrices, (enlarged + 2, size), that enlarge in one dimension and add a border.

    The first adds the reflection; the second what `upsampled_conv` computes with: the first sample
    again and, unless one is cut off there, the last again; else what a zero behind it gives.
    """
    inside = enlarging(size, enlarged)
    last = inside[-1:] if enlarged % 2 == 0 else SMOOTHING[1] * torch.eye(size)[-1:]
    return (
        torch.cat([inside[1:2], inside, inside[-2:-1]]),
        torch.cat([inside[:1], inside, last.to(inside)]),
    )


@functools.lru_cache(maxsize=16)
def enlarging(size: int, enlarged: int) -> Tensor:
    """Give the matrix, (enlarged, size), that enlarges in one dimension and cuts to size."""
    identity = torch.eye(size, dtype=torch.float64)[None]
    return F.interpolate(identity, scale_factor=2, mode="linear")[0, :, :enlarged].mT


class Smoothing(torch.autograd.Function):
    """Smooth each channel by (1, 3, 3, 1) / 4 in both directions, which takes three samples off.

    A convolution would keep its input for the gradient of the taps, which nobody needs.
    """

    @staticmethod
    def forward(ctx, x):
        return Smoothing.smooth(x, padding=0)

    @staticmethod
    def backward(ctx, grad):
        return Smoothing.smooth(grad, padding=3)

    @staticmethod
    def smooth(x, padding):
        taps = torch.tensor(SMOOTHING, dtype=x.dtype)
        filters = (taps[:, None] * taps).expand(x.shape[1], 1, 4, 4)
        return F.conv2d(x, filters, padding=padding, groups=x.shape[1])


class AddEdges(torch.autograd.Function):
    """Add to the first and last row and the first and last column of a map, in place."""

    @staticmethod
    def forward(ctx, base, top, bottom, left, right):
        for edge, added in zip(AddEdges.edges(base), (top, bottom, left, right), strict=True):
            edge += added
        ctx.mark_dirty(base)
        return base

    @staticmethod
    def backward(ctx, grad):
        return grad, *AddEdges.edges(grad)

    @staticmethod
    def edges(x):
        return x[:, :, :1], x[:, :, -1:], x[..., :1], x[..., -1:]


class BorderStrips(torch.autograd.Function):
    """Take the first and last two rows and the first and last two columns of a map."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return BorderStrips.strips(x)

    @staticmethod
    def backward(ctx, *grads):
        whole = torch.zeros_like(*ctx.saved_tensors)
        for strip, grad in zip(BorderStrips.strips(whole), grads, strict=True):
            strip += grad
        return whole

    @staticmethod
    def strips(x):
        return x[:, :, :2], x[:, :, -2:], x[..., :2], x[..., -2:]


class UpsampledMoments(torch.autograd.Function):
    """Mean and biased variance of each channel of a map enlarged bilinearly and cut to size.

    The sum of squares of the enlarged map is a quadratic form of the small one, whose matrix has
    three diagonals in each direction.
    """

    @staticmethod
    def forward(ctx, low, height, width):
        rows, columns = enlarging(low.shape[2], height), enlarging(low.shape[3], width)
        ctx.dtype = low.dtype
        low = low.to(torch.promote_types(low.dtype, torch.float32))
        ctx.count = height * width
        weights = (rows.sum(0)[:, None] * columns.sum(0)).to(low)
        mean = (low * weights).sum((0, 2, 3)) / ctx.count
        centred = low - mean[:, None, None]
        form = tridiagonal(tridiagonal(centred, rows.mT @ rows, 2), columns.mT @ columns, 3)
        variance = (centred * form).sum((0, 2, 3)) / ctx.count
        ctx.save_for_backward(form, weights)
        return mean, variance

    @staticmethod
    def backward(ctx, grad_mean, grad_variance):
        form, weights = ctx.saved_tensors
        grad = form * (2 / ctx.count * grad_variance)[:, None, None]
        grad.addcmul_(weights, (grad_mean / ctx.count)[:, None, None])
        return grad.to(ctx.dtype), None, None


def tridiagonal(x: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """Multiply a map (1, C, h, w) along a dimension by a symmetric matrix of three diagonals."""
    shape = (-1, 1) if dim == 2 else (-1,)
    diagonal, beside = (matrix.diagonal(i).reshape(shape).to(x) for i in (0, 1))
    size = x.shape[dim] - 1
    product = x * diagonal
    product.narrow(dim, 1, size).addcmul_(x.narrow(dim, 0, size), beside)
    product.narrow(dim, 0, size).addcmul_(x.narrow(dim, 1, size), beside)
    return product
