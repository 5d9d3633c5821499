"""TIFF files of all layouts are read as they are, or refused: what OpenCV itself cannot tell."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from utils.errors import DataError
from utils.images.reading import read_photograph

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)
ALPHA = RNG.integers(128, 256, (20, 24), dtype=np.uint8)
GRAY_ALPHA = np.dstack([COLORS[..., 0], ALPHA])
COLORS_ALPHA = np.dstack([COLORS, ALPHA])
STRAIGHT, PREMULTIPLIED = ["unassalpha"], ["assocalpha"]


def deep(image):
    return image.astype(np.uint16) * 257


def planes(image):
    return np.moveaxis(image, 2, 0)


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (COLORS, {"photometric": "rgb"}),
        (deep(COLORS), {"photometric": "rgb"}),
        (planes(COLORS), {"photometric": "rgb", "planarconfig": "separate"}),
        (COLORS_ALPHA, {"photometric": "rgb", "extrasamples": STRAIGHT}),
        (COLORS_ALPHA, {"photometric": "rgb", "extrasamples": STRAIGHT, "byteorder": ">"}),
        (COLORS_ALPHA, {"photometric": "rgb", "extrasamples": STRAIGHT, "bigtiff": True}),
        (deep(COLORS_ALPHA), {"photometric": "rgb", "extrasamples": STRAIGHT}),
        (
            planes(COLORS_ALPHA),
            {"photometric": "rgb", "planarconfig": "separate", "extrasamples": STRAIGHT},
        ),
        (COLORS[..., 0], {"photometric": "minisblack"}),
        (255 - COLORS[..., 0], {"photometric": "miniswhite"}),
        (GRAY_ALPHA, {"photometric": "minisblack", "extrasamples": STRAIGHT}),
    ],
)
def test_pixels_and_alpha_are_the_files_own(tmp_path, stored, kind):
    path = tmp_path / "photo.tif"
    tifffile.imwrite(path, stored, **kind)
    photograph = read_photograph(path)
    expected = COLORS if kind["photometric"] == "rgb" else COLORS[..., 0]
    assert np.array_equal(photograph.pixels, expected / 255)
    assert photograph.depth == stored.dtype
    if "extrasamples" in kind:
        assert np.array_equal(photograph.alpha, ALPHA / 255)
    else:
        assert photograph.alpha is None


def test_premultiplied_alpha_is_taken_out(tmp_path):
    stored = COLORS_ALPHA.copy()
    stored[..., :3] = np.rint(COLORS * (ALPHA[..., None] / 255))
    tifffile.imwrite(tmp_path / "p.tif", stored, photometric="rgb", extrasamples=PREMULTIPLIED)
    photograph = read_photograph(tmp_path / "p.tif")
    assert np.abs(photograph.pixels * 255 - COLORS).max() <= 2
    assert np.array_equal(photograph.alpha, ALPHA / 255)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_alpha_turns_with_the_image(tmp_path, compression):
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(COLORS_ALPHA)
    image.save(tmp_path / "turned.tif", exif=exif, compression=compression)
    photograph = read_photograph(tmp_path / "turned.tif")
    assert np.array_equal(photograph.pixels, np.rot90(COLORS, -1) / 255)
    assert np.array_equal(photograph.alpha, np.rot90(ALPHA, -1) / 255)


@pytest.mark.parametrize(
    ("stored", "kind", "fault"),
    [
        (COLORS_ALPHA, {"photometric": "separated"}, "CMYK"),
        (deep(COLORS[..., 0]), {"photometric": "miniswhite"}, "inverted gray"),
        (
            deep(GRAY_ALPHA),
            {"photometric": "minisblack", "extrasamples": STRAIGHT},
            "gray with alpha",
        ),
        (
            deep(planes(COLORS)),
            {"photometric": "rgb", "planarconfig": "separate"},
            "separate planes",
        ),
        (
            deep(COLORS_ALPHA),
            {"photometric": "rgb", "extrasamples": PREMULTIPLIED},
            "premultiplied alpha",
        ),
    ],
)
def test_what_nothing_reads_is_refused(tmp_path, stored, kind, fault):
    tifffile.imwrite(tmp_path / "odd.tif", stored, **kind)
    with pytest.raises(DataError, match=rf"odd\.tif: a TIFF with .*{fault}.*; save it as PNG"):
        read_photograph(tmp_path / "odd.tif")
