"""CUDA against the CPU: numbers, resume, memory. Skipped where there is no GPU."""

import copy
import gc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from statistic.metrics import comp_upto_shift
from tests.conftest import needs_gpu
from tests.pictures import blurred, hook
from utils.engine.deblur import State, deblur, draw_start
from utils.engine.methods import FAST, LEVIN, blind_methods
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.engine.stages.fit import FitFromKernel
from utils.images.reading import read_gray

pytestmark = needs_gpu

# Noise so strong that drawing it anew would show.
TINY = replace(
    LEVIN,
    num_iter=120,
    channels=8,
    scales=3,
    mse_iterations=60,
    milestones=(30, 90),
    input_noise=0.05,
)


@pytest.fixture(scope="module")
def blurry() -> np.ndarray:
    return blurred(hook(9, 7), 64, 72)[0]


def test_float32_is_the_cpus(levin):
    image = read_gray(levin / "im1_kernel5_img.png")
    recipe = replace(LEVIN, num_iter=6, input_noise=0.0)  # the last three as a graph
    on_cpu, on_cuda = (deblur(image, (11, 11), recipe, device=name) for name in ("cpu", "cuda"))
    assert on_cuda.losses[0] == pytest.approx(on_cpu.losses[0], rel=1e-5)
    # Adam's first steps have the size of its rate even where a gradient is hardly more than
    # rounding, so that from the third on the losses were seen to part by a third.
    assert on_cuda.losses[1] == pytest.approx(on_cpu.losses[1], rel=0.05)
    assert on_cuda.losses == pytest.approx(on_cpu.losses, rel=0.5)
    assert np.abs(on_cuda.kernel - on_cpu.kernel).max() < 1e-3


def test_tf32_differs_only_if_asked_for(levin):
    image = read_gray(levin / "im1_kernel5_img.png")
    recipe = replace(LEVIN, num_iter=1, input_noise=0.0)
    exact, coarse, again = (
        deblur(image, (11, 11), replace(recipe, precision=name), device="cuda").losses[0]
        for name in ("fp32", "tf32", "fp32")
    )
    assert again == pytest.approx(exact, rel=1e-6)
    assert 1e-6 < abs(coarse / exact - 1) < 1e-2


def double_start(blurry: np.ndarray) -> State:
    """In float64 rounding, which differs from run to run on a GPU, does not show so soon."""
    start = draw_start(blurry.shape, (9, 7), TINY)
    start.zx, start.zk = start.zx.double(), start.zk.double()
    start.gx.double()
    start.gk.double()
    return start


def stopped_after(blurry: np.ndarray, iterations: int, device: str) -> dict[str, Any]:
    """The packed state of a fit after so many iterations."""
    packed = {}
    steps = iter(range(1, iterations + 1))

    def keep(state: State) -> None:
        packed.update(copy.deepcopy(state.pack()))
        raise StopIteration

    with pytest.raises(StopIteration):
        deblur(
            blurry,
            (9, 7),
            TINY,
            device=device,
            start=double_start(blurry),
            checkpoint_due=lambda: next(steps) == iterations,
            on_checkpoint=keep,
        )
    return packed


def test_a_graph_does_what_single_launches_do(blurry, monkeypatch):
    """Beyond the change of the loss, after 60 iterations, and two of the rates."""
    graphed = deblur(blurry, (9, 7), TINY, device="cuda", start=double_start(blurry))
    monkeypatch.setattr("utils.engine.deblur.Graphed", lambda step, device: step)
    single = deblur(blurry, (9, 7), TINY, device="cuda", start=double_start(blurry))
    assert graphed.losses == pytest.approx(single.losses, rel=1e-4)
    assert np.abs(graphed.image - single.image).max() < 1e-3
    assert np.abs(graphed.kernel - single.kernel).max() < 1e-5


@pytest.mark.parametrize("stop", [2, 55, 61])
def test_a_resumed_fit_goes_on_with_the_same_noise(blurry, stop):
    whole = deblur(blurry, (9, 7), TINY, device="cuda", start=double_start(blurry)).losses
    packed = stopped_after(blurry, stop, "cuda")
    other = copy.deepcopy(packed)
    resumed, elsewhere = double_start(blurry), double_start(blurry)
    resumed.load(packed)
    other["noise_state"] = torch.Generator("cuda").manual_seed(9).get_state()
    elsewhere.load(other)
    losses, others = (
        deblur(blurry, (9, 7), TINY, device="cuda", start=start).losses
        for start in (resumed, elsewhere)
    )
    assert losses == pytest.approx(whole, rel=1e-4)
    assert others[stop] != pytest.approx(whole[stop], rel=1e-4)


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_fit_goes_on_on_another_device(blurry, first, then, monkeypatch):
    monkeypatch.setattr(f"{__name__}.TINY", replace(TINY, input_noise=0.0))
    whole = deblur(blurry, (9, 7), TINY, device=first, start=double_start(blurry)).losses
    start = double_start(blurry)
    start.load(stopped_after(blurry, 55, first))
    assert deblur(blurry, (9, 7), TINY, device=then, start=start).losses == pytest.approx(
        whole, rel=1e-3
    )


def test_fast_restores_as_on_the_cpu():
    blurry, sharp = blurred(hook(9, 7), 96, 96)
    short = replace(FAST, num_iter=100, milestones=(60, 80, 90))
    method = tuple(
        FitFromKernel(short) if isinstance(stage, FitFromKernel) else stage
        for stage in blind_methods(LEVIN)["fast"]
    )
    task = Task(method, Restoration(blurry, (9, 9)))
    on_cpu, on_cuda = (
        comp_upto_shift(restore(task, device=name).image, sharp)[0] for name in ("cpu", "cuda")
    )
    assert on_cuda == pytest.approx(on_cpu, abs=1)


def test_an_image_that_does_not_fit_frees_its_memory(blurry):
    deblur(blurry, (9, 7), replace(TINY, num_iter=5), device="cuda")
    used = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction(1e9 / torch.cuda.mem_get_info()[1])
    try:
        large = np.random.default_rng(0).random((2000, 2000))
        with pytest.raises(torch.OutOfMemoryError):
            deblur(large, (31, 31), replace(LEVIN, num_iter=1), device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    assert torch.cuda.memory_allocated() < used + 1e8
