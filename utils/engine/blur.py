"""The forward model: a sharp image and a kernel make a blurry image."""

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

# On a CPU, Fourier transforms are faster from 5 x 5 on, forward and backward: about 20 times at
# 11 x 11 and 150 times at 51 x 51 (python benchmarks/blur.py).
FOURIER_FROM = 25


def blur(sharp: Tensor, kernel: Tensor) -> Tensor:
    """Blur an image by the valid cross-correlation with a kernel.

    The result has only those pixels whose blur lies entirely within the sharp image, so nothing is
    assumed about what lies outside. Convolution in the sense of signal processing would rotate the
    kernel by 180 degrees.

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
    """Compute `blur` by Fourier transforms, whose cost does not grow with the kernel."""
    (height, width), (kh, kw) = sharp.shape[2:], kernel.shape[2:]
    # What wraps around at this period stays outside the valid part.
    period = [next_fast_len(size, real=True) for size in (height, width)]
    spectrum = torch.fft.rfft2(sharp, period) * torch.fft.rfft2(kernel, period).conj()
    blurry: Tensor = torch.fft.irfft2(spectrum, period)
    return blurry[:, :, : height - kh + 1, : width - kw + 1]
