"""TIFF files of all layouts are read as they are, or refused: what OpenCV itself cannot tell."""

import struct
import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image

from utils.errors import DataError
from utils.images.reading import read_photograph
from utils.images.tiff import read_tags

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
        (deep(COLORS), {"photometric": "rgb", "byteorder": ">", "bigtiff": True}),
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
def test_alpha_is_rotated_with_the_image(tmp_path, compression):
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
            deep(planes(COLORS)),
            {"photometric": "rgb", "planarconfig": "separate", "byteorder": ">", "bigtiff": True},
            "separate planes",
        ),
        (
            deep(COLORS_ALPHA),
            {"photometric": "rgb", "extrasamples": PREMULTIPLIED},
            "premultiplied alpha",
        ),
    ],
)
def test_unsupported_tiffs_are_refused(tmp_path, stored, kind, fault):
    tifffile.imwrite(tmp_path / "odd.tif", stored, **kind)
    with pytest.raises(DataError, match=rf"odd\.tif: a TIFF with .*{fault}.*; save it as PNG"):
        read_photograph(tmp_path / "odd.tif")


def broken(content, tag, kind):
    """Say of a tag of a little-endian TIFF that its thousand values are outside the file."""
    entry = content.index(struct.pack("<HH", tag, kind))
    return content[:entry] + struct.pack("<HHII", tag, kind, 1000, 10**8) + content[entry + 12 :]


def test_a_text_that_is_not_in_the_file_does_not_matter(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", COLORS_ALPHA, photometric="rgb", extrasamples=STRAIGHT, software="x" * 9
    )
    content = broken((tmp_path / "a.tif").read_bytes(), 305, 2)
    assert read_tags(content) == read_tags((tmp_path / "a.tif").read_bytes())


def test_alpha_is_refused_where_tags_are_not_in_the_file(tmp_path):
    path = tmp_path / "odd.tif"
    tag = [(300, "H", 1, 7, True)]
    tifffile.imwrite(path, COLORS_ALPHA, photometric="rgb", extrasamples=STRAIGHT, extratags=tag)
    assert np.array_equal(read_photograph(path).alpha, ALPHA / 255)
    path.write_bytes(broken(path.read_bytes(), 300, 3))
    with pytest.raises(DataError, match="a TIFF with alpha and damaged tags"):
        read_photograph(path)
    tifffile.imwrite(path, COLORS, photometric="rgb", extratags=tag)
    path.write_bytes(broken(path.read_bytes(), 300, 3))
    assert np.array_equal(read_photograph(path).pixels, COLORS / 255)


def test_only_the_first_of_many_values_is_read():
    """A file of 8 MiB whose only tag is four million short integers."""
    directory = struct.pack("<HHHIII", 1, 258, 3, 2**22, 26, 0)
    content = b"II*\0" + struct.pack("<I", 8) + directory + b"\x08\0" * 2**22
    tracemalloc.start()
    assert read_tags(content) == ({258: 8}, True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(content)
