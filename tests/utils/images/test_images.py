"""Image files: every format and depth, faults, and files that are whole or not at all."""

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from datasets.catalog import find_truth, truth_name
from utils.errors import DataError
from utils.images.colors import FULL_RANGE, MATLAB_GRAY, STUDIO_RANGE
from utils.images.files import write_whole
from utils.images.kernels import scale_kernel
from utils.images.reading import (
    list_images,
    read_gray,
    read_kernel,
    read_photograph,
)
from utils.images.writing import encode_png, to_uint8, write_png


def test_a_tiff_of_floating_point_numbers_is_named_with_a_remedy(tmp_path):
    cv2.imwrite(str(tmp_path / "linear.tif"), np.full((70, 80, 3), 0.5, np.float32))
    with pytest.raises(DataError, match="linear.tif: float32 channels, .* store it with 16 bits"):
        read_photograph(tmp_path / "linear.tif")


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_gray_files_come_back_exactly(tmp_path, depth, suffix):
    largest = np.iinfo(depth).max
    pixels = np.random.default_rng(0).integers(0, largest, (20, 31), endpoint=True, dtype=depth)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), pixels)
    assert np.array_equal(read_gray(tmp_path / f"a{suffix}"), pixels / largest)


def test_color_becomes_luminance(tmp_path):
    red, green, blue = 200, 100, 50
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 5, 3), (blue, green, red), np.uint8))
    expected = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    assert read_gray(tmp_path / "a.png") == pytest.approx(np.full((4, 5), expected))


def test_written_values_are_rounded_and_clipped(tmp_path):
    write_png(tmp_path / "a.png", np.array([[-0.1, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.2]]))
    assert (read_gray(tmp_path / "a.png") * 255).tolist() == [[0, 0, 0, 1, 255, 255]]


def test_color_is_written_red_first(tmp_path):
    write_png(tmp_path / "a.png", np.full((2, 2, 3), (1.0, 0.5, 0.0)))
    assert cv2.imread(str(tmp_path / "a.png"))[0, 0].tolist() == [0, 128, 255]


def test_kernels_sum_to_one(tmp_path):
    kernel = np.random.default_rng(0).random((5, 7))
    write_png(tmp_path / "k.png", scale_kernel(kernel))
    levels = to_uint8(kernel / kernel.max()).astype(float)
    assert levels.max() == 255
    assert np.allclose(read_kernel(tmp_path / "k.png"), levels / levels.sum())


def test_a_black_kernel_is_refused(tmp_path):
    write_png(tmp_path / "k.png", np.zeros((5, 5)))
    with pytest.raises(DataError, match="k.png: all black"):
        read_kernel(tmp_path / "k.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, suffix, share, capfd):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    whole = cv2.imencode(suffix, pixels)[1].tobytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="cut"):
        read_gray(path)
    assert capfd.readouterr().err == ""


def test_names_of_truths(tmp_path):
    assert truth_name("im1_kernel5_img_x") == "im1"
    assert truth_name("saturated_02_kernel_04") == "saturated_02"
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt/im1.tif").touch()
    assert find_truth(tmp_path / "im1_kernel2_img.png") == tmp_path / "gt/im1.tif"
    assert find_truth(tmp_path / "im2_kernel2_img.png") is None


def test_folders_are_listed_by_name_without_other_files(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.JPG", "b.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_whole(path, b"old")
    assert path.read_bytes() == b"old"

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_depth_alpha_and_color_come_back(tmp_path):
    rng = np.random.default_rng(0)
    for depth in (np.uint8, np.uint16):
        pixels = rng.integers(0, np.iinfo(depth).max, (6, 7, 4), endpoint=True, dtype=depth)
        cv2.imwrite(str(tmp_path / "a.png"), pixels)
        photograph = read_photograph(tmp_path / "a.png")
        assert photograph.depth == depth
        encoded = encode_png(photograph.pixels, photograph.depth, photograph.alpha)
        again = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(again, pixels)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_gray_with_alpha_stays_gray_with_alpha(tmp_path, depth):
    gray, alpha = np.array([[0.0, 0.2]]), np.array([[1.0, 0.4]])
    (tmp_path / "a.png").write_bytes(encode_png(gray, np.dtype(depth), alpha))
    photograph = read_photograph(tmp_path / "a.png")
    assert np.allclose(photograph.pixels, gray)
    assert np.allclose(photograph.alpha, alpha)
    assert photograph.depth == depth
    if depth == np.uint8:
        assert Image.open(tmp_path / "a.png").mode == "LA"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_cameras_orientation_is_applied(tmp_path, orientation, suffix):
    stored = Image.fromarray(np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)).resize(
        (64, 48), 0
    )
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"a{suffix}"
    stored.convert("RGB").save(path, exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("L")) / 255
    assert read_gray(path).shape == expected.shape
    assert np.abs(read_gray(path) - expected).max() < 0.05


@pytest.mark.parametrize("luma", [FULL_RANGE, MATLAB_GRAY, STUDIO_RANGE])
def test_new_luminance_keeps_the_chroma(luma):
    image = np.random.default_rng(0).uniform(0.3, 0.6, (4, 5, 3))
    luminance = np.random.default_rng(1).uniform(0.3, 0.6, (4, 5))
    changed = luma.replace_luminance(image, luminance)
    assert np.allclose(luma.luminance(changed), luminance)
    assert np.allclose(np.diff(changed), np.diff(image))
    assert np.allclose(luma.replace_luminance(image, luma.luminance(image)), image)


def test_full_range_merging_is_opencvs():
    rng = np.random.default_rng(0)
    blurry = rng.integers(80, 170, (9, 9, 3), dtype=np.uint8)
    ycrcb = cv2.cvtColor(blurry, cv2.COLOR_BGR2YCrCb)
    luma = ycrcb[..., 0].astype(int) + rng.integers(-20, 20, (9, 9))
    merged = cv2.cvtColor(np.dstack([luma, ycrcb[..., 1:]]).astype(np.uint8), cv2.COLOR_YCrCb2RGB)
    ours = FULL_RANGE.replace_luminance(blurry[..., ::-1] / 255, luma / 255)
    assert np.abs(255 * ours - merged).max() <= 2  # OpenCV rounds luminance and chroma
