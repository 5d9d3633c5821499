"""The losses against values computed by hand, and by loops."""

import math

import numpy as np
import pytest
import torch

from utils.engine.losses import C1, C2, SimilarityTo, gaussian_window, mse, total_variation


def image(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.double)[None, None]


def ssim_by_loops(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM pixel by pixel from its definition, zeros beyond the border."""
    distance = np.arange(11) - 5
    window = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    window /= window.sum()
    a, b = np.pad(a, 5), np.pad(b, 5)
    values = []
    for row in range(a.shape[0] - 10):
        for column in range(a.shape[1] - 10):
            p = a[row : row + 11, column : column + 11]
            q = b[row : row + 11, column : column + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            variance_p = (window * p * p).sum() - mean_p**2
            variance_q = (window * q * q).sum() - mean_q**2
            covariance = (window * p * q).sum() - mean_p * mean_q
            values.append(
                (2 * mean_p * mean_q + 0.0001)
                * (2 * covariance + 0.0009)
                / ((mean_p**2 + mean_q**2 + 0.0001) * (variance_p + variance_q + 0.0009))
            )
    return float(np.mean(values))


def test_mse_by_hand():
    assert mse(image([[0.0, 0.5], [1.0, 0.25]]), image([[0.0, 0.0], [1.0, 0.5]])).item() == 0.078125


def test_window_by_hand():
    window = gaussian_window(torch.double, torch.device("cpu"))
    total = sum(math.exp(-(d**2) / 4.5) for d in range(-5, 6))
    assert window[5].item() == pytest.approx(1 / total, rel=1e-12)
    assert window[2].item() == pytest.approx(math.exp(-2) / total, rel=1e-12)


def test_ssim_of_a_single_pixel_by_hand():
    # Around a single pixel all is zero, so each mean is the window's centre times the value.
    w = 1 / sum(math.exp(-(d**2) / 4.5) for d in range(-5, 6)) ** 2
    a, b = 0.8, 0.3
    luminance = (2 * w * w * a * b + C1) / (w * w * (a * a + b * b) + C1)
    structure = (2 * w * (1 - w) * a * b + C2) / (w * (1 - w) * (a * a + b * b) + C2)
    assert SimilarityTo(image([[b]]))(image([[a]])).item() == pytest.approx(
        luminance * structure, rel=1e-12
    )


def test_ssim_by_loops():
    rng = np.random.default_rng(3)
    a, b = rng.random((17, 14)), rng.random((17, 14))
    assert SimilarityTo(image(b))(image(a)).item() == pytest.approx(ssim_by_loops(a, b), rel=1e-10)


def test_ssim_of_equal_images_is_one():
    a = torch.rand(1, 1, 20, 20)
    assert SimilarityTo(a)(a).item() == pytest.approx(1, abs=1e-6)


def test_ssim_gradient():
    a = torch.rand(1, 1, 7, 9, dtype=torch.double, requires_grad=True)
    b = torch.rand(1, 1, 7, 9, dtype=torch.double)
    assert torch.autograd.gradcheck(SimilarityTo(b), a)


def test_total_variation_by_hand():
    # Each mean is over its own number of pairs.
    x = image([[0.0, 2.0, 1.0], [1.0, 0.0, 4.0]])
    vertical = (1 + 4 + 9) / 3
    horizontal = (4 + 1 + 1 + 16) / 4
    assert total_variation(x).item() == pytest.approx(2 * (vertical + horizontal))
