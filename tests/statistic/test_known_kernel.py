import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import correlate

from statistic.known_kernel import EXPONENT, _shrink, deconvolve
from statistic.metrics import comp_upto_shift, psnr
from statistic.reblur import orient_kernel, reblur_psnr
from utils.images.reading import read_gray, read_kernel
from utils.images.writing import to_uint8

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "datasets" / "levin", ROOT.parent / "shared" / "data" / "levin")
LEVIN = next((folder for folder in FOLDERS if (folder / "gt").is_dir()), None)
needs_levin = pytest.mark.skipif(LEVIN is None, reason="needs Levin's benchmark")


def sharp_scene(height, width, seed=0):
    """Overlapping rectangles of constant brightness: sparse gradients, edges across the borders."""
    generator = np.random.default_rng(seed)
    image = np.full((height, width), 0.5)
    for _ in range(60):
        top, left = generator.integers(-10, height), generator.integers(-10, width)
        rows, columns = generator.integers(8, 30, 2)
        image[max(top, 0) : top + rows, max(left, 0) : left + columns] = generator.random()
    return image


def hook(height, width):
    """A kernel that no turn or mirror maps to itself."""
    kernel = np.zeros((height, width))
    kernel[0, :] = np.linspace(1, 2, width)
    kernel[:, -1] = np.linspace(2, 0.5, height)
    kernel[-1, width // 2] = 1
    return kernel / kernel.sum()


def blur(kernel, height=100, width=90, noise=0.003):
    """A blurry image by valid correlation, and the part of the sharp one that it shows."""
    kh, kw = kernel.shape
    scene = sharp_scene(height + kh - 1, width + kw - 1)
    blurry = correlate(scene, kernel, "valid")
    blurry += noise * np.random.default_rng(1).standard_normal(blurry.shape)
    top, left = (kh - 1) // 2, (kw - 1) // 2
    return blurry.clip(0, 1), scene[top : top + height, left : left + width]


@pytest.mark.parametrize("size", [(7, 9), (8, 6), (1, 9), (15, 15)])
def test_restores_a_synthetic_image_up_to_its_borders(size):
    kernel = hook(*size) if min(size) > 1 else np.full(size, 1 / max(size))
    blurry, sharp = blur(kernel)
    restored = deconvolve(blurry, kernel)
    assert restored.shape == blurry.shape
    assert restored.min() >= 0 and restored.max() <= 1
    assert psnr(255 * restored, 255 * sharp) > psnr(255 * blurry, 255 * sharp) + 8
    edge = np.ones(sharp.shape, bool)
    edge[10:-10, 10:-10] = False
    gain = np.mean((blurry - sharp)[edge] ** 2) / np.mean((restored - sharp)[edge] ** 2)
    assert gain > 3


def test_the_turned_kernel_does_not_restore():
    kernel = hook(9, 9)
    blurry, sharp = blur(kernel)
    right, wrong = (deconvolve(blurry, k) for k in (kernel, kernel[::-1, ::-1]))
    assert comp_upto_shift(right, sharp)[0] > comp_upto_shift(wrong, sharp)[0] + 8


def test_a_single_point_leaves_the_image_where_it_is():
    blurry = sharp_scene(60, 50)
    kernel = np.zeros((5, 4))
    kernel[2, 1] = 1
    np.testing.assert_allclose(deconvolve(blurry, kernel), blurry, atol=0.02)


def test_a_smaller_weight_smooths_more():
    noisy = np.random.default_rng(0).random((50, 60))
    kernel = np.full((3, 3), 1 / 9)
    roughness = [np.abs(np.diff(deconvolve(noisy, kernel, weight))).sum() for weight in (10, 1e4)]
    assert roughness[0] < 0.5 * roughness[1]


def test_a_constant_image_stays():
    np.testing.assert_allclose(deconvolve(np.full((40, 50), 0.3), hook(5, 5)), 0.3, atol=1e-3)


@pytest.mark.parametrize("penalty", [5.0, 80.0])
def test_shrinking_finds_the_minimum(penalty):
    values = np.linspace(-1.5, 1.5, 61)
    candidates = np.linspace(-2, 2, 40001)
    costs = np.abs(candidates) ** EXPONENT + penalty / 2 * (candidates - values[:, None]) ** 2
    expected = candidates[costs.argmin(1)]
    np.testing.assert_allclose(_shrink(values, penalty), expected, atol=1.1e-4)
    np.testing.assert_array_equal(_shrink(np.full(3, 1e-3), penalty), 0)


@pytest.mark.parametrize(
    "blurry, kernel, weight, message",
    [
        (np.zeros((9, 9, 3)), hook(3, 3), 1, r"blurry has shape \(9, 9, 3\)"),
        (np.full((9, 9), np.nan), hook(3, 3), 1, "finite"),
        (np.zeros((9, 9)), hook(10, 3), 1, r"kernel has shape \(10, 3\)"),
        (np.zeros((9, 9)), 255 * hook(3, 3), 1, "sums to 255"),
        (np.zeros((9, 9)), hook(3, 3) - 0.1, 1, "smallest entry of -0.1"),
        (np.zeros((9, 9)), hook(3, 3), 0, "weight is 0"),
    ],
)
def test_bad_arguments_are_refused(blurry, kernel, weight, message):
    with pytest.raises(ValueError, match=message):
        deconvolve(blurry, kernel, weight)


@pytest.mark.parametrize("size", [(9, 9), (8, 5)])
def test_orientation_follows_from_blurring_again(size):
    kernel = hook(*size)
    blurry, sharp = blur(kernel)
    turned = kernel[::-1, ::-1]
    for given in (kernel, turned):
        np.testing.assert_array_equal(orient_kernel(given, sharp, blurry), kernel)
    assert reblur_psnr(kernel, sharp, blurry) > 45
    assert reblur_psnr(turned, sharp, blurry) < 35


def test_orientation_takes_a_kernel_that_is_off_centre():
    kernel = hook(7, 7)
    blurry, sharp = blur(kernel)
    moved = np.pad(kernel, ((6, 0), (0, 4)))
    assert reblur_psnr(moved, sharp, blurry) > 45
    np.testing.assert_array_equal(orient_kernel(moved[::-1, ::-1], sharp, blurry), moved)


@needs_levin
@pytest.mark.parametrize("margins", [((34, 0), (0, 34)), ((17, 17), (34, 0)), ((0, 34), (17, 17))])
def test_orientation_takes_a_kernel_farther_off_than_images_are_aligned(margins):
    """As an estimate in a square of 51 x 51 may lie; images are aligned by up to 10 pixels."""
    truth, blurry = (read_gray(LEVIN / name) for name in ("gt/im1.png", "im1_kernel1_img.png"))
    moved = np.pad(read_kernel(LEVIN / "gt/kernel1.png"), margins)
    assert reblur_psnr(moved, truth, blurry) > 39
    np.testing.assert_array_equal(orient_kernel(moved[::-1, ::-1], truth, blurry), moved)


def test_a_symmetric_kernel_stays_as_it_is():
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    blurry, sharp = blur(kernel)
    assert orient_kernel(kernel, sharp, blurry) is kernel


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"truth is \(60, 60\), but blurry is \(60, 61\)"):
        orient_kernel(hook(5, 5), np.zeros((60, 60)), np.zeros((60, 61)))
    with pytest.raises(ValueError, match=r"blurry is \(60, 60\): with a kernel of \(21, 21\)"):
        orient_kernel(hook(21, 21), np.zeros((60, 60)), np.zeros((60, 60)))


@needs_levin
@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_of_levins_kernels(number):
    """Kernels 4 and 8 are stored turned, measured over all four images."""
    truth = read_gray(LEVIN / "gt" / "im3.png")
    blurry = read_gray(LEVIN / f"im3_kernel{number}_img.png")
    kernel = read_kernel(LEVIN / "gt" / f"kernel{number}.png")
    found = orient_kernel(kernel, truth, blurry)
    np.testing.assert_array_equal(found, kernel[::-1, ::-1] if number in (4, 8) else kernel)
    assert reblur_psnr(found, truth, blurry) > 39


@needs_levin
def test_restores_a_real_image():
    truth = read_gray(LEVIN / "gt" / "im1.png")
    blurry = read_gray(LEVIN / "im1_kernel5_img.png")
    kernel = orient_kernel(read_kernel(LEVIN / "gt" / "kernel5.png"), truth, blurry)
    restored = to_uint8(deconvolve(blurry, kernel)) / 255
    found_psnr, found_ssim, _ = comp_upto_shift(restored, truth)
    assert found_psnr > 36.9
    assert found_ssim > 0.965


def test_scoring_needs_no_torch():
    modules = "statistic.metrics, statistic.reblur, statistic.known_kernel"
    check = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0
