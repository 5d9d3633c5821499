"""Random camera-shake kernels, and how a blurry image is made with them."""

import cv2
import numpy as np
import pytest

from datasets.camera_shake import accumulate, camera_shake
from datasets.formation import as_stored, blur, expose
from utils.images.kernels import crop_to_blurry, scale_kernel
from utils.images.reading import read_kernel
from utils.images.writing import write_png


@pytest.mark.parametrize("size", [(3, 3), (11, 11), (15, 31), (31, 15), (75, 75)])
def test_kernel_is_a_centred_distribution(size):
    for seed in range(10):
        kernel = camera_shake(size, np.random.default_rng(seed))
        assert kernel.shape == size
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-12)
        rows, columns = np.indices(size)
        centre = ((rows * kernel).sum(), (columns * kernel).sum())
        assert centre == pytest.approx(((size[0] - 1) / 2, (size[1] - 1) / 2), abs=1e-9)


def test_kernel_fills_its_size_as_a_connected_path():
    for seed in range(20):
        kernel = camera_shake((31, 31), np.random.default_rng(seed))
        rows, columns = np.nonzero(kernel)
        reach = max(np.abs(rows - 15).max(), np.abs(columns - 15).max())
        assert reach == 15
        pieces, _ = cv2.connectedComponents((kernel > 0).astype(np.uint8), connectivity=8)
        assert pieces == 2  # the background is counted too


def test_kernels_differ_by_seed_and_repeat_with_it():
    first = camera_shake((21, 21), np.random.default_rng(1))
    assert np.array_equal(first, camera_shake((21, 21), np.random.default_rng(1)))
    assert np.abs(first - camera_shake((21, 21), np.random.default_rng(2))).sum() > 0.5


@pytest.mark.parametrize("size", [(10, 11), (11, 10), (1, 1)])
def test_kernel_size_must_be_odd(size):
    with pytest.raises(ValueError, match="odd"):
        camera_shake(size, np.random.default_rng(0))


def test_samples_are_spread_by_bilinear_weights():
    kernel = accumulate(np.array([[0.25, 1.5], [1.0, 0.0]]), (3, 3))
    expected = np.array([[0, 0.1875, 0.1875], [0.5, 0.0625, 0.0625], [0, 0, 0]])
    assert kernel == pytest.approx(expected)


def test_stored_kernel_is_what_its_file_gives_back(tmp_path):
    kernel = as_stored(camera_shake((21, 15), np.random.default_rng(3)))
    write_png(tmp_path / "kernel.png", scale_kernel(kernel))
    assert read_kernel(tmp_path / "kernel.png") == pytest.approx(kernel, abs=1e-15)
    assert cv2.imread(str(tmp_path / "kernel.png"), cv2.IMREAD_UNCHANGED).max() == 255


def test_blur_is_the_valid_correlation_of_conv2d():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    sharp, kernel = rng.random((40, 33)), camera_shake((7, 5), rng)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(sharp)[None, None], torch.from_numpy(kernel)[None, None]
    )
    assert blur(sharp, kernel) == pytest.approx(expected[0, 0].numpy(), abs=1e-12)
    color = np.dstack([sharp, sharp**2, sharp / 2])
    assert blur(color, kernel)[..., 2] == pytest.approx(expected[0, 0].numpy() / 2, abs=1e-12)
    with pytest.raises(ValueError, match="smaller"):
        blur(sharp[:, :4], kernel)


@pytest.mark.parametrize("size", [(7, 5), (8, 6), (1, 4)])
def test_the_blurry_image_is_registered_with_its_truth(size):
    sharp = np.random.default_rng(0).random((30, 31))
    spike = np.zeros(size)
    spike[(size[0] - 1) // 2, (size[1] - 1) // 2] = 1
    truth = crop_to_blurry(sharp, size)
    assert truth.shape == (30 - size[0] + 1, 31 - size[1] + 1)
    assert blur(sharp, spike) == pytest.approx(truth, abs=1e-12)


def test_exposure_adds_noise_clips_and_rounds():
    light = np.full((200, 200), 0.5)
    light[:50] = 1.7
    image = expose(light, 3.0, np.random.default_rng(0))
    assert np.array_equal(image * 255, np.rint(image * 255))
    assert (image[:50] == 1).all()
    assert (image[50:] * 255).std() == pytest.approx(3, rel=0.03)
    assert np.array_equal(expose(light, 0, np.random.default_rng(0))[:50], np.ones((50, 200)))
