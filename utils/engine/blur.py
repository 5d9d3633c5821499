"""The forward model: a sharp image and a kernel make a blurry image."""

from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from utils.images.kernels import centre_of_mass

# On a CPU, Fourier transforms are faster from 5 x 5 on, forward and backward: about 20 times at
# 11 x 11 and 150 times at 51 x 51 (python benchmarks/blur.py).
FOURIER_FROM = 25

Image = TypeVar("Image", Tensor, np.ndarray)


def blur(sharp: Tensor, kernel: Tensor) -> Tensor:
    """Blur an image by the valid cross-correlation with a kernel.

    The result has only the pixels whose blur lies wholly within the sharp image, so nothing is
    assumed about what lies outside. Being a correlation, this takes the convolution kernel of
    signal processing turned by 180 degrees.

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
    if sharp.device.type == "cpu" and kernel.numel() >= FOURIER_FROM:
        return fourier_blur(sharp, kernel)
    return F.conv2d(sharp, kernel)


def fourier_blur(sharp: Tensor, kernel: Tensor) -> Tensor:
    """Compute `blur` by Fourier transforms, whose cost does not grow with the kernel.

    The transforms are as large as the sharp image or slightly larger, so whatever wraps around
    stays outside the valid part.
    """
    (height, width), (kh, kw) = sharp.shape[2:], kernel.shape[2:]
    period = [next_fast_len(size, real=True) for size in (height, width)]
    spectrum = torch.fft.rfft2(sharp, period) * torch.fft.rfft2(kernel, period).conj()
    blurry: Tensor = torch.fft.irfft2(spectrum, period)
    return blurry[:, :, : height - kh + 1, : width - kw + 1]


def crop_to_blurry(sharp: Image, kernel_size: tuple[int, int]) -> Image:
    """Cut out the part of a sharp image that the blurry image shows.

    Parameters
    ----------
    sharp : (..., H + kh - 1, W + kw - 1) tensor or array
        The sharp image, larger than the blurry one by the kernel's reach.
    kernel_size : tuple of int
        Height kh and width kw of the kernel.

    Returns
    -------
    (..., H, W) tensor or array
        The crop at the offset ((kh - 1) // 2, (kw - 1) // 2).
    """
    kh, kw = kernel_size
    return crop(sharp, kernel_size, ((kh - 1) // 2, (kw - 1) // 2))


def crop_registered(sharp: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Cut out the part of a sharp image that is registered with the blurry image.

    Image and kernel are determined only up to a common shift, so an estimated kernel may lie off
    centre, and the sharp image is then displaced by as much. Blurring shifts an image by the
    kernel's centre of mass, so the crop is taken there.

    Parameters
    ----------
    sharp : (..., H + kh - 1, W + kw - 1) array
        The sharp image.
    kernel : (kh, kw) array
        The blur kernel, non-negative and not all zero.

    Returns
    -------
    (..., H, W) array
        The crop at the kernel's centre of mass, in whole pixels.
    """
    return crop(sharp, kernel.shape, centre_of_mass(kernel))


def crop(sharp: Image, kernel_size: tuple[int, int], offset: tuple[int, int]) -> Image:
    """Cut out a part of a sharp image that has the blurry image's size."""
    (kh, kw), (height, width), (top, left) = kernel_size, sharp.shape[-2:], offset
    return sharp[..., top : top + height - kh + 1, left : left + width - kw + 1]
