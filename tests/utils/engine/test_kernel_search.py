"""The search for a kernel that explains an image."""

from dataclasses import replace

import numpy as np
import pytest

from tests.pictures import hook
from tests.runs import checkpoint_in
from utils.engine import kernel_search
from utils.engine.checkpoint import CheckpointError, pack_checkpoint, unpack_checkpoint
from utils.engine.estimate_kernel import SPECTRAL_WEIGHT
from utils.engine.likelihood import Spectrum
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


def test_where_neither_does_the_spectrum_counts_in_the_next_estimate(searched, image):
    judge_as(searched, 0.2, 0.25, 0.05)
    found, record = run(image)
    assert searched.asked == [((400, 1100), None)] * 3 and not searched.trials
    assert searched.weights == [0, 0, SPECTRAL_WEIGHT]
    assert searched.by_extent == [False, True, False]
    np.testing.assert_array_equal(found.kernel, searched.kernels[2])
    assert record["misfit"] == [0.2, 0.25, 0.05]


def test_where_that_does_not_help_the_kernels_of_a_beam_search_are_refined(searched, image):
    judge_as(searched, 0.2, 0.2, 0.2, 0.2, 0.05)
    found, record = run(image)
    assert searched.trials == [[(400, 1100), WINDOW, WINDOW]] * 25
    assert searched.asked[3:] == [
        ((400, 1100), searched.best[0][1].tobytes()),
        (WINDOW, searched.best[1][1].tobytes()),
    ]
    np.testing.assert_array_equal(found.kernel, searched.kernels[-1])
    assert searched.weights == [0, 0, SPECTRAL_WEIGHT, 0, 0]
    assert record["misfit"] == [0.2] * 4 + [0.05] and record["of_no_blur"] == 0.3


@pytest.fixture
def phases(monkeypatch, searched):
    """Have phase retrieval give kernels too, four in each of two rounds."""
    monkeypatch.setattr(kernel_search, "LEAST_PIXELS", 400 * 1100)
    searched.phases = [[np.roll(WRONG, 15 * n + r) for n in range(4)] for r in (1, 2)]
    return searched


def test_before_a_beam_search_kernels_by_phase_retrieval_are_refined(phases, image):
    judge_as(phases, 0.2, 0.18, 0.19, 0.2, 0.05)
    found, record = run(image)
    likeliest = [phases.kernels[number].tobytes() for number in (1, 2, 0)]
    assert phases.phases_from == [likeliest] and not phases.trials
    assert [start for _, start in phases.asked[3:]] == [
        kernel.tobytes() for kernel in phases.phases[0][:2]
    ]
    assert phases.by_extent == [False, True, False, True, True]
    assert record["misfit"] == [0.2, 0.18, 0.19, 0.2, 0.05]
    np.testing.assert_array_equal(found.kernel, phases.kernels[4])


def test_a_kernel_by_phases_must_explain_more_and_does_not_count_unrefined(phases, image):
    judge_as(phases, 0.2, 0.2, 0.2, 0.061, 0.059)  # of 0.3
    for kernel in phases.phases[0]:
        phases.misfits[kernel.tobytes()] = 0.01
    _, record = run(image)
    assert record["misfit"] == [0.2, 0.2, 0.2, 0.061, 0.059]


@pytest.mark.parametrize(("number", "asked"), [(0, 2), (1, 2), (2, 5), (3, 4)])
def test_a_kernel_that_is_trusted_for_its_phases_ends_the_search(searched, image, number, asked):
    judge_as(searched, 0.2, 0.21, 0.2, 0.2, 0.05)
    searched.proven = [searched.kernels[number].tobytes()]
    _, record = run(image)
    assert len(record["misfit"]) == asked  # the third is bent to the spectrum
    assert bool(searched.trials) == (asked > 3)
    assert len(set(searched.to_prove)) == len(searched.to_prove)  # each but once


def test_a_second_round_begins_with_what_the_first_has_found_and_then_there_is_a_beam_search(
    phases, image
):
    judge_as(phases, 0.2, 0.2, 0.2, 0.15, 0.21, 0.17, *[0.19] * 3, 0.05)
    found, record = run(image)
    assert phases.phases_from[1] == [phases.kernels[number].tobytes() for number in (3, 5, 0)]
    starts = [start for _, start in phases.asked[6:]]
    assert starts[:3] == [kernel.tobytes() for kernel in phases.phases[1][:3]]
    assert starts[3] == phases.best[0][1].tobytes() and len(phases.trials) == 25
    assert len(record["misfit"]) == 10
    np.testing.assert_array_equal(found.kernel, phases.kernels[-1])


@pytest.mark.parametrize(
    ("steps", "rounds_left"),
    # Three estimates are 300 steps, a round 1800, its three kernels 300 again.
    [(301, 2), (2100, 2), (2101, 1), (2400, 1), (2401, 1), (4200, 1), (4201, 0), (4501, 0)],
)
def test_phase_retrieval_goes_on_where_it_was(phases, image, steps, rounds_left):
    judge_as(phases, *[0.25] * 11)
    task = Task((EstimateKernel(),), Restoration(image, SIZE))
    told = []
    whole, _ = run(image, on_step=lambda *step: told.append(step))
    assert (len(phases.asked), len(phases.phases_from)) == (11, 2)
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
    assert len(phases.asked) == 11 - done
    assert phases.phases_from == rounds[2 - rounds_left : 2]
    assert told_again[-1] == told[-1]
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)


def test_what_is_doubtful_is_not_left_out_of_the_first_beam_search(searched, image):
    judge_as(searched, *[0.2] * 4, 0.05)
    run(image, image > 0.9)
    assert searched.left_out == [True, True, True, False, False]
    assert searched.beams_left_out == [False]


def test_where_nothing_is_doubtful_one_search_is_enough(searched, image):
    judge_as(searched, *[0.2] * 5)
    run(image, np.zeros(image.shape, bool))
    assert searched.beams_left_out == [False]


def test_if_that_does_not_help_another_search_leaves_it_out(searched, image):
    judge_as(searched, *[0.2] * 6, 0.05)
    found, record = run(image, image > 0.9)
    assert searched.left_out == [True, True, True, False, False, True, True]
    assert searched.beams_left_out == [False, True]
    assert len(record["misfit"]) == 7
    np.testing.assert_array_equal(found.kernel, searched.kernels[-1])


@pytest.mark.parametrize("steps", [101, 201, 420, 550, 700, 820])
def test_two_searches_go_on_where_they_were(searched, image, steps):
    judge_as(searched, *[0.3] * 7)
    doubtful = image > 0.9
    task = Task((EstimateKernel(),), Restoration(image, SIZE, doubtful=doubtful))
    told = []
    whole, _ = run(image, doubtful, on_step=lambda *step: told.append(step))
    assert len(searched.asked) == 7 and len(searched.trials) == 50
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
    assert (len(searched.asked), len(searched.trials)) == (7 - done, 50 - tried)
    assert told_again[-1] == told[-1]
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)


@pytest.mark.parametrize(("refined", "kept"), [(0.2, True), (0.07, True), (0.055, False)])
def test_a_kernel_of_the_beam_search_is_taken_if_its_refinement_loses_it(
    searched, image, refined, kept
):
    judge_as(searched, 0.2, 0.2, 0.2, refined)
    _, kernel = searched.best[0]
    searched.misfits[kernel.tobytes()] = 0.05
    found, record = run(image)
    np.testing.assert_array_equal(found.kernel, kernel if kept else searched.kernels[3])
    assert record["misfit"] == [0.2, 0.2, 0.2, 0.05]


@pytest.mark.parametrize(
    ("misfits", "asked", "taken"),
    [
        ((0.119, 0.3), 2, 0),
        ((0.127, 0.3, 0.126, 0.119), 4, 3),  # the only one that is trusted
        ((0.127, 0.089), 2, 1),
        ((0.127, 0.091, 0.089), 3, 2),  # those after the first must explain more
        ((0.127, 0.3, 0.089), 3, 2),
        ((0.127, 0.3, 0.091, 0.085), 4, 3),
        ((0.127, 0.3, 0.091, 0.3, 0.3), 5, 2),
        ((0.20, 0.3, 0.19, 0.21, 0.30), 5, 2),  # none is trusted
        ((0.20, 0.18, 0.19, 0.21, 0.30), 5, 1),
        ((0.20, 0.3, 0.19, 0.21, 0.13), 5, 4),
        ((0.305, 0.3, 0.29, 0.21, 0.30), 5, 3),
        ((0.305, 0.3, 0.297, 0.31, 0.30), 5, 2),
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
    searched.kernels = [WRONG] * 4 + [RIGHT]
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


@pytest.mark.parametrize("steps", [1, 3, 101, 201, 301, 330, 500, 550, 10_000])
def test_nothing_is_estimated_again_after_an_interruption(searched, image, steps):
    judge_as(searched, *[0.3] * 5)
    task = Task((EstimateKernel(),), Restoration(image, SIZE))
    told = []
    whole, _ = run(image, on_step=lambda *step: told.append(step))
    assert len(searched.asked) == 5 and len(searched.trials) == 25
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
    assert len(searched.asked) == 5 - done and len(searched.trials) == 25 - tried
    assert told_again[-1] == told[-1]
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)


def test_a_checkpoint_from_before_phase_retrieval_is_refused(searched, image):
    judge_as(searched, 0.08, 0.09)
    task = Task((EstimateKernel(),), Restoration(image, SIZE))
    checkpoint = unpack_checkpoint(checkpoint_in(task, "kernel estimate", 101))
    older = {name: value for name, value in checkpoint.state.items() if name != "by_phases"}
    with pytest.raises(CheckpointError, match="another version"):
        run(image, checkpoint=pack_checkpoint(replace(checkpoint, state=older)))
