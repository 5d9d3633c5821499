"""Blur kernels as arrays, and where the blurry image lies in the sharp one."""

import numpy as np


def centre_of_mass(kernel: np.ndarray) -> tuple[int, int]:
    """Find the row and the column, in whole pixels, about which a kernel blurs.

    Blurring by it moves an image by as much as they lie off the kernel's middle.

    Parameters
    ----------
    kernel : (kh, kw) array
        Non-negative, not zero all over.
    """
    row, column = (
        round(float(profile @ np.arange(len(profile)) / profile.sum()))
        for profile in (kernel.sum(axis=1), kernel.sum(axis=0))
    )
    return row, column


def scale_kernel(kernel: np.ndarray) -> np.ndarray:
    """Scale a kernel for display so that its largest entry is 1 (255 in the file)."""
    return kernel / kernel.max()


def crop_to_blurry(sharp: np.ndarray, kernel_size: tuple[int, int]) -> np.ndarray:
    """Cut the part out of a sharp image that the blurry image shows.

    Parameters
    ----------
    sharp : (H + kh - 1, W + kw - 1, ...) array
        The sharp image, larger than the blurry one by the kernel's reach.
    kernel_size : tuple of int
        Height kh and width kw of the kernel.

    Returns
    -------
    (H, W, ...) array
        The crop at the offset ((kh - 1) // 2, (kw - 1) // 2).
    """
    kh, kw = kernel_size
    return crop(sharp, kernel_size, ((kh - 1) // 2, (kw - 1) // 2))


def crop_registered(sharp: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Cut the part out of a sharp image that lies on the blurry image without a shift.

    Image and kernel are determined up to a common shift, so an estimated kernel may lie off the
    middle, and the sharp image is then displaced by as much. Blurring moves an image by the
    kernel's centre of mass; the crop is taken there.

    Parameters
    ----------
    sharp : (H + kh - 1, W + kw - 1, ...) array
        The sharp image.
    kernel : (kh, kw) array
        The kernel that blurs it, non-negative and not all zero.

    Returns
    -------
    (H, W, ...) array
        The crop at the kernel's centre of mass, in whole pixels.
    """
    return crop(sharp, kernel.shape, centre_of_mass(kernel))


def crop(sharp: np.ndarray, kernel_size: tuple[int, int], offset: tuple[int, int]) -> np.ndarray:
    """Cut a part of the blurry image's size out of a sharp image."""
    (kh, kw), (height, width), (top, left) = kernel_size, sharp.shape[:2], offset
    return sharp[top : top + height - kh + 1, left : left + width - kw + 1]
