"""What the optimisation minimises: mean squared error, 1 - SSIM, total variation.

SSIM is our own since that of the libraries leaves out the border or reflects the image there, and
recomputes the target's moments in every iteration.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
# IEEE Transactions on Image Processing, 2004: window, its sigma, and (K1 L)^2, (K2 L)^2 for L = 1.
WINDOW_SIZE = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of two images of the same shape."""
    return F.mse_loss(a, b)


def gaussian_window(dtype: torch.dtype, device: torch.device) -> Tensor:
    """SSIM's Gaussian window in one dimension, (WINDOW_SIZE,) with sum 1."""
    distance = torch.arange(WINDOW_SIZE, dtype=dtype, device=device) - WINDOW_SIZE // 2
    window = torch.exp(-(distance**2) / (2 * SIGMA**2))
    return window / window.sum()


def local_means(maps: Tensor) -> Tensor:
    """Average each channel of a (1, C, H, W) tensor over SSIM's window, with zero padding."""
    window = gaussian_window(maps.dtype, maps.device)
    channels, reach = maps.shape[1], WINDOW_SIZE // 2
    column = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    row = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    maps = F.conv2d(maps, column, padding=(reach, 0), groups=channels)
    return F.conv2d(maps, row, padding=(0, reach), groups=channels)


class SimilarityTo:
    """Structural similarity of images to one target, as the optimisation uses it.

    Unlike in the metric (`statistic.metrics.ssim`), the image is padded with zeros, so every pixel
    counts.

    Parameters
    ----------
    target : (1, 1, H, W) float tensor
        Image in [0, 1].

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image Quality Assessment: From
       Error Visibility to Structural Similarity", IEEE Transactions on Image Processing, 2004.
    """

    def __init__(self, target: Tensor) -> None:
        self.target = target
        self.mean, mean_of_squares = local_means(torch.cat([target, target**2], dim=1)).unbind(1)
        self.variance = mean_of_squares - self.mean**2

    def __call__(self, image: Tensor) -> Tensor:
        """SSIM of a (1, 1, H, W) image, averaged over all pixels: a scalar, 1 for the target."""
        mean, mean_of_squares, mean_of_products = local_means(
            torch.cat([image, image**2, image * self.target], dim=1)
        ).unbind(1)
        variance = mean_of_squares - mean**2
        covariance = mean_of_products - mean * self.mean
        luminance = (2 * mean * self.mean + C1) / (mean**2 + self.mean**2 + C1)
        structure = (2 * covariance + C2) / (variance + self.variance + C2)
        return (luminance * structure).mean()


def total_variation(x: Tensor) -> Tensor:
    """Total variation of a (1, 1, H, W) image with squared differences, as in the original code.

    It is 2 (mean of squared vertical differences + mean of squared horizontal differences).
    """
    vertical = x[:, :, 1:] - x[:, :, :-1]
    horizontal = x[:, :, :, 1:] - x[:, :, :, :-1]
    return 2 * (vertical.square().mean() + horizontal.square().mean())
