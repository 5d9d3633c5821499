import csv
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.shift_search import direct_search
from statistic.metrics import (
    BORDER,
    comp_upto_shift,
    crop,
    error_ratio,
    error_ratio_levin,
    psnr,
    search_shift,
    shifted,
    ssim,
)
from utils.images.colors import STUDIO_RANGE
from utils.images.reading import read_gray, read_image

SHARED = Path(__file__).resolve().parents[3] / "shared"
GOLDEN = SHARED / "reference" / "metrics_octave.csv"


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width)) / 255


def smooth(height, width, seed=0):
    """Neighboring pixels alike, as in photographs, so that the sums of squares vary slowly."""
    rough = np.random.default_rng(seed).random((height + 6, width + 6))
    windows = np.lib.stride_tricks.sliding_window_view(rough, (7, 7))
    return np.rint(255 * windows.mean((2, 3))) / 255


def golden():
    if not GOLDEN.exists():
        return []
    with GOLDEN.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the reference tables beside the checkout")
@pytest.mark.parametrize("row", golden(), ids=lambda row: Path(row["restored"]).stem)
def test_matches_the_published_scripts_under_octave(row):
    restored = STUDIO_RANGE.luminance(read_image(SHARED / row["restored"]))
    truth = STUDIO_RANGE.luminance(read_image(SHARED / row["truth"]))
    found = comp_upto_shift(restored, truth, int(row["maxshift"]))
    assert found[:2] == pytest.approx((float(row["psnr"]), float(row["ssim"])), abs=1e-8, rel=0)


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the reference data beside the checkout")
def test_error_ratios_match_the_published_script_under_octave():
    levin = SHARED / "data" / "levin"
    truth = read_gray(levin / "gt" / "im1.png")
    aligned, known = (
        comp_upto_shift(read_gray(levin / f"im1_kernel{number}_img.png"), truth, 2)[2]
        for number in (3, 5)
    )
    assert error_ratio(aligned, known, crop(truth)) == pytest.approx(0.9350067991, abs=1e-9)
    assert error_ratio_levin(aligned, known, crop(truth)) == pytest.approx(1.1521211858, abs=1e-9)


def test_psnr_by_hand():
    zeros = np.zeros((4, 5))
    one_off = zeros.copy()
    one_off[1, 2] = 51
    # MSE = 51^2 / 20, and 255 / 51 = 5.
    assert psnr(one_off, zeros) == pytest.approx(10 * math.log10(25 * 20), abs=1e-12)
    assert psnr(zeros, zeros + 255) == pytest.approx(0, abs=1e-12)
    assert psnr(zeros, zeros) == math.inf


def test_psnr_takes_255_as_the_peak_of_a_black_image_too():
    truth = np.full((60, 60), 100 / 255)
    black = np.zeros((60, 60))
    assert comp_upto_shift(black, truth, 3)[0] == pytest.approx(20 * math.log10(2.55), abs=1e-9)


def test_ssim_of_constant_images_by_hand():
    a, b = np.full((12, 15), 50.0), np.full((12, 15), 100.0)
    c1 = 0.01**2 * 255**2
    assert ssim(a, b) == pytest.approx((2 * 5000 + c1) / (2500 + 10000 + c1), abs=1e-9)
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)


def test_ssim_of_one_window_by_hand():
    """An 11 x 11 image has one window, so its SSIM is a formula in five weighted means."""
    a, b = 255 * noise(11, 11, 1), 255 * noise(11, 11, 2)
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / 4.5)
    weights /= weights.sum()
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a = (weights * (a - mean_a) ** 2).sum()
    var_b = (weights * (b - mean_b) ** 2).sum()
    covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "shape, factor", [((384, 400), 2), ((390, 385), 2), ((650, 700), 3), ((897, 899), 4)]
)
def test_ssim_averages_and_decimates_large_images(shape, factor):
    """The same as SSIM of the small images, made here by walking the windows one by one."""
    large = [255 * noise(*shape, seed) for seed in (3, 4)]
    first = math.floor((factor + 1) / 2) - 1

    def small(image):
        padded = np.pad(image, factor, "symmetric")
        rows, columns = (range(0, side, factor) for side in image.shape)
        return np.array(
            [
                [
                    padded[
                        factor + row - first : factor + row - first + factor,
                        factor + column - first : factor + column - first + factor,
                    ].mean()
                    for column in columns
                ]
                for row in rows
            ]
        )

    assert ssim(*large) == pytest.approx(ssim(*map(small, large)), abs=1e-12)


def test_ssim_keeps_images_whole_up_to_383_pixels():
    a, b = 255 * noise(383, 390, 5), 255 * noise(383, 390, 6)
    tiles = [ssim(a[:, :201], b[:, :201]), ssim(a[:, 191:], b[:, 191:])]
    weights = [191, 189]
    assert ssim(a, b) == pytest.approx(np.average(tiles, weights=weights), abs=1e-12)


@pytest.mark.parametrize("make", [noise, smooth])
@pytest.mark.parametrize("shape, maxshift", [((23, 30), 3), ((31, 18), 2), ((20, 21), 0)])
@pytest.mark.parametrize("seed", range(3))
def test_search_finds_what_the_direct_search_finds(make, shape, maxshift, seed):
    image = 255 * make(shape[0] + 2 * maxshift, shape[1] + 2 * maxshift, seed)
    reference = 255 * make(*shape, seed + 100)
    assert search_shift(image, reference) == direct_search(image, reference)


def test_search_takes_values_that_are_no_integers():
    generator = np.random.default_rng(7)
    for _ in range(20):
        image, reference = generator.random((19, 22)), generator.random((13, 16))
        assert search_shift(image, reference) == direct_search(image, reference)


@pytest.mark.parametrize("shift", [(0, 0), (5, 11), (16, 2), (7, 16), (16, 16)])
def test_search_finds_a_known_shift(shift):
    image = 255 * smooth(48, 55)
    reference = shifted(image, shift, (44, 51))
    assert search_shift(image, reference) == shift


@pytest.mark.parametrize("period", [(1, 2), (2, 1), (3, 2), (1, 5)])
@pytest.mark.parametrize("seed", range(4))
def test_search_takes_the_first_of_equal_sums(period, seed):
    """Rounding in the fast sums must not choose among the shifts that repeat a pattern."""
    tile = np.random.default_rng(seed).integers(0, 256, period).astype(float)
    image = np.tile(tile, (60, 60))[:51, :56]
    reference = image[:45, :50]
    assert search_shift(image, reference) == direct_search(image, reference) == (0, 0)
    reference = 255 * noise(45, 50, seed)
    assert search_shift(image, reference) == direct_search(image, reference)


@pytest.mark.parametrize("seed", range(4))
def test_search_decides_near_ties_by_the_differences(seed):
    """Four copies of the reference, each off in one pixel by less than the fast sums can tell."""
    reference = 255 * noise(45, 45, seed)
    image = np.zeros((94, 94))
    offsets = np.random.default_rng(seed).permutation([4e-5, 3e-5, 2e-5, 1e-5]).reshape(2, 2)
    for row in (0, 1):
        for column in (0, 1):
            part = image[49 * row : 49 * row + 45, 49 * column : 49 * column + 45]
            part[:] = reference
            part[3, 4] += offsets[row, column]
    row, column = np.unravel_index(offsets.argmin(), (2, 2))
    assert search_shift(image, reference) == (4 * 49 * row, 4 * 49 * column)


@pytest.mark.parametrize("value", [0, 16 / 255, 0.3, 1])
def test_constant_images_take_the_first_shift(value):
    truth = noise(60, 50)
    found = comp_upto_shift(np.full((60, 50), value), truth, 10)
    assert np.all(found[2] == value)
    assert found[0] == pytest.approx(psnr(np.full((30, 20), 255 * value), 255 * crop(truth)))
    assert search_shift(np.full((30, 30), value), np.full((20, 20), 0.1)) == (0, 0)


def test_identical_images():
    image = smooth(60, 71)
    found_psnr, found_ssim, aligned = comp_upto_shift(image, image, 15)
    assert found_psnr == math.inf
    assert found_ssim == pytest.approx(1, abs=1e-12)
    np.testing.assert_array_equal(aligned, crop(image))


@pytest.mark.parametrize("maxshift", [2, 15])
def test_alignment_undoes_a_shift_in_the_right_direction(maxshift):
    truth = smooth(90, 83)
    restored = np.roll(truth, (2, -1), (0, 1))
    _, _, aligned = comp_upto_shift(restored, truth, maxshift)
    np.testing.assert_array_equal(aligned, crop(truth))
    np.testing.assert_array_equal(aligned, restored[17:77, 14:67])


def test_a_shift_beyond_maxshift_is_not_found():
    truth = smooth(90, 83)
    restored = np.roll(truth, 3, 0)
    assert comp_upto_shift(restored, truth, 2)[0] < 40
    assert comp_upto_shift(restored, truth, 3)[0] == math.inf


@pytest.mark.parametrize("change", [-5, 5])
def test_sizes_may_differ_by_what_the_crop_takes_away(change):
    truth = smooth(80, 90)
    restored = np.pad(truth, ((0, 5), (0, 5)))[: 80 + change]
    assert comp_upto_shift(restored, truth, 10)[0] == math.inf


@pytest.mark.parametrize("shape", [(74, 90), (86, 90), (80, 84), (80, 96)])
def test_sizes_that_differ_by_more_are_refused(shape):
    with pytest.raises(ValueError, match=rf"restored is {shape[0]} x {shape[1]}.*80 x 90.*5 pix"):
        comp_upto_shift(np.zeros(shape), smooth(80, 90), 10)


@pytest.mark.parametrize("maxshift", [-1, 16, 2.5])
def test_maxshift_out_of_range_is_refused(maxshift):
    with pytest.raises(ValueError, match=rf"maxshift is {maxshift}"):
        comp_upto_shift(np.zeros((60, 60)), np.zeros((60, 60)), maxshift)


def test_images_too_small_are_refused():
    with pytest.raises(ValueError, match="truth is 40 x 60"):
        comp_upto_shift(np.zeros((40, 60)), np.zeros((40, 60)))
    smallest = noise(41, 41)
    assert comp_upto_shift(smallest, smallest)[0] == math.inf
    with pytest.raises(ValueError, match="10 x 12"):
        ssim(np.zeros((10, 12)), np.zeros((10, 12)))


@pytest.mark.parametrize("bad", [255.0, -0.1, np.nan])
def test_values_outside_0_to_1_are_refused(bad):
    image = np.zeros((60, 60))
    broken = image.copy()
    broken[3, 4] = bad
    with pytest.raises(ValueError, match="truth has values"):
        comp_upto_shift(image, broken)
    with pytest.raises(ValueError, match="restored has values"):
        comp_upto_shift(broken, image)


def test_color_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match=r"restored has shape \(60, 60, 3\)"):
        comp_upto_shift(np.zeros((60, 60, 3)), np.zeros((60, 60)))
    for function in (psnr, ssim):
        with pytest.raises(ValueError, match=r"a \(12, 13\), b \(13, 12\)"):
            function(np.zeros((12, 13)), np.zeros((13, 12)))
    with pytest.raises(ValueError, match=r"truth \(41, 41\)"):
        error_ratio(np.zeros((11, 11)), np.zeros((11, 11)), np.zeros((41, 41)))


def test_the_inputs_stay_as_they_were():
    restored, truth = noise(60, 70, 1), noise(60, 70, 2)
    copies = restored.copy(), truth.copy()
    comp_upto_shift(restored, truth, 4)
    np.testing.assert_array_equal(restored, copies[0])
    np.testing.assert_array_equal(truth, copies[1])


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (6, 6)])
def test_error_ratios_by_singular_values(shape):
    truth, aligned, known = (noise(*shape, seed) for seed in (1, 2, 3))
    values, values_known = (
        np.linalg.svd(image - truth, compute_uv=False) for image in (aligned, known)
    )
    assert error_ratio(aligned, known, truth) == pytest.approx(values[0] / values_known[0])
    assert error_ratio_levin(aligned, known, truth) == pytest.approx(
        (values**2).sum() / (values_known**2).sum()
    )


@pytest.mark.parametrize("ratio", [error_ratio, error_ratio_levin])
def test_error_ratio_at_its_ends(ratio):
    truth, restored = noise(12, 12, 1), noise(12, 12, 2)
    assert ratio(restored, restored, truth) == 1
    assert ratio(truth, restored, truth) == 0
    assert ratio(restored, truth, truth) == math.inf
    assert ratio(truth, truth, truth) == 1


def test_luma_is_that_of_studio_range():
    colors = np.array([[[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]], float)
    expected = [[16, 235, 81.481, 144.553, 40.966]]
    np.testing.assert_allclose(255 * STUDIO_RANGE.luminance(colors), expected, atol=1e-12)


def test_border_is_the_published_one():
    assert BORDER == 15
    assert crop(np.zeros((70, 60))).shape == (40, 30)
