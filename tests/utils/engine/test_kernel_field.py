"""A blur that varies over the image: the kernels of its parts, and what is said of them."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy.signal import correlate

from tests.pictures import hook, line, psnr, sharp_scene
from tests.runs import checkpoint_in
from utils.engine import kernel_field
from utils.engine.estimate_kernel import at_scales, list_scales
from utils.engine.kernel_field import KernelField, estimate_field, keep_better
from utils.engine.kernel_fit import Observation, fit_edges, gradients_of
from utils.engine.methods import PHOTOGRAPH
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration, Stage
from utils.engine.stages.photograph import CompareParts, Deconvolve

SIZE = 11
LINE = line(9, SIZE)


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


def test_a_field_goes_on_from_a_coarser_one(varying):
    at, scales = at_scales(varying, None), list_scales((SIZE, SIZE))
    coarse = estimate_field(at, scales[:2])
    fine = estimate_field(at, scales[2:], start=coarse)
    assert coarse.scale < 1 and fine.scale == 1
    assert fine.kernels.shape == (3, 3, SIZE, SIZE)
    assert fine.similarities()[1] < 0.8


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


def test_only_kernels_that_restore_their_part_better_are_kept(varying):
    def blur_at(place):
        return (1 - place) * LINE + place * LINE.T

    field = np.tile(LINE, (3, 3, 1, 1))
    field[:, 0] = blur_at(1 / 6)
    kernels, own = keep_better(at_scales(varying, None), field, blur_at(1 / 2), 0.008)
    assert own.tolist() == [[True, False, False]] * 3
    np.testing.assert_array_equal(kernels[:, 0], field[:, 0])
    np.testing.assert_array_equal(kernels[:, 1:], np.tile(blur_at(1 / 2), (3, 2, 1, 1)))


@pytest.mark.parametrize("varies", [False, True])
def test_a_varying_blur_is_said_and_restored_with_a_field(varies, varying):
    assert CompareParts() in PHOTOGRAPH
    blurry = varying if varies else scene_blurred(LINE, LINE)
    one = LINE if not varies else 0.5 * LINE + 0.5 * LINE.T
    known = Restoration(blurry, (SIZE, SIZE), one, np.pad(blurry, SIZE // 2, "edge"))
    kept = []
    found = restore(
        Task((CompareParts(), Deconvolve()), known),
        device="cpu",
        on_save=lambda found, records: kept.append(records),
    )
    record = kept[-1][0]
    assert ("the blur differs from place to place" in record.get("doubt", "")) == varies
    assert (record["distant"] < CompareParts.alike) == varies
    assert (found.kernel_field is not None) == varies == (found.kernel_map is not None)
    truth = sharp_scene(310 + SIZE - 1, 330 + SIZE - 1)[5:-5, 5:-5]
    restored = restore(Task((Deconvolve(),), known), device="cpu").registered_image
    if varies:
        assert psnr(found.registered_image, truth) > psnr(restored, truth) + 2
    else:
        np.testing.assert_array_equal(found.registered_image, restored)


def test_parts_that_contradict_each_other_leave_the_kernel_alone(varying, monkeypatch):
    monkeypatch.setattr(
        kernel_field, "keep_better", lambda at, kernels, *_, **__: (kernels, np.zeros((3, 3), bool))
    )
    known = Restoration(varying, (SIZE, SIZE), LINE, np.pad(varying, SIZE // 2, "edge"))
    kept = []
    found = restore(
        Task((CompareParts(),), known),
        device="cpu",
        on_save=lambda found, records: kept.append(records),
    )
    assert "no part's own kernel restores it better" in kept[-1][0]["doubt"]
    assert found.kernel_field is None and found.kernel_map is not None


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
