"""The beam search for a kernel over the scales."""

from itertools import combinations

import numpy as np
import pytest

from tests.pictures import hook, line
from utils.engine import beam
from utils.engine.beam import (
    CAREFUL,
    CAREFUL_ROUNDS,
    KEPT,
    SELECTIONS,
    WINDOW_SELECTIONS,
    Beam,
    outline_scale,
)
from utils.engine.checkpoint import Checkpoint, pack_checkpoint, unpack_checkpoint
from utils.engine.estimate_kernel import ROUNDS, USUAL, EdgeSelection, list_scales
from utils.engine.kernel_size import at_scale, similarity

RIGHT, WRONG = np.pad(hook(9, 9), 3), np.pad(hook(9, 9).T, 3)
SIZE = (15, 15)
WHOLE = slice(None), slice(None)
WINDOW = slice(0, 315), slice(200, 515)


@pytest.fixture
def asked(monkeypatch):
    """Give a kernel for each trial at once, by its selection; record what is asked for."""
    asked = []

    def give(at, scales, *, rounds, selection, start, on_round):
        ((scale, size),) = scales
        asked.append((at(1.0)[0].shape, scale, rounds, selection, start))
        wrong = WRONG if len(asked) % 2 else np.pad(line(9, 9), 3)
        # The rounds of the last scale lose it.
        kernel = RIGHT if selection == SELECTIONS[4] and scale < 1 else wrong
        given = at_scale(kernel, scale)
        assert given.shape == size
        return given

    monkeypatch.setattr(beam, "coarse_to_fine", give)
    return asked


def run(search):
    """Run a search; return the work after each trial, their descriptions, how many were best."""
    works, details, kept = [search.work], [], []
    while not search.done:
        number = search.number
        details.append(search.step())
        works.append(search.work)
        if search.number > number:
            kept.append(len(search.best))
    return works, details, kept


def test_outlines_are_tried_first_and_then_the_best_kernels_go_on(asked, image):
    search = Beam(image, SIZE, [WHOLE, WINDOW])
    works, details, kept = run(search)
    scales = [scale for scale, _ in list_scales(SIZE)]
    kinds = [((400, 1100), selection) for selection in SELECTIONS]
    kinds += [((315, 315), selection) for selection in WINDOW_SELECTIONS]

    first, rest = asked[: len(kinds)], asked[len(kinds) :]
    assert first == [(shape, scales[0], ROUNDS, selection, None) for shape, selection in kinds]

    # The image is large enough at the first scale, so that from the second on the best go on too.
    outlines, careful = rest[: len(kinds)], rest[len(kinds) :]
    assert [each[:4] for each in outlines] == [
        (shape, scales[1], ROUNDS, selection) for shape, selection in kinds
    ]
    assert all(start[0] == scales[0] for *_, start in outlines)
    counts = [[each[1] for each in careful].count(scale) for scale in scales]
    assert min(kept) > 1 and max(kept) <= max(KEPT) and kept[-1] <= kept[-2]
    assert counts == [0, *(len(CAREFUL) * number for number in kept[:-1])]
    for shape, scale, rounds, selection, (before, _) in careful:
        assert rounds == CAREFUL_ROUNDS and selection in CAREFUL and before < scale
        assert selection.weights[0] == selection.weights[1] and shape == (400, 1100)

    assert works == sorted(works) and works[0] == 0 and works[-1] == search.total
    assert details[0] == "scale 0.35, trial 1 of 20" and len(details) == len(asked)


def test_the_best_are_the_likeliest_and_unlike_each_other(asked, image):
    search = Beam(image, SIZE, [WHOLE])
    run(search)
    kernels = [kernel for _, kernel in search.best]
    assert similarity(kernels[0], RIGHT) > 0.85 and 1 < len(kernels) <= KEPT[0]
    assert all(similarity(*pair) < 0.98 for pair in combinations(kernels, 2))


def test_a_kernel_of_a_window_goes_on_in_it(asked, image, monkeypatch):
    monkeypatch.setattr(beam, "SELECTIONS", SELECTIONS[:1])
    monkeypatch.setattr(beam, "WINDOW_SELECTIONS", (SELECTIONS[4],))
    search = Beam(image, SIZE, [WHOLE, WINDOW])
    run(search)
    assert search.best[0][0] == 1
    assert ((315, 315), 1.0, CAREFUL[0]) in [(shape, at, kind) for shape, at, _, kind, _ in asked]


@pytest.mark.parametrize("steps", [1, 20, 24, 50])
def test_a_search_goes_on_from_what_it_knew_to_the_same_bits(asked, image, steps):
    whole = Beam(image, SIZE, [WHOLE])
    run(whole)
    number = len(asked)
    asked.clear()
    first = Beam(image, SIZE, [WHOLE])
    for _ in range(steps):
        first.step()
    packed = pack_checkpoint(Checkpoint({}, 0, [], {}, first.state))
    second = Beam(image, SIZE, [WHOLE], state=unpack_checkpoint(packed).state)
    assert second.work == first.work and not second.done
    run(second)
    assert len(asked) == number
    for (place, kernel), (other_place, other) in zip(whole.best, second.best, strict=True):
        assert place == other_place
        np.testing.assert_array_equal(kernel, other)


def test_a_search_finds_a_kernel(image, monkeypatch):
    monkeypatch.setattr(beam, "SELECTIONS", (USUAL, EdgeSelection((50.0, 100.0), 0.01)))
    search = Beam(image[:260, :300], SIZE, [WHOLE])
    run(search)
    assert similarity(search.best[0][1], RIGHT) > 0.9


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
