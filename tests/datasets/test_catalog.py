"""What the names of the data sets' images mean, and where their truths and kernels are found."""

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.catalog import (
    LAI,
    LEVIN,
    find_kernel,
    find_truth,
    photograph_kernel_size,
    true_kernel_name,
    truth_name,
)
from utils.errors import DataError
from utils.images.colors import FULL_RANGE, MATLAB_GRAY, STUDIO_RANGE
from utils.images.reading import read_photograph
from utils.images.writing import quantise

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
HASHES = SHARED / "reference/lai_luminance_sha256.csv"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_the_benchmarks_have_all_their_images():
    assert len(LEVIN.images) == 32 and len(LAI.images) == 100
    assert LEVIN.images[9] == "im2_kernel2_img" and LAI.images[-1] == "text_05_kernel_04"


def test_kernel_sizes_follow_from_the_name_alone():
    sizes = [LEVIN.kernel_size(f"im3_kernel{number}_img") for number in range(1, 9)]
    assert sizes == [(side, side) for side in (17, 15, 13, 27, 11, 19, 21, 21)]
    sizes = [LAI.kernel_size(f"text_03_kernel_0{number}") for number in range(1, 5)]
    assert sizes == [(side, side) for side in (31, 51, 55, 75)]


@pytest.mark.parametrize(
    ("data_set", "name", "kernels"),
    [
        (LEVIN, "im1", "kernel1 to kernel8"),
        (LEVIN, "im1_kernel9_img", "kernel1 to kernel8"),
        (LEVIN, "im1_kernel12_img", "kernel1 to kernel8"),
        (LEVIN, "text_03_kernel_01", "kernel1 to kernel8"),
        (LAI, "text_03_kernel_05", "kernel_01 to kernel_04"),
        (LAI, "text_03_kernel_1", "kernel_01 to kernel_04"),
        (LAI, "im1_kernel1_img", "kernel_01 to kernel_04"),
    ],
)
def test_names_without_a_known_kernel_are_refused(data_set, name, kernels):
    with pytest.raises(DataError, match=f"{name} has no {kernels} in it; give --kernel_size"):
        data_set.kernel_size(name)


@pytest.mark.parametrize(
    ("side", "names"),
    [
        (41, ("fishes", "fish", "two_fish_2", "Fish", "goldfish-and-fish", "fish2")),
        (25, ("flower", "flowers", "red-flower.small")),
        (51, ("house", "houses", "my house", "HOUSE_01")),
        (31, ("warehouse", "selfish", "flowery", "lighthouse_2", "cat", "", "fishéd")),
    ],
)
def test_a_photographs_size_follows_from_whole_words(side, names):
    for name in names:
        assert photograph_kernel_size(name) == (side, side), name


def test_names_of_truths_and_true_kernels():
    assert truth_name("im1_kernel5_img_x") == "im1"
    assert truth_name("saturated_02_kernel_04") == "saturated_02"
    assert true_kernel_name("im1_kernel5_img") == "kernel5"
    assert true_kernel_name("saturated_02_kernel_04") == "kernel_04"
    assert true_kernel_name("kernel1_kernel_12") == "kernel_12"
    assert true_kernel_name("fishes") is None


@pytest.mark.parametrize("truth", ["im1.png", "im1.PNG", "im1.Jpeg", "im1.TIF"])
@pytest.mark.parametrize("folder", ["data/gt", "ground_truth"])
def test_truths_are_found_with_any_suffix_in_any_case(tmp_path, folder, truth):
    touch(tmp_path / folder, truth, "im1.txt", "im10.png")
    assert find_truth(tmp_path / "data/im1_kernel2_img.png") == tmp_path / folder / truth
    assert find_truth(tmp_path / "data/im2_kernel2_img.png") is None


def test_a_truth_beside_the_working_folder_is_found(tmp_path, monkeypatch):
    touch(tmp_path, "ground_truth/text_01.png", "uniform/text_01_kernel_01.png")
    monkeypatch.chdir(tmp_path / "uniform")
    assert find_truth("text_01_kernel_01.png").samefile(tmp_path / "ground_truth/text_01.png")
    touch(tmp_path, "kernel/kernel_01.png")
    assert find_kernel("text_01_kernel_01", ".").samefile(tmp_path / "kernel/kernel_01.png")


def test_the_usual_suffix_takes_precedence(tmp_path):
    touch(tmp_path / "gt", "im1.JPG", "im1.png", "im1.PNG")
    assert find_truth(tmp_path / "im1_kernel2_img.png").name == "im1.png"


@pytest.mark.parametrize(
    ("name", "folder", "kernel"),
    [
        ("im1_kernel5_img", "data", "data/im1_kernel5_img_k.png"),
        ("im1_kernel5_img", "data", "data/kernel5.png"),
        ("im1_kernel5_img", "data", "data/gt/kernel5.PNG"),
        ("im1_kernel5_img", "data/gt", "data/gt/kernel5.png"),
        ("text_01_kernel_01", "lai/kernel", "lai/kernel/kernel_01.png"),
        ("text_01_kernel_01", "lai/uniform", "lai/kernel/kernel_01.png"),
        ("text_01_kernel_01", "lai/uniform_ycbcr", "lai/kernel/kernel_01.png"),
        ("text_01_kernel_01", "lai", "lai/kernel/kernel_01.png"),
        ("text_01_kernel_12", "lai/uniform", "lai/kernel/kernel_12.png"),
        ("photo", "data", "data/photo_k.tif"),
    ],
)
def test_kernels_are_found(tmp_path, name, folder, kernel):
    (tmp_path / folder).mkdir(parents=True)
    touch(tmp_path, kernel, "lai/kernel/kernel_02.png", "data/kernel1.png")
    assert find_kernel(name, tmp_path / folder) == tmp_path / kernel
    assert find_kernel("anything", tmp_path / kernel) == tmp_path / kernel


def test_the_estimated_kernel_takes_precedence(tmp_path):
    touch(tmp_path, "im1_kernel5_img_k.png", "kernel5.png", "gt/kernel5.png")
    assert find_kernel("im1_kernel5_img", tmp_path).name == "im1_kernel5_img_k.png"


def test_a_missing_kernel_is_named(tmp_path):
    touch(tmp_path, "kernel_01.png")
    with pytest.raises(DataError, match=r"im1_kernel5_img_k.png or kernel5.png .*--kernel_path"):
        find_kernel("im1_kernel5_img", tmp_path)
    with pytest.raises(DataError, match="looked for photo_k.png in "):
        find_kernel("photo", tmp_path)


def test_kernels_of_synthetic_benchmarks_are_found(tmp_path):
    from datasets.make_synthetic import main

    for layout, data_set in (("levin", LEVIN), ("lai", LAI)):
        folder = tmp_path / layout
        main([layout, "--crop_size", "40", "--save_path", str(folder)])
        images = sorted((folder / data_set.blurry_folder).glob("*.png"))
        assert len(images) == 5 * len(data_set.kernel_sizes)
        for image in images:
            kernel = find_kernel(image.stem, image.parent)
            assert kernel.parent == folder / data_set.kernel_folder
            assert read_photograph(kernel).pixels.shape == data_set.kernel_size(image.stem)
            assert find_truth(image).parent == folder / data_set.truth_folder


# Luminance


def test_no_color_lies_on_the_border_of_two_levels():
    """So that it does not matter how halves are rounded: MATLAB's way and NumPy's agree."""
    red, green, blue = MATLAB_GRAY.weights
    rest = green * np.arange(256)[:, None] + blue * np.arange(256)
    for level in range(256):
        assert np.abs((red * level + rest) % 1 - 0.5).min() > 4e-6


def test_gray_in_three_channels_keeps_its_levels():
    levels = np.arange(256) / 255
    color = np.dstack([levels[None]] * 3)
    for luma in (FULL_RANGE, MATLAB_GRAY):
        assert np.array_equal(quantise(luma.luminance(color), np.dtype(np.uint8))[0], range(256))


def test_luminance_is_converted_between_ranges():
    color = np.random.default_rng(0).random((5, 6, 3))
    studio, gray = STUDIO_RANGE.luminance(color), FULL_RANGE.luminance(color)
    assert np.allclose(FULL_RANGE.convert(gray, STUDIO_RANGE), studio)
    assert np.allclose(STUDIO_RANGE.convert(studio, FULL_RANGE), gray)
    # MATLAB's weights differ in the fourth decimal.
    converted = MATLAB_GRAY.convert(MATLAB_GRAY.luminance(color), STUDIO_RANGE)
    assert np.abs(converted - studio).max() < 1e-4


@pytest.mark.skipif(not (SHARED / "data/lai/uniform").is_dir(), reason="needs Lai's benchmark")
def test_luminance_of_lais_images_is_that_of_the_authors_files():
    with HASHES.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"{name}.png" for name in LAI.images]
    for row in rows:
        photograph = read_photograph(SHARED / "data/lai/uniform" / row["image"])
        pixels = quantise(LAI.luma.luminance(photograph.pixels), photograph.depth)
        assert pixels.shape == (int(row["height"]), int(row["width"]))
        found = hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()
        assert found == row["sha256_of_row_major_uint8_pixels"], row["image"]


def test_the_catalog_needs_no_torch_and_nothing_above_images():
    program = (
        "import sys, datasets.catalog\n"
        "for name in sys.modules:\n"
        "    top = name.partition('.')[0]\n"
        "    if top in ('torch', 'statistic', 'networks') or name.startswith("
        "('utils.runs', 'utils.engine', 'utils.terminal')):\n"
        "        sys.exit(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
