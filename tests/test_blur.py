"""The forward model against SciPy."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from utils.blur import blur, crop_to_blurry


@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 11), (17, 7)])
def test_blur_is_the_valid_correlation(kernel_size):
    rng = np.random.default_rng(0)
    sharp, kernel = rng.random((40, 37)), rng.random(kernel_size)
    result = blur(torch.from_numpy(sharp)[None, None], torch.from_numpy(kernel)[None, None])
    assert np.allclose(result[0, 0], correlate2d(sharp, kernel, "valid"), atol=1e-12)


@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 11), (17, 7)])
def test_crop_undoes_the_blur_by_a_centred_spike(kernel_size):
    kernel = torch.zeros(1, 1, *kernel_size)
    kernel[0, 0, kernel_size[0] // 2, kernel_size[1] // 2] = 1
    sharp = torch.rand(1, 1, 40, 37)
    assert torch.equal(crop_to_blurry(sharp, kernel_size), blur(sharp, kernel))
