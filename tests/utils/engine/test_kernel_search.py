"""The search for a kernel that explains an image, and the outlines that it looks among."""

from dataclasses import replace

import numpy as np
import pytest

from tests.pictures import hook, line
from tests.runs import checkpoint_in
from utils.engine import kernel_search
from utils.engine.estimate_kernel import (
    SPECTRAL_WEIGHT,
    USUAL,
    at_scales,
    coarse_to_fine,
    list_scales,
)
from utils.engine.kernel_size import at_scale
from utils.engine.likelihood import Spectrum
from utils.engine.outlines import (
    SELECTIONS,
    WINDOW_SELECTIONS,
    estimate_outline,
    outline_scale,
    rank_outlines,
)
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.engine.stages import estimate
from utils.engine.stages.estimate import EstimateKernel

RIGHT, WRONG = np.pad(hook(9, 9), 3), np.pad(hook(9, 9).T, 3)
SIZE = (15, 15)
WINDOW = (315, 315)


@pytest.fixture
def searched(monkeypatch):
    """Have outlines and kernels given at once, and record what is asked for."""

    class Searched:
        def __init__(self):
            self.kernels = []  # to give, one after the other
            self.on_the_way = {}  # of some, by number
            self.outlines = [np.full((7, 7), 1.0 + number) for number in range(25)]
            self.ranked = [3, 16, 0, 1, 17, 22, 21]
            self.asked = []  # the place's shape, the selection and the start's scale
            self.weights = []  # of the spectrum
            self.asked_outlines = []
            self.misfits = {}
            self.in_kernel = False  # whether a kernel was asked for last

    search = Searched()

    def give_kernel(
        blurry, size, *, selection, start, spectral_weight, doubtful, on_step, on_candidate
    ):
        search.asked.append((blurry.shape, selection, start and round(start[0], 6)))
        search.weights.append(spectral_weight)
        search.in_kernel = True
        on_step(100, 100, "given")
        for kernel in search.on_the_way.get(len(search.asked) - 1, []):
            on_candidate(kernel)
        return search.kernels[len(search.asked) - 1]

    def give_outline(at, size, scale, selection):
        search.asked_outlines.append((at(1.0)[0].shape, round(scale, 6), selection))
        search.in_kernel = False
        return search.outlines[len(search.asked_outlines) - 1]

    class Judge:
        def __init__(self, blurry, noise):
            pass

        def misfit(self, kernel):
            return search.misfits.get(kernel.tobytes(), 0.3)

    monkeypatch.setattr(kernel_search, "estimate_kernel", give_kernel)
    monkeypatch.setattr(kernel_search, "estimate_outline", give_outline)
    monkeypatch.setattr(kernel_search, "rank_outlines", lambda *_: search.ranked)
    monkeypatch.setattr(kernel_search, "Spectrum", Judge)
    # What the kernel makes of the image takes longer than all this.
    monkeypatch.setattr(
        estimate, "deconvolved", lambda blurry, kernel: replace(blurry, kernel=kernel, sharp=kernel)
    )
    return search


def judge_as(searched, *misfits):
    """Give kernels of these misfits."""
    searched.kernels = [np.roll(RIGHT, places) for places in range(len(misfits))]
    for kernel, misfit in zip(searched.kernels, misfits, strict=True):
        searched.misfits[kernel.tobytes()] = misfit


def run(image, **callbacks):
    records = []
    found = restore(
        Task((EstimateKernel(),), Restoration(image, SIZE)),
        device="cpu",
        on_save=lambda _, each: records.append(each),
        **callbacks,
    )
    return found, records[-1][0]


def test_a_kernel_that_explains_the_spectrum_is_taken_at_once(searched, image):
    judge_as(searched, 0.08)
    found, record = run(image)
    assert searched.asked == [((400, 1100), USUAL, None)] and not searched.asked_outlines
    np.testing.assert_array_equal(found.kernel, searched.kernels[0])
    assert record["misfit"] == [0.08]


def test_where_it_does_not_the_spectrum_counts_in_the_next_estimate(searched, image):
    judge_as(searched, 0.2, 0.05)
    found, record = run(image)
    assert searched.asked == [((400, 1100), USUAL, None)] * 2 and not searched.asked_outlines
    assert searched.weights == [0, SPECTRAL_WEIGHT]
    np.testing.assert_array_equal(found.kernel, searched.kernels[1])
    assert record["misfit"] == [0.2, 0.05]


def test_where_that_does_not_help_kernels_are_estimated_from_outlines(searched, image):
    judge_as(searched, *[0.2] * 9, 0.05)
    found, record = run(image)
    whole = [((400, 1100), 0.5, selection) for selection in SELECTIONS]
    assert searched.asked_outlines[:15] == whole
    windows = [(WINDOW, 0.5, selection) for selection in WINDOW_SELECTIONS]
    assert searched.asked_outlines[15:] == 2 * windows
    assert searched.asked[2:] == [
        ((400, 1100), SELECTIONS[3], 0.5),
        ((400, 1100), SELECTIONS[3], 1.0),
        (WINDOW, WINDOW_SELECTIONS[1], 0.5),
        (WINDOW, WINDOW_SELECTIONS[1], 1.0),
        ((400, 1100), SELECTIONS[0], 0.5),
        ((400, 1100), SELECTIONS[0], 1.0),
        (WINDOW, WINDOW_SELECTIONS[2], 0.5),  # the likeliest of the second window
        (WINDOW, WINDOW_SELECTIONS[2], 1.0),
    ]
    np.testing.assert_array_equal(found.kernel, searched.kernels[-1])
    assert searched.weights == [0, SPECTRAL_WEIGHT] + [0] * 8
    assert record["misfit"] == [0.2] * 9 + [0.05] and record["of_no_blur"] == 0.3


@pytest.mark.parametrize(
    ("misfits", "asked", "taken"),
    [
        ((0.119,), 1, 0),
        ((0.127, 0.126, 0.119), 3, 2),  # the only one that is trusted
        ((0.20, 0.19, 0.21, 0.30, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3), 10, 0),
        ((0.20, 0.19, 0.21, 0.30, 0.2, 0.13, 0.2, 0.3, 0.3, 0.3), 10, 5),
        ((0.305, 0.29, 0.21, 0.30, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3), 10, 2),
        ((0.305, 0.297, 0.31, 0.30, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3), 10, 1),
    ],
)
def test_the_kernel_that_is_clearly_ahead_is_taken(searched, image, misfits, asked, taken):
    judge_as(searched, *misfits)
    found, record = run(image)
    assert len(record["misfit"]) == asked
    np.testing.assert_array_equal(found.kernel, searched.kernels[taken])


@pytest.mark.parametrize(
    ("misfit", "on_the_way", "asked", "taken"),
    [(0.09, 0.07, 1, "way"), (0.09, 0.085, 1, "last"), (0.2, 0.1, 1, "way")],
)
def test_a_kernel_on_the_way_is_taken_if_it_is_clearly_ahead(
    searched, image, misfit, on_the_way, asked, taken
):
    judge_as(searched, misfit)
    other = np.roll(RIGHT, 3, axis=0)
    searched.on_the_way[0] = [WRONG, other]
    searched.misfits[other.tobytes()] = on_the_way
    found, record = run(image)
    assert len(searched.asked) == asked and record["misfit"] == [min(misfit, on_the_way)]
    np.testing.assert_array_equal(found.kernel, other if taken == "way" else searched.kernels[0])


def test_the_judge_prefers_the_right_kernel(monkeypatch, searched, image):
    monkeypatch.setattr(kernel_search, "Spectrum", Spectrum)
    searched.kernels = [WRONG] * 3 + [RIGHT] + [WRONG] * 6
    found, record = run(image)
    np.testing.assert_array_equal(found.kernel, RIGHT)
    assert min(record["misfit"]) < record["misfit"][0] - 0.02
    assert record["misfit"][0] < record["of_no_blur"] - 0.05


def test_a_small_images_kernel_is_not_judged(searched, image):
    searched.kernels = [np.full(SIZE, 1 / 225)]
    found, record = run(image[:150, :160])
    assert len(searched.asked) == 1 and found.has_blur and "misfit" not in record


def test_an_image_that_is_small_at_half_size_has_outlines_at_full_size(searched, image):
    judge_as(searched, *[0.3] * 5)
    searched.ranked = [3, 7, 0, 1]
    run(image[:220, :220])
    assert searched.asked_outlines == [((220, 220), 1.0, selection) for selection in SELECTIONS]
    assert [scale for _, _, scale in searched.asked[2:]] == [1.0] * 3


@pytest.mark.parametrize("steps", [1, 3, 101, 201, 1000, 1300, 10_000])
def test_nothing_is_estimated_again_after_an_interruption(searched, image, steps):
    judge_as(searched, *[0.3] * 10)
    task = Task((EstimateKernel(),), Restoration(image, SIZE))
    told = []
    whole, _ = run(image, on_step=lambda *step: told.append(step))
    assert len(searched.asked) == 10 and len(searched.asked_outlines) == 25
    assert told == sorted(told, key=lambda step: step[0])
    kernels, outlines = searched.kernels, searched.outlines
    searched.asked.clear()
    searched.asked_outlines.clear()
    steps = min(steps, told[-1][0])
    checkpoint = checkpoint_in(task, "kernel estimate", steps)
    outlined = len(searched.asked_outlines)
    done = len(searched.asked) - searched.in_kernel
    searched.kernels, searched.outlines = kernels[done:], outlines[outlined:]
    searched.asked.clear()
    searched.asked_outlines.clear()
    told_again = []
    resumed, record = run(
        image, checkpoint=checkpoint, on_step=lambda *step: told_again.append(step)
    )
    assert len(searched.asked) == 10 - done and len(searched.asked_outlines) == 25 - outlined
    assert told_again[-1] == told[-1]
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)


# Outlines


@pytest.mark.parametrize(
    ("image_size", "kernel_size", "scale"),
    [
        ((400, 1100), (15, 15), 0.5),
        ((399, 1100), (15, 15), 0.5**0.5),
        ((270, 270), (15, 15), 1),
        ((1000, 1000), (5, 5), 1),
        ((1000, 1000), (3, 151), 0.5),
    ],
)
def test_outlines_are_at_half_size_if_they_can_be_judged_there(image_size, kernel_size, scale):
    assert outline_scale(image_size, kernel_size) == pytest.approx(scale)


def test_an_outline_is_a_kernel_on_its_way(image):
    blurry = image[:300, :300]
    at = at_scales(blurry, None)
    scales = list_scales(SIZE)[:-1]
    outline = estimate_outline(at, SIZE, scales[-1][0], USUAL)
    assert outline.shape == scales[-1][1] and outline.sum() == pytest.approx(1)
    expected = coarse_to_fine(at, scales, rounds=20, on_round=lambda _: None)
    np.testing.assert_array_equal(outline, expected)


def test_the_likeliest_outlines_are_like_the_kernel_and_unlike_each_other(image):
    right = at_scale(RIGHT, 0.5)
    moved = np.roll(right, 1, axis=0)
    others = [at_scale(kernel, 0.5) for kernel in (WRONG, np.pad(line(9, 9), 3))]
    ranked = rank_outlines(image, [*others, right, moved], 0.5)
    assert len(ranked) == 3 and set(ranked) >= {0, 1} and ranked[0] in (2, 3)
