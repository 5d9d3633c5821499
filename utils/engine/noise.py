"""The noise of an image, estimated from the image alone."""

import numpy as np

# Coefficients a side of a block, and the share of the blocks that are quieter than what counts.
_BLOCK = 8
_QUIETEST = 0.25

# What an estimated kernel leaves unexplained of Levin's images, beside their noise of 0.0022.
_KERNEL_ERROR = 0.004


def estimate_noise(image: np.ndarray) -> float:
    """Estimate the standard deviation of an image's white noise.

    The finest diagonal Haar coefficients hold little but noise where the image is blurred or
    smooth. Their size is taken block by block, and a quiet block decides: so neither texture nor
    edges are mistaken for noise. Blocks without any, as where highlights are cut off, do not count.

    Parameters
    ----------
    image : (H, W) array
        An image in [0, 1], at least 16 pixels a side.

    Returns
    -------
    float
        In the image's units; at least what rounding to 8 bits adds.
    """
    image = np.asarray(image, np.float64)
    rows, columns = (side // 2 * 2 for side in image.shape)
    even = image[:rows, :columns]
    diagonal = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    rows, columns = (side // _BLOCK for side in diagonal.shape)
    blocks = diagonal[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    powers = np.mean(blocks**2, axis=(1, 3))
    powers = powers[powers > 0]
    rounding = 1 / 255 / 12**0.5
    if not powers.size:
        return rounding
    # The lower quartile of a mean of n squares lies 0.67 of its spread below what is sought.
    quiet = np.quantile(powers, _QUIETEST) / (1 - 0.67 * (2 / _BLOCK**2) ** 0.5)
    return max(float(quiet) ** 0.5, rounding)


def estimate_residual(blurry: np.ndarray) -> float:
    """Estimate the standard deviation of what a good restoration leaves of a blurry image.

    Beside the noise, it is the error of the kernel.

    Parameters
    ----------
    blurry : (H, W) array
        See `estimate_noise`.

    Returns
    -------
    float
        In the image's units.
    """
    return float(np.hypot(estimate_noise(blurry), _KERNEL_ERROR))
