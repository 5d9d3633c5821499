"""Luminance: the gray image that is restored of a color image, and that scores compare."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Luma:
    """One definition of luminance: a weighted sum of red, green and blue, scaled to a range.

    Parameters
    ----------
    weights : (float, float, float)
        Of red, green and blue; their sum is 1.
    black, white : float
        Luminance of black and of white, in [0, 1].
    """

    weights: tuple[float, float, float]
    black: float = 0.0
    white: float = 1.0

    def luminance(self, image: np.ndarray, gray_scale: "Luma | None" = None) -> np.ndarray:
        """Compute the luminance of an image.

        Parameters
        ----------
        image : (H, W) or (H, W, 3) float array
            Gray, or red, green and blue, in [0, 1].
        gray_scale : Luma, optional
            The definition of a gray image's values; by default this one, so that it is returned
            unchanged.

        Returns
        -------
        (H, W) float64 array
            The luminance, not rounded.
        """
        if image.ndim == 2:
            return gray_scale.convert(image, self) if gray_scale else image
        red, green, blue = np.moveaxis(image, -1, 0)
        gray = self.weights[0] * red + self.weights[1] * green + self.weights[2] * blue
        return self.black + (self.white - self.black) * gray

    def replace_luminance(self, image: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Replace the luminance of an image, and keep its chroma.

        Parameters
        ----------
        image : (H, W) or (H, W, 3) float array
            Gray, or red, green and blue, in [0, 1].
        luminance : (H, W) float array
            The new luminance, on the scale of `Luma.luminance`.

        Returns
        -------
        array of the image's shape
            The new image, not clipped. At constant Cb and Cr, red, green and blue change by the
            same amount.
        """
        if image.ndim == 2:
            return luminance
        change = (luminance - self.luminance(image)) / (self.white - self.black)
        return image + change[..., None]

    def split_chroma(self, image: np.ndarray) -> np.ndarray:
        """Red and blue less the luminance, (H, W, 2) float32, of an (H, W, 3) image in [0, 1]."""
        differences = image[..., ::2] - self.luminance(image)[..., None]
        return differences.astype(np.float32)

    def join_chroma(self, luminance: np.ndarray, chroma: np.ndarray) -> np.ndarray:
        """Make the color image, (H, W, 3), of a luminance and what `split_chroma` gives."""
        red, blue = np.moveaxis(chroma, -1, 0)
        green = -(self.weights[0] * red + self.weights[2] * blue) / self.weights[1]
        return luminance[..., None] + np.stack([red, green, blue], axis=-1)

    def convert(self, luminance: np.ndarray, to: "Luma") -> np.ndarray:
        """Convert a luminance of this definition to the range of another.

        Only the ranges are converted: the weights of all definitions below agree to 1e-4.
        """
        gray = (luminance - self.black) / (self.white - self.black)
        return to.black + (to.white - to.black) * gray


FULL_RANGE = Luma((0.299, 0.587, 0.114))
"""BT.601 from 0 to 255: OpenCV's COLOR_BGR2YCrCb, and JPEG's."""

MATLAB_GRAY = Luma((0.298936021293775, 0.587043074451121, 0.114020904255103))
"""MATLAB's rgb2gray, which made the luminance images of Lai's benchmark.

MATLAB rounds halves up, `utils.images.writing.quantise` to even: no 8-bit color comes closer to a
half than 4e-6, so both give the same pixels.
"""

STUDIO_RANGE = Luma((0.299, 0.587, 0.114), 16 / 255, 235 / 255)
"""BT.601 from 16 to 235: the Y of MATLAB's rgb2ycbcr, in which Lai's benchmark is scored."""
