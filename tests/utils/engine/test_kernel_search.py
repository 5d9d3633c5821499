"""The search for a kernel that explains an image."""

from dataclasses import replace

import numpy as np
import pytest

from tests.pictures import hook
from tests.runs import checkpoint_in
from utils.engine import kernel_search
from utils.engine.checkpoint import CheckpointError, pack_checkpoint, unpack_checkpoint
from utils.engine.likelihood import NO_BLUR, Spectrum
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.engine.stages import estimate
from utils.engine.stages.estimate import EstimateKernel
from utils.errors import DataError

RIGHT, WRONG = np.pad(hook(9, 9), 3), np.pad(hook(9, 9).T, 3)
SIZE = (15, 15)
WINDOW = (315, 315)


@pytest.fixture
def searched(monkeypatch):
    """Have kernels given at once, and record what is asked for."""

    class Searched:
        def __init__(self):
            self.kernels = []  # to give, one after the other
            self.on_the_way = {}  # of some, by number
            self.proven = []  # the kernels that are, and those that were asked for
            self.to_prove = []
            self.phases = []  # kernels by phase retrieval, a list a round; only given ones
            self.phases_from = []  # the kernels that each round begins with
            self.best = [(0, np.roll(WRONG, 1)), (2, np.roll(WRONG, 2))]
            self.asked = []  # the place's shape, and the kernel to start from
            self.weights = []  # of the spectrum
            self.by_extent = []  # whether its middle is the frame's
            self.left_out = []  # whether anything is doubtful
            self.beams_left_out = []
            self.trials = []  # the shapes of the places that the beam search has
            self.misfits = {}
            self.in_kernel = False  # whether a kernel was asked for last

    search = Searched()

    def give_kernel(
        blurry, size, *, start, spectral_weight, by_extent, doubtful, on_step, on_candidate
    ):
        assert start is None or start[0] == 1
        search.asked.append((blurry.shape, None if start is None else start[1].tobytes()))
        search.weights.append(spectral_weight)
        search.by_extent.append(by_extent)
        search.left_out.append(doubtful is not None)
        search.in_kernel = True
        on_step(100, 100, "given")
        for kernel in search.on_the_way.get(len(search.asked) - 1, []):
            on_candidate(kernel)
        return search.kernels[len(search.asked) - 1]

    def give_phases(blurry, spectrum, kernels, generator, on_try):
        number = int(generator.random() != np.random.default_rng(0).random())
        search.phases_from.append([kernel.tobytes() for kernel in kernels])
        search.in_kernel = False
        for tried in range(30):
            on_try(tried + 1)
        return search.phases[number]

    def prove(blurry, kernel, misfit, of_no_blur):
        search.to_prove.append(kernel.tobytes())
        return kernel.tobytes() in search.proven

    class GivenBeam:
        total = 250

        def __init__(self, blurry, size, places, doubtful, state):
            search.beams_left_out.append(doubtful is not None)
            self.shapes = [blurry[place].shape for place in places]
            self.made = state["made"] if state else 0

        @property
        def done(self):
            return self.made == 25

        @property
        def state(self):
            return {"made": self.made}

        @property
        def work(self):
            return 10 * self.made

        @property
        def best(self):
            assert self.done
            return search.best

        def step(self):
            search.trials.append(self.shapes)
            search.in_kernel = False
            self.made += 1
            return "given"

    class Judge:
        def __init__(self, blurry, noise):
            pass

        def misfit(self, kernel):
            return search.misfits.get(kernel.tobytes(), 0.3)

    monkeypatch.setattr(kernel_search, "estimate_kernel", give_kernel)
    monkeypatch.setattr(kernel_search, "find_by_phases", give_phases)
    monkeypatch.setattr(kernel_search, "is_proven", prove)
    monkeypatch.setattr(kernel_search, "LEAST_PIXELS", 1e9)
    monkeypatch.setattr(kernel_search, "Beam", GivenBeam)
    monkeypatch.setattr(kernel_search, "Spectrum", Judge)
    # What the kernel makes of the image takes longer than all this.
    monkeypatch.setattr(
        estimate, "deconvolved", lambda blurry, kernel: replace(blurry, kernel=kernel, sharp=kernel)
    )
    return search


def judge_as(searched, *misfits):
    """Give kernels of these misfits."""
    searched.kernels = [np.roll(RIGHT, (n // 5, n % 5 - 2), (0, 1)) for n in range(len(misfits))]
    for kernel, misfit in zip(searched.kernels, misfits, strict=True):
        searched.misfits[kernel.tobytes()] = misfit


def run(image, doubtful=None, **callbacks):
    records = []
    found = restore(
        Task((EstimateKernel(),), Restoration(image, SIZE, doubtful=doubtful)),
        device="cpu",
        on_save=lambda _, each: records.append(each),
        **callbacks,
    )
    return found, records[-1][0]


@pytest.mark.parametrize(
    ("misfits", "taken"), [((0.08, 0.09), 0), ((0.08, 0.07), 1), ((0.2, 0.08), 1), ((0.08, 0.2), 0)]
)
def test_of_two_estimates_the_likelier_is_taken_at_once(searched, image, misfits, taken):
    judge_as(searched, *misfits)
    told = []
    found, record = run(image, on_step=lambda *step: told.append(step[:2]))
    assert told == [(100, 200), (200, 200)]  # the second is sure to come
    assert searched.asked == [((400, 1100), None)] * 2 and not searched.trials
    assert searched.by_extent == [False, True] and searched.weights == [0, 0]
    np.testing.assert_array_equal(found.kernel, searched.kernels[taken])
    assert record["misfit"] == list(misfits)


@pytest.mark.parametrize(("misfit", "taken"), [(0.07, "new"), (0.09, "moved")])
def test_from_a_kernel_that_its_frame_may_have_cut_off_there_is_another_estimate(
    searched, image, misfit, taken
):
    judge_as(searched, 0.08, 0.09, misfit)
    cut_off = np.zeros(SIZE)
    cut_off[0:9, 3:12] = hook(9, 9)
    searched.kernels[0] = cut_off
    searched.misfits[cut_off.tobytes()] = 0.08
    found, record = run(image)
    assert searched.asked[2:] == [((400, 1100), RIGHT.tobytes())]  # in the middle
    assert searched.by_extent == [False, True, True] and searched.weights == [0, 0, 0]
    assert record["misfit"] == [0.08, 0.09, misfit] and not searched.trials
    np.testing.assert_array_equal(found.kernel, searched.kernels[2] if taken == "new" else RIGHT)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_where_neither_is_trusted_the_spectrum_counts_until_one_is(searched, image, number):
    misfits = [*[0.2, 0.25, 0.19, 0.21][: 1 + number], 0.05]
    judge_as(searched, *misfits)
    found, record = run(image)
    assert searched.asked == [((400, 1100), None)] * (2 + number) and not searched.trials
    assert searched.weights == [0, 0, 4, 4, 0.5][: 2 + number]
    assert searched.by_extent == [False, True, False, True, True][: 2 + number]
    np.testing.assert_array_equal(found.kernel, searched.kernels[-1])
    assert record["misfit"] == misfits


def test_where_that_does_not_help_the_kernels_of_a_beam_search_are_refined(searched, image):
    judge_as(searched, *[0.2] * 6, 0.05)
    found, record = run(image)
    assert searched.trials == [[(400, 1100), WINDOW, WINDOW]] * 25
    assert searched.asked[5:] == [
        ((400, 1100), searched.best[0][1].tobytes()),
        (WINDOW, searched.best[1][1].tobytes()),
    ]
    np.testing.assert_array_equal(found.kernel, searched.kernels[-1])
    assert searched.weights == [0, 0, 4, 4, 0.5, 0, 0]
    assert record["misfit"] == [0.2] * 6 + [0.05] and record["of_no_blur"] == 0.3


@pytest.fixture
def phases(monkeypatch, searched):
    """Have phase retrieval give kernels too, four in each of two rounds."""
    monkeypatch.setattr(kernel_search, "LEAST_PIXELS", 400 * 1100)
    searched.phases = [[np.roll(WRONG, 15 * n + r) for n in range(4)] for r in (1, 2)]
    return searched


def test_before_a_beam_search_kernels_by_phase_retrieval_are_refined(phases, image):
    misfits = [0.2, 0.18, 0.22, 0.19, 0.21, 0.2, 0.03, 0.032]
    judge_as(phases, *misfits)
    found, record = run(image)
    likeliest = [phases.kernels[number].tobytes() for number in (1, 3, 0)]
    assert phases.phases_from == [likeliest] and not phases.trials
    assert [start for _, start in phases.asked[5:]] == [
        kernel.tobytes() for kernel in phases.phases[0][:3]
    ]
    assert phases.by_extent[5:] == [True] * 3
    assert record["misfit"] == misfits
    np.testing.assert_array_equal(found.kernel, phases.kernels[6])


def test_a_kernel_by_phases_must_explain_more_and_does_not_count_unrefined(phases, image):
    judge_as(phases, *[0.2] * 5, *[0.0361] * 4, 0.0359, 0.2)  # of 0.3
    for kernel in phases.phases[0]:
        phases.misfits[kernel.tobytes()] = 0.01
    _, record = run(image)
    assert record["misfit"] == [*[0.2] * 5, *[0.036] * 5, 0.2]
    assert not phases.trials


@pytest.mark.parametrize("steps", [2350, 2401, 2501, 2600])
def test_all_of_a_round_are_refined_even_after_an_interruption(phases, image, steps):
    judge_as(phases, *[0.25] * 5, 0.03, 0.2, 0.02)
    task = Task((EstimateKernel(),), Restoration(image, SIZE))
    whole, record = run(image)
    assert record["misfit"] == [*[0.25] * 5, 0.03, 0.2, 0.02]
    np.testing.assert_array_equal(whole.kernel, phases.kernels[7])
    phases.asked.clear()
    checkpoint = checkpoint_in(task, "kernel estimate", steps)
    done = len(phases.asked) - phases.in_kernel
    phases.kernels = phases.kernels[done:]
    phases.asked.clear()
    resumed, record = run(image, checkpoint=checkpoint)
    assert len(phases.asked) == 8 - done and len(record["misfit"]) == 8
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)


@pytest.mark.parametrize(("by_beam", "taken"), [(0.189, 11), (0.191, 6)])
def test_a_kernel_by_phases_that_is_not_trusted_must_be_clearly_ahead(
    phases, image, by_beam, taken
):
    judge_as(phases, *[0.2] * 6, 0.18, *[0.2] * 4, by_beam, 0.2)
    found, _ = run(image)
    assert len(phases.asked) == 13
    np.testing.assert_array_equal(found.kernel, phases.kernels[taken])


def test_a_trusted_kernel_by_phases_need_not_be_clearly_ahead(phases, image):
    judge_as(phases, *[0.05] * 2, 0.0095, *[0.05] * 3, 0.0035, 0.05)
    phases.misfits[NO_BLUR.tobytes()] = 0.03
    found, record = run(image)
    assert len(record["misfit"]) == 8
    np.testing.assert_array_equal(found.kernel, phases.kernels[6])


@pytest.mark.parametrize(
    ("number", "asked"),
    # The first estimates are five; the next six are by phases, which prove nothing.
    [(0, 2), (1, 2), (2, 3), (4, 5), (5, 13), (10, 13), (11, 12), (12, 13)],
)
def test_a_kernel_that_is_trusted_for_its_phases_ends_the_search(phases, image, number, asked):
    judge_as(phases, *[0.2, 0.21] * 6, 0.2)
    phases.proven = [phases.kernels[number].tobytes()]
    _, record = run(image)
    assert len(record["misfit"]) == asked
    assert bool(phases.trials) == (asked > 5)
    assert len(set(phases.to_prove)) == len(phases.to_prove)  # each but once


def test_a_second_round_begins_with_what_the_first_has_found_and_then_there_is_a_beam_search(
    phases, image
):
    judge_as(phases, *[0.2] * 5, 0.15, 0.21, 0.17, *[0.19] * 3, 0.05)
    found, record = run(image)
    assert phases.phases_from[1] == [phases.kernels[number].tobytes() for number in (5, 7, 0)]
    starts = [start for _, start in phases.asked[8:]]
    assert starts[:3] == [kernel.tobytes() for kernel in phases.phases[1][:3]]
    assert starts[3] == phases.best[0][1].tobytes() and len(phases.trials) == 25
    assert len(record["misfit"]) == 12
    np.testing.assert_array_equal(found.kernel, phases.kernels[-1])


@pytest.mark.parametrize(
    ("steps", "rounds_left"),
    # Five estimates are 500 steps, a round 1800, its three kernels 300 again.
    [(501, 2), (2300, 2), (2301, 1), (2600, 1), (2601, 1), (4400, 1), (4401, 0), (4701, 0)],
)
def test_phase_retrieval_goes_on_where_it_was(phases, image, steps, rounds_left):
    judge_as(phases, *[0.25] * 13)
    task = Task((EstimateKernel(),), Restoration(image, SIZE))
    told = []
    whole, _ = run(image, on_step=lambda *step: told.append(step))
    assert (len(phases.asked), len(phases.phases_from)) == (13, 2)
    assert told == sorted(told, key=lambda step: step[0])
    kernels, rounds = phases.kernels, phases.phases_from
    phases.asked.clear()
    checkpoint = checkpoint_in(task, "kernel estimate", steps)
    done = len(phases.asked) - phases.in_kernel
    phases.kernels = kernels[done:]
    phases.phases_from = []
    phases.asked.clear()
    told_again = []
    resumed, _ = run(image, checkpoint=checkpoint, on_step=lambda *step: told_again.append(step))
    assert len(phases.asked) == 13 - done
    assert phases.phases_from == rounds[2 - rounds_left : 2]
    assert told_again[-1] == told[-1]
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)


def test_what_is_doubtful_is_not_left_out_of_the_first_beam_search(searched, image):
    judge_as(searched, *[0.2] * 6, 0.05)
    run(image, image > 0.9)
    assert searched.left_out == [True] * 5 + [False, False]
    assert searched.beams_left_out == [False]


def test_where_nothing_is_doubtful_one_search_is_enough(searched, image):
    judge_as(searched, *[0.2] * 7)
    run(image, np.zeros(image.shape, bool))
    assert searched.beams_left_out == [False]


def test_if_that_does_not_help_another_search_leaves_it_out(searched, image):
    judge_as(searched, *[0.2] * 8, 0.05)
    found, record = run(image, image > 0.9)
    assert searched.left_out == [True] * 5 + [False, False, True, True]
    assert searched.beams_left_out == [False, True]
    assert len(record["misfit"]) == 9
    np.testing.assert_array_equal(found.kernel, searched.kernels[-1])


@pytest.mark.parametrize("steps", [101, 201, 401, 620, 750, 900, 1020])
def test_two_searches_go_on_where_they_were(searched, image, steps):
    judge_as(searched, *[0.3] * 9)
    doubtful = image > 0.9
    task = Task((EstimateKernel(),), Restoration(image, SIZE, doubtful=doubtful))
    told = []
    whole, _ = run(image, doubtful, on_step=lambda *step: told.append(step))
    assert len(searched.asked) == 9 and len(searched.trials) == 50
    assert told == sorted(told, key=lambda step: step[0])
    kernels = searched.kernels
    searched.asked.clear()
    searched.trials.clear()
    checkpoint = checkpoint_in(task, "kernel estimate", steps)
    tried, done = len(searched.trials), len(searched.asked) - searched.in_kernel
    searched.kernels = kernels[done:]
    searched.asked.clear()
    searched.trials.clear()
    told_again = []
    resumed, _ = run(
        image, doubtful, checkpoint=checkpoint, on_step=lambda *step: told_again.append(step)
    )
    assert (len(searched.asked), len(searched.trials)) == (9 - done, 50 - tried)
    assert told_again[-1] == told[-1]
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)


@pytest.mark.parametrize(("refined", "kept"), [(0.2, True), (0.07, True), (0.055, False)])
def test_a_kernel_of_the_beam_search_is_taken_if_its_refinement_loses_it(
    searched, image, refined, kept
):
    judge_as(searched, *[0.2] * 5, refined)
    _, kernel = searched.best[0]
    searched.misfits[kernel.tobytes()] = 0.05
    found, record = run(image)
    np.testing.assert_array_equal(found.kernel, kernel if kept else searched.kernels[5])
    assert record["misfit"] == [*[0.2] * 5, 0.05]


@pytest.mark.parametrize(
    ("misfits", "asked", "taken"),
    [
        ((0.119, 0.3), 2, 0),
        ((0.127, 0.3, 0.126, 0.3, 0.3, 0.119), 6, 5),  # the only one that is trusted
        ((0.127, 0.089), 2, 1),
        ((0.127, 0.091, 0.089), 3, 2),  # those after the first must explain more
        ((0.127, 0.3, 0.089), 3, 2),
        ((0.127, 0.3, 0.091, 0.3, 0.089), 5, 4),
        ((0.127, 0.3, 0.091, 0.3, 0.3, 0.085), 6, 5),
        ((0.127, 0.3, 0.3, 0.091, 0.3, 0.3, 0.3), 7, 3),
        ((0.20, 0.3, 0.19, 0.2, 0.2, 0.21, 0.30), 7, 2),  # none is trusted
        ((0.20, 0.18, 0.19, 0.2, 0.2, 0.21, 0.30), 7, 1),
        ((0.20, 0.3, 0.19, 0.2, 0.2, 0.21, 0.13), 7, 6),
        ((0.305, 0.3, 0.29, 0.3, 0.3, 0.21, 0.30), 7, 5),
        ((0.305, 0.3, 0.3, 0.3, 0.297, 0.31, 0.30), 7, 4),
    ],
)
def test_the_kernel_that_is_clearly_ahead_is_taken(searched, image, misfits, asked, taken):
    judge_as(searched, *misfits)
    found, record = run(image)
    assert len(record["misfit"]) == asked
    np.testing.assert_array_equal(found.kernel, searched.kernels[taken])


@pytest.mark.parametrize(
    ("misfit", "on_the_way", "taken"),
    [(0.09, 0.07, "way"), (0.09, 0.085, "last"), (0.2, 0.1, "way")],
)
def test_a_kernel_on_the_way_is_taken_if_it_is_clearly_ahead(
    searched, image, misfit, on_the_way, taken
):
    judge_as(searched, misfit, 0.3)
    other = np.roll(RIGHT, -2, axis=0)
    searched.on_the_way[0] = [WRONG, other]
    searched.misfits[other.tobytes()] = on_the_way
    found, record = run(image)
    assert len(searched.asked) == 2 and record["misfit"] == [min(misfit, on_the_way), 0.3]
    np.testing.assert_array_equal(found.kernel, other if taken == "way" else searched.kernels[0])


def test_the_judge_prefers_the_right_kernel(monkeypatch, searched, image):
    monkeypatch.setattr(kernel_search, "Spectrum", Spectrum)
    searched.kernels = [WRONG] * 6 + [RIGHT]
    found, record = run(image)
    np.testing.assert_array_equal(found.kernel, RIGHT)
    assert min(record["misfit"]) < record["misfit"][0] - 0.02
    assert record["misfit"][0] < record["of_no_blur"] - 0.05


@pytest.mark.parametrize("brightness", [0.0, 0.5, 1.0])
def test_an_image_of_one_brightness_is_refused(brightness):
    image = np.full((200, 220), brightness)
    image[3, 4] += 0.003 if brightness < 1 else -0.003
    with pytest.raises(DataError, match="one brightness"):
        restore(Task((EstimateKernel(),), Restoration(image, SIZE)), device="cpu")


@pytest.mark.parametrize(("misfit", "taken"), [(0.07, 2), (0.09, 1)])
@pytest.mark.parametrize(("shift", "by_extent"), [(0, False), (2, True)])
def test_a_small_image_gets_one_more_estimate_from_the_likeliest_kernel(
    searched, image, misfit, taken, shift, by_extent
):
    judge_as(searched, 0.1, 0.08, misfit)
    symmetric = np.zeros(SIZE)
    symmetric[7, 5:10] = 0.2
    searched.kernels[1] = np.roll(symmetric, shift, axis=1)
    searched.misfits[searched.kernels[1].tobytes()] = 0.08
    found, record = run(image[:250, :400])
    assert searched.asked[2:] == [((250, 400), searched.kernels[1].tobytes())]
    assert searched.by_extent == [False, True, by_extent]
    assert record["misfit"] == [0.1, 0.08, min(misfit, 0.08)]
    np.testing.assert_array_equal(found.kernel, searched.kernels[taken])


def test_a_small_images_kernel_is_not_judged(searched, image):
    searched.kernels = [np.full(SIZE, 1 / 225)]
    found, record = run(image[:150, :160])
    assert len(searched.asked) == 1 and found.has_blur and "misfit" not in record


@pytest.mark.parametrize("steps", [1, 3, 101, 201, 301, 401, 501, 530, 700, 750, 10_000])
def test_nothing_is_estimated_again_after_an_interruption(searched, image, steps):
    judge_as(searched, *[0.3] * 7)
    task = Task((EstimateKernel(),), Restoration(image, SIZE))
    told = []
    whole, _ = run(image, on_step=lambda *step: told.append(step))
    assert len(searched.asked) == 7 and len(searched.trials) == 25
    assert told == sorted(told, key=lambda step: step[0])
    kernels = searched.kernels
    searched.asked.clear()
    searched.trials.clear()
    steps = min(steps, told[-1][0])
    checkpoint = checkpoint_in(task, "kernel estimate", steps)
    tried = len(searched.trials)
    done = len(searched.asked) - searched.in_kernel
    searched.kernels = kernels[done:]
    searched.asked.clear()
    searched.trials.clear()
    told_again = []
    resumed, record = run(
        image, checkpoint=checkpoint, on_step=lambda *step: told_again.append(step)
    )
    assert len(searched.asked) == 7 - done and len(searched.trials) == 25 - tried
    assert told_again[-1] == told[-1]
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)


def test_a_kernel_too_small_for_smaller_scales_gets_no_estimates_by_the_spectrum(
    monkeypatch, searched, image
):
    judge_as(searched, *[0.2] * 3, 0.05)
    monkeypatch.setattr(kernel_search, "spectrum_ever_counts", lambda image_size, size: False)
    found, record = run(image)
    assert searched.weights == [0] * 4 and len(searched.trials) == 25
    assert record["misfit"] == [*[0.2] * 3, 0.05]
    np.testing.assert_array_equal(found.kernel, searched.kernels[3])


@pytest.mark.parametrize("first", [None, 3])
def test_a_checkpoint_with_other_first_estimates_is_refused(searched, image, first):
    judge_as(searched, 0.08, 0.09)
    task = Task((EstimateKernel(),), Restoration(image, SIZE))
    checkpoint = unpack_checkpoint(checkpoint_in(task, "kernel estimate", 101))
    older = {name: value for name, value in checkpoint.state.items() if name != "first"}
    if first:
        older["first"] = first
    with pytest.raises(CheckpointError, match="another version"):
        run(image, checkpoint=pack_checkpoint(replace(checkpoint, state=older)))
