"""The engine: the original's numbers, seeds, save points, faults."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import needs_gpu
from tests.networks.golden import set_golden_weights
from utils.engine.blur import blur
from utils.engine.deblur import State, choose_device, deblur, draw_start
from utils.engine.methods import LEVIN
from utils.images.kernels import crop_to_blurry
from utils.images.reading import read_gray

TINY = replace(LEVIN, num_iter=6, channels=4, scales=2, mse_iterations=3, milestones=(2, 4))


@pytest.fixture(scope="module")
def blurry() -> np.ndarray:
    return np.random.default_rng(0).random((30, 27))


@pytest.fixture(scope="module")
def original(reference) -> dict:
    return json.loads((reference / "orig_trajectory_im1_kernel5.json").read_text())


def abs_sum(network: torch.nn.Module) -> float:
    return sum(weight.detach().double().abs().sum().item() for weight in network.parameters())


def test_start_is_the_originals(original):
    start = draw_start((255, 255), (11, 11))
    first = [0.0496256612, 0.0768221840, 0.0088477433, 0.0132030491]
    assert start.zx.flatten()[:4].tolist() == pytest.approx(first, rel=1e-6)
    assert start.zk[:4].tolist() == pytest.approx(first, rel=1e-6)
    assert start.zk.double().sum().item() == pytest.approx(9.475120, abs=1e-6)
    assert abs_sum(start.gx) == pytest.approx(original["gx_abs_sum"], rel=1e-5)
    assert abs_sum(start.gk) == pytest.approx(original["gk_abs_sum"], rel=1e-5)
    for weight, expected in (
        (start.gx.scales[0].skip.conv.weight, original["gx_first"]),
        (start.gx.output.weight, original["gx_last_weight"]),
        (start.gk.hidden.weight, original["gk_first"]),
    ):
        assert weight.flatten()[:3].tolist() == pytest.approx(expected, rel=1e-5)


def test_zx_for_a_kernel_of_17_is_the_originals():
    zx = draw_start((255, 255), (17, 17), TINY).zx
    assert zx.shape == (1, 8, 271, 271)
    assert zx.double().sum().item() == pytest.approx(29400.284, abs=1e-3)


def test_first_loss_is_the_originals(levin, original):
    image = read_gray(levin / f"{original['name']}.png")
    result = deblur(image, (11, 11), replace(LEVIN, num_iter=1), device="cpu")
    assert result.losses[0] == pytest.approx(original["mse_losses"][0], rel=1e-5)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_optimisation_follows_the_original_in_double_precision(levin, reference, device):
    golden = json.loads((reference / "golden_trajectory.json").read_text())
    top, bottom, left, right = golden["crop_rows_cols"]
    crop = read_gray(levin / golden["image"])[top:bottom, left:right]
    size = (golden["kernel_size"],) * 2
    start = draw_start(crop.shape, size)
    set_golden_weights(start.gx)
    set_golden_weights(start.gk)
    rng = np.random.default_rng(golden["input_rng_seed"])
    for name in ("zx", "zk"):
        values = rng.uniform(0, 0.1, tuple(getattr(start, name).shape)).astype(np.float32)
        setattr(start, name, torch.from_numpy(values).double())
    start.gx.double()
    start.gk.double()
    recipe = replace(
        LEVIN,
        num_iter=golden["iterations"],
        mse_iterations=golden["mse_for_the_first"],
        input_noise=0.0,
    )
    losses = deblur(crop, size, recipe, device=device, start=start).losses
    # A GPU takes Adam's rates in float32.
    exact = 1e-7 if device == "cpu" else 5e-6
    assert losses[:6] == pytest.approx(golden["losses_float64"][:6], rel=0, abs=exact)
    assert losses[:9] == pytest.approx(golden["losses_float64"][:9], rel=0, abs=100 * exact)


def test_a_seed_gives_the_same_bits_again(blurry):
    first, again = (deblur(blurry, (5, 3), TINY, seed=7, device="cpu") for _ in range(2))
    other = deblur(blurry, (5, 3), TINY, seed=8, device="cpu")
    assert first.losses == again.losses
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.kernel, again.kernel)
    assert first.losses[0] != other.losses[0]
    assert not np.array_equal(first.kernel, other.kernel)


def test_the_process_keeps_its_own_random_numbers(blurry):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    deblur(blurry, (5, 3), TINY, device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_the_length_changes_nothing_else(blurry):
    longer = deblur(blurry, (3, 3), TINY, device="cpu")
    shorter = deblur(blurry, (3, 3), replace(TINY, num_iter=4), device="cpu")
    assert shorter.losses == longer.losses[:4]


def test_restoration_has_the_blurry_images_size_and_a_kernel_that_sums_to_one(blurry):
    result = deblur(blurry, (5, 3), TINY, device="cpu")
    assert result.image.shape == blurry.shape
    assert result.kernel.shape == (5, 3)
    assert result.kernel.sum() == pytest.approx(1, abs=1e-5)
    assert len(result.losses) == TINY.num_iter


def test_what_is_saved_is_the_forward_pass_before_the_update(blurry):
    recipe = replace(TINY, num_iter=1, input_noise=0.0)
    start = draw_start(blurry.shape, (5, 3), recipe)
    with torch.no_grad():
        x, k = start.gx(start.zx), start.gk(start.zk)
        loss = (blur(x, k)[0, 0] - torch.from_numpy(blurry).float()).square().mean()
    result = deblur(blurry, (5, 3), recipe, device="cpu")
    assert np.allclose(result.image, crop_to_blurry(x[0, 0], (5, 3)), atol=1e-6)
    assert np.allclose(result.kernel, k[0, 0], atol=1e-7)
    assert result.losses[0] == pytest.approx(loss.item(), rel=1e-5)


def test_first_update_is_adams(blurry):
    # Adam's first step is the learning rate in the direction of the gradient's sign.
    recipe = replace(TINY, num_iter=1)
    before = draw_start(blurry.shape, (3, 3), recipe)
    after = deblur(blurry, (3, 3), recipe, device="cpu")
    for network, rate in (("gx", 0.01), ("gk", 0.0001)):
        steps = [
            (new - old).abs().max().item()
            for old, new in zip(
                getattr(before, network).parameters(),
                getattr(after, network).parameters(),
                strict=True,
            )
        ]
        assert max(steps) == pytest.approx(rate, rel=1e-2)


def test_total_variation_counts_by_its_weight(blurry):
    recipe = replace(TINY, num_iter=1)
    plain = deblur(blurry, (3, 3), recipe, device="cpu").losses[0]
    one, two = (
        deblur(blurry, (3, 3), replace(recipe, tv_weight=weight), device="cpu").losses[0]
        for weight in (1.0, 2.0)
    )
    assert one > plain
    assert two - plain == pytest.approx(2 * (one - plain), rel=1e-4)


def test_callbacks_come_at_their_iterations(blurry):
    saved, seen = [], []
    result = deblur(
        blurry,
        (3, 3),
        TINY,
        device="cpu",
        save_every=4,
        on_save=lambda restoration: saved.append(list(restoration.losses)),
        on_progress=lambda done, loss: seen.append((done, loss)),
    )
    assert saved == [result.losses[:4], result.losses]
    assert seen == list(enumerate(result.losses, start=1))


def test_a_loss_that_is_not_finite_stops_and_keeps_what_was_saved(blurry):
    saved = []

    def spoil(restoration):
        saved.append(restoration.image)
        torch.nn.init.constant_(restoration.gx.output.weight, float("nan"))

    with pytest.raises(FloatingPointError, match="nan by iteration 3"):
        deblur(blurry, (3, 3), TINY, device="cpu", save_every=2, on_save=spoil)
    assert len(saved) == 1
    assert np.isfinite(saved[0]).all()


@pytest.mark.parametrize(
    ("image", "kernel_size", "changes", "message"),
    [
        (np.zeros((30, 30, 3)), (3, 3), {}, r"blurry .*\(30, 30, 3\)"),
        (np.full((30, 30), 128.0), (3, 3), {}, r"blurry .*128"),
        (np.full((30, 30), np.nan), (3, 3), {}, r"blurry .*nan"),
        (np.zeros((30, 30)), (4, 3), {}, r"kernel_size .*4"),
        (np.zeros((30, 30)), (3, 1), {}, r"kernel_size .*1"),
        (np.zeros((30, 30)), (33, 3), {}, r"30 x 30, is smaller than the kernel, 33 x 3"),
        (np.zeros((30, 12)), (3, 3), {"scales": 5}, r"takes 31 x 31 or more"),
        (np.zeros((30, 30)), (3, 3), {"num_iter": 0}, r"num_iter 0"),
    ],
)
def test_bad_arguments_are_named(image, kernel_size, changes, message):
    with pytest.raises(ValueError, match=message):
        deblur(image, kernel_size, replace(TINY, **changes), device="cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:1", "cuda:99"])
def test_missing_devices_are_named(name):
    with pytest.raises(ValueError, match=name):
        choose_device(name)


def test_a_custom_start_is_used(blurry):
    start = draw_start(blurry.shape, (3, 3), TINY, seed=5)
    expected = deblur(blurry, (3, 3), TINY, seed=5, device="cpu").losses
    assert isinstance(start, State)
    assert deblur(blurry, (3, 3), TINY, device="cpu", start=start).losses == expected
