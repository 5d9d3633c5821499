"""The judge of kernels that needs no truth, and the stages that ask it."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize
from scipy.ndimage import shift
from scipy.signal import correlate

from tests.pictures import NOISE, blur, hook, line
from tests.runs import checkpoint_in, quiet_work
from utils.engine import beam, kernel_search, likelihood
from utils.engine.kernel_fit import centre
from utils.engine.kernel_size import similarity
from utils.engine.likelihood import (
    NO_BLUR,
    Spectrum,
    can_judge,
    improve_together,
    is_trusted,
    spectral_misfits,
)
from utils.engine.methods import LEVIN, QUICK, blind_methods
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.engine.stages.estimate import CheckKernel, deconvolved
from utils.engine.stages.fit import Fit, FitIfUntrusted
from utils.engine.stages.refine import Refine


@pytest.mark.parametrize("kernel", [hook(15, 11), line(15, 15), line(15, 15).T])
def test_the_right_kernel_explains_the_spectrum_best(sharp, kernel):
    wrong = [NO_BLUR, kernel.T, hook(9, 9), np.full((9, 9), 1 / 81)]
    right, *others = spectral_misfits(blur(sharp, kernel), [kernel, *wrong], NOISE)
    assert right < min(others) - 0.05


def scene_of_noise(shape, seed):
    """Noise colored by a power law, from the middle of a larger field so that it does not wrap."""
    field = 2 * shape[0], 2 * shape[1]
    frequency = np.hypot(np.fft.fftfreq(field[0])[:, None], np.fft.rfftfreq(field[1]))
    frequency[0, 0] = 1
    noise = np.random.default_rng(seed).standard_normal(field)
    scene = np.fft.irfft2(np.fft.rfft2(noise) * frequency**-1.2, field)[: shape[0], : shape[1]]
    return 0.5 + 0.2 * scene / scene.std()


@pytest.mark.parametrize("shape", [(256, 256), (255, 300), (400, 600)])
def test_the_misfit_of_the_true_spectrum_is_nothing(shape):
    scenes = [scene_of_noise(shape, seed) for seed in range(8)]
    misfits = [spectral_misfits(scene, [NO_BLUR, line(9, 9)], 0.002) for scene in scenes]
    right, wrong = np.mean(misfits, axis=0)
    assert abs(right) < 0.01 and wrong > 0.4


def test_edges_of_few_directions_do_not_hide_the_kernel():
    """As those of a building, whose walls and roof have nearly all of the spectrum's power."""
    height, width = 300, 300
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    direction = np.arctan2(down, across)
    scene = np.fft.rfft2(scene_of_noise((height, width), 0) - 0.5)
    for angle in (-1.1, 0.2, 0.9):
        scene *= 1 + 9 * np.exp(-(((direction - angle) / 0.15) ** 2))
    scene = np.fft.irfft2(scene, (height, width))
    kernel = hook(15, 11)
    blurry = blur(0.5 + 0.2 * scene / scene.std(), kernel)
    right, *wrong, none = spectral_misfits(blurry, [kernel, kernel.T, hook(9, 9), NO_BLUR], NOISE)
    assert right < 0.02 and is_trusted(right, none)
    assert min(wrong) > right + 0.05 and not any(is_trusted(each, none) for each in wrong)


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
    correlation = np.fft.irfft2(np.abs(np.fft.rfft2(kernel, (256, 256))) ** 2)
    expected = np.fft.rfft2(correlation * likelihood._spread(256)).real
    columns = np.arange(1, 60)
    ratio = found[:, columns].mean(axis=0) / expected[:, columns].mean(axis=0)
    assert np.abs(ratio - 1).max() < 0.15
    untapered = np.abs(np.fft.rfft(kernel[0], 256)) ** 2
    assert untapered[8] < 1e-20 < 1e-5 < expected[0, 8]


def test_lines_in_a_spectrum_do_not_outweigh_the_rest(sharp):
    """As those of a facade, or of rows of letters."""
    rows = 0.1 * np.sin(2 * np.pi * np.arange(sharp.shape[0]) / 9)[:, None]
    kernel = hook(15, 11)
    right, wrong, none = spectral_misfits(
        blur(sharp + rows, kernel), [kernel, kernel.T, NO_BLUR], NOISE
    )
    assert right < 0.1 and is_trusted(right, none) and not is_trusted(wrong, none)


@pytest.fixture
def spectrum():
    return Spectrum(blur(scene_of_noise((300, 300), 0), RIGHT), NOISE)


def test_the_slope_by_the_kernel_is_that_of_the_misfit(monkeypatch, spectrum):
    asked = []

    def minimise(function, start, **others):
        asked.append((function, start))
        return optimize.OptimizeResult(x=start)

    monkeypatch.setattr(likelihood.optimize, "minimize", minimise)
    spectrum.improve(WRONG + 0.001, 0.7, 1)
    (function, start), change = asked[0], 1e-5
    _, slopes = function(start)
    assert start.size == WRONG.size + len(spectrum.basis) + 1
    for place in [0, 40, 100, 224, 225, 230, 232, start.size - 1]:
        step = change * (np.arange(start.size) == place)
        slope = (function(start + step)[0] - function(start - step)[0]) / 2 / change
        assert slopes[place] == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_a_kernel_is_improved_by_the_spectrum(spectrum):
    damaged = RIGHT + 0.5 * np.roll(RIGHT, 4, axis=1)
    damaged /= damaged.sum()
    improved = spectrum.improve(damaged, 1.0, 50)
    assert improved.min() >= 0 and improved.sum() == pytest.approx(1)
    assert spectrum.misfit(improved) < 0.5 * spectrum.misfit(damaged)
    assert similarity(improved, RIGHT) > similarity(damaged, RIGHT) + 0.015
    little = spectrum.improve(damaged, 1e-6, 50)
    np.testing.assert_allclose(little, damaged, atol=1e-4)


def test_kernels_made_of_the_same_numbers_are_improved_together(spectrum):
    damaged = RIGHT + 0.5 * np.roll(RIGHT, 4, axis=1)
    damaged = damaged.ravel() / damaged.sum()

    def mirrored(values):
        kernel = values.reshape(RIGHT.shape)
        return np.stack([kernel, kernel[::-1, ::-1]])

    def adjoint(slopes):
        return (slopes[0] + slopes[1][::-1, ::-1]).ravel()

    both = [copy.copy(spectrum), copy.copy(spectrum)]
    improved = improve_together(both, damaged, mirrored, adjoint, 1.0, 50)
    # A mirrored kernel has the same power spectrum, so that two such spectra tell what one tells.
    alone = copy.copy(spectrum).improve(damaged.reshape(RIGHT.shape), 1.0, 50)
    assert similarity(improved.reshape(RIGHT.shape), alone) > 0.999
    with ThreadPoolExecutor(2) as pool:
        both = [copy.copy(spectrum), copy.copy(spectrum)]
        by_two = improve_together(both, damaged, mirrored, adjoint, 1.0, 50, pool)
    np.testing.assert_array_equal(by_two, improved)


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
        (0.10, 0.26, True),
        (0.10, 0.24, False),
        (0.02, 0.06, True),
        (0.03, 0.06, False),
        (0.001, 0.0, False),
        (-0.001, 0.0, True),
        (-0.01, -0.02, False),
    ],
)
def test_a_kernel_is_trusted_by_its_misfit_and_that_of_no_blur(misfit, of_no_blur, trusted):
    assert is_trusted(misfit, of_no_blur) == trusted


def test_an_image_of_which_no_kernel_can_be_trusted_stays_as_it_is(monkeypatch, image):
    wrong = np.full((15, 15), 1 / 225)

    def give(blurry, size, *, on_step, **others):
        on_step(1, 1, "given")
        return wrong

    monkeypatch.setattr(kernel_search, "estimate_kernel", give)
    monkeypatch.setattr(beam, "coarse_to_fine", lambda at, scales, **_: np.full(scales[0][1], 1.0))
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
        (0.12, True, ""),
        (0.20, True, "less well than right ones"),
        (0.22, False, "stays as it is"),
        (0.31, False, "stays as it is"),
    ],
)
def test_a_kernel_is_refused_if_it_explains_little(monkeypatch, image, misfit, kept, doubt):
    give_misfits(monkeypatch, (OTHER, misfit))
    found, said = check(image, OTHER)
    assert found.has_blur == kept and ("doubtful" in found.others) == (not kept)
    assert doubt in said if doubt else not said


def test_a_small_blur_is_doubted_but_not_refused(monkeypatch, image):
    """It leaves little to explain, and its kernel hardly less."""
    give_misfits(monkeypatch, (OTHER, 0.005), (NO_BLUR, 0.02))
    found, said = check(image, OTHER)
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

    give_misfits(monkeypatch, (WRONG, 0.2), (centre(RIGHT), 0.185))
    taken, _ = fit(monkeypatch, untrusted, RIGHT)
    np.testing.assert_allclose(taken.kernel, centre(RIGHT))

    give_misfits(monkeypatch, (WRONG, 0.2), (centre(RIGHT), 0.195))
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
    give_misfits(monkeypatch, (WRONG, 0.14))
    assert stage.applies(untrusted)
    with monkeypatch.context() as patch:
        patch.setattr("utils.engine.phase_search.mirror_ratio", lambda blurry, kernel: 1.3)
        assert not stage.applies(untrusted)  # it is proven
    small = replace(untrusted, blurry=untrusted.blurry[:150, :150])
    give_misfits(monkeypatch, (WRONG, 0.2))
    assert not stage.applies(small)  # too small to be judged


# The refinement's kernel


@pytest.fixture
def refined(monkeypatch, untrusted):
    """Run the stage, its refinement giving OTHER; return also the kernels it was called with."""
    calls, steps = [], []

    def give(blurry, kernel, noise, levels, *, sharp, fit_kernel, doubtful, on_level):
        calls.append((fit_kernel, kernel))
        for _ in levels:
            on_level(sharp, kernel)
        return sharp, OTHER if fit_kernel else kernel

    monkeypatch.setattr("utils.engine.refine.restore_by_levels", give)
    monkeypatch.setattr("utils.engine.refine.explains_worse", lambda *arguments: False)
    monkeypatch.setattr("utils.engine.refine.unexplained", lambda *arguments: 1.0)

    def refine(stage=None, image=untrusted):
        steps.clear()
        found, record = run(
            Task((stage or Refine(),), image), on_step=lambda *step: steps.append(step[:2])
        )
        (fits, given), *anew = calls
        assert fits and np.array_equal(given, WRONG)
        # What is taken is what the image was refined with.
        np.testing.assert_array_equal(found.kernel, anew[0][1] if anew else OTHER)
        assert not any(fits for fits, _ in anew) and len(anew) <= 1
        assert [done for done, _ in steps] == list(range(1, 12 * len(calls) + 1))
        assert ("kept" in record) == np.array_equal(found.kernel, WRONG)
        return found.kernel

    return refine


HALFWAY = (WRONG + OTHER) / 2


@pytest.mark.parametrize(
    ("given", "halfway", "fitted", "taken"),
    [
        (0.100, 0.1, 0.100, HALFWAY),
        (0.0991, 0.1, 0.1, HALFWAY),
        (0.1, 0.1, 0.0991, HALFWAY),
        (0.0989, 0.1, 0.1, WRONG),
        (0.1, 0.1, 0.0989, OTHER),
        (0.097, 0.1, 0.098, WRONG),
        (0.098, 0.1, 0.097, OTHER),
    ],
)
def test_the_kernel_halfway_is_taken_unless_another_explains_more(
    monkeypatch, refined, given, halfway, fitted, taken
):
    give_misfits(monkeypatch, (WRONG, given), (HALFWAY, halfway), (OTHER, fitted))
    np.testing.assert_array_equal(refined(), taken)


def test_the_kernel_halfway_is_taken_where_none_can_be_judged(refined, untrusted):
    small = deconvolved(replace(untrusted, blurry=untrusted.blurry[:150, :150]), WRONG)
    np.testing.assert_array_equal(refined(image=small), HALFWAY)


def test_unless_it_is_to_be_judged_the_fitted_kernel_is_taken(monkeypatch, refined):
    give_misfits(monkeypatch, (WRONG, 0.1))
    np.testing.assert_array_equal(refined(Refine(judged=False)), OTHER)


@pytest.mark.parametrize(("left", "taken"), [(1.24, OTHER), (1.26, WRONG)])
def test_a_fitted_kernel_that_spoils_the_image_is_left_out(monkeypatch, refined, left, taken):
    give_misfits(monkeypatch, (OTHER, 0.1))
    monkeypatch.setattr(
        "utils.engine.refine.unexplained",
        lambda blurry, sharp, kernel: left if np.array_equal(kernel, OTHER) else 1.0,
    )
    np.testing.assert_array_equal(refined(), taken)
