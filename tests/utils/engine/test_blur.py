"""The forward model against SciPy."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate2d

from tests.conftest import ROOT
from utils.engine.blur import blur, fourier_blur
from utils.images.kernels import crop_registered, crop_to_blurry, move_to_crop, pad_to_sharp


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
    assert torch.allclose(
        crop_to_blurry(sharp[0, 0], kernel_size), blur(sharp, kernel)[0, 0], atol=1e-6
    )


@pytest.mark.parametrize("position", [(0, 0), (4, 10), (2, 5), (1, 8)])
def test_registered_crop_undoes_the_blur_by_a_spike_anywhere(position):
    sharp, kernel = torch.rand(1, 1, 40, 37), torch.zeros(1, 1, 5, 11)
    kernel[0, 0, *position] = 1
    registered = crop_registered(sharp[0, 0].numpy(), kernel[0, 0].numpy())
    assert np.allclose(registered, blur(sharp, kernel)[0, 0], atol=1e-6)


def test_registered_crop_lies_on_the_blurry_image():
    rng = np.random.default_rng(4)
    sharp = gaussian_filter(rng.random((90, 80)), 3)
    kernel = np.zeros((21, 15))
    kernel[2:7, 9:14] = rng.random((5, 5))
    kernel /= kernel.sum()
    blurry = correlate2d(sharp, kernel, "valid")
    registered = crop_registered(sharp, kernel)
    distances = {
        (dy, dx): np.square(np.roll(registered, (dy, dx), (0, 1)) - blurry)[3:-3, 3:-3].mean()
        for dy in range(-3, 4)
        for dx in range(-3, 4)
    }
    assert min(distances, key=distances.get) == (0, 0)
    middle = crop_to_blurry(sharp, kernel.shape)
    assert np.square(middle - blurry).mean() > 4 * np.square(registered - blurry).mean()


@pytest.mark.parametrize("kernel_size", [(5, 5), (31, 17), (75, 75)])
def test_fourier_blur_equals_the_direct_one(kernel_size):
    size = [60 + kernel_size[0], 51 + kernel_size[1]]
    sharp = torch.rand(1, 1, *size, requires_grad=True)
    kernel = torch.rand(1, 1, *kernel_size)
    kernel = (kernel / kernel.sum()).requires_grad_()
    direct, fourier = F.conv2d(sharp, kernel), fourier_blur(sharp, kernel)
    assert torch.allclose(fourier, direct, atol=1e-5)
    assert torch.equal(blur(sharp, kernel), fourier)  # on the CPU

    # The gradients of a loss of the size of the optimisation's, against those in float64.
    weights = torch.randn_like(direct)
    exact_inputs = sharp.detach().double().requires_grad_(), kernel.detach().double()
    exact_inputs[1].requires_grad_()
    exact = torch.autograd.grad(F.conv2d(*exact_inputs), exact_inputs, weights.double())
    for gradient, expected in zip(
        torch.autograd.grad(fourier, (sharp, kernel), weights), exact, strict=True
    ):
        assert torch.allclose(gradient.double(), expected, atol=1e-5 * expected.abs().max())


def test_fourier_blur_gradient():
    sharp = torch.rand(1, 1, 9, 12, dtype=torch.double, requires_grad=True)
    kernel = torch.rand(1, 1, 5, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(fourier_blur, (sharp, kernel))


def test_the_forward_model_needs_no_image_library():
    program = "import sys, utils.engine.blur; sys.exit(bool({'cv2', 'PIL'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("kernel_size", [(5, 3), (1, 7), (4, 6)])
def test_the_border_that_is_added_is_the_one_that_is_cropped(kernel_size):
    image = np.random.default_rng(0).random((12, 14))
    sharp = pad_to_sharp(image, kernel_size)
    assert sharp.shape == tuple(np.add(image.shape, kernel_size) - 1)
    np.testing.assert_array_equal(crop_to_blurry(sharp, kernel_size), image)
    assert np.all(sharp[0, (kernel_size[1] - 1) // 2 :][:14] == image[0])


def test_a_blurry_image_is_moved_to_the_middle_of_the_sharp_one():
    kernel = np.zeros((7, 9))
    kernel[1, 7] = 1  # two rows above the middle, three columns to its right
    sharp = np.random.default_rng(0).random((26, 38, 3))
    moved = move_to_crop(crop_registered(sharp, kernel), kernel)
    expected = crop_to_blurry(sharp, kernel.shape)
    np.testing.assert_array_equal(moved[:-2, 3:], expected[:-2, 3:])
    assert moved.shape == (20, 30, 3)
    np.testing.assert_array_equal(moved[-1], moved[-3])
