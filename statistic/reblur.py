"""How well a kernel explains a blurry image whose truth is known, and in which orientation.

Kernels are stored in two conventions that differ by a rotation of 180 degrees, which neither a
file's name nor its content reveals. Blurring the truth again does.
"""

import numpy as np

from statistic.metrics import BORDER, SSIM_WINDOW, comp_upto_shift
from utils.images.kernels import centre_of_mass


def reblur_psnr(kernel: np.ndarray, truth: np.ndarray, blurry: np.ndarray) -> float:
    """Blur the truth by valid correlation with a kernel and compare with the blurry image.

    Kernel and image may be shifted against each other. So the two are aligned first, by the
    kernel's centre of mass and then by a search around it.

    Parameters
    ----------
    kernel : (kh, kw) array
        Non-negative, sum 1.
    truth : (H, W) array
        The sharp image in [0, 1].
    blurry : (H, W) array
        The blurry image in [0, 1], at least ``kh + 40`` by ``kw + 40``.

    Returns
    -------
    float
        PSNR in dB of the aligned images, see `statistic.metrics.align`. On Levin's benchmark 40
        to 49 for the right orientation, 25 to 43 for the wrong one.

    Raises
    ------
    ValueError
        If the images differ in size or are too small for the kernel.
    """
    if truth.shape != blurry.shape:
        raise ValueError(f"truth is {truth.shape}, but blurry is {blurry.shape}: give equal sizes")
    height, width = np.subtract(truth.shape, kernel.shape) + 1
    smallest = 2 * BORDER + SSIM_WINDOW
    if min(height, width) < smallest:
        raise ValueError(
            f"blurry is {blurry.shape}: with a kernel of {kernel.shape} it must be at least "
            f"{smallest - 1} pixels larger than that"
        )
    from scipy.signal import correlate  # half a second, which --help does without

    top, left = centre_of_mass(kernel)
    # The FFT's rounding leaves values like -1e-17.
    reblurred = correlate(truth, kernel, "valid", "fft").clip(0, 1)
    return comp_upto_shift(reblurred, blurry[top : top + height, left : left + width])[0]


def orient_kernel(kernel: np.ndarray, truth: np.ndarray, blurry: np.ndarray) -> np.ndarray:
    """Rotate a kernel by 180 degrees if that explains the blurry image better.

    Parameters and errors are those of `reblur_psnr`. The result is the kernel for valid
    correlation, as the networks estimate it and `utils.engine.deconvolution.deconvolve` takes it.
    """
    turned = kernel[::-1, ::-1]
    if reblur_psnr(turned, truth, blurry) > reblur_psnr(kernel, truth, blurry):
        return turned
    return kernel
