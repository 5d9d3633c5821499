"""The programs that make and convert data sets, through their command lines."""

import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import scipy.io

from datasets.catalog import LAI, LEVIN, truth_name
from datasets.formation import blur, saturate
from datasets.make_synthetic import LAYOUTS
from datasets.prepare_levin import release_name
from utils.images.colors import MATLAB_GRAY, STUDIO_RANGE
from utils.images.reading import read_color, read_gray, read_kernel
from utils.images.writing import write_png
from utils.terminal.program import run_program

ROOT = Path(__file__).resolve().parents[2]


def run(program, *arguments):
    """Run a program as its command line would, but without starting Python again."""
    main = importlib.import_module(f"datasets.{program}").main
    command = [f"{program}.py", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch("sys.argv", command),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as status,
    ):
        run_program(main)
    return subprocess.CompletedProcess(command, status.value.code, out.getvalue(), err.getvalue())


def succeed(program, *arguments):
    result = run(program, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def fail(status, program, *arguments):
    """Run a program that must fail; give its message, which must be one line."""
    result = run(program, *arguments)
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "program", ["make_sample", "make_synthetic", "fetch", "prepare_levin", "prepare_lai"]
)
def test_help_fits_a_screen_and_shows_an_example(program):
    command = [sys.executable, f"datasets/{program}.py", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 100
    assert f"    python datasets/{program}.py" in text


def unlike(height, width, seed=0):
    """A color image without symmetry, smooth enough for a blur to leave something of it."""
    noise = np.random.default_rng(seed).random((height, width, 3))
    image = cv2.GaussianBlur(noise, None, 1.5)
    return (image - image.min()) / (image.max() - image.min())


# Colors


def test_color_comes_as_rgb(tmp_path):
    image = np.zeros((4, 5, 3))
    image[..., 0], image[1, 2, 2] = 1, 0.2
    write_png(tmp_path / "red.png", image)
    assert read_color(tmp_path / "red.png") == pytest.approx(image)
    write_png(tmp_path / "gray.png", image[..., 2])
    assert read_color(tmp_path / "gray.png") == pytest.approx(np.dstack([image[..., 2]] * 3))


def test_luma_has_the_studio_range():
    colors = np.array([[[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]], float)
    assert STUDIO_RANGE.luminance(colors)[0] * 255 == pytest.approx(
        [16, 235, 81.481, 144.553, 40.966]
    )


# make_synthetic.py


def test_synthetic_levin_has_names_and_sizes_of_the_benchmark(tmp_path):
    out = succeed("make_synthetic", "levin", "--crop_size", 64, "--save_path", tmp_path)
    assert f"python selfdeblur_levin.py --data_path {tmp_path}\n" in out
    blurry = sorted(tmp_path.glob("*.png"))
    assert len(blurry) == 5 * 8
    for path in blurry:
        number = int(path.stem.split("_kernel")[1].removesuffix("_img"))
        kernel = read_kernel(tmp_path / "gt" / f"kernel{number}.png")
        assert kernel.shape == (LEVIN.kernel_sizes[number],) * 2
        assert read_gray(path).shape == (64, 64)
        assert (tmp_path / "gt" / f"{truth_name(path.stem)}.png").is_file()
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2
    record = json.loads((tmp_path / "synthetic.json").read_text())
    assert record["sharp"]["im2"] == "camera"


@pytest.mark.parametrize("layout", ["levin", "lai"])
def test_scripts_derive_the_kernel_sizes_from_the_names(tmp_path, layout):
    options = ("--crop_size", 40, "--save_path", tmp_path)
    succeed("make_synthetic", layout, *options)
    blurry, kernels = {
        "levin": (tmp_path.glob("*.png"), tmp_path / "gt"),
        "lai": ((tmp_path / "uniform_ycbcr").iterdir(), tmp_path / "kernel"),
    }[layout]
    names = sorted(path.stem for path in blurry)
    assert len(names) == 5 * len(LAYOUTS[layout].kernel_sizes)
    for name in names:
        kernel = re.search(r"kernel_?\d+", name)[0]
        shape = read_kernel(kernels / f"{kernel}.png").shape
        assert shape == LAYOUTS[layout].kernel_size(name)


@pytest.mark.parametrize("layout", ["levin", "lai"])
def test_every_blurry_image_is_registered_with_its_truth(tmp_path, layout):
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    write_png(sharp / "one.png", unlike(140, 151))
    folder = tmp_path / "made"
    options = ("--data_path", sharp, "--save_path", folder, "--noise", 0)
    succeed("make_synthetic", layout, *options)
    if layout == "levin":
        blurry = sorted(folder.glob("*.png"))
        truth, kernels = read_gray(folder / "gt/im1.png"), sorted((folder / "gt").glob("k*"))
    else:
        blurry = sorted((folder / "uniform").glob("*.png"))
        truth, kernels = (
            read_color(folder / "ground_truth/one.png"),
            sorted(folder.glob("kernel/*")),
        )
    largest = max(LAYOUTS[layout].kernel_sizes.values())
    assert truth.shape[:2] == (140 - largest + 1, 151 - largest + 1)
    assert len(blurry) == len(kernels) == len(LAYOUTS[layout].kernel_sizes)
    for path, kernel_path in zip(blurry, kernels, strict=True):
        image = read_gray(path) if layout == "levin" else read_color(path)
        kernel = read_kernel(kernel_path)
        assert image.shape == truth.shape
        margin = len(kernel) // 2
        # The truth is cropped, so it explains the blurry image but for a margin.
        inside = image[margin:-margin, margin:-margin]
        if inside.size:
            assert np.abs(inside - blur(truth, kernel)).max() < 1.01 / 255, path


def test_synthetic_lai_has_color_and_its_luminance(tmp_path):
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    write_png(sharp / "red.png", unlike(60, 64) * [1, 0.5, 0.2])
    folder = tmp_path / "made"
    options = ("--kernel_size", 9, 11, "--num_kernels", 2, "--seed", 4, "--data_path", sharp)
    out = succeed("make_synthetic", "lai", *options, "--save_path", folder)
    assert f"selfdeblur_lai.py --data_path {folder}/uniform_ycbcr --kernel_size 9 11\n" in out
    assert set(contents(folder)) == {
        "synthetic.json",
        "ground_truth/red.png",
        *(f"kernel/kernel_{k}.png" for k in ("01", "02")),
        *(f"{d}/red_kernel_{k}.png" for d in ("uniform", "uniform_ycbcr") for k in ("01", "02")),
    }
    color = read_color(folder / "uniform/red_kernel_01.png")
    assert color.shape == (52, 54, 3)
    assert color[..., 0].mean() > 1.5 * color[..., 1].mean() > 2 * color[..., 2].mean()
    luma = cv2.imread(str(folder / "uniform_ycbcr/red_kernel_01.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(luma, np.rint(MATLAB_GRAY.luminance(color) * 255))
    assert read_kernel(folder / "kernel/kernel_01.png").shape == (9, 11)


def test_seed_repeats_and_other_settings_are_not_written_over_it(tmp_path):
    made, other, again = (tmp_path / name for name in ("made", "other", "again"))
    options = ("levin", "--crop_size", 40, "--num_kernels", 1, "--save_path")
    succeed("make_synthetic", *options, made)
    succeed("make_synthetic", *options, again)
    before = contents(made)
    assert contents(again) == before
    succeed("make_synthetic", *options, made)
    succeed("make_synthetic", *options, other, "--seed", 1)
    assert contents(other)["gt/kernel1.png"] != before["gt/kernel1.png"]
    assert contents(other)["gt/im1.png"] == before["gt/im1.png"]
    message = fail(1, "make_synthetic", *options, made, "--seed", 1)
    assert str(made) in message
    assert contents(made) == before


def test_noise_has_the_level_that_was_asked_for(tmp_path):
    options = ("levin", "--crop_size", 100, "--num_kernels", 1, "--save_path")
    succeed("make_synthetic", *options, tmp_path / "clean", "--noise", 0)
    succeed("make_synthetic", *options, tmp_path / "noisy", "--noise", 4)
    clean = read_gray(tmp_path / "clean" / "im3_kernel1_img.png")
    noise = 255 * (read_gray(tmp_path / "noisy" / "im3_kernel1_img.png") - clean)
    assert noise.std() == pytest.approx(4, rel=0.05)


def test_saturated_light_is_clipped_after_the_blur():
    sharp = np.array([[0.5, 0.9, 0.95, 1.0]])
    assert saturate(sharp, 1) == pytest.approx(sharp)
    assert saturate(sharp, 3) == pytest.approx(np.array([[0.5, 0.9, 1.9, 3.0]]))
    color = np.array([[[1.0, 0.5, 0.0], [0.9, 0.9, 0.9]]])
    assert saturate(color, 3) == pytest.approx(np.array([[[3, 1.5, 0], [0.9, 0.9, 0.9]]]))


def test_saturation_spreads_highlights(tmp_path):
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    lamp = np.full((60, 60), 0.1)
    lamp[28:32, 28:32] = 1
    write_png(sharp / "lamp.png", lamp)
    options = ("levin", "--data_path", sharp, "--kernel_size", 9, "--num_kernels", 1)
    white = {}
    for gain in (1, 10):
        folder = tmp_path / str(gain)
        succeed("make_synthetic", *options, "--saturation", gain, "--save_path", folder)
        white[gain] = (read_gray(folder / "im1_kernel1_img.png") == 1).sum()
        assert (read_gray(folder / "gt/im1.png") == 1).sum() == 16
    assert white[1] == 0
    assert white[10] > 16


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--kernel_size", 10), "--kernel_size"),
        (("--kernel_size", 11, 1), "--kernel_size"),
        (("--kernel_size", 11, 11, 11), "--kernel_size"),
        (("--num_kernels", 0), "--num_kernels"),
        (("--num_kernels", 9), "--kernel_size"),
        (("--noise", -1), "--noise"),
        (("--noise", "nan"), "--noise"),
        (("--saturation", 0.5), "--saturation"),
        (("--crop_size", 20), "--crop_size"),
        (("--seed", -1), "--seed"),
    ],
)
def test_bad_options_of_make_synthetic(tmp_path, options, named):
    message = fail(2, "make_synthetic", "levin", "--save_path", tmp_path / "made", *options)
    assert named in message
    assert not (tmp_path / "made").exists()


def test_bad_sharp_images(tmp_path):
    options = ("make_synthetic", "lai", "--save_path", tmp_path / "made", "--data_path")
    assert "none" in fail(1, *options, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "empty" in fail(1, *options, tmp_path / "empty")
    for names, reason in (
        (["a.png", "a.bmp"], "same name"),
        (["a_kernel.png"], "rename"),
        (["small.png"], "107 x 107 are needed"),
        (["broken.png"], "not an image"),
    ):
        folder = tmp_path / names[0].split(".")[0]
        folder.mkdir()
        for name in names:
            write_png(folder / name, unlike(50, 50))
        if "broken.png" in names:
            (folder / "broken.png").write_bytes(b"\x89PNG broken")
        message = fail(1, *options, folder)
        assert reason in message
        assert names[0].split(".")[0] in message
    assert not (tmp_path / "made").exists()


# prepare_levin.py


@pytest.fixture
def release(tmp_path):
    """Levin's 32 files in small, with their images in 8-bit steps."""
    folder = tmp_path / "release"
    folder.mkdir()
    rng = np.random.default_rng(0)
    kernels = [rng.integers(0, 256, (5 + 2 * k, 5 + 2 * k)) for k in range(8)]
    for image in range(1, 5):
        sharp = rng.integers(0, 256, (30, 40)) / 255
        for number, kernel in enumerate(kernels, 1):
            kernel[0, 1] = 255
            blurry = rng.integers(0, 256, (30, 40)) / 255
            content = {"x": sharp, "y": blurry, "f": kernel / kernel.sum()}
            scipy.io.savemat(folder / release_name(image, number), content)
    return folder


def test_levin_release_becomes_the_benchmark(release, tmp_path):
    folder = tmp_path / "levin"
    succeed("prepare_levin", "--data_path", release, "--save_path", folder)
    assert len(contents(folder)) == 44
    for image in range(1, 5):
        for number in range(1, 9):
            path = release / f"im0{image + 4}_flit0{number}.mat"
            content = scipy.io.loadmat(path)
            blurry = read_gray(folder / f"im{image}_kernel{number}_img.png")
            assert blurry == pytest.approx(content["y"], abs=1e-12)
            assert read_gray(folder / f"gt/im{image}.png") == pytest.approx(content["x"], abs=1e-12)
            kernel = read_kernel(folder / f"gt/kernel{number}.png")
            assert kernel == pytest.approx(content["f"], abs=1e-12)
    before = contents(folder)
    succeed("prepare_levin", "--data_path", release, "--save_path", folder)
    (folder / "im3_kernel2_img.png").write_bytes(b"mine")
    message = fail(1, "prepare_levin", "--data_path", release, "--save_path", folder)
    assert "im3_kernel2_img.png" in message
    assert contents(folder) == before | {"im3_kernel2_img.png": b"mine"}


def test_files_made_from_the_real_benchmark_come_back(tmp_path):
    levin = ROOT / "datasets" / "levin"
    if not levin.is_dir():
        levin = ROOT.parent / "shared" / "data" / "levin"
    if not levin.is_dir():
        pytest.skip("Levin's images are not here")
    release = tmp_path / "release"
    release.mkdir()
    for image in range(1, 5):
        for number in range(1, 9):
            content = {
                "x": read_gray(levin / "gt" / f"im{image}.png"),
                "y": read_gray(levin / f"im{image}_kernel{number}_img.png"),
                "f": read_kernel(levin / "gt" / f"kernel{number}.png"),
            }
            scipy.io.savemat(release / release_name(image, number), content)
    succeed("prepare_levin", "--data_path", release, "--save_path", tmp_path / "levin")
    for name in contents(tmp_path / "levin"):
        again, real = (cv2.imread(str(root / name), -1) for root in (tmp_path / "levin", levin))
        assert np.array_equal(again, real), name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.pop("f"), "has no f"),
        (lambda content: content.update(x=np.zeros((3, 3, 3))), "x is not a matrix"),
        (lambda content: content.update(x=np.zeros((3, 3))), "should agree"),
        (lambda content: content.update(y=content["y"] * 255), "not about 1"),
        (lambda content: content.update(y=content["y"] * np.nan), "not finite"),
        (lambda content: content.update(f=content["f"] * 0), "nowhere positive"),
    ],
)
def test_bad_levin_file_is_named(release, tmp_path, change, reason):
    path = release / "im05_flit03.mat"
    content = {key: scipy.io.loadmat(path)[key] for key in "xyf"}
    change(content)
    scipy.io.savemat(path, content)
    message = fail(1, "prepare_levin", "--data_path", release, "--save_path", tmp_path / "levin")
    assert "im05_flit03.mat" in message
    assert reason in message


@pytest.mark.parametrize("size", [0, 60, 200, 3000])
def test_damaged_levin_file_is_named(release, tmp_path, size):
    path = release / "im05_flit01.mat"
    path.write_bytes(path.read_bytes()[:size])
    message = fail(1, "prepare_levin", "--data_path", release, "--save_path", tmp_path / "levin")
    assert "im05_flit01.mat" in message


def test_oversized_levin_file_is_named(release, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.prepare_levin.MAX_BYTES", 1000)
    message = fail(1, "prepare_levin", "--data_path", release, "--save_path", tmp_path / "levin")
    assert "im05_flit01.mat: larger than 1,000 bytes" in message


def test_incomplete_levin_release_is_named(release, tmp_path):
    (release / "im07_flit08.mat").unlink()
    message = fail(1, "prepare_levin", "--data_path", release, "--save_path", tmp_path / "levin")
    assert "im07_flit08.mat" in message
    assert not (tmp_path / "levin").exists()


# prepare_lai.py


@pytest.fixture(scope="module")
def lai_release(tmp_path_factory):
    """The release of Lai et al. in small, made by make_synthetic.py."""
    folder = tmp_path_factory.mktemp("lai")
    (folder / "sharp").mkdir()
    for seed, scene in enumerate(LAI.truths):
        write_png(folder / "sharp" / f"{scene}.png", unlike(42, 45, seed))
    options = ("--data_path", folder / "sharp", "--kernel_size", 7)
    succeed("make_synthetic", "lai", *options, "--save_path", folder / "release")
    return folder / "release"


def test_lai_release_becomes_luminance_and_truths(lai_release, tmp_path):
    folder = tmp_path / "lai"
    succeed("prepare_lai", "--data_path", lai_release, "--save_path", folder)
    made, release = contents(folder), contents(lai_release)
    assert len(made) == 125
    assert all(release[name] == content for name, content in made.items())
    blurry = {"manmade_01_kernel_01", "text_05_kernel_04", "saturated_03_kernel_02"}
    assert blurry <= set(LAI.images)
    assert {f"uniform_ycbcr/{name}.png" for name in LAI.images} <= set(made)


def test_lai_release_may_lie_where_the_scripts_look(lai_release):
    before = contents(lai_release)
    succeed("prepare_lai", "--data_path", lai_release, "--save_path", lai_release)
    assert contents(lai_release) == before


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("uniform/people_02_kernel_03.png", "lacks 1 of 100 images (people_02_kernel_03.png)"),
        ("ground_truth/text_05.png", "lacks 1 of 25 images (text_05.png)"),
        ("kernel/kernel_04.png", "kernel/ has 3 images, not 4"),
    ],
)
def test_incomplete_lai_release_is_named(lai_release, tmp_path, missing, reason):
    path, aside = lai_release / missing, tmp_path / "aside"
    path.rename(aside)
    try:
        message = fail(1, "prepare_lai", "--data_path", lai_release, "--save_path", tmp_path / "to")
    finally:
        aside.rename(path)
    assert reason in message
    assert not (tmp_path / "to").exists()


def test_a_missing_lai_release_is_named(tmp_path):
    assert "nowhere" in fail(1, "prepare_lai", "--data_path", tmp_path / "nowhere")
    assert "--data_path" in fail(2, "prepare_lai")
