"""Blur kernels as arrays, and where the blurry image lies in the sharp one."""

import numpy as np


def centre_of_mass(kernel: np.ndarray) -> tuple[int, int]:
    """Find the row and column, in whole pixels, of a non-negative kernel's centre of mass.

    Blurring moves an image by its distance from the kernel's middle.
    """
    row, column = (
        round(float(profile @ np.arange(len(profile)) / profile.sum()))
        for profile in (kernel.sum(axis=1), kernel.sum(axis=0))
    )
    return row, column


def scale_kernel(kernel: np.ndarray) -> np.ndarray:
    """Scale a kernel so that its largest entry is 1 (255 in the file)."""
    return kernel / kernel.max()


def crop_to_blurry(sharp: np.ndarray, kernel_size: tuple[int, int]) -> np.ndarray:
    """Crop a sharp image to what the blurry image shows.

    Parameters
    ----------
    sharp : (H + kh - 1, W + kw - 1, ...) array
        The sharp image, with the border that the kernel blurs into the blurry one.
    kernel_size : tuple of int
        Height kh and width kw of the kernel.

    Returns
    -------
    (H, W, ...) array
        The crop at the offset ((kh - 1) // 2, (kw - 1) // 2).
    """
    kh, kw = kernel_size
    return crop(sharp, kernel_size, ((kh - 1) // 2, (kw - 1) // 2))


def pad_to_sharp(image: np.ndarray, kernel_size: tuple[int, int]) -> np.ndarray:
    """Add the border that a kernel blurs in, repeating an image's edges (see `crop_to_blurry`).

    Parameters
    ----------
    image : (H, W) array
        The image within the blurry one's borders.
    kernel_size : tuple of int
        Height kh and width kw of the kernel.

    Returns
    -------
    (H + kh - 1, W + kw - 1) array
        The image with its border.
    """
    return np.pad(image, [((side - 1) // 2, side // 2) for side in kernel_size], "edge")


def crop_registered(sharp: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Crop a sharp image to lie on the blurry image without a shift.

    Image and kernel are determined up to a common shift, so an estimated kernel may lie off the
    middle, and the sharp image is then displaced by as much. The crop follows the kernel's centre
    of mass.

    Parameters
    ----------
    sharp : (H + kh - 1, W + kw - 1, ...) array
        The sharp image.
    kernel : (kh, kw) array
        The kernel that blurs it, non-negative and not all zero.

    Returns
    -------
    (H, W, ...) array
        The crop.
    """
    return crop(sharp, kernel.shape, centre_of_mass(kernel))


def move_to_crop(blurry: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Move a blurry image to lie on the middle of the sharp one, as `crop_to_blurry` cuts it out.

    Parameters
    ----------
    blurry : (H, W, ...) array
        The blurry image.
    kernel : (kh, kw) array
        Its kernel, non-negative and not all zero.

    Returns
    -------
    (H, W, ...) array
        The image, moved by as much as the kernel's centre of mass lies off the middle, its border
        repeated.
    """
    for axis, (side, centre) in enumerate(zip(kernel.shape, centre_of_mass(kernel), strict=True)):
        places = np.arange(blurry.shape[axis]) + (side - 1) // 2 - centre
        blurry = blurry.take(places, axis, mode="clip")
    return blurry


def crop(sharp: np.ndarray, kernel_size: tuple[int, int], offset: tuple[int, int]) -> np.ndarray:
    """Crop a sharp image to the blurry image's size, at an offset."""
    (kh, kw), (height, width), (top, left) = kernel_size, sharp.shape[:2], offset
    return sharp[top : top + height - kh + 1, left : left + width - kw + 1]
