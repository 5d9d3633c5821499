"""Gx, the image network: an untrained encoder-decoder with skip connections.

This is the network as the paper draws it. `networks.fast.skip` computes the same image from the
same parameters in less time.

References
----------
.. [1] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Deep Image Prior", CVPR 2018.
.. [2] D. Ren, K. Zhang, Q. Wang, Q. Hu, W. Zuo, "Neural Blind Deconvolution Using Deep Priors",
   CVPR 2020, section 3.2 and the supplement's table of the network.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SKIP_CHANNELS = 16
NON_LOCAL_FROM = 2  # the first scale, counted from 0, whose encoder has a non-local block
SLOPE = 0.2  # of leaky ReLU for negative arguments


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution with reflection padding, which keeps the size (at stride 1)."""
    reach = kernel_size // 2
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=reach, padding_mode="reflect"
    )


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, leaky ReLU: the unit that Gx is built of."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        self.conv = conv(in_channels, out_channels, kernel_size, stride)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE, inplace=True)


class NonLocalBlock(nn.Module):
    """Attention by dot products without a softmax, added to its input.

    It computes ``x + W(f g^T)`` with ``f = theta^T phi / N``. phi and g are pooled to half the
    size, which has N positions; W is `out` and `norm`.

    References
    ----------
    .. [1] X. Wang, R. Girshick, A. Gupta, K. He, "Non-local Neural Networks", CVPR 2018.
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        # The order in which these four are made decides which weights a seed gives them.
        self.g = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(x).flatten(2)  # (1, inner, positions)
        phi = F.max_pool2d(self.phi(x), 2).flatten(2)  # (1, inner, pooled positions)
        g = F.max_pool2d(self.g(x), 2).flatten(2)
        f = theta.mT @ phi / phi.shape[2]  # (1, positions, pooled positions)
        attended = (f @ g.mT).mT.unflatten(2, x.shape[2:])
        x = x + self.norm(self.out(attended))
        return x


class Scale(nn.Module):
    """One scale of Gx: the way down to half the size, the skip, and the way up again.

    Parameters
    ----------
    in_channels : int
        Channels of the map that enters from the scale above.
    channels : int
        Channels of the map that leaves downward.
    up_channels : int
        Channels of the map that leaves upward.
    non_local : bool
        Whether the way down has a non-local block.
    """

    def __init__(self, in_channels: int, channels: int, up_channels: int, non_local: bool):
        super().__init__()
        # As above: the order decides which weights a seed gives.
        self.skip = ConvBlock(in_channels, SKIP_CHANNELS, 1)
        self.downsample = ConvBlock(in_channels, channels, 3, stride=2)
        self.non_local = NonLocalBlock(channels) if non_local else nn.Identity()
        self.encode = ConvBlock(channels, channels, 3)
        self.decode = ConvBlock(SKIP_CHANNELS + channels, up_channels, 3)
        self.pointwise = ConvBlock(up_channels, up_channels, 1)
        self.norm = nn.BatchNorm2d(SKIP_CHANNELS + channels)

    def down(self, x: Tensor) -> Tensor:
        """Map (1, in_channels, h, w) to (1, channels, ceil(h/2), ceil(w/2))."""
        x = self.downsample(x)
        x = self.non_local(x)
        x = self.encode(x)
        return x

    def up(self, skipped: Tensor, x: Tensor) -> Tensor:
        """Join what skipped, (1, SKIP_CHANNELS, h, w), and the map below; map to up_channels."""
        height, width = skipped.shape[2:]
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        # An odd size comes back one larger; a centre crop by one takes the last row or column off.
        x = torch.cat([skipped, x[:, :, :height, :width]], dim=1)
        x = self.norm(x)
        x = self.decode(x)
        x = self.pointwise(x)
        return x


def smallest_input(scales: int) -> int:
    """Smallest height and width for Gx: its deepest map needs 2 pixels for reflection padding."""
    smallest: int = 2**scales + 1
    return smallest


class SkipNetwork(nn.Module):
    """Gx: maps a fixed random input to a sharp image.

    Batch normalisation always uses the statistics of the current image, so the network is never
    put into evaluation mode.

    Parameters
    ----------
    in_channels : int
        Channels of the random input.
    channels : int
        Channels of the feature maps; even, since the non-local blocks halve them.
    scales : int
        How many times the size is halved.
    top_channels : int, optional
        Channels of the last feature maps, those of full size; by default `channels`, as the paper
        has it. Most of the time goes there.

    Examples
    --------
    >>> gx = SkipNetwork()
    >>> sum(weight.numel() for weight in gx.parameters())
    2365521
    >>> gx(torch.rand(1, 8, 33, 40)).shape
    torch.Size([1, 1, 33, 40])
    """

    def __init__(
        self,
        in_channels: int = 8,
        channels: int = 128,
        scales: int = 5,
        top_channels: int | None = None,
    ):
        super().__init__()
        top = top_channels or channels
        self.arguments = {
            "in_channels": in_channels,
            "channels": channels,
            "scales": scales,
            "top_channels": top,
        }
        self.scales = cast(
            Sequence[Scale],
            nn.ModuleList(
                Scale(
                    channels if i else in_channels,
                    channels,
                    channels if i else top,
                    non_local=i >= NON_LOCAL_FROM,
                )
                for i in range(scales)
            ),
        )
        self.output = conv(top, 1, 1)

    def forward(self, zx: Tensor) -> Tensor:
        """Map the input (1, in_channels, h, w) to the image (1, 1, h, w) in (0, 1)."""
        x, skipped = zx, []
        for scale in self.scales:
            skipped.append(scale.skip(x))
            x = scale.down(x)
        for scale in reversed(self.scales):
            x = scale.up(skipped.pop(), x)
        return torch.sigmoid(self.output(x))
