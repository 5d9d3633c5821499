"""The formation of a blurry image: valid correlation, noise, clipping by the sensor, 8 bits."""

import numpy as np
from scipy.signal import correlate

from utils.images.writing import to_uint8

BRIGHT = 0.9  # where saturation begins


def as_stored(kernel: np.ndarray) -> np.ndarray:
    """Round a non-negative kernel to the values of its 8-bit file, and normalise it to sum 1.

    The file then is exactly the kernel that the blurry image is made with.
    """
    levels = np.rint(kernel / kernel.max() * 255)
    return levels / levels.sum()


def blur(sharp: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Blur by the valid cross-correlation, as torch's conv2d computes it without padding.

    Parameters
    ----------
    sharp : (H + kh - 1, W + kw - 1) or (H + kh - 1, W + kw - 1, 3) float array
        The image.
    kernel : (kh, kw) float array
        The kernel, which is not rotated.

    Returns
    -------
    (H, W) or (H, W, 3) float64 array
        The blurry image without noise.

    Raises
    ------
    ValueError
        If `sharp` is smaller than `kernel`.
    """
    if sharp.shape[0] < kernel.shape[0] or sharp.shape[1] < kernel.shape[1]:
        raise ValueError(f"sharp: {sharp.shape} is smaller than the kernel, {kernel.shape}")
    if sharp.ndim == 3:
        return np.dstack([blur(channel, kernel) for channel in np.moveaxis(sharp, 2, 0)])
    return correlate(sharp, kernel, mode="valid")


def expose(light: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Record light as an 8-bit sensor does: Gaussian noise, clipping, rounding.

    The standard deviation of the noise is in gray levels of 1/255. A light of 1 is the brightest
    that the sensor can record; the result has multiples of 1/255 in [0, 1].
    """
    return to_uint8(light + noise / 255 * rng.standard_normal(light.shape)) / 255


def saturate(sharp: np.ndarray, gain: float) -> np.ndarray:
    """Restore the light of bright regions of a gray or color image that the camera clipped.

    Above `BRIGHT`, the brighter a pixel, the more it is scaled; white becomes `gain`, which is at
    least 1. Blurred and clipped, such an image shows the saturated streaks of lamps and highlights.
    The channels of a color share a factor, which follows from the largest of them.
    """
    brightest = sharp.max(axis=2, keepdims=True) if sharp.ndim == 3 else sharp
    return sharp * (1 + (gain - 1) * np.clip((brightest - BRIGHT) / (1 - BRIGHT), 0, 1))
