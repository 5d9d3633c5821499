"""The judge of kernels that needs no truth, and the stage that asks it."""

import numpy as np
import pytest
from scipy.ndimage import shift
from scipy.signal import correlate

from tests.pictures import hook, line
from tests.runs import checkpoint_in
from utils.engine import estimate_kernel, likelihood
from utils.engine.likelihood import can_judge, spectral_misfits
from utils.engine.methods import LEVIN, blind_methods
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.engine.stages.estimate import NO_BLUR, EstimateKernel
from utils.images.reading import read_gray

NOISE = 0.004


@pytest.fixture(scope="module")
def sharp(sample):
    return read_gray(sample / "gt/im1.png")


def blur(sharp, kernel):
    noise = NOISE * np.random.default_rng(0).standard_normal(sharp.shape)
    return (correlate(sharp, kernel, "same", "fft") + noise)[12:-12, 12:-12].clip(0, 1)


@pytest.mark.parametrize("kernel", [hook(15, 11), line(15, 15), line(15, 15).T])
def test_the_right_kernel_explains_the_spectrum_best(sharp, kernel):
    wrong = [NO_BLUR, kernel.T, hook(9, 9), np.full((9, 9), 1 / 81)]
    right, *others = spectral_misfits(blur(sharp, kernel), [kernel, *wrong], NOISE)
    assert right < min(others) - 0.05


def test_no_blur_is_likeliest_where_there_is_none(sharp):
    none, *others = spectral_misfits(sharp, [NO_BLUR, hook(9, 9), line(11, 11)], NOISE)
    assert none < min(others) - 0.05


def test_a_kernels_place_does_not_matter(sharp):
    kernel = np.pad(hook(9, 9), 4)
    at_first, moved = spectral_misfits(blur(sharp, kernel), [kernel, shift(kernel, (2, -3))], NOISE)
    assert moved == pytest.approx(at_first, abs=1e-4)


def test_the_taper_is_accounted_for():
    """White noise has a flat spectrum, so that a segment's has the kernel's alone."""
    rng = np.random.default_rng(0)
    kernel = np.full((1, 32), 1 / 32)  # zeros at every eighth frequency of 256
    blurry = correlate(rng.standard_normal((4000, 2000)), kernel, "valid")
    found = likelihood._power_spectrum(blurry, 256)
    expected = likelihood._transfer(kernel, 256)
    columns = np.arange(1, 60)
    ratio = found[:, columns].mean(axis=0) / expected[:, columns].mean(axis=0)
    assert np.abs(ratio - 1).max() < 0.15
    untapered = np.abs(np.fft.rfft(kernel[0], 256)) ** 2
    assert untapered[8] < 1e-20 < 1e-5 < expected[0, 8]


@pytest.mark.parametrize(
    ("image_size", "kernel_size", "can"),
    [
        ((200, 300), (99, 3), True),
        ((199, 300), (9, 9), False),
        ((1000, 1000), (129, 9), False),
        ((1000, 1000), (127, 9), True),
    ],
)
def test_a_small_image_or_a_large_kernel_is_not_judged(image_size, kernel_size, can):
    assert can_judge(image_size, kernel_size) == can


# The stage


@pytest.fixture
def image(sharp):
    """Large enough for windows, with a kernel of 9 pixels."""
    scene = np.pad(sharp, ((0, 424 - sharp.shape[0]), (0, 1124 - sharp.shape[1])), "symmetric")
    return blur(scene, np.pad(hook(9, 9), 3))


def give_kernels(monkeypatch, of_whole, of_window):
    """Have the estimate of an image, and of its windows, give these kernels."""
    asked = []

    def give(blurry, kernel_size, *, doubtful=None, on_step=None):
        asked.append(blurry.shape)
        on_step(1, 1, "given")
        return of_whole if blurry.shape[1] > 400 else of_window

    monkeypatch.setattr(estimate_kernel, "estimate_kernel", give)
    return asked


def run(task, **callbacks):
    records = []
    found = restore(task, device="cpu", on_save=lambda _, each: records.append(each), **callbacks)
    return found, records[-1][0]


def test_a_windows_kernel_is_taken_if_the_whole_images_is_wrong(monkeypatch, image):
    right, wrong = np.pad(hook(9, 9), 3), np.pad(hook(9, 9).T, 3)
    asked = give_kernels(monkeypatch, wrong, right)
    found, record = run(Task((EstimateKernel(),), Restoration(image, (15, 15))))
    assert asked == [(400, 1100), (315, 315), (315, 315)]
    np.testing.assert_array_equal(found.kernel, right)
    of_whole, *of_windows = record["ahead_of_no_blur"]
    assert min(of_windows) > of_whole and "doubt" not in record

    give_kernels(monkeypatch, right, wrong)
    found, _ = run(Task((EstimateKernel(),), Restoration(image, (15, 15))))
    np.testing.assert_array_equal(found.kernel, right)


def test_an_image_of_which_no_kernel_can_be_trusted_stays_as_it_is(monkeypatch, image):
    wrong = np.full((15, 15), 1 / 225)
    give_kernels(monkeypatch, wrong, wrong)
    method = blind_methods(LEVIN)["fast"]
    found, record = run(Task(method, Restoration(image, (15, 15))))
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.registered_image, image)
    assert found.kernel.shape == (15, 15) and found.kernel[7, 7] == 1 and not found.has_blur
    assert np.abs(found.others["doubtful"][7:-7, 7:-7] - image).max() > 0.1
    assert "stays as it is" in record["doubt"] and "_doubtful.png" in record["doubt"]


def test_a_small_images_kernel_is_not_judged(monkeypatch, image):
    wrong = np.full((15, 15), 1 / 225)
    asked = give_kernels(monkeypatch, wrong, wrong)
    found, record = run(Task((EstimateKernel(),), Restoration(image[:150, :160], (15, 15))))
    assert asked == [(150, 160)] and found.has_blur and "ahead_of_no_blur" not in record


def test_kernels_are_not_estimated_again_after_an_interruption(monkeypatch, image):
    right = np.pad(hook(9, 9), 3)
    asked = give_kernels(monkeypatch, right, right)
    task = Task((EstimateKernel(),), Restoration(image, (15, 15)))
    whole, _ = run(task)
    assert len(asked) == 3
    checkpoint = checkpoint_in(task, "kernel estimate", 2)
    asked.clear()
    resumed, _ = run(task, checkpoint=checkpoint)
    assert len(asked) == 2
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)


def give_misfits(monkeypatch, *misfits):
    monkeypatch.setattr(likelihood, "spectral_misfits", lambda *arguments: list(misfits))


@pytest.mark.parametrize(
    ("misfits", "taken", "doubt"),
    [
        ((-0.30, -0.31, -0.31, 0.0), 0, None),
        ((-0.30, -0.31, -0.33, 0.0), 2, None),
        ((-0.03, -0.04, 0.10, 0.0), 0, "hardly better"),
        ((0.005, -0.01, 0.10, 0.0), 1, "hardly better"),
        ((0.005, 0.004, 0.10, 0.0), None, "stays as it is"),
    ],
)
def test_the_kernel_that_is_clearly_ahead_is_taken(monkeypatch, image, misfits, taken, doubt):
    kernels = [np.pad(hook(9, 9), 3), np.pad(line(9, 9), 3), np.pad(line(9, 9).T, 3)]
    given = iter(kernels)

    def give(blurry, kernel_size, *, doubtful=None, on_step=None):
        on_step(1, 1, "given")
        return next(given)

    monkeypatch.setattr(estimate_kernel, "estimate_kernel", give)
    give_misfits(monkeypatch, *misfits)
    found, record = run(Task((EstimateKernel(),), Restoration(image, (15, 15))))
    if taken is None:
        assert not found.has_blur
    else:
        np.testing.assert_array_equal(found.kernel, kernels[taken])
    assert doubt in record["doubt"] if doubt else "doubt" not in record


def test_nothing_is_refused_where_much_is_clipped(monkeypatch, image):
    """No kernel explains highlights that are cut off."""
    wrong = np.full((15, 15), 1 / 225)
    give_kernels(monkeypatch, wrong, wrong)
    bright = (1.6 * image).clip(0, 1)
    assert (bright == 1).mean() > 0.05
    found, record = run(Task((EstimateKernel(),), Restoration(bright, (15, 15))))
    assert found.has_blur and "hardly better" in record["doubt"]


def test_a_kernel_that_collapsed_is_said(monkeypatch, image):
    point = np.pad(np.ones((1, 1)), 7)
    give_kernels(monkeypatch, point, point)
    _, record = run(Task((EstimateKernel(),), Restoration(image[:150, :160], (15, 15))))
    assert "collapsed to a point" in record["doubt"]
