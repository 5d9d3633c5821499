"""The kernel from one blurry image: the estimate, its refinement, the finish, and their parts."""

import numpy as np
import pytest
from scipy.signal import correlate

from statistic.metrics import comp_upto_shift, psnr
from tests.pictures import blurred, hook, picture, sharp_scene
from utils.engine import estimate_kernel as estimation
from utils.engine.collaborative import denoise
from utils.engine.conjugate_gradients import solve
from utils.engine.deconvolution import deconvolve
from utils.engine.estimate_kernel import (
    POLISH_ROUNDS,
    REFINE_ROUNDS,
    ROUNDS,
    at_scales,
    coarse_to_fine,
    estimate_kernel,
    list_scales,
    resize_kernel,
    spectrum_counts,
    spectrum_ever_counts,
    time_of_rounds,
)
from utils.engine.finish import finish
from utils.engine.kernel_fit import (
    Observation,
    centre,
    fit_edges,
    gradients_adjoint,
    gradients_of,
    keep_strongest,
    make_room,
    prune,
    spectrum_of,
)
from utils.engine.likelihood import Spectrum
from utils.engine.noise import estimate_noise
from utils.engine.refine import STRONGEST, restore_by_levels
from utils.images.kernels import crop_to_blurry, pad_to_sharp


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The largest correlation of two kernels over all shifts."""
    return float(correlate(a, b).max() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A blurry image, the sharp one, and the kernel."""
    kernel = hook(9, 7)
    return *blurred(kernel, 120, 132), kernel


@pytest.fixture(scope="module")
def estimate(scene) -> np.ndarray:
    return estimate_kernel(scene[0], (11, 13))


def test_the_estimate_is_the_kernel_in_a_larger_frame(scene, estimate):
    assert estimate.shape == (11, 13)
    assert estimate.min() >= 0 and estimate.sum() == pytest.approx(1)
    assert similarity(estimate, scene[2]) > 0.9
    assert similarity(estimate, scene[2]) > similarity(estimate, scene[2][::-1, ::-1]) + 0.1


def test_lights_that_were_cut_off_below_white_do_not_hide_the_kernel():
    kernel = hook(9, 7)
    scene = 0.4 * sharp_scene(148, 152)
    for top, left in np.random.default_rng(3).integers(0, 140, (25, 2)):
        scene[top : top + 8, left : left + 8] = 4.0
    blurry = correlate(scene, kernel, "valid")
    blurry += 0.003 * np.random.default_rng(1).standard_normal(blurry.shape)
    cut_off = blurry >= 0.7
    blurry = blurry.clip(0, 0.7)
    found = estimate_kernel(blurry, (11, 11), doubtful=cut_off)
    assert similarity(found, kernel) > 0.85
    assert similarity(estimate_kernel(blurry, (11, 11)), kernel) < 0.6


def test_the_kernel_step_sees_nothing_near_a_doubtful_pixel():
    blurry = picture(60, 70)
    doubtful = np.zeros(blurry.shape, bool)
    doubtful[30, 40] = True
    exact = Observation(blurry, (11, 7), doubtful).exact[:60, :70]
    clipped = Observation(blurry, (11, 7)).exact[:60, :70]
    assert not exact[25:36, 37:44].any()
    exact[25:36, 37:44] = clipped[25:36, 37:44]
    np.testing.assert_array_equal(exact, clipped)

    doubtful[::8, ::8] = True  # their surroundings cover the image
    exact = Observation(blurry, (11, 7), doubtful).exact[:60, :70]
    np.testing.assert_array_equal(exact, clipped * ~doubtful)


def test_the_estimate_lies_in_the_middle(estimate):
    for axis, side in enumerate(estimate.shape):
        profile = estimate.sum(axis=1 - axis)
        assert abs(profile @ np.arange(side) - (side - 1) / 2) <= 0.5


def test_the_estimate_restores(scene, estimate):
    blurry, sharp, _ = scene
    restored = deconvolve(blurry, estimate)
    assert comp_upto_shift(restored, sharp)[0] > comp_upto_shift(blurry, sharp)[0] + 6


def test_the_same_image_gives_the_same_kernel_and_steps_are_told(scene):
    told: list[tuple[int, int, str]] = []
    size = (5, 5)
    first, again = (
        estimate_kernel(scene[0], size, on_step=step) for step in (None, lambda *s: told.append(s))
    )
    np.testing.assert_array_equal(again, first)
    done = [done for done, *_ in told]
    assert len(done) == ROUNDS + REFINE_ROUNDS + POLISH_ROUNDS  # such a kernel has one scale
    assert done[0] > 0 and (np.diff(done) > 0).all()
    assert {total for _, total, _ in told} == {done[-1]}


def test_a_coarse_round_is_told_as_less_work():
    blurry, _ = blurred(hook(15, 15), 120, 130)
    told: list[tuple[int, int, str]] = []
    estimate_kernel(blurry, (15, 15), on_step=lambda *step: told.append(step))
    done = [0, *(done for done, *_ in told)]
    scales = np.diff(done)[: ROUNDS * len(list_scales((15, 15)))].reshape(-1, ROUNDS).mean(axis=1)
    assert (np.diff(scales) > 0).all() and scales[0] < scales[-1] / 2


def test_kernels_on_the_way_are_offered_at_full_size(scene, estimate):
    offered: list[np.ndarray] = []
    found = estimate_kernel(scene[0], (11, 13), on_candidate=offered.append)
    np.testing.assert_array_equal(found, estimate)
    # One at half size, one between, and at full size before and after the refinement.
    assert [kernel.shape for kernel in offered] == [(11, 13)] * 4
    assert all(kernel.sum() == pytest.approx(1) for kernel in offered)
    likeness = [similarity(kernel, found) for kernel in offered]
    assert likeness == sorted(likeness) and 0.4 < likeness[0] < likeness[-1] < 1


def test_the_spectrum_counts_at_smaller_scales_where_it_tells_enough(monkeypatch):
    kernel = hook(9, 7)
    blurry, _ = blurred(kernel, 150, 160)
    counted: list[tuple[int, ...]] = []

    class Recorded(Spectrum):
        def improve(self, kernel, weight, steps):
            counted.append(kernel.shape)
            return super().improve(kernel, weight, steps)

    monkeypatch.setattr(estimation, "Spectrum", Recorded)
    totals: dict[float, int] = {}
    offered: list[np.ndarray] = []
    kernels = [
        estimate_kernel(
            blurry,
            (11, 13),
            spectral_weight=weight,
            on_step=lambda done, total, detail, weight=weight: totals.update({weight: total}),
            on_candidate=offered.append if weight else None,
        )
        for weight in (0.0, 0.1)
    ]
    assert counted == [(9, 9)] * ROUNDS  # of 106 x 113 pixels; the scale before has too few
    assert totals[0.1] > totals[0.0]
    times = time_of_rounds((150, 160), (11, 13), list_scales((11, 13)), spectral=True)
    assert (times[-ROUNDS:] == 1).all()  # at full size
    # At full size before and after the refinement, where the kernel is not bent to the spectrum.
    assert len(offered) == 2
    assert similarity(*kernels) > 0.7 and not np.array_equal(*kernels)
    for image_size, kernel_size, counts in [
        ((100, 100), (49, 9), True),
        ((99, 300), (9, 9), False),
        ((120, 120), (61, 9), False),
    ]:
        assert spectrum_counts(image_size, kernel_size) == counts
    for image_size, kernel_size, counts in [
        ((140, 200), (9, 9), False),
        ((142, 200), (9, 9), True),
        ((300, 300), (5, 5), False),
        ((200, 300), (101, 9), False),
    ]:
        assert spectrum_ever_counts(image_size, kernel_size) == counts


@pytest.mark.parametrize(
    ("shape", "size", "words"),
    [
        ((63, 80), (5, 5), "64 x 64"),
        ((80, 80, 3), (5, 5), "64 x 64"),
        ((80, 80), (2, 5), "sizes from 3 to 151"),
        ((160, 160), (153, 5), "sizes from 3 to 151"),
        ((80, 80), (5, 80), "sizes from 3 to 151"),
        ((80, 80), (5,), "sizes from 3 to 151"),
    ],
)
def test_the_estimate_names_a_wrong_argument(shape, size, words):
    with pytest.raises(ValueError, match=words):
        estimate_kernel(np.zeros(shape), size)


@pytest.mark.parametrize("size", [(3, 3), (15, 9), (151, 27)])
def test_scales_go_from_a_few_pixels_to_full_size(size):
    scales = list_scales(size)
    assert scales[-1] == (1.0, size)
    assert max(scales[0][1]) <= 5
    assert all(side % 2 for _, sides in scales for side in sides)
    assert all(a[0] < b[0] for a, b in zip(scales, scales[1:], strict=False))


def test_a_resized_kernel_keeps_its_form_and_sums_to_1():
    wide = np.zeros((15, 15))
    wide[4:10, 3:12] = 1 / 54
    large = resize_kernel(wide, (31, 31), 2)
    assert large.shape == (31, 31) and large.sum() == pytest.approx(1)
    assert np.abs(large[9:19, 7:23] - 1 / 216).max() < 0.1 / 216
    np.testing.assert_allclose(resize_kernel(wide, (15, 15), 1), wide)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_estimate_goes_on_from_a_scale_as_if_it_had_been_there(scene, estimate, done):
    scales = list_scales((11, 13))
    at = at_scales(scene[0], None)
    start = coarse_to_fine(at, scales[: done + 1], rounds=ROUNDS, on_round=lambda _: None)
    steps = []
    found = estimate_kernel(
        scene[0],
        (11, 13),
        start=(scales[done][0], start),
        on_step=lambda done, total, detail: steps.append((done, total)),
    )
    np.testing.assert_array_equal(found, estimate)
    assert len(steps) == ROUNDS * (len(scales) - done - 1) + REFINE_ROUNDS + POLISH_ROUNDS
    assert steps[-1][0] == steps[-1][1]


def test_the_kernel_step_recovers_the_kernel_from_the_sharp_image():
    kernel = hook(7, 9)
    sharp = picture(90, 100)
    blurry = correlate(sharp, kernel, "valid")
    observation = Observation(blurry, kernel.shape)
    edges = keep_strongest(gradients_of(observation.place(sharp)), 1.0, observation.reach)
    edges[:, observation.reach[0].stop - 1 :] = 0  # the step from the image to the empty margin
    edges[:, :, observation.reach[1].stop - 1 :] = 0
    found = np.full(kernel.shape, 1 / kernel.size)
    for _ in range(5):
        found = fit_edges(edges, observation, found)
    np.testing.assert_allclose(found, kernel, atol=0.004)
    # If as much is missing everywhere as there is, half the kernel explains the most.
    missing = np.sum(np.abs(np.fft.rfft2(edges)) ** 2, axis=0)
    missing /= edges[0][observation.reach].size * np.maximum(observation.gradient_power, 1e-9)
    for _ in range(5):
        found = fit_edges(edges, observation, found, variance=missing)
    np.testing.assert_allclose(found, kernel / 2, atol=0.004)


def test_gradients_and_their_adjoint():
    random = np.random.default_rng(0)
    image = random.random((9, 8)).astype(np.float32)
    gradients = random.random((2, 9, 8)).astype(np.float32)
    assert np.vdot(gradients_of(image), gradients) == pytest.approx(
        np.vdot(image, gradients_adjoint(gradients)), rel=1e-5
    )


def test_the_spectrum_is_of_the_correlation():
    kernel, image = hook(5, 3), picture(20, 18).astype(np.float32)
    blurry = np.fft.irfft2(spectrum_of(kernel, image.shape) * np.fft.rfft2(image), image.shape)
    np.testing.assert_allclose(
        blurry[:16, :16], correlate(image, kernel, "valid")[:16, :16], atol=1e-6
    )


def test_pruning_drops_faint_entries_and_islands():
    kernel = np.zeros((9, 9))
    kernel[4, 3:6] = 1
    kernel[4, 6] = 0.01
    kernel[0, 0] = 0.05
    pruned = prune(kernel)
    assert pruned.sum() == pytest.approx(1)
    assert np.count_nonzero(pruned) == 3
    assert prune(np.zeros((3, 3))).sum() == pytest.approx(1)


def test_centring_moves_by_whole_pixels():
    kernel = np.zeros((7, 9))
    kernel[0:2, 0:3] = hook(2, 3)
    np.testing.assert_array_equal(centre(kernel)[centre(kernel) > 0], kernel[kernel > 0])
    assert centre(kernel)[2:5, 3:6].sum() == pytest.approx(1)


def test_centring_by_extent_keeps_both_ends_of_a_kernel_with_most_mass_at_one():
    kernel = np.zeros((9, 13))
    kernel[3, 2:12] = 0.01
    kernel[3, 12] = 0.898
    kernel[7, 0] = 0.002  # too little to be an end
    assert np.count_nonzero(centre(kernel)) < 11
    expected = np.roll(kernel, (1, -1), (0, 1))
    expected[8, -1] = 0  # has left the frame
    np.testing.assert_allclose(centre(kernel, by_extent=True), expected / expected.sum())


def test_a_kernel_that_ends_at_its_frame_is_given_room_if_there_is_some():
    kernel = np.zeros((11, 13))
    kernel[0:3, 4:9] = hook(3, 5)
    moved = make_room(kernel)
    np.testing.assert_array_equal(moved, np.roll(kernel, 4, axis=0))
    # Away from the frame, and where the other side has little room or none, it stays.
    whole, nearly_whole = np.zeros((2, 11, 13))
    whole[:, 1:6] = hook(11, 5)
    nearly_whole[1:, 1:6] = hook(10, 5)
    for other in (moved, np.roll(moved, -1, axis=1), whole, nearly_whole):
        assert make_room(other) is other


def test_conjugate_gradients_solve_systems_side_by_side():
    diagonal = np.linspace(1, 5, 30).reshape(5, 6)
    targets = np.random.default_rng(0).random((2, 5, 6))
    found = solve(lambda x: diagonal * x, lambda x: x, targets, np.zeros_like(targets), 30)
    np.testing.assert_allclose(found, targets / diagonal, atol=1e-8)


@pytest.mark.parametrize("noise", [0.01, 0.02, 0.05])
def test_noise_is_estimated_whatever_the_image(noise):
    for blurry in (blurred(hook(9, 9), noise=0)[0], np.full((100, 90), 0.4)):
        noisy = blurry + noise * np.random.default_rng(2).standard_normal(blurry.shape)
        assert estimate_noise(noisy) == pytest.approx(noise, rel=0.15)


def test_noise_is_at_least_that_of_rounding():
    assert estimate_noise(np.zeros((64, 64))) == pytest.approx(1 / 255 / 12**0.5)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (71, 90), (16, 33)])
def test_denoising_brings_an_image_nearer(height, width):
    sharp = sharp_scene(height, width)
    noisy = sharp + 0.06 * np.random.default_rng(0).standard_normal(sharp.shape)
    filtered = denoise(noisy, 0.06)
    assert filtered.shape == sharp.shape
    assert psnr(255 * filtered, 255 * sharp) > psnr(255 * noisy, 255 * sharp) + 4


def test_denoising_keeps_what_has_no_noise():
    sharp = sharp_scene(64, 72)
    np.testing.assert_allclose(denoise(sharp, 0.002), sharp, atol=0.01)
    np.testing.assert_allclose(denoise(np.full((40, 40), 0.25), 0.1), 0.25, atol=1e-3)


def test_restoration_by_levels_with_a_known_kernel(scene):
    blurry, sharp, kernel = scene
    restored, same = restore_by_levels(blurry, kernel, 0.0046, np.geomspace(0.024, 0.006, 4))
    assert same is kernel
    assert restored.shape == (128, 138)
    restored = crop_to_blurry(restored, kernel.shape).clip(0, 1)
    assert psnr(255 * restored, 255 * sharp) > psnr(255 * blurry, 255 * sharp) + 12


def test_refinement_mends_a_kernel(scene):
    blurry, sharp, kernel = scene
    wrong = (kernel + np.full(kernel.shape, 1 / kernel.size)) / 2
    levels = []
    restored, found = restore_by_levels(
        blurry, wrong, 0.0046, np.geomspace(0.08, 0.016, 5), fit_kernel=True,
        on_level=lambda image, kernel: levels.append((image.shape, kernel.sum())),
    )  # fmt: skip
    assert similarity(found, kernel) > similarity(wrong, kernel) + 0.02
    assert levels == [((128, 138), pytest.approx(1))] * 5


def test_the_finish_keeps_a_known_kernel(scene):
    blurry, sharp, kernel = scene
    margins = [((extent - 1) // 2, extent // 2) for extent in kernel.shape]
    of_network = np.pad((blurry + sharp) / 2, margins, "edge")
    finished, known = finish(blurry, of_network, kernel, fit_kernel=False)
    np.testing.assert_array_equal(known, kernel)
    finished = crop_to_blurry(finished, kernel.shape).clip(0, 1)
    assert psnr(255 * finished, 255 * sharp) > psnr(255 * (blurry + sharp) / 2, 255 * sharp) + 3
    _, fitted = finish(blurry, of_network, kernel)
    assert np.abs(fitted - kernel).max() > 1e-3


@pytest.mark.parametrize(("of_between", "better"), [(0.1, True), (0.199, False), (0.3, False)])
def test_the_finish_draws_the_kernel_back_if_that_explains_the_spectrum_better(
    of_between, better, scene, monkeypatch
):
    import utils.engine.finish as module

    blurry, sharp, kernel = scene
    judged = []

    def misfits(_, kernels, noise):
        judged.extend(kernels)
        return [0.2, of_between]

    monkeypatch.setattr(module, "can_judge", lambda *sizes: True)
    monkeypatch.setattr(module, "spectral_misfits", misfits)
    steps = []
    padded = pad_to_sharp(sharp, kernel.shape)
    _, found = finish(
        blurry, padded, kernel, on_step=lambda done, total, _: steps.append((done, total))
    )
    fitted, between = judged
    np.testing.assert_allclose(between, (kernel + fitted) / 2)
    np.testing.assert_array_equal(found, between if better else fitted)
    rounds = len(module.LEVELS) + len(module.REFIT_LEVELS)
    assert steps[-1] == ((2 * rounds, 2 * rounds) if better else (rounds, rounds))
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))


def test_the_image_stays_in_place_when_its_kernel_lies_beside_the_middle(scene):
    """The networks' kernels do; if the refit moved one, the image would no longer fit it."""
    blurry, _, kernel = scene
    aside = np.zeros((15, 15))
    aside[:9, :7] = kernel
    sharp = deconvolve(blurry, aside, full=True).clip(0, 1)
    levels = np.geomspace(0.03, 0.016, 3)
    _, found = restore_by_levels(blurry, aside, 0.0046, levels, sharp=sharp, fit_kernel=True)
    assert similarity(found, kernel) > 0.95
    assert np.abs(np.argwhere(found > 0.01).max(axis=0) - [8, 6]).max() <= 1


def test_the_refinement_counts_what_the_denoised_image_lacks(scene, monkeypatch):
    """It is the more, the higher the level and the less the kernel passes."""
    blurry, _, kernel = scene
    fits = []

    def record(edges, observation, start, *, variance):
        fits.append((variance, np.abs(spectrum_of(start, observation.shape))))
        return start

    monkeypatch.setattr("utils.engine.refine.fit_edges", record)
    noise, levels = 0.005, (0.06, 0.03)
    restore_by_levels(blurry, kernel, noise, levels, fit_kernel=True)
    assert len(fits) == 2
    for (variance, passes), level in zip(fits, levels, strict=True):
        least, most = (noise**2 / ((noise / level) ** 2 + blur**2) for blur in (1, 0))
        np.testing.assert_allclose(variance.min(), STRONGEST * least, rtol=1e-3)
        lost = passes < 1e-3 * passes.max()
        np.testing.assert_allclose(variance[lost], STRONGEST * most, rtol=1e-2)
        order = np.argsort(passes, axis=None)
        assert (np.diff(variance.ravel()[order]) <= 1e-12).all()


def test_highlights_that_were_cut_off_do_not_ring(monkeypatch):
    kernel = hook(9, 7)
    scene = 0.3 * sharp_scene(128, 138)
    scene[40:44, 50:54] = 12.0
    clipped = correlate(scene, kernel, "valid").clip(0, 1)
    around = np.zeros(scene.shape, bool)
    around[25:60, 35:70] = True
    around[38:46, 48:56] = False
    errors = []
    for level in (0.98, 2.0):
        for module in ("kernel_fit", "refine"):
            monkeypatch.setattr(f"utils.engine.{module}.CLIPPED", level)
        restored, _ = restore_by_levels(clipped, kernel, 0.0046, np.geomspace(0.024, 0.006, 4))
        errors.append(np.sqrt(np.mean((restored - scene)[around] ** 2)))
    assert errors[0] < errors[1] / 2
