"""Gx's image as `networks.skip.SkipNetwork` defines it, in fewer passes over memory.

Gx spends its time on the convolutions of the way up and on moving maps to and from memory. So the
way up is done by `networks.fast.upsampled` and `networks.fast.activated`, the 1 x 1 convolutions
are matrix products, and the non-local blocks multiply g by phi first. All of it is exact up to
rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from networks.fast.activated import norm_act, norm_act_conv
from networks.fast.convolution import apply_conv
from networks.fast.upsampled import upsample_concat_conv
from networks.skip import ConvBlock, NonLocalBlock, Scale, SkipNetwork


def fast_forward(gx: SkipNetwork, zx: Tensor) -> Tensor:
    """Compute ``gx(zx)``.

    Parameters
    ----------
    gx : SkipNetwork
        The image network, in training mode. Its running statistics are updated as by ``gx(zx)``.
    zx : (1, in_channels, H, W) float tensor
        The random input. This is fastest where it and the parameters lie channels last.

    Returns
    -------
    (1, 1, H, W) float tensor
        The image in (0, 1), in the parameters' dtype, under autocast too.
    """
    x, skipped = zx, []
    for scale in gx.scales:
        skipped.append(conv_block(scale.skip, x))
        x = down(scale, x)
    for scale in reversed(gx.scales):
        x = upsample_concat_conv(skipped.pop(), x, scale.norm, scale.decode.conv)
        x = norm_act_conv(x, scale.decode.norm, scale.pointwise.conv)
        if skipped:
            x = norm_act(x, scale.pointwise.norm)
    # The image needs more digits than the maps.
    dtype = gx.output.weight.dtype
    return torch.sigmoid(norm_act_conv(x, gx.scales[0].pointwise.norm, gx.output, dtype))


def conv_block(block: ConvBlock, x: Tensor) -> Tensor:
    """Compute ``block(x)``."""
    return norm_act(apply_conv(block.conv, x), block.norm)


def down(scale: Scale, x: Tensor) -> Tensor:
    """Compute ``scale.down(x)``."""
    x = conv_block(scale.downsample, x)
    if isinstance(scale.non_local, NonLocalBlock):
        x = non_local(scale.non_local, x)
    return conv_block(scale.encode, x)


def non_local(block: NonLocalBlock, x: Tensor) -> Tensor:
    """Compute ``block(x)``.

    Without a softmax, (theta^T phi) g^T = theta^T (phi g^T), and the product on the right needs a
    matrix of channels x channels instead of positions x positions.
    """
    theta = apply_conv(block.theta, x)
    phi = F.max_pool2d(apply_conv(block.phi, x), 2).flatten(2)
    g = F.max_pool2d(apply_conv(block.g, x), 2).flatten(2)
    context = g @ phi.mT / phi.shape[2]
    attended = (context @ theta.flatten(2)).view_as(theta)
    x = x + block.norm(apply_conv(block.out, attended))
    return x
