"""The judge of kernels that needs no truth, and the stage that asks it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import shift
from scipy.signal import correlate

from tests.pictures import hook, line
from tests.runs import checkpoint_in, quiet_work
from utils.engine import estimate_kernel, likelihood
from utils.engine.estimate_kernel import OTHERS, USUAL
from utils.engine.kernel_fit import centre
from utils.engine.likelihood import can_judge, spectral_misfits
from utils.engine.methods import LEVIN, QUICK, blind_methods
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.engine.stages.estimate import (
    NO_BLUR,
    CheckKernel,
    EstimateKernel,
    deconvolved,
    is_trusted,
)
from utils.engine.stages.fit import Fit, FitIfUntrusted
from utils.engine.stages.refine import Refine
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


@pytest.mark.parametrize("shape", [(256, 256), (255, 300), (400, 600)])
def test_the_misfit_of_the_true_spectrum_is_nothing(shape):
    """Noise colored by a power law, from the middle of a larger field so that it does not wrap."""
    field = 2 * shape[0], 2 * shape[1]
    frequency = np.hypot(np.fft.fftfreq(field[0])[:, None], np.fft.rfftfreq(field[1]))
    frequency[0, 0] = 1
    misfits = []
    for seed in range(8):
        noise = np.random.default_rng(seed).standard_normal(field)
        scene = np.fft.irfft2(np.fft.rfft2(noise) * frequency**-1.2, field)[: shape[0], : shape[1]]
        scene = 0.5 + 0.2 * scene / scene.std()
        misfits.append(spectral_misfits(scene, [NO_BLUR, line(9, 9)], 0.002))
    right, wrong = np.mean(misfits, axis=0)
    assert abs(right) < 0.02 and wrong > 0.5


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


# The stages


@pytest.fixture
def image(sharp):
    """Large enough for windows, with a kernel of 9 pixels."""
    scene = np.pad(sharp, ((0, 424 - sharp.shape[0]), (0, 1124 - sharp.shape[1])), "symmetric")
    return blur(scene, np.pad(hook(9, 9), 3))


def give_kernels(monkeypatch, of_whole, of_window):
    """Have the estimate of an image, and of its windows, give these kernels."""
    asked = []

    def give(blurry, kernel_size, *, selection=USUAL, doubtful=None, on_step=None):
        asked.append((blurry.shape, selection))
        on_step(1, 1, "given")
        return of_whole if blurry.shape[1] > 400 else of_window

    monkeypatch.setattr(estimate_kernel, "estimate_kernel", give)
    return asked


def give_misfits(monkeypatch, *known):
    """Have the judge say this of these kernels, and 0.3 of all others."""

    def judge(blurry, kernels, noise):
        return [
            next((misfit for kernel, misfit in known if np.array_equal(kernel, each)), 0.3)
            for each in kernels
        ]

    monkeypatch.setattr(likelihood, "spectral_misfits", judge)


def run(task, **callbacks):
    records = []
    found = restore(task, device="cpu", on_save=lambda _, each: records.append(each), **callbacks)
    return found, records[-1][0]


RIGHT, WRONG = np.pad(hook(9, 9), 3), np.pad(hook(9, 9).T, 3)
OTHER = np.pad(line(9, 9), 3)


@pytest.mark.parametrize(
    ("misfit", "of_no_blur", "trusted"),
    [
        (0.10, 0.40, True),
        (0.11, 0.40, False),
        (0.09, 0.20, True),
        (0.09, 0.16, False),
        (0.05, 0.06, True),
        (0.06, 0.06, False),
        (-0.03, 0.0, True),
    ],
)
def test_a_kernel_is_trusted_by_its_misfit_and_that_of_no_blur(misfit, of_no_blur, trusted):
    assert is_trusted(misfit, of_no_blur) == trusted


def test_a_kernel_that_explains_the_spectrum_is_taken_at_once(monkeypatch, image):
    asked = give_kernels(monkeypatch, RIGHT, WRONG)
    give_misfits(monkeypatch, (RIGHT, 0.08))
    found, record = run(Task((EstimateKernel(),), Restoration(image, (15, 15))))
    assert asked == [((400, 1100), USUAL)]
    np.testing.assert_array_equal(found.kernel, RIGHT)
    assert record["misfit"] == [0.08]


def test_where_none_is_trusted_other_edges_and_windows_are_tried(monkeypatch, image):
    asked = give_kernels(monkeypatch, WRONG, RIGHT)
    give_misfits(monkeypatch, (RIGHT, 0.08), (WRONG, 0.2))
    found, record = run(Task((EstimateKernel(),), Restoration(image, (15, 15))))
    of_whole = [((400, 1100), selection) for selection in (USUAL, *OTHERS)]
    assert asked == [*of_whole, ((315, 315), USUAL)]  # the second window is not needed
    np.testing.assert_array_equal(found.kernel, RIGHT)
    assert record["misfit"] == [0.2] * 5 + [0.08] and record["of_no_blur"] == 0.3


def test_the_judge_prefers_the_right_kernel(monkeypatch, image):
    give_kernels(monkeypatch, WRONG, RIGHT)
    found, record = run(Task((EstimateKernel(),), Restoration(image, (15, 15))))
    np.testing.assert_array_equal(found.kernel, RIGHT)
    assert record["misfit"][-1] < record["misfit"][0] - 0.03 < record["of_no_blur"] - 0.1


def test_an_image_of_which_no_kernel_can_be_trusted_stays_as_it_is(monkeypatch, image):
    wrong = np.full((15, 15), 1 / 225)
    give_kernels(monkeypatch, wrong, wrong)
    method = blind_methods(LEVIN)["fast"]
    records = []
    found = restore(
        Task(method, Restoration(image, (15, 15))),
        device="cpu",
        on_save=lambda _, each: records.append(each),
    )
    record = records[-1][-1]
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.registered_image, image)
    assert found.kernel.shape == (15, 15) and found.kernel[7, 7] == 1 and not found.has_blur
    assert np.abs(found.others["doubtful"][7:-7, 7:-7] - image).max() > 0.1
    assert record["stage"] == "kernel check"
    assert "stays as it is" in record["doubt"] and "_doubtful.png" in record["doubt"]


def test_a_small_images_kernel_is_not_judged(monkeypatch, image):
    wrong = np.full((15, 15), 1 / 225)
    asked = give_kernels(monkeypatch, wrong, wrong)
    found, record = run(Task((EstimateKernel(),), Restoration(image[:150, :160], (15, 15))))
    assert asked == [((150, 160), USUAL)] and found.has_blur and "misfit" not in record


def test_kernels_are_not_estimated_again_after_an_interruption(monkeypatch, image):
    give_misfits(monkeypatch)
    wrong = WRONG
    asked = give_kernels(monkeypatch, wrong, wrong)
    task = Task((EstimateKernel(),), Restoration(image, (15, 15)))
    whole, _ = run(task)
    assert len(asked) == 7
    checkpoint = checkpoint_in(task, "kernel estimate", 2)
    asked.clear()
    resumed, _ = run(task, checkpoint=checkpoint)
    assert len(asked) == 6
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)


@pytest.mark.parametrize(
    ("misfits", "asked", "taken"),
    [
        ((0.099,), 1, 0),
        ((0.102, 0.101, 0.09), 3, 0),
        ((0.12, 0.11, 0.09), 3, 2),
        ((0.20, 0.19, 0.21, 0.30, 0.2, 0.2, 0.2), 7, 0),
        ((0.20, 0.19, 0.21, 0.30, 0.2, 0.11, 0.2), 7, 5),
        ((0.305, 0.29, 0.21, 0.30, 0.3, 0.3, 0.3), 7, 2),
        ((0.305, 0.295, 0.31, 0.30, 0.3, 0.3, 0.3), 7, 1),
    ],
)
def test_the_kernel_that_is_clearly_ahead_is_taken(monkeypatch, image, misfits, asked, taken):
    kernels = [np.roll(RIGHT, places) for places in range(-3, 4)]
    given = iter(kernels)

    def give(blurry, kernel_size, *, selection=USUAL, doubtful=None, on_step=None):
        on_step(1, 1, "given")
        return next(given)

    monkeypatch.setattr(estimate_kernel, "estimate_kernel", give)
    give_misfits(monkeypatch, *zip(kernels, misfits, strict=False))
    found, record = run(Task((EstimateKernel(),), Restoration(image, (15, 15))))
    assert len(record["misfit"]) == asked
    np.testing.assert_array_equal(found.kernel, kernels[taken])


def check(image, kernel):
    found = deconvolved(Restoration(image, kernel.shape), kernel)
    records = []
    checked = restore(
        Task((CheckKernel(),), found), device="cpu", on_save=lambda _, each: records.extend(each)
    )
    return checked, records[-1].get("doubt", "")


@pytest.mark.parametrize(
    ("misfit", "kept", "doubt"),
    [
        (0.10, True, ""),
        (0.24, True, "less well than right ones"),
        (0.26, True, "hardly better"),
        (0.31, False, "stays as it is"),
    ],
)
def test_a_kernel_is_refused_if_no_blur_is_likelier(monkeypatch, image, misfit, kept, doubt):
    give_misfits(monkeypatch, (OTHER, misfit))
    found, said = check(image, OTHER)
    assert found.has_blur == kept and ("doubtful" in found.others) == (not kept)
    assert doubt in said if doubt else not said


def test_nothing_is_refused_where_much_is_clipped(monkeypatch, image):
    """No kernel explains highlights that are cut off."""
    bright = (1.6 * image).clip(0, 1)
    assert (bright == 1).mean() > 0.05
    give_misfits(monkeypatch, (OTHER, 0.4))
    found, said = check(bright, OTHER)
    assert found.has_blur and "hardly better" in said


def test_a_kernel_that_collapsed_is_said(image):
    _, said = check(image[:150, :160], np.pad(np.ones((1, 1)), 7))
    assert "collapsed to a point" in said


# The fit that looks for the kernel where no estimate is trusted


@pytest.fixture
def untrusted(image):
    return deconvolved(Restoration(image[:200, :220], (15, 15)), WRONG)


def fit(monkeypatch, restoration, kernel):
    """Run the stage, its fit giving this kernel; return what it notes as well."""
    notes = {}

    def give(self, given, work):
        return replace(given, kernel=kernel, sharp=0 * given.sharp, losses=[1.0, 0.5])

    monkeypatch.setattr(Fit, "run", give)
    return FitIfUntrusted(QUICK).run(restoration, quiet_work(notes)), notes


def test_the_fits_kernel_is_taken_if_it_is_clearly_better(monkeypatch, untrusted):
    moved = np.roll(RIGHT, 2, axis=0)
    give_misfits(monkeypatch, (WRONG, 0.2), (centre(moved), 0.1))
    found, notes = fit(monkeypatch, untrusted, moved)
    np.testing.assert_allclose(found.kernel, centre(RIGHT))
    assert found.sharp.std() > 0.01 and found.losses == [1.0, 0.5]
    assert notes["misfit"][1] < notes["misfit"][0]

    give_misfits(monkeypatch, (WRONG, 0.2), (RIGHT, 0.19))
    kept, _ = fit(monkeypatch, untrusted, RIGHT)
    np.testing.assert_array_equal(kept.kernel, WRONG)
    np.testing.assert_array_equal(kept.sharp, untrusted.sharp)


def test_the_fit_is_resumed_to_the_same_bits_and_keeps_its_networks(monkeypatch, untrusted):
    give_misfits(monkeypatch, (WRONG, 0.9))
    recipe = replace(QUICK, num_iter=4, channels=8, precision="fp32")
    task = Task((FitIfUntrusted(recipe),), untrusted)
    shown = []
    whole = restore(task, device="cpu", save_every=1, on_save=lambda found, _: shown.append(found))
    assert len(shown) > 4 and all(found.gx is None and found.gk is None for found in shown)
    assert np.abs(whole.kernel - WRONG).max() > 0.01 and len(whole.losses) == 4
    kept = checkpoint_in(task, "plain fit", steps=2)
    resumed = restore(task, device="cpu", checkpoint=kept)
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)
    assert resumed.losses == whole.losses


def test_only_a_small_and_clean_image_without_a_trusted_kernel_is_fitted(monkeypatch, untrusted):
    stage = FitIfUntrusted(QUICK)
    give_misfits(monkeypatch, (WRONG, 0.2))
    assert stage.applies(untrusted)
    noise = 0.02 * np.random.default_rng(0).standard_normal(untrusted.blurry.shape)
    assert not stage.applies(replace(untrusted, blurry=untrusted.blurry + noise))
    assert not stage.applies(replace(untrusted, blurry=np.tile(untrusted.blurry, (2, 2))))
    assert stage.bytes_needed((500, 500), (15, 15)) == 0 < stage.bytes_needed((200, 220), (15, 15))
    give_misfits(monkeypatch, (WRONG, 0.09))
    assert not stage.applies(untrusted)
    small = replace(untrusted, blurry=untrusted.blurry[:150, :150])
    give_misfits(monkeypatch, (WRONG, 0.2))
    assert not stage.applies(small)  # too small to be judged


# The refinement's kernel


@pytest.mark.parametrize(("misfit", "kept"), [(0.115, False), (0.125, True)])
def test_a_refined_kernel_that_explains_less_is_left_out(monkeypatch, untrusted, misfit, kept):
    calls = []

    def give(blurry, kernel, noise, levels, *, sharp, fit_kernel, doubtful, on_level):
        calls.append(fit_kernel)
        return sharp, OTHER if fit_kernel else kernel

    monkeypatch.setattr("utils.engine.refine.restore_by_levels", give)
    monkeypatch.setattr("utils.engine.refine.explains_worse", lambda *arguments: False)
    give_misfits(monkeypatch, (WRONG, 0.1), (OTHER, misfit))
    found, record = run(Task((Refine(),), untrusted))
    assert calls == ([True, False] if kept else [True])
    np.testing.assert_array_equal(found.kernel, WRONG if kept else OTHER)
    assert ("kept" in record) == kept
