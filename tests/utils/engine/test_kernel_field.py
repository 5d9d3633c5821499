"""Whether a blur varies over the image, and what is done and said if it does."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy.signal import correlate

from tests.pictures import hook, line, psnr, sharp_scene, turned_scene
from tests.runs import checkpoint_in
from utils.engine import camera_motion
from utils.engine.estimate_kernel import at_scales, list_scales
from utils.engine.kernel_field import KernelField, estimate_field
from utils.engine.kernel_fit import Observation, fit_edges, gradients_of
from utils.engine.methods import PHOTOGRAPH
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration, Stage
from utils.engine.stages.photograph import CompareParts, Deconvolve

SIZE = 11
LINE = line(9, SIZE)
TURN = np.radians(3)
MISFITS = np.array([[0.1, 0.2]] * 20 + [[0.3, 0.2]] * 16)
TRUTH = sharp_scene(310 + SIZE - 1, 330 + SIZE - 1)[5:-5, 5:-5]


def scene_blurred(left, right):
    """A scene whose blur goes from one kernel on its left to another on its right."""
    scene = sharp_scene(310 + SIZE - 1, 330 + SIZE - 1)
    share = np.linspace(0, 1, 330)[None, :]
    first, second = (correlate(scene, kernel, "valid") for kernel in (left, right))
    return (1 - share) * first + share * second


def field_of(blurry, workers=2):
    return estimate_field(at_scales(blurry, None), list_scales((SIZE, SIZE)), workers=workers)


@pytest.fixture(scope="module")
def varying():
    return scene_blurred(LINE, LINE.T)


def test_the_parts_of_a_varying_blur_have_kernels_of_their_own(varying):
    field = field_of(varying)
    assert field.kernels.shape == (3, 3, SIZE, SIZE) and field.scale == 1
    np.testing.assert_allclose(field.kernels.sum((2, 3)), 1)
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    wide, high = ((field.kernels * axis**2).sum((2, 3)) for axis in (columns, rows))
    assert (wide[:, 0] > 3 * high[:, 0]).all() and (high[:, 2] > 3 * wide[:, 2]).all()
    neighbors, distant = field.similarities()
    assert distant < 0.7 and distant < neighbors - 0.1


def test_the_parts_of_a_uniform_blur_agree_on_its_kernel():
    kernel = hook(9, 9)
    blurry = scene_blurred(np.pad(kernel, 1), np.pad(kernel, 1))
    field = field_of(blurry)
    assert min(field.similarities()) > 0.95
    assert field.evidence.mean() == pytest.approx(1)
    one = KernelField(np.tile(np.pad(kernel, 1), (3, 3, 1, 1)), 1.0, np.ones((3, 3)))
    assert one.similarities() == (pytest.approx(1), pytest.approx(1))


def test_the_number_of_threads_does_not_change_the_field(varying):
    one, two = (
        estimate_field(at_scales(varying, None), list_scales((SIZE, SIZE))[:2], workers=workers)
        for workers in (1, 2)
    )
    np.testing.assert_array_equal(one.kernels, two.kernels)


def test_a_kernel_is_drawn_to_another_by_so_much():
    scene, kernel = sharp_scene(74, 74), hook(5, 5)
    observation = Observation(correlate(scene, kernel, "valid"), (5, 5))
    edges = gradients_of(observation.place(scene))
    start, other = np.full((5, 5), 1 / 25), hook(5, 5).T
    weight = float(np.sum(edges**2))
    distances = [
        np.abs(fit_edges(edges, observation, start, toward=other, pull=pull) - other).sum()
        for pull in (0, 0.1 * weight, weight, 1000 * weight)
    ]
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.01 < distances[0]
    nothing = fit_edges(np.zeros_like(edges), observation, start, toward=other, pull=1.0)
    np.testing.assert_allclose(nothing, other, atol=1e-3)


@pytest.fixture(scope="module")
def turned():
    return turned_scene(TURN, (310, 330))


@pytest.mark.parametrize("turns", [False, True])
def test_a_camera_that_turned_is_said_and_the_image_restored_by_its_motion(turns, turned):
    assert CompareParts() in PHOTOGRAPH
    truth, blurry = turned if turns else (TRUTH, scene_blurred(LINE, LINE))
    known = Restoration(blurry, (SIZE, SIZE), LINE, np.pad(blurry, SIZE // 2, "edge"))
    kept = []
    found = restore(
        Task((CompareParts(), Deconvolve()), known),
        device="cpu",
        on_save=lambda found, records: kept.append(records),
    )
    record = kept[-1][0]
    assert ("the camera turned by" in record.get("doubt", "")) == turns
    assert (min(record["distant"], record["neighbors"]) < CompareParts.alike) == turns
    assert (found.kernel_field is not None) == turns == (found.kernel_map is not None)
    restored = restore(Task((Deconvolve(),), known), device="cpu").registered_image
    if turns:
        assert record["misfit"][0] < 0.7 * record["misfit"][1]
        assert psnr(found.registered_image, truth) > psnr(restored, truth) + 2
        assert psnr(found.registered_image, truth) > psnr(blurry, truth) + 1
    else:
        np.testing.assert_array_equal(found.registered_image, restored)


def test_kernels_that_no_motion_explains_leave_the_kernel_alone(varying, monkeypatch):
    monkeypatch.setattr(camera_motion, "misfits_of_windows", lambda *_, **__: MISFITS)
    known = Restoration(varying, (SIZE, SIZE), LINE, np.pad(varying, SIZE // 2, "edge"))
    kept = []
    found = restore(
        Task((CompareParts(),), known),
        device="cpu",
        on_save=lambda found, records: kept.append(records),
    )
    assert "no turn of the camera explains it" in kept[-1][0]["doubt"]
    assert found.kernel_field is None and found.kernel_map.shape[:2] == (3, 3)


@dataclass(frozen=True)
class GiveField(Stage):
    name: ClassVar[str] = "field"

    def run(self, restoration, work):
        field = np.stack([[LINE, LINE.T]])
        return replace(restoration, kernel_map=field, kernel_field=field)


def test_a_restoration_with_a_field_is_resumed_to_the_same_bits(varying):
    known = Restoration(varying, (SIZE, SIZE), LINE, np.pad(varying, SIZE // 2, "edge"))
    task = Task((GiveField(), Deconvolve()), known)
    whole = restore(task, device="cpu")
    kept = checkpoint_in(task, "deconvolution")
    resumed = restore(task, device="cpu", checkpoint=kept)
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)
    np.testing.assert_array_equal(resumed.kernel_field, whole.kernel_field)
    one = restore(Task((Deconvolve(),), known), device="cpu")
    assert np.abs(whole.sharp - one.sharp).max() > 0.1  # the field was used


def test_a_small_image_is_not_compared():
    small = Restoration(np.zeros((299, 900)), (SIZE, SIZE))
    assert not CompareParts().applies(small)
    assert CompareParts().applies(Restoration(np.zeros((300, 900)), (SIZE, SIZE)))
