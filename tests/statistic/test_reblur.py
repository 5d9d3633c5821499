"""Which way up a kernel is, decided by blurring the truth again."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from statistic.reblur import orient_kernel, reblur_psnr
from tests.pictures import blurred, hook
from utils.images.reading import read_gray, read_kernel

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "datasets" / "levin", ROOT.parent / "shared" / "data" / "levin")
LEVIN = next((folder for folder in FOLDERS if (folder / "gt").is_dir()), None)
needs_levin = pytest.mark.skipif(LEVIN is None, reason="needs Levin's benchmark")


@pytest.mark.parametrize("size", [(9, 9), (8, 5)])
def test_orientation_follows_from_blurring_again(size):
    kernel = hook(*size)
    blurry, sharp = blurred(kernel)
    turned = kernel[::-1, ::-1]
    for given in (kernel, turned):
        np.testing.assert_array_equal(orient_kernel(given, sharp, blurry), kernel)
    assert reblur_psnr(kernel, sharp, blurry) > 45
    assert reblur_psnr(turned, sharp, blurry) < 35


def test_orientation_takes_a_kernel_that_is_off_centre():
    kernel = hook(7, 7)
    blurry, sharp = blurred(kernel)
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
    blurry, sharp = blurred(kernel)
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


def test_scoring_needs_no_torch():
    modules = "statistic.metrics, statistic.reblur, utils.engine.deconvolution"
    check = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0
