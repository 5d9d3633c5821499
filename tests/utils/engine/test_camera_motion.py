"""A camera's motion, and the kernels that it makes at the places of an image."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import correlate

from tests.pictures import line, sharp_scene, turned_scene
from utils.engine.camera_motion import (
    REFINE_ROUNDS,
    CameraMotion,
    count_rounds,
    estimate_motion,
    frame_for,
    list_windows,
    middles,
    misfits_of_windows,
    refine_motion,
)
from utils.engine.estimate_kernel import at_scales
from utils.engine.kernel_size import similarity
from utils.engine.tiles import restore_tiles

SIZE = 11
TURN = np.radians(3)


def turning(angles, step):
    """A motion of so many equally long turns about the middle, without shifts."""
    shares = np.zeros((SIZE, SIZE, SIZE))
    middle = SIZE // 2
    shares[middle - angles : middle + angles + 1, middle, middle] = 1 / (2 * angles + 1)
    return CameraMotion(shares, step)


@pytest.fixture(scope="module")
def turned():
    return turned_scene(TURN, (310, 330))


@pytest.fixture(scope="module")
def estimated(turned):
    return estimate_motion(at_scales(turned[1], None), (SIZE, SIZE), workers=2)


@pytest.fixture(scope="module")
def found(turned, estimated):
    return refine_motion(at_scales(turned[1], None), estimated, workers=2)


def likeness(motion):
    """To the kernels of an even turn, on average."""
    places = np.stack(np.meshgrid([-120, 0, 120], [-130, 0, 130]), axis=-1).reshape(-1, 2)
    true = CameraMotion(np.pad(np.ones((25, 1, 1)) / 25, [(0, 0), (7, 7), (7, 7)]), TURN / 24)
    kernels = motion.kernels(places), true.kernels(places)
    return np.mean([similarity(*pair) for pair in zip(*kernels, strict=True)])


def test_a_turn_moves_each_place_at_a_right_angle_to_its_way_from_the_middle():
    middle, right, above = turning(4, 0.01).kernels(np.array([[0, 0], [0, 100], [-50, 0]]))
    point = np.zeros((SIZE, SIZE))
    point[5, 5] = 1
    np.testing.assert_allclose(middle, point)
    np.testing.assert_allclose(right, line(9, SIZE).T, atol=1e-9)
    assert above[5].sum() == pytest.approx(1) and (above[5] > 0).sum() == 5


def test_a_shift_moves_all_places_alike():
    shares = np.zeros((SIZE, SIZE, SIZE))
    shares[5, 5, 3:9] = 1 / 6
    kernels = CameraMotion(shares, 0.01).kernels(np.array([[0, 0], [80, -120]]))
    np.testing.assert_allclose(kernels[0], kernels[1])
    assert (kernels[0][5, 3:9] == pytest.approx(1 / 6)) and kernels.sum() == pytest.approx(2)


def test_a_frame_grows_with_what_the_farthest_place_needs():
    motion = turning(4, 0.01)
    kernels = motion.kernels(np.array([[0, 100], [0, 400]]))
    assert kernels.shape == (2, 2 * 16 + 1, SIZE)
    assert (kernels[1] > 0).sum() == 9 and (kernels[0] > 0).sum() == 9
    np.testing.assert_allclose(kernels.sum((1, 2)), 1)


def test_nothing_to_see_leaves_a_motion_as_it_is():
    at = at_scales(np.full((300, 320), 0.5), None)
    motion = refine_motion(at, estimate_motion(at, (5, 5)))
    assert motion.shares.sum() == pytest.approx(1) and np.isfinite(motion.shares).all()


@pytest.mark.parametrize(
    ("kernel_size", "frame"),
    [((17, 9), (25, 13)), ((39, 39), (59, 59)), ((55, 77), (59, 77)), ((3, 3), (5, 5))],
)
def test_a_motion_has_a_larger_frame_than_one_windows_kernel(kernel_size, frame):
    assert frame_for(kernel_size, (400, 600)) == frame
    assert frame_for((31, 31), (64, 600)) == (31, 31)


def test_windows_may_be_the_whole_image_at_coarse_scales(turned):
    part = turned[1][:140, :150]
    motion = estimate_motion(at_scales(part, None), (21, 21), workers=2)
    assert motion.shares.sum() == pytest.approx(1) and np.isfinite(motion.step)


def test_the_kernels_of_a_motion_restore_what_a_turning_camera_blurred(turned):
    truth, blurry = turned
    step = TURN / 24
    shares = np.zeros((25, 15, 15))
    shares[:, 7, 7] = 1 / 25
    motion = CameraMotion(shares, step)
    assert motion.turn == pytest.approx(TURN, rel=0.05)
    restored = restore_tiles(blurry, motion.field(blurry.shape), 0.003)
    mirrored = restore_tiles(blurry, motion.field(blurry.shape)[:, :, :, ::-1], 0.003)
    error, of_blurry, of_mirrored = (
        np.mean((image - truth)[20:-20, 20:-20] ** 2) for image in (restored, blurry, mirrored)
    )
    assert error < 0.6 * of_blurry and of_mirrored > of_blurry


def test_the_motion_of_a_turning_camera_is_found(found):
    assert found.shares.shape == (SIZE, SIZE, SIZE)
    assert found.shares.min() >= 0 and found.shares.sum() == pytest.approx(1)
    assert found.turn == pytest.approx(TURN, rel=0.4)
    kernels = found.kernels(np.array([[0, 0], [0, 130], [0, -130], [120, 0], [-120, 0]]))
    np.testing.assert_allclose(kernels.sum((1, 2)), 1)
    side = kernels.shape[1]
    rows, columns = np.mgrid[:side, :side] - side // 2
    high, wide = ((kernels * axis**2).sum((1, 2)) for axis in (rows, columns))
    assert high[0] < 1.5 and wide[0] < 1.5
    assert (high[1:3] > 3 * wide[1:3]).all() and (wide[3:] > 3 * high[3:]).all()


def test_the_number_of_threads_does_not_change_the_motion(turned, estimated, found):
    at, rounds = at_scales(turned[1], None), []
    alone = estimate_motion(at, (SIZE, SIZE), on_round=lambda: rounds.append(1))
    np.testing.assert_array_equal(alone.shares, estimated.shares)
    assert alone.step == estimated.step and len(rounds) == count_rounds((SIZE, SIZE))
    alone = refine_motion(at, alone, on_round=lambda: rounds.append(1))
    np.testing.assert_array_equal(alone.shares, found.shares)
    assert alone.step == found.step
    assert len(rounds) == count_rounds((SIZE, SIZE)) + REFINE_ROUNDS


def test_edges_and_spectra_together_mend_a_motion(turned, estimated):
    damaged = replace(
        estimated, shares=(2 * estimated.shares + np.roll(estimated.shares, 2, axis=2)) / 3
    )
    mended = refine_motion(at_scales(turned[1], None), damaged, workers=2)
    assert mended.step == damaged.step and mended.shares.shape == damaged.shares.shape
    before, after = (
        misfits_of_windows(turned[1], motion, line(9, SIZE), 0.002)[:, 0].mean()
        for motion in (damaged, mended)
    )
    assert after < 0.7 * before
    assert likeness(mended) > likeness(damaged) + 0.03


def test_the_windows_spectra_tell_a_right_motion_from_a_shared_kernel(turned, found):
    blurry = turned[1]
    misfits = misfits_of_windows(blurry, found, line(9, SIZE), 0.002)
    assert misfits.shape == (36, 2)
    of_motion, of_shared = misfits.mean(axis=0)
    assert of_motion < 0.7 * of_shared
    uniform = correlate(sharp_scene(320, 340), line(9, SIZE), "valid")
    misfits = misfits_of_windows(uniform, found, line(9, SIZE), 0.002, workers=2)
    of_motion, of_shared = misfits.mean(axis=0)
    assert of_motion > of_shared


def test_an_image_has_more_kernels_the_more_its_camera_turned():
    little, much = turning(1, 0.0005), turning(4, 0.004)
    assert little.field((400, 600)).shape == (1, 1, SIZE, SIZE)
    assert much.field((400, 600)).shape == (5, 7, SIZE, SIZE)
    assert much.field((4000, 6000)).shape[:2] == (10, 15)
    assert much.field((400, 600), (2, 3)).shape == (2, 3, SIZE, SIZE)


def test_windows_lie_all_over_the_image_and_have_room_for_the_kernel():
    image = np.random.default_rng(0).random((500, 900))
    windows = list_windows(image, (31, 21))
    assert len(windows) == 36
    for rows, columns in windows:
        assert 31 + 64 <= rows.stop - rows.start <= 31 + 150
        assert 21 + 64 <= columns.stop - columns.start <= 21 + 150
    places = middles(windows, image.shape)
    assert np.abs(places.mean(0)).max() < 30
    assert places.min(0)[0] < -150 and places.max(0)[1] > 330
