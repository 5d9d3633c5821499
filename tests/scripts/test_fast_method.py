"""`--method fast` and `--finish` as their users run them, and the fast method's resume."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from statistic.metrics import comp_upto_shift
from tests.pictures import blurred, hook
from tests.runs import checkpoint_in, quiet_work
from utils.engine.deconvolution import deconvolve
from utils.engine.methods import FAST, LEVIN, blind_methods
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.engine.stages.finish import Finish
from utils.engine.stages.fit import FitFromKernel
from utils.engine.stages.refine import Refine
from utils.images.reading import read_gray, read_kernel

SCRIPT = "selfdeblur_levin.py"
NAME = "im1_kernel5_img"


@pytest.fixture
def images(tmp_path):
    """A folder of one small blurry image, with its truth."""
    blurry, sharp = blurred(hook(9, 7), 80, 96)
    (tmp_path / "images/gt").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / f"images/{NAME}.png"), np.rint(255 * blurry))
    cv2.imwrite(str(tmp_path / "images/gt/im1.png"), np.rint(255 * sharp))
    return tmp_path / "images"


def test_fast_writes_the_finished_image_and_that_of_gx(run_script, images, tmp_path):
    results = tmp_path / "results"
    run = run_script(
        SCRIPT, "--data_path", images, "--save_path", results, "--method", "fast",
        "--num_iter", 3,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    restored, of_gx = (read_gray(results / f"{NAME}_{kind}.png") for kind in ("x", "gx"))
    blurry, truth = read_gray(images / f"{NAME}.png"), read_gray(images / "gt/im1.png")
    of_blurry, of_restored, of_network = (
        comp_upto_shift(image, truth)[0] for image in (blurry, restored, of_gx)
    )
    assert of_restored > of_blurry + 6 and of_restored > of_network
    assert read_kernel(results / f"{NAME}_k.png").shape == (11, 11)
    record = json.loads((results / f"{NAME}.json").read_text())
    stages = [stage["stage"] for stage in record["stages"]]
    assert stages == ["kernel estimate", "kernel check", "refinement", "joint fit", "finish"]
    assert all(stage["steps"] == stage["total"] > 0 for stage in record["stages"])


def test_finish_writes_another_image_beside(run_script, images, tmp_path):
    plain, finished = tmp_path / "plain", tmp_path / "finished"
    for results, more in ((plain, []), (finished, ["--finish"])):
        run = run_script(
            SCRIPT, "--data_path", images, "--save_path", results, "--method", "quick",
            "--num_iter", 3, "--precision", "fp32", *more,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
    for kind in ("x", "k"):
        name = f"{NAME}_{kind}.png"
        assert (plain / name).read_bytes() == (finished / name).read_bytes()
    assert (finished / f"{NAME}_finished.png").exists()
    assert not (plain / f"{NAME}_finished.png").exists()


def test_finish_is_refused_where_it_is_always_done(run_script, images, tmp_path):
    run = run_script(
        SCRIPT, "--data_path", images, "--save_path", tmp_path / "results",
        "--method", "fast", "--finish",
    )  # fmt: skip
    assert run.returncode == 2
    assert "--finish: --method fast always ends with it" in run.stderr


@pytest.mark.parametrize("name", ["kernel estimate", "refinement", "joint fit", "finish"])
def test_fast_is_resumed_in_any_stage_to_the_same_bits(name):
    blurry, _ = blurred(hook(5, 5), 64, 66)
    recipe = replace(FAST, num_iter=4, channels=8, top_channels=4)
    method = tuple(
        replace(part, recipe=recipe) if isinstance(part, FitFromKernel) else part
        for part in blind_methods(LEVIN)["fast"]
    )
    task = Task(method, Restoration(blurry.astype(np.float32), (5, 5)))
    whole = restore(task, device="cpu")

    kept = checkpoint_in(task, name, steps=2)
    resumed = restore(task, device="cpu", checkpoint=kept)
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)
    np.testing.assert_array_equal(resumed.others["gx"], whole.others["gx"])
    assert resumed.losses == whole.losses


def test_the_fit_starts_from_the_given_kernel():
    blurry, _ = blurred(hook(9, 9), 64, 66)
    (fit,) = (stage for stage in blind_methods(LEVIN)["fast"] if isinstance(stage, FitFromKernel))
    state = fit.start(Restoration(blurry.astype(np.float32), (9, 9), hook(9, 9)), seed=0)
    start = state.gk(state.zk).detach().numpy()[0, 0]
    np.testing.assert_allclose(start, hook(9, 9), atol=1e-2)
    spread = gaussian_filter(hook(9, 9), 0.5)
    assert abs(start - hook(9, 9)).max() < 0.2 * abs(spread - hook(9, 9)).max()


def test_a_noisy_image_goes_without_the_fit():
    (fit,) = (stage for stage in blind_methods(LEVIN)["fast"] if isinstance(stage, FitFromKernel))
    blurry, _ = blurred(hook(5, 5), noise=0.01)
    noisier, _ = blurred(hook(5, 5), noise=0.02)
    assert fit.suits(blurry) and not fit.suits(noisier)


def test_a_large_image_goes_without_the_fit():
    (fit,) = (stage for stage in blind_methods(LEVIN)["fast"] if isinstance(stage, FitFromKernel))
    small, large = (np.zeros(size) for size in ((255, 255), (700, 1024)))
    assert fit.suits(small) and not fit.suits(large)
    assert fit.bytes_needed((700, 1024), (9, 9)) == 0 < fit.bytes_needed((255, 255), (9, 9))


@pytest.mark.parametrize("stage", [Refine(), Finish()])
def test_a_stage_that_explains_the_image_worse_is_left_out(stage, monkeypatch):
    blurry, _ = blurred(hook(5, 5), 64, 66)
    kernel = hook(5, 5)
    sharp = deconvolve(blurry, kernel, full=True).clip(0, 1)

    def spoil(*arguments, **options):
        return np.zeros(sharp.shape), kernel

    # Patching finish imports it, and it binds refine's function, so it comes first.
    monkeypatch.setattr("utils.engine.finish.restore_by_levels", spoil)
    monkeypatch.setattr("utils.engine.refine.restore_by_levels", spoil)
    before = Restoration(blurry, kernel.shape, kernel=kernel, sharp=sharp)
    notes = {}
    after = stage.run(before, quiet_work(notes))
    np.testing.assert_array_equal(after.sharp, sharp)
    assert "kept" in notes
