"""selfdeblur_levin.py as its users run it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from datasets.catalog import LEVIN, find_truth
from networks.fcn import KernelNetwork
from networks.skip import SkipNetwork
from statistic.metrics import comp_upto_shift
from tests.conftest import ROOT
from utils.engine.deblur import deblur
from utils.engine.methods import QUICK
from utils.engine.recipe import Recipe
from utils.errors import DataError
from utils.images.reading import read_gray
from utils.images.writing import to_uint8

SCRIPT = "selfdeblur_levin.py"


@pytest.fixture
def images(tmp_path):
    """A folder of two small blurry images, the second of which names no kernel."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 43), dtype=np.uint8)
    cv2.imwrite(str(folder / "im1_kernel5_img.png"), pixels)
    cv2.imwrite(str(folder / "photo.png"), pixels)
    return folder


@pytest.fixture
def run_quickly(run_script, images, tmp_path):
    """Run the script for two iterations on the small images, with more options."""

    def run(*options):
        return run_script(
            SCRIPT, "--data_path", images, "--save_path", tmp_path / "results",
            "--recipe", "quick", "--num_iter", 2, *options,
        )  # fmt: skip

    return run


def test_kernel_sizes_follow_from_the_name_alone():
    sizes = [LEVIN.kernel_size(f"im3_kernel{number}_img") for number in range(1, 9)]
    assert sizes == [(side, side) for side in (17, 15, 13, 27, 11, 19, 21, 21)]
    for name in ("im1", "im1_kernel9_img", "im1_kernel12_img"):
        with pytest.raises(DataError, match=name):
            LEVIN.kernel_size(name)


def test_a_run_writes_all_its_outputs(run_script, sample, tmp_path):
    result = run_script(
        SCRIPT, "--data_path", sample, "--only", "im2*", "--save_path", tmp_path,
        "--recipe", "quick", "--num_iter", 5, "--save_frequency", 2,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    name = "im2_kernel3_img"
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}_x.png", f"{name}_k.png", f"{name}_xnet.pth", f"{name}_knet.pth", f"{name}.json",
        f"{name}_loss.csv", "overview.png",
    }  # fmt: skip

    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["finished"]
    assert record["iterations_done"] == 5
    assert record["loss"] == "MSE"
    assert record["method"] == "quick"
    assert record["settings"]["kernel_size"] == [13, 13]
    assert record["settings"]["seed"] == 0
    assert record["versions"]["torch"] == torch.__version__

    # The script restores what the engine restores.
    blurry = read_gray(sample / f"{name}.png")
    expected = deblur(blurry, (13, 13), replace(QUICK, num_iter=5), device="cpu")
    restored = cv2.imread(str(tmp_path / f"{name}_x.png"), cv2.IMREAD_UNCHANGED)
    assert restored.shape == (128, 128)
    assert np.abs(restored - to_uint8(expected.image).astype(int)).max() <= 1
    assert record["final_loss"] == pytest.approx(expected.losses[-1], rel=1e-3)
    kernel = cv2.imread(str(tmp_path / f"{name}_k.png"), cv2.IMREAD_UNCHANGED)
    assert kernel.shape == (13, 13)
    assert kernel.max() == 255

    for letter, network in (
        ("x", SkipNetwork(channels=QUICK.channels)),
        ("k", KernelNetwork((13, 13))),
    ):
        saved = torch.load(tmp_path / f"{name}_{letter}net.pth", weights_only=True)
        network.load_state_dict(saved["state_dict"])
        assert saved["settings"].items() >= record["settings"].items()
        assert saved["image_size"] == [128, 128]

    header, row, *_ = result.stdout.splitlines()
    assert header.split() == [
        "image",
        "seconds",
        "loss",
        "PSNR",
        "blurry",
        "restored",
        "SSIM",
        "blurry",
        "restored",
    ]
    truth = read_gray(find_truth(sample / f"{name}.png"))
    before, after = comp_upto_shift(blurry, truth), comp_upto_shift(restored / 255, truth)
    assert row.split()[0] == name
    assert row.split()[3:] == [
        f"{before[0]:.2f}", f"{after[0]:.2f}", f"{before[1]:.4f}", f"{after[1]:.4f}",
    ]  # fmt: skip
    # Readable as a file: no cursor movements, a line for the bar, one for the end.
    assert "\x1b" not in result.stderr and "\r" not in result.stderr
    assert f"{name}: 5 iterations in" in result.stderr


def test_what_is_done_is_skipped_and_what_differs_is_named(run_quickly, tmp_path):
    options = ("--only", "im1*")
    assert run_quickly(*options).returncode == 0
    written = (tmp_path / "results/im1_kernel5_img_x.png").stat().st_mtime_ns

    again = run_quickly(*options)
    assert again.returncode == 0
    assert "im1_kernel5_img: done before" in again.stderr
    assert "im1_kernel5_img" in again.stdout

    other = run_quickly(*options, "--seed", 3)
    assert other.returncode == 1
    assert "seed 0 instead of 3" in other.stderr and "--overwrite" in other.stderr
    assert (tmp_path / "results/im1_kernel5_img_x.png").stat().st_mtime_ns == written

    replaced = run_quickly(*options, "--seed", 3, "--overwrite")
    assert replaced.returncode == 0
    record = json.loads((tmp_path / "results/im1_kernel5_img.json").read_text())
    assert record["settings"]["seed"] == 3


def test_an_unfinished_image_is_restored_again(run_quickly, tmp_path):
    assert run_quickly("--only", "im1*").returncode == 0
    path = tmp_path / "results/im1_kernel5_img.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"finished": False}))
    assert "2 iterations in" in run_quickly("--only", "im1*").stderr
    assert json.loads(path.read_text())["finished"]


def test_results_of_unknown_origin_are_kept(run_quickly, tmp_path):
    (tmp_path / "results").mkdir()
    stranger = tmp_path / "results/im1_kernel5_img_x.png"
    stranger.write_bytes(b"precious")
    result = run_quickly("--only", "im1*")
    assert result.returncode == 1
    assert "im1_kernel5_img_x.png" in result.stderr and "--overwrite" in result.stderr
    assert stranger.read_bytes() == b"precious"


def test_one_bad_image_does_not_stop_the_others(run_quickly, images, tmp_path):
    (images / "im2_kernel5_img.png").write_bytes(b"this is no image")
    cv2.imwrite(str(images / "im3_kernel4_img.png"), np.zeros((25, 60), np.uint8))
    cv2.imwrite(str(images / "im4_kernel5_img.png"), np.zeros((20, 60), np.uint8))
    result = run_quickly()
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    for words in (
        "im2_kernel5_img: failed: ", "im2_kernel5_img.png: not an image",
        "im3_kernel4_img: failed: the image, 25 x 60, is smaller than the kernel, 27 x 27",
        "im4_kernel5_img: failed: the image, 20 x 60, is too small for the network",
        "photo: failed: the name photo has no kernel1 to kernel8 in it; give --kernel_size",
        "im1_kernel5_img: 2 iterations in",
    ):  # fmt: skip
        assert words in result.stderr
    assert (tmp_path / "results/im1_kernel5_img_x.png").exists()
    assert result.stdout.count("failed: ") == 4


def test_kernel_size_takes_precedence_over_the_name(run_quickly, tmp_path):
    assert run_quickly("--kernel_size", 7, 9).returncode == 0
    for name in ("photo", "im1_kernel5_img"):
        assert read_gray(tmp_path / f"results/{name}_k.png").shape == (7, 9)


def test_files_may_be_named_one_by_one(run_quickly, images, tmp_path):
    result = run_quickly("--data_path", images / "photo.png", "--kernel_size", 5)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "results/photo_x.png").exists()
    assert not (tmp_path / "results/im1_kernel5_img_x.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kernel_size", 1], ["--kernel_size", "odd and 3 or more, not 1"]),
        (["--kernel_size", 11, 12], ["--kernel_size", "odd and 3 or more, not 12"]),
        (["--kernel_size", 3, 5, 7], ["--kernel_size", "height and width, not 3 5 7"]),
        (["--kernel_size", "big"], ["--kernel_size", "big"]),
        (["--num_iter", 0], ["--num_iter", "1 or more, not 0"]),
        (["--save_frequency", -1], ["--save_frequency", "1 or more, not -1"]),
        (["--seed", -1], ["--seed", "not -1"]),
        (["--device", "cuda"], ["--device", "'cuda'", "use cpu"]),
        (["--device", "tpu"], ["--device", "'tpu'", "cuda:N"]),
        (["--recipe", "slow"], ["--recipe", "'slow'", "quick"]),
        (["--iterations", 5], ["--iterations"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_wrong_commands_get_one_line(run_quickly, assert_one_line, options, words):
    assert_one_line(run_quickly(*options), 2, *words)


def test_bad_data_gets_one_line(run_script, assert_one_line, images, tmp_path):
    missing, empty, taken = tmp_path / "missing", tmp_path / "empty", tmp_path / "taken"
    empty.mkdir()
    taken.touch()
    assert_one_line(run_script(SCRIPT, "--data_path", missing), 1, missing, "no such folder")
    assert_one_line(run_script(SCRIPT, "--data_path", empty), 1, empty, "no images")
    assert_one_line(
        run_script(SCRIPT, "--data_path", images, "--only", "x*"), 1, "--only x*", "2 images"
    )
    assert_one_line(
        run_script(SCRIPT, "--data_path", images, "--save_path", taken / "results"),
        1, taken / "results", "cannot be written",
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_gets_one_line(run_script, assert_one_line, images, tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    result = run_script(SCRIPT, "--data_path", images, "--save_path", tmp_path / "results")
    assert_one_line(result, 1, tmp_path / "results", "Permission denied")


def test_two_images_of_one_name_are_refused(run_quickly, assert_one_line, images):
    cv2.imwrite(str(images / "photo.jpg"), np.zeros((40, 40), np.uint8))
    assert_one_line(run_quickly(), 1, "photo.jpg", "photo.png", "same results")


def test_missing_levin_images_are_explained(run_script, assert_one_line):
    if os.path.exists("datasets/levin"):
        pytest.skip("Levin's images are there")
    assert_one_line(run_script(SCRIPT), 1, "datasets/levin", "datasets/fetch.py levin")


def test_help_shows_an_example(run_script):
    result = run_script(SCRIPT, "--help")
    assert result.returncode == 0
    assert "python selfdeblur_levin.py --" in result.stdout


def test_a_real_image_gets_sharper(levin):
    path = levin / "im1_kernel5_img.png"
    middle = slice(55, 200), slice(55, 200)
    blurry, truth = read_gray(path)[middle], read_gray(find_truth(path))[middle]
    hasty = Recipe(num_iter=150, milestones=(120,), mse_iterations=50, kernel_lr=2e-3, channels=32)
    restored = deblur(blurry, (11, 11), hasty, device="cpu").image
    gain = comp_upto_shift(restored, truth)[0] - comp_upto_shift(blurry, truth)[0]
    assert gain > 1.5  # 3.5 dB when it was written


def test_blurry_images_are_never_overwritten(run_quickly, assert_one_line, images):
    result = run_quickly("--only", "im1*", "--save_path", f"{images}/")
    assert_one_line(result, 2, "--save_path", "im1_kernel5_img.png")


def test_results_that_lack_a_file_are_made_again(run_quickly, tmp_path):
    assert run_quickly("--only", "im1*").returncode == 0
    (tmp_path / "results/im1_kernel5_img_k.png").unlink()
    assert "2 iterations in" in run_quickly("--only", "im1*").stderr
    assert (tmp_path / "results/im1_kernel5_img_k.png").exists()


def test_networks_of_unknown_origin_are_kept(run_quickly, tmp_path):
    (tmp_path / "results").mkdir()
    stranger = tmp_path / "results/im1_kernel5_img_xnet.pth"
    stranger.write_bytes(b"precious")
    assert run_quickly("--only", "im1*").returncode == 1
    assert stranger.read_bytes() == b"precious"


def test_names_that_no_font_or_formula_can_show(run_quickly, images, tmp_path):
    pixels = (images / "photo.png").read_bytes()
    names = ["a$b_{$c", "照片", "-dash", "two words"]
    for name in names:
        (images / f"{name}.png").write_bytes(pixels)
    (images / os.fsdecode(b"\xff.png")).write_bytes(pixels)
    result = run_quickly("--kernel_size", 5)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr and "Warning" not in result.stderr
    for name in [*names, os.fsdecode(b"\xff")]:
        assert (tmp_path / f"results/{name}_x.png").exists()
    assert "picture: " in result.stdout


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_closed_streams_end_no_run(images, tmp_path, closed):
    command = (
        f"{sys.executable} {SCRIPT} --data_path {images} --only im1* --num_iter 2 --method quick"
    )
    command += f" --save_path {tmp_path}/results {closed}"
    assert subprocess.run(command, shell=True, cwd=ROOT, capture_output=True).returncode == 0
    record = json.loads((tmp_path / "results/im1_kernel5_img.json").read_text())
    assert record["finished"]
