"""The forward model: a sharp image and a kernel make a blurry image."""

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

# On a CPU Fourier transforms are faster from 5 x 5 on, about 20 times at 11 x 11 and 150 times at
# 51 x 51, forward and backward (python benchmarks/blur.py).
FOURIER_FROM = 25


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
    if sharp.device.type == "cpu" and kernel.numel() >= FOURIER_FROM:
        return FourierBlur.apply(sharp, kernel)
    return F.conv2d(sharp, kernel)


class FourierBlur(torch.autograd.Function):
    """`blur` by Fourier transforms, whose cost does not grow with the kernel.

    The transforms are as large as the sharp image or somewhat larger, so that what they wrap
    around stays out of the valid part.
    """

    @staticmethod
    def forward(ctx, sharp, kernel):
        ctx.sizes = sharp.shape[2:], kernel.shape[2:]
        ctx.period = [next_fast_len(size, real=True) for size in sharp.shape[2:]]
        sharp_spectrum = torch.fft.rfft2(sharp, ctx.period)
        kernel_spectrum = torch.fft.rfft2(kernel, ctx.period)
        ctx.save_for_backward(sharp_spectrum, kernel_spectrum)
        (height, width), (kh, kw) = ctx.sizes
        blurry = torch.fft.irfft2(sharp_spectrum * kernel_spectrum.conj(), ctx.period)
        return blurry[:, :, : height - kh + 1, : width - kw + 1]

    @staticmethod
    def backward(ctx, grad):
        sharp_spectrum, kernel_spectrum = ctx.saved_tensors
        (height, width), (kh, kw) = ctx.sizes
        spectrum = torch.fft.rfft2(grad, ctx.period)
        grad_sharp = torch.fft.irfft2(spectrum * kernel_spectrum, ctx.period)
        grad_kernel = torch.fft.irfft2(sharp_spectrum * spectrum.conj(), ctx.period)
        return grad_sharp[:, :, :height, :width], grad_kernel[:, :, :kh, :kw]
