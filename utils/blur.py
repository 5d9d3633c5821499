"""The forward model: a sharp image and a kernel make a blurry image."""

import torch.nn.functional as F
from torch import Tensor


def blur(sharp: Tensor, kernel: Tensor) -> Tensor:
    """Blur an image by the valid cross-correlation with a kernel.

    Only those pixels come out whose blur the sharp image covers wholly, so no assumption about
    what lies outside is made. Being a correlation, it turns the convolution kernel of signal
    processing by 180 degrees.

    Parameters
    ----------
    sharp : (1, 1, H + kh - 1, W + kw - 1) float tensor
        The sharp image.
    kernel : (1, 1, kh, kw) float tensor
        The blur kernel.

    Returns
    -------
    (1, 1, H, W) float tensor
        The blurry image.

    Examples
    --------
    >>> shifted = blur(torch.arange(9.0).view(1, 1, 3, 3), torch.tensor([[[[0.0, 1], [0, 0]]]]))
    >>> shifted.squeeze()
    tensor([[1., 2.],
            [4., 5.]])
    """
    return F.conv2d(sharp, kernel)


def crop_to_blurry(sharp: Tensor, kernel_size: tuple[int, int]) -> Tensor:
    """Cut the part out of a sharp image that the blurry image shows.

    Parameters
    ----------
    sharp : (..., H + kh - 1, W + kw - 1) tensor
        The sharp image, larger than the blurry one by the kernel's reach.
    kernel_size : tuple of int
        Height kh and width kw of the kernel.

    Returns
    -------
    (..., H, W) tensor
        The crop at the offset ((kh - 1) // 2, (kw - 1) // 2).
    """
    (kh, kw), (height, width) = kernel_size, sharp.shape[-2:]
    top, left = (kh - 1) // 2, (kw - 1) // 2
    return sharp[..., top : top + height - kh + 1, left : left + width - kw + 1]
