"""Luminance: what deblurring restores of a color image."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LumaRange:
    """Which luminance BT.601's weights give: that of computers or that of television studios.

    Parameters
    ----------
    black, white : float
        Luminance of black and of white.

    References
    ----------
    ITU-R Recommendation BT.601.
    """

    black: float
    white: float

    def luma(self, image: np.ndarray) -> np.ndarray:
        """Compute the luminance of an image.

        Parameters
        ----------
        image : (H, W) or (H, W, 3) float array
            Gray, or red, green and blue, in [0, 1].

        Returns
        -------
        (H, W) float64 array
            Luminance; a gray image is taken for one.
        """
        if image.ndim == 2:
            return image
        red, green, blue = np.moveaxis(image, -1, 0)
        gray = 0.299 * red + 0.587 * green + 0.114 * blue
        return self.black + (self.white - self.black) * gray

    def replace_luma(self, image: np.ndarray, luma: np.ndarray) -> np.ndarray:
        """Give an image another luminance, and keep its chroma.

        Parameters
        ----------
        image : (H, W) or (H, W, 3) float array
            Gray, or red, green and blue, in [0, 1].
        luma : (H, W) float array
            The new luminance.

        Returns
        -------
        array of the image's shape
            At constant Cb and Cr, red, green and blue rise by as much as gray does. Not clipped.
        """
        if image.ndim == 2:
            return luma
        rise = (luma - self.luma(image)) / (self.white - self.black)
        return image + rise[..., None]


FULL_RANGE = LumaRange(0.0, 1.0)
"""OpenCV's COLOR_BGR2YCrCb, and JPEG's."""

STUDIO_RANGE = LumaRange(16 / 255, 235 / 255)
"""MATLAB's rgb2ycbcr, which the published scripts use on Lai's images."""
