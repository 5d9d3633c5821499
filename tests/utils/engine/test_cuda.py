"""CUDA against the CPU: numbers, resume, memory. Skipped where there is no GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from statistic.metrics import comp_upto_shift
from tests.conftest import needs_gpu
from tests.pictures import blurred, hook
from utils.engine.deblur import deblur
from utils.engine.methods import FAST, LEVIN, blind_methods
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.engine.stages.fit import FitFromKernel, JointFit
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
    recipe = replace(LEVIN, num_iter=3, input_noise=0.0)
    on_cpu, on_cuda = (deblur(image, (11, 11), recipe, device=name) for name in ("cpu", "cuda"))
    assert on_cuda.losses[0] == pytest.approx(on_cpu.losses[0], rel=1e-5)
    # Adam's first step has the size of its rate even where a gradient is hardly more than rounding.
    assert on_cuda.losses == pytest.approx(on_cpu.losses, rel=0.02)
    assert np.abs(on_cuda.kernel - on_cpu.kernel).max() < 1e-5


def test_tf32_differs_only_if_asked_for(levin):
    image = read_gray(levin / "im1_kernel5_img.png")
    recipe = replace(LEVIN, num_iter=1, input_noise=0.0)
    exact, coarse, again = (
        deblur(image, (11, 11), replace(recipe, precision=name), device="cuda").losses[0]
        for name in ("fp32", "tf32", "fp32")
    )
    assert again == pytest.approx(exact, rel=1e-6)
    assert 1e-6 < abs(coarse / exact - 1) < 1e-2


def interrupted_at(task: Task, step: int, device: str) -> bytes:
    """The checkpoint of a task that is stopped after so many iterations."""
    kept = []
    steps = 0

    class StopError(Exception):
        pass

    def due() -> bool:
        nonlocal steps
        steps += 1
        return steps == step

    def keep(content: bytes, record: dict) -> None:
        kept.append(content)
        raise StopError

    with pytest.raises(StopError):
        restore(task, device=device, checkpoint_due=due, on_checkpoint=keep)
    return kept[0]


def test_a_resumed_fit_goes_on_with_the_same_noise(blurry):
    task = Task((JointFit(TINY),), Restoration(blurry, (9, 7)))
    whole = restore(task, device="cuda").losses
    checkpoint = interrupted_at(task, 55, "cuda")
    resumed = restore(task, device="cuda", checkpoint=checkpoint).losses
    other = restore(replace(task, seed=1), device="cuda").losses
    # Atomic additions round in another order each time, so the two part slowly.
    assert resumed[50:60] == pytest.approx(whole[50:60], rel=0.02)
    assert resumed[55] != pytest.approx(other[55], rel=0.02)


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_fit_goes_on_on_another_device(blurry, first, then):
    task = Task((JointFit(TINY),), Restoration(blurry, (9, 7)))
    checkpoint = interrupted_at(task, 55, first)
    resumed = restore(task, device=then, checkpoint=checkpoint)
    whole = restore(task, device=first)
    assert len(resumed.losses) == TINY.num_iter
    assert resumed.losses[-1] == pytest.approx(whole.losses[-1], rel=0.5)


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


def test_an_image_that_does_not_fit_is_named_and_frees_its_memory(blurry):
    free = torch.cuda.mem_get_info()[0]
    torch.cuda.set_per_process_memory_fraction(1e9 / torch.cuda.mem_get_info()[1])
    try:
        large = np.random.default_rng(0).random((2000, 2000))
        with pytest.raises(torch.OutOfMemoryError):
            deblur(large, (31, 31), replace(LEVIN, num_iter=1), device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()
    assert torch.cuda.mem_get_info()[0] > free - 1e9
    deblur(blurry, (9, 7), replace(TINY, num_iter=1), device="cuda")
