"""Deconvolution with a known kernel, on synthetic images and on one of Levin's."""

from pathlib import Path

import numpy as np
import pytest

from statistic.metrics import comp_upto_shift, psnr
from statistic.reblur import orient_kernel
from tests.pictures import blurred, hook, sharp_scene
from utils.engine.deconvolution import EXPONENT, _shrink, deconvolve
from utils.images.reading import read_gray, read_kernel
from utils.images.writing import to_uint8

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = (ROOT / "datasets" / "levin", ROOT.parent / "shared" / "data" / "levin")
LEVIN = next((folder for folder in FOLDERS if (folder / "gt").is_dir()), None)
needs_levin = pytest.mark.skipif(LEVIN is None, reason="needs Levin's benchmark")


@pytest.mark.parametrize("size", [(7, 9), (8, 6), (1, 9), (15, 15)])
def test_restores_a_synthetic_image_up_to_its_borders(size):
    kernel = hook(*size) if min(size) > 1 else np.full(size, 1 / max(size))
    blurry, sharp = blurred(kernel)
    restored = deconvolve(blurry, kernel)
    assert restored.shape == blurry.shape
    assert restored.min() >= 0 and restored.max() <= 1
    assert psnr(255 * restored, 255 * sharp) > psnr(255 * blurry, 255 * sharp) + 8
    edge = np.ones(sharp.shape, bool)
    edge[10:-10, 10:-10] = False
    gain = np.mean((blurry - sharp)[edge] ** 2) / np.mean((restored - sharp)[edge] ** 2)
    assert gain > 3


def test_the_rotated_kernel_does_not_restore():
    kernel = hook(9, 9)
    blurry, sharp = blurred(kernel)
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


@needs_levin
def test_restores_a_real_image():
    truth = read_gray(LEVIN / "gt" / "im1.png")
    blurry = read_gray(LEVIN / "im1_kernel5_img.png")
    kernel = orient_kernel(read_kernel(LEVIN / "gt" / "kernel5.png"), truth, blurry)
    restored = to_uint8(deconvolve(blurry, kernel)) / 255
    found_psnr, found_ssim, _ = comp_upto_shift(restored, truth)
    assert found_psnr > 36.9
    assert found_ssim > 0.965
