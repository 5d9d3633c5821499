"""Kernels by phase retrieval."""

import numpy as np
import pytest

from tests.pictures import blurred, hook
from utils.engine import phase_search
from utils.engine.deconvolution import WEIGHT
from utils.engine.kernel_size import similarity
from utils.engine.likelihood import Spectrum
from utils.engine.phase_search import (
    TRIES,
    density,
    find_by_phases,
    is_proven,
    mirror_ratio,
    retrieve_phases,
)

KERNEL = np.pad(hook(9, 9), 3)


@pytest.fixture(scope="module")
def blurry():
    return blurred(KERNEL, 520, 560, noise=0.002)[0]


def test_phases_are_found_that_give_a_kernel_in_the_frame():
    found = [retrieve_phases(KERNEL, np.random.default_rng(seed)) for seed in range(6)]
    for kernel in found:
        assert kernel.shape == KERNEL.shape
        assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1)
    # A random start may fail, and whether it finds the kernel or its mirror image is chance.
    exact = [kernel for kernel in found if is_alike(kernel)]
    assert len(exact) >= 4
    assert {bool(similarity(kernel, KERNEL) > 0.999) for kernel in exact} == {True, False}


def is_alike(kernel):
    spectra = [np.abs(np.fft.rfft2(each, (40, 40))) for each in (kernel, KERNEL)]
    return np.allclose(*spectra, atol=1e-6)


def test_the_same_start_finds_the_same_kernel_and_frames_need_not_be_square():
    kernel = np.pad(hook(7, 13), ((2, 2), (3, 3)))
    first, again = (retrieve_phases(kernel, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == kernel.shape


def test_of_a_kernel_and_its_mirror_image_the_right_one_has_the_sparser_image(blurry):
    window = blurry[100:350, 100:350].astype(np.float32)
    right, mirrored = (density(window, each, WEIGHT) for each in (KERNEL, KERNEL[::-1, ::-1]))
    assert right < 0.97 * mirrored
    assert 0 < right < mirrored < 1
    ratio = mirror_ratio(blurry, KERNEL)
    assert ratio > 1.03
    assert mirror_ratio(blurry, KERNEL[::-1, ::-1]) == pytest.approx(1 / ratio, rel=1e-4)
    symmetric = np.full((1, 15), 1 / 15)
    assert mirror_ratio(blurry, symmetric) == pytest.approx(1)


@pytest.mark.parametrize(
    ("misfit", "ratio", "size", "proven"),
    [
        (0.1, 1.1, (256, 512), True),
        (0.1001, 1.5, (256, 512), False),
        (0.1, 1.0999, (256, 512), False),
        (0.1, 1.25, (256, 511), True),
        (0.1, 1.2499, (256, 511), False),
    ],
)
def test_what_is_proven(monkeypatch, misfit, ratio, size, proven):
    monkeypatch.setattr(phase_search, "mirror_ratio", lambda blurry, kernel: ratio)
    assert is_proven(np.zeros(size), KERNEL, misfit, 0.2) == proven


def test_a_kernel_like_the_right_one_is_found_from_a_wrong_one(blurry):
    wrong = np.pad(hook(9, 9).T, 3)
    tried = []
    spectrum, generator = Spectrum(blurry, 0.002), np.random.default_rng(0)
    found = find_by_phases(blurry, spectrum, [wrong], generator, tried.append)
    assert tried == list(range(1, TRIES + 1)) and len(found) == TRIES
    assert similarity(wrong, KERNEL) < 0.6
    likeness = [similarity(kernel, KERNEL) for kernel in found]
    assert likeness[0] > 0.88 and min(likeness) < 0.8  # the sparsest image tells
    for kernel in found:
        assert kernel.shape == KERNEL.shape
        assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1)
