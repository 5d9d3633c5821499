"""Blur kernels as arrays."""

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
