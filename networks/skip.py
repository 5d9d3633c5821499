"""Gx, the image network: an untrained encoder-decoder with skip connections.

References
----------
.. [1] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Deep Image Prior", CVPR 2018.
.. [2] D. Ren, K. Zhang, Q. Wang, Q. Hu, W. Zuo, "Neural Blind Deconvolution Using Deep Priors",
   CVPR 2020, section 3.2 and the supplement's table of the network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.fast.activated import activate, activated_conv
from networks.fast.convolution import conv2d
from networks.fast.upsampled import joined_conv

SKIP_CHANNELS = 16
NON_LOCAL_FROM = 2  # the first scale, counted from 0, whose encoder has a non-local block


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution: the same linear map of the channels at every position."""

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1)
        return F.linear(channels_last, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class ReflectingConv(nn.Conv2d):
    """A 3 x 3 convolution that reflects the image's border."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__(in_channels, out_channels, 3, stride, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        bordered = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return conv2d(bordered, self.weight, self.bias, self.stride[0])


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution, 1 x 1 or 3 x 3, that keeps the size (at stride 1)."""
    if kernel_size == 1:
        return Pointwise(in_channels, out_channels, 1)
    return ReflectingConv(in_channels, out_channels, stride)


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, leaky ReLU: the unit that all of Gx is built of."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        self.conv = conv(in_channels, out_channels, kernel_size, stride)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.conv(x), self.norm)


class NonLocalBlock(nn.Module):
    """Attention by dot products without a softmax, added to its input.

    Every position gathers the features g of all positions of a map of half the size, weighted by
    the products of its own theta with their phi. Because there is no softmax, the products
    associate: multiplying phi by g first needs a matrix of channels x channels instead of one of
    positions x positions.

    References
    ----------
    .. [1] X. Wang, R. Girshick, A. Gupta, K. He, "Non-local Neural Networks", CVPR 2018.
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        # The order in which these four are made decides which weights a seed gives them.
        self.g = conv(channels, inner, 1)
        self.out = conv(inner, channels, 1)
        self.theta = conv(channels, inner, 1)
        self.phi = conv(channels, inner, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        g = F.max_pool2d(self.g(x), 2).flatten(2)
        phi = F.max_pool2d(self.phi(x), 2).flatten(2)
        theta = self.theta(x)
        context = g @ phi.transpose(1, 2)
        gathered = (context @ theta.flatten(2)).view_as(theta) / phi.shape[2]
        return x + self.norm(self.out(gathered))


class Scale(nn.Module):
    """One scale of Gx: what goes down to half the size, what skips, and what comes up again.

    Parameters
    ----------
    in_channels : int
        Channels of the map that enters from the scale above.
    channels : int
        Channels of the maps that leave, downward and upward.
    non_local : bool
        Whether the way down has a non-local block.
    """

    def __init__(self, in_channels: int, channels: int, non_local: bool):
        super().__init__()
        # As above: the order decides which weights a seed gives.
        self.skip = ConvBlock(in_channels, SKIP_CHANNELS, 1)
        self.downsample = ConvBlock(in_channels, channels, 3, stride=2)
        self.non_local = NonLocalBlock(channels) if non_local else nn.Identity()
        self.encode = ConvBlock(channels, channels, 3)
        self.decode = ConvBlock(SKIP_CHANNELS + channels, channels, 3)
        self.pointwise = ConvBlock(channels, channels, 1)
        self.norm = nn.BatchNorm2d(SKIP_CHANNELS + channels)

    def down(self, x: Tensor) -> Tensor:
        """Map (1, in_channels, h, w) to (1, channels, ceil(h/2), ceil(w/2))."""
        return self.encode(self.non_local(self.downsample(x)))

    def up(self, skipped: Tensor, deeper: Tensor) -> Tensor:
        """Join the (1, SKIP_CHANNELS, h, w) that skipped with what comes from half the size.

        What comes out is yet to be activated.
        """
        decoded = joined_conv(skipped, deeper, self.norm, self.decode.conv)
        return activated_conv(decoded, self.decode.norm, self.pointwise.conv)


def smallest_input(scales: int) -> int:
    """Smallest height and width for Gx: its deepest map needs 2 pixels to reflect a border."""
    return 2**scales + 1


class SkipNetwork(nn.Module):
    """Gx: maps a fixed random input to a sharp image.

    Batch normalisation always uses the statistics of the image at hand, so the network is never
    put into evaluation mode.

    Parameters
    ----------
    in_channels : int
        Channels of the random input.
    channels : int
        Channels of the feature maps; even, since the non-local blocks halve them.
    scales : int
        How many times the size is halved.

    Examples
    --------
    >>> gx = SkipNetwork()
    >>> sum(weight.numel() for weight in gx.parameters())
    2365521
    >>> gx(torch.rand(1, 8, 33, 40)).shape
    torch.Size([1, 1, 33, 40])
    """

    def __init__(self, in_channels: int = 8, channels: int = 128, scales: int = 5):
        super().__init__()
        self.scales = nn.ModuleList(
            Scale(channels if i else in_channels, channels, non_local=i >= NON_LOCAL_FROM)
            for i in range(scales)
        )
        self.output = conv(channels, 1, 1)

    def forward(self, zx: Tensor) -> Tensor:
        """Map the input (1, in_channels, h, w) to the image (1, 1, h, w) in (0, 1)."""
        skipped = []
        x = zx
        for scale in self.scales:
            skipped.append(scale.skip(x))
            x = scale.down(x)
        for scale in reversed(self.scales[1:]):
            x = activate(scale.up(skipped.pop(), x), scale.pointwise.norm)
        top = self.scales[0]
        x = top.up(skipped.pop(), x)
        # The image needs more digits than the maps.
        image = activated_conv(x, top.pointwise.norm, self.output, dtype=self.output.weight.dtype)
        return torch.sigmoid(image)
