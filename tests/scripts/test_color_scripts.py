"""selfdeblur_lai.py, selfdeblur_ycbcr.py and selfdeblur_nonblind.py as their users run them."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

import selfdeblur_lai
import selfdeblur_nonblind
import selfdeblur_ycbcr
from datasets import catalog
from networks.fcn import KnownKernel
from utils.engine.methods import LAI, NONBLIND, PAPER_5K, YCBCR, blind_methods
from utils.engine.stage import Restoration
from utils.engine.stages.fit import collapsed_to_black
from utils.errors import DataError
from utils.images.colors import FULL_RANGE, MATLAB_GRAY
from utils.images.kernels import scale_kernel
from utils.images.reading import read_gray, read_image
from utils.images.writing import to_uint8, write_png
from utils.terminal.options import parse_options

QUICKLY = ("--recipe", "quick", "--num_iter", 2)
COLORS = np.random.default_rng(1).integers(60, 190, (40, 44, 3), dtype=np.uint8)
GRAY = np.random.default_rng(2).integers(60, 190, (40, 44), dtype=np.uint8)


def decode(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_authors_schedules():
    assert (LAI.num_iter, LAI.milestones, LAI.mse_iterations) == (5000, (2000, 3000, 4000), 500)
    assert (YCBCR.num_iter, YCBCR.milestones) == (2500, (1600, 1900, 2200))
    assert YCBCR.mse_iterations == 500
    assert (NONBLIND.num_iter, NONBLIND.milestones) == (1000, (700, 800, 900))
    assert NONBLIND.loss_name(0) == "1-SSIM"


def test_kernel_sizes_follow_from_the_name_alone():
    sizes = [catalog.LAI.kernel_size(f"text_03_kernel_0{number}")[0] for number in (1, 2, 3, 4)]
    assert sizes == [31, 51, 55, 75]
    with pytest.raises(DataError, match="text_03"):
        catalog.LAI.kernel_size("text_03_kernel_05")
    sizes = [selfdeblur_ycbcr.kernel_size(name)[0] for name in ("fishes", "flower", "house", "cat")]
    assert sizes == [41, 25, 51, 31]
    sizes = [selfdeblur_ycbcr.kernel_size(name)[0] for name in ("warehouse", "selfish", "my_house")]
    assert sizes == [31, 31, 51]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


# Lai


def test_lai_in_color_is_restored_as_its_luminance_and_written_in_color(
    run_script, images, tmp_path
):
    cv2.imwrite(str(images / "text_01_kernel_01.png"), COLORS)
    rgb = COLORS[..., ::-1] / 255
    luminance = tmp_path / "luminance"
    luminance.mkdir()
    write_png(luminance / "text_01_kernel_01.png", MATLAB_GRAY.luminance(rgb))
    for folder in (images, luminance):
        result = run_script(
            "selfdeblur_lai.py", "--data_path", folder, "--save_path", folder / "results",
            "--kernel_size", 5, *QUICKLY,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    from_color, from_luma = (folder / "results" for folder in (images, luminance))
    for suffix in ("_x.png", "_k.png"):
        name = f"text_01_kernel_01{suffix}"
        assert (from_color / name).read_bytes() == (from_luma / name).read_bytes()
    assert not (from_luma / "text_01_kernel_01.png").exists()

    restored = read_gray(from_color / "text_01_kernel_01_x.png")
    colored = read_image(from_color / "text_01_kernel_01.png")
    assert colored.shape == (40, 44, 3)
    expected = MATLAB_GRAY.replace_luminance(rgb, restored)
    assert np.abs(to_uint8(expected) - 255 * colored).max() <= 1


def test_no_image_may_have_the_name_of_a_result(run_script, images):
    for name in ("text_01_kernel_01", "text_01_kernel_01_x", "overview"):
        cv2.imwrite(str(images / f"{name}.png"), COLORS)
    result = run_script("selfdeblur_lai.py", "--data_path", images, "--kernel_size", 5, *QUICKLY)
    assert result.returncode == 1
    failed = [line for line in result.stdout.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2 and all("rename the image" in line for line in failed)
    assert failed[0].startswith("failed: overview: ") and "_kernel_01_x.png" in failed[1]


@pytest.mark.parametrize(
    ("restored", "blurry", "collapsed"),
    [
        (np.zeros((9, 9)), np.full((9, 9), 0.5), True),
        (np.full((9, 9), 0.01), np.full((9, 9), 0.1), True),
        (np.full((9, 9), 0.09), np.full((9, 9), 0.1), False),
        (np.zeros((9, 9)), np.zeros((9, 9)), False),
        (np.eye(9), np.full((9, 9), 1 / 9), False),
    ],
)
def test_black_is_distinguished_from_dark(restored, blurry, collapsed):
    assert collapsed_to_black(restored, blurry) is collapsed


@pytest.fixture
def collapsing(monkeypatch):
    """Let joint fits come out black; those with a known kernel are left alone."""
    import utils.engine.deblur

    def deblur(*arguments, start, on_save, **others):
        def save(restoration):
            if not isinstance(start.gk, KnownKernel):
                restoration = replace(restoration, sharp=np.zeros_like(restoration.sharp))
            on_save(restoration)

        genuine(*arguments, start=start, on_save=save, **others)

    genuine = utils.engine.deblur.deblur
    monkeypatch.setattr(utils.engine.deblur, "deblur", deblur)


def run_lai(images, *options):
    return selfdeblur_lai.main(
        [
            "--data_path", str(images), "--save_path", str(images / "results"), "--kernel_size",
            "5", "--recipe", "quick", "--num_iter", "2", "--device", "cpu", *options,
        ]
    )  # fmt: skip


def test_a_collapse_is_fitted_again_with_the_estimated_kernel(
    collapsing, images, monkeypatch, capfd
):
    monkeypatch.setattr(
        "utils.engine.methods.NONBLIND", NONBLIND.__class__(num_iter=3, mse_iterations=0)
    )
    cv2.imwrite(str(images / "text_01_kernel_01.png"), COLORS)
    assert run_lai(images, "--tv_weight", "1e-5") == 0
    record = json.loads((images / "results/text_01_kernel_01.json").read_text())
    joint, again = record["stages"]
    assert (joint["stage"], joint["steps"]) == ("joint fit", 2)
    assert (again["stage"], again["steps"]) == ("image fit", 3)
    assert "collapsed to black" in again["reason"]
    assert record["settings"]["method"][1]["num_iter"] == 3
    assert record["settings"]["method"][1]["tv_weight"] == 1e-5
    assert record["iterations_done"] == 5
    assert record["loss"] == "1-SSIM"
    assert record["finished"]
    assert "collapsed to black" in capfd.readouterr().err
    losses = (images / "results/text_01_kernel_01_loss.csv").read_text().splitlines()
    names = [line.split(",")[1] for line in losses]
    assert names == ["loss", "MSE", "MSE", "1-SSIM", "1-SSIM", "1-SSIM"]
    assert read_gray(images / "results/text_01_kernel_01_x.png").mean() > 0.1
    for name in ("_k.png", "_xnet.pth", "_knet.pth", ".png"):
        assert (images / f"results/text_01_kernel_01{name}").exists()


def test_no_rescue_leaves_a_collapse_alone(collapsing, images):
    cv2.imwrite(str(images / "text_01_kernel_01.png"), COLORS)
    assert run_lai(images, "--no_rescue") == 0
    record = json.loads((images / "results/text_01_kernel_01.json").read_text())
    assert [stage["stage"] for stage in record["stages"]] == ["joint fit"]
    assert read_gray(images / "results/text_01_kernel_01_x.png").max() == 0


def test_a_blind_result_is_not_taken_for_a_gray_one(run_script, images):
    cv2.imwrite(str(images / "im1_kernel5_img.png"), COLORS)
    options = ("--data_path", images, "--save_path", images / "results", *QUICKLY)
    assert run_script("selfdeblur_levin.py", *options).returncode == 0
    result = run_script("selfdeblur_ycbcr.py", *options, "--kernel_size", 11)
    assert result.returncode == 1
    assert "color_suffix None instead of _x.png" in result.stderr


def test_luminance_of_an_image_with_alpha_is_gray(images):
    alpha = np.full((40, 44), 128, np.uint8)
    cv2.imwrite(str(images / "text_01_kernel_01.png"), np.dstack([COLORS, alpha]))
    assert run_lai(images) == 0
    assert decode(images / "results/text_01_kernel_01_x.png").shape == (40, 44)
    assert np.array_equal(decode(images / "results/text_01_kernel_01.png")[..., 3], alpha)


def test_no_rescue_where_nothing_collapsed(images):
    cv2.imwrite(str(images / "text_01_kernel_01.png"), COLORS)
    assert run_lai(images) == 0
    record = json.loads((images / "results/text_01_kernel_01.json").read_text())
    assert [stage["stage"] for stage in record["stages"]] == ["joint fit"]


# Photographs


def test_photographs_keep_format_depth_color_and_alpha(run_script, images):
    alpha = np.random.default_rng(3).integers(0, 255, (40, 44), dtype=np.uint8)
    written = {
        "jpeg.jpg": COLORS,
        "png.png": COLORS,
        "tiff.tif": COLORS,
        "bmp.bmp": COLORS,
        "webp.webp": COLORS,
        "gray.png": GRAY,
        "gray16.png": GRAY.astype(np.uint16) * 257 + 3,
        "color16.tif": COLORS.astype(np.uint16) * 257 + 3,
        "alpha.png": np.dstack([COLORS, alpha]),
        "alpha16.png": np.dstack([COLORS, alpha]).astype(np.uint16) * 257 + 3,
    }
    for name, pixels in written.items():
        path = images / name.replace(".", "_photo.", 1)
        cv2.imwrite(str(path), pixels)
    results = images / "results"
    result = run_script(
        "selfdeblur_ycbcr.py", "--data_path", images, "--save_path", results,
        "--kernel_size", 3, "--recipe", "quick", "--num_iter", 1,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for name, pixels in written.items():
        stem = name.split(".")[0]
        restored = decode(results / f"{stem}_photo_x.png")
        assert restored.shape == pixels.shape, name
        assert restored.dtype == pixels.dtype, name
        if pixels.ndim == 3 and pixels.shape[2] == 4:
            assert np.array_equal(restored[..., 3], pixels[..., 3]), name
    assert {path.name for path in results.glob("gray_photo*")} == {
        "gray_photo_x.png", "gray_photo_k.png", "gray_photo_xnet.pth", "gray_photo_knet.pth",
        "gray_photo.json", "gray_photo_loss.csv", "gray_photo.html",
    }  # fmt: skip
    assert f"gray_photo: before and after: {results / 'gray_photo.html'}" in result.stderr

    # At constant chroma the differences of the channels stay, but where they are clipped.
    blurry, restored = read_image(images / "png_photo.png"), read_image(results / "png_photo_x.png")
    inside = ((restored > 0) & (restored < 1)).all(axis=2)
    difference = np.diff(restored)[inside] - np.diff(blurry)[inside]
    assert inside.mean() > 0.5
    assert np.abs(difference).max() <= 2 / 255
    assert not np.allclose(FULL_RANGE.luminance(blurry), FULL_RANGE.luminance(restored), atol=0.05)


@pytest.fixture
def found_off_the_middle(images, monkeypatch):
    """A photograph whose kernel is a spike far off the middle, and an engine that finds it."""
    sharp = np.random.default_rng(5).uniform(0.3, 0.7, (48, 56))
    kernel = np.zeros((9, 13), np.float32)
    kernel[1, 11] = 1
    tint = np.zeros((40, 44, 3))
    tint[:, :22] = (0.1, 0, -0.1)
    photograph = FULL_RANGE.replace_luminance(tint, sharp[1:41, 11:55])
    write_png(images / "text_01_kernel_01.png", photograph)
    write_png(images.parent / "kernel.png", kernel)

    def find(blurry, kernel_size, recipe, *, start, on_save, **others):
        on_save(Restoration(blurry, kernel_size, kernel, sharp, start.gx, start.gk, [0.0], ["MSE"]))

    monkeypatch.setattr("utils.engine.deblur.deblur", find)
    return photograph, sharp


def restored_by(script, images, *options):
    save_path = images / script.__name__
    arguments = ["--data_path", str(images), "--save_path", str(save_path), *map(str, options)]
    assert script.main([*arguments, "--recipe", "quick", "--num_iter", "1"]) == 0
    return read_image(save_path / "text_01_kernel_01_x.png")


def test_a_photograph_is_restored_in_its_place(images, found_off_the_middle):
    """With a kernel far off the middle, what is restored still fits the chroma."""
    photograph, sharp = found_off_the_middle
    size = ("--kernel_size", 9, 13)
    assert np.abs(restored_by(selfdeblur_ycbcr, images, *size) - photograph).max() <= 1.01 / 255
    kernel = ("--kernel_path", images.parent / "kernel.png")
    restored = restored_by(selfdeblur_nonblind, images, *kernel)
    assert np.abs(restored - photograph).max() <= 1.01 / 255

    # Lai's are cut out of the middle, as the authors' code and with it the published scores do.
    restored = restored_by(selfdeblur_lai, images, *size)
    assert np.abs(restored - sharp[4:44, 6:50]).max() <= 0.51 / 255
    # So the chroma, whose step is in column 22 of the photograph, moves by five columns.
    colored = read_image(images / "selfdeblur_lai/text_01_kernel_01.png")
    is_tinted = colored[..., 0] - colored[..., 2] > 0.1
    assert is_tinted[:, :27].all() and not is_tinted[:, 27:].any()


def test_a_photograph_keeps_its_profile_and_of_the_cameras_notes_what_is_asked(
    images, found_off_the_middle
):
    path = images / "text_01_kernel_01.png"
    exif = Image.Exif()
    exif.update({ExifTags.Base.Model: "Box", ExifTags.Base.Artist: "A. Person"})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(path).save(path, exif=exif, icc_profile=profile)
    for choice, expected in (
        ("drop", set()),
        ("private", {ExifTags.Base.Model, ExifTags.Base.Orientation}),
        ("keep", {ExifTags.Base.Model, ExifTags.Base.Artist}),
    ):
        restored_by(
            selfdeblur_ycbcr, images, "--kernel_size", 9, 13, "--exif", choice, "--overwrite"
        )
        image = Image.open(images / "selfdeblur_ycbcr/text_01_kernel_01_x.png")
        assert image.info["icc_profile"] == profile
        assert set(image.getexif()) == expected
    record = json.loads((images / "selfdeblur_ycbcr/text_01_kernel_01.json").read_text())
    assert record["settings"]["exif"] == "keep"


# Known kernels


@pytest.fixture
def known(tmp_path, sample):
    """One image of the sample whose kernel lies where the authors' script looks for it."""
    images, results = tmp_path / "images", tmp_path / "images/results"
    shutil.copytree(sample / "gt", images / "gt")
    shutil.copy(sample / "im1_kernel5_img.png", images)
    results.mkdir()
    shutil.copy(sample / "gt/kernel5.png", results / "im1_kernel5_img_k.png")
    return images


def test_known_kernels_are_read_and_never_written(run_script, known):
    kernel = (known / "results/im1_kernel5_img_k.png").read_bytes()
    result = run_script(
        "selfdeblur_nonblind.py", "--data_path", known, "--save_path", known / "results", *QUICKLY
    )
    assert result.returncode == 0, result.stderr
    assert (known / "results/im1_kernel5_img_k.png").read_bytes() == kernel
    assert {path.name for path in (known / "results").iterdir()} == {
        "im1_kernel5_img_k.png", "im1_kernel5_img_x.png", "im1_kernel5_img_xnet.pth",
        "im1_kernel5_img.json", "im1_kernel5_img_loss.csv", "overview.png",
    }  # fmt: skip


def test_the_finish_of_a_known_kernel_does_not_fit_it(run_script, known):
    result = run_script(
        "selfdeblur_nonblind.py", "--data_path", known, "--save_path", known / "results",
        "--finish", *QUICKLY,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (known / "results/im1_kernel5_img_finished.png").exists()
    record = json.loads((known / "results/im1_kernel5_img.json").read_text())
    assert record["settings"]["method"][-1] == {
        "stage": "finish", "beside": True, "fit_kernel": False,
    }  # fmt: skip


def test_kernels_are_found_by_the_number_in_the_name(sample):
    folder = sample / "gt"
    assert catalog.find_kernel("im2_kernel3_img", folder) == folder / "kernel3.png"
    file = folder / "kernel5.png"
    assert catalog.find_kernel("photo", file) == file
    with pytest.raises(DataError, match="photo_k.png"):
        catalog.find_kernel("photo", folder)


def test_kernels_may_lie_beside_the_images(run_script, known):
    shutil.copy(known / "results/im1_kernel5_img_k.png", known)
    options = ("--data_path", known, "--kernel_path", known, "--save_path", known / "other")
    result = run_script("selfdeblur_nonblind.py", *options, *QUICKLY)
    assert result.returncode == 0, result.stderr
    assert "im1_kernel5_img_k" not in result.stdout


def test_a_rotated_kernel_is_named(run_script, known):
    result = run_script(
        "selfdeblur_nonblind.py", "--data_path", known, "--save_path", known / "results",
        "--flip_kernel", *QUICKLY,
    )  # fmt: skip
    assert result.returncode == 1
    assert "im1_kernel5_img: failed: the kernel is rotated by 180 degrees" in result.stderr

    turned = read_gray(known / "results/im1_kernel5_img_k.png")[::-1, ::-1]
    write_png(known / "turned.png", scale_kernel(turned))
    result = run_script(
        "selfdeblur_nonblind.py", "--data_path", known / "im1_kernel5_img.png", "--save_path",
        known / "again", "--kernel_path", known / "turned.png", "--flip_kernel", *QUICKLY,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_missing_kernels_are_named(run_script, assert_one_line, known):
    (known / "results/im1_kernel5_img_k.png").unlink()
    options = ("--data_path", known, "--save_path", known / "results", *QUICKLY)
    result = run_script("selfdeblur_nonblind.py", *options)
    assert result.returncode == 1
    assert "im1_kernel5_img_k.png" in result.stderr and "--kernel_path" in result.stderr
    missing = run_script("selfdeblur_nonblind.py", *options, "--kernel_path", known / "nowhere")
    assert_one_line(missing, 1, known / "nowhere", "--kernel_path")


# Options


def test_the_weight_of_the_total_variation(images):
    cv2.imwrite(str(images / "a.png"), GRAY)

    def recipe(*options):
        options, _ = parse_options(
            ["--data_path", str(images), *options], "", data_path="here", save_path="there",
            methods=blind_methods(LAI), where_to_get="",
        )  # fmt: skip
        return options.method[0].recipe

    assert recipe() == LAI
    assert recipe("--tv_weight", "1e-5").tv_weight == 1e-5
    assert recipe("--method", "paper-5k", "--tv_weight", "0").tv_weight == 0
    assert recipe("--recipe", "paper-5k") == PAPER_5K
    with pytest.raises(SystemExit):
        recipe("--tv_weight", "-1")


@pytest.mark.parametrize(
    "script", ["levin", "lai", "ycbcr", "nonblind", "levin_reproduce", "lai_reproduce"]
)
def test_help_fits_a_screen_and_shows_an_example(run_script, script):
    result = run_script(f"selfdeblur_{script}.py", "--help")
    assert f"python selfdeblur_{script}.py --" in result.stdout
    in_80_columns = [max(1, -(-len(line) // 80)) for line in result.stdout.splitlines()]
    assert sum(in_80_columns) <= 45


def test_phones_and_cameras_own_files_in_a_folder_are_named(run_script, images, assert_one_line):
    (images / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (images / "IMG_2.nef").write_bytes(b"MM\0*" + bytes(99))
    options = ("--data_path", images, "--save_path", images / "results", *QUICKLY)
    result = run_script("selfdeblur_ycbcr.py", *options)
    assert_one_line(result, 1, images, "2 HEIC, AVIF or raw files", "IMG_1.HEIC", "as PNG")
    cv2.imwrite(str(images / "IMG_2.jpg"), COLORS)  # stored beside the raw file
    (images / "IMG_3.jpg").write_bytes((images / "IMG_2.jpg").read_bytes()[:300])
    result = run_script("selfdeblur_ycbcr.py", *options, "--kernel_size", 3)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line for line in lines if "left out" in line or "not read" in line] == lines[:1]
    assert "1 HEIC, AVIF or raw files" in lines[0]
    assert len([line for line in lines if line.startswith("IMG_3: failed: ")]) == 1
    assert (images / "results/IMG_2_x.png").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--window", 0, 0, 64, 64),
        ("--chroma", "restore"),
        ("--chroma", "restore", "--method", "fast"),
    ],
)
def test_options_of_the_photograph_method_are_refused_with_others(run_script, images, options):
    cv2.imwrite(str(images / "cat.png"), COLORS)
    result = run_script("selfdeblur_ycbcr.py", "--data_path", images, *options)
    assert result.returncode == 2
    assert f"{options[0]}: needs --method photo" in result.stderr


@pytest.mark.parametrize(
    "options",
    [("--num_iter", 5), ("--tv_weight", 0.1), ("--precision", "bf16"), ("--finish",)],
)
def test_options_of_fits_are_refused_with_the_photograph_method(run_script, images, options):
    cv2.imwrite(str(images / "cat.png"), COLORS)
    result = run_script("selfdeblur_ycbcr.py", "--data_path", images, "--method", "photo", *options)
    assert result.returncode == 2
    assert f"{options[0]}: --method photo has no fit" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
