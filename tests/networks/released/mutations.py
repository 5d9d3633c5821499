"""Valid files, and what may have happened to them before a program gets to see them."""

import io
import struct
import warnings
import zlib

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import ExifTags, Image

from networks.fcn import KernelNetwork
from networks.skip import SkipNetwork
from tests.networks.released.released_tree import classes_in, image_network, kernel_network
from utils.images.opencv import cv2
from utils.runs.results import network_content

SIZE = (21, 26)
BOUNDARY_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def images() -> dict[str, bytes]:
    """Make small image files of every format in the variants that decoders treat differently."""
    rng = np.random.default_rng(0)
    gray = cv2.resize(rng.integers(0, 255, (4, 5), dtype=np.uint8), SIZE[::-1])
    color = cv2.resize(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8), SIZE[::-1])
    deep = (color.astype(np.uint16) << 8) + 7
    alpha = np.dstack([color, gray])

    def opencv(suffix, pixels, *options):
        return cv2.imencode(suffix, pixels, options)[1].tobytes()

    def pillow(kind, pixels, mode=None, **options):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        content = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(content, kind, exif=exif, **options)
        return content.getvalue()

    return {
        "gray.png": opencv(".png", gray),
        "deep.png": opencv(".png", deep),
        "alpha.png": pillow("PNG", alpha),
        "palette.png": pillow("PNG", color, "P"),
        "profile.png": pillow("PNG", color, icc_profile=bytes(300)),
        "gray.jpg": opencv(".jpg", gray),
        "progressive.jpg": opencv(".jpg", color, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "exif.jpg": pillow("JPEG", color, icc_profile=bytes(300)),
        "cmyk.jpg": pillow("JPEG", color, "CMYK"),
        "lzw.tif": opencv(".tif", color),
        "plain.tif": pillow("TIFF", gray),
        "deep.tif": opencv(".tif", deep, cv2.IMWRITE_TIFF_COMPRESSION, 8),
        "jpeg.tif": pillow("TIFF", color, compression="jpeg"),
        "bilevel.tif": pillow("TIFF", gray, "1", compression="group4"),
        "color.bmp": opencv(".bmp", color),
        "palette.bmp": pillow("BMP", color, "P"),
        "alpha.bmp": opencv(".bmp", alpha),
        "lossy.webp": opencv(".webp", color),
        "lossless.webp": pillow("WEBP", alpha, lossless=True),
        "moving.webp": pillow(
            "WEBP", color, save_all=True, append_images=[Image.fromarray(color[::-1])]
        ),
    }


def kernel_networks() -> dict[str, bytes]:
    """Make files of Gk in every format that there is."""
    torch.manual_seed(0)
    settings = {"channels": 6, "scales": 2, "kernel_size": [3, 3]}
    return {
        "legacy_knet.pth": saved(kernel_network(9), _use_new_zipfile_serialization=False),
        "zip_knet.pth": saved(kernel_network(9)),
        "own_knet.pth": network_content(KernelNetwork((3, 3)), SIZE, settings),
    }


def image_networks() -> dict[str, bytes]:
    """Make files of Gx: a released one and a small one of ours."""
    torch.manual_seed(0)
    settings = {"channels": 6, "scales": 2, "kernel_size": [3, 3]}
    with classes_in("models"):
        released = saved(image_network(), _use_new_zipfile_serialization=False)
    own = network_content(SkipNetwork(channels=6, scales=2), SIZE, settings)
    return {"legacy_xnet.pth": released, "own_xnet.pth": own}


def saved(network: torch.nn.Module, **options) -> bytes:
    """Save a module, whose classes have no source that PyTorch could find."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(network, content, **options)
    return content.getvalue()


@st.composite
def mutated(draw, originals: dict[str, bytes]) -> tuple[str, bytes]:
    """Draw one of some files with one to four changes: bits, numbers, cuts, repeats, swaps."""
    name = draw(st.sampled_from(sorted(originals)))
    content = bytearray(originals[name])
    for _ in range(draw(st.integers(1, 4))):
        # Headers, and the directories of zip and TIFF files, decide more than what lies between.
        reach = draw(st.sampled_from([64, 1024, len(content)]))
        place = draw(st.integers(0, max(0, min(reach, len(content)) - 1)))
        if draw(st.booleans()) and draw(st.booleans()):
            place = max(0, len(content) - 1 - place)
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(["bit", "bit", "byte", "number", "number", "number", "zeros",
                                    "remove", "repeat", "cut", "splice"])):  # fmt: skip
            case "bit" if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "byte" if content:
                content[place] = draw(st.integers(0, 255))
            case "number":
                number = struct.pack(
                    draw(st.sampled_from(["<I", ">I"])), draw(st.sampled_from(BOUNDARY_NUMBERS))
                )
                width = draw(st.sampled_from([2, 4]))
                content[place : place + width] = number[:width]
            case "zeros":
                content[place : place + length] = bytes(length)
            case "remove":
                del content[place : place + length]
            case "repeat":
                content[place:place] = content[place : place + length] * draw(st.integers(1, 40))
            case "cut":
                del content[place:]
            case "splice":
                other = originals[draw(st.sampled_from(sorted(originals)))]
                content[place : place + length] = other[place : place + length]
    if name.endswith(".png") and draw(st.booleans()):
        content = with_checksums(bytes(content))
    return name, bytes(content)


def with_checksums(content: bytes) -> bytes:
    """Put the right checksum into every chunk of a PNG, so that what is wrong gets further."""
    result, position = bytearray(content), 8
    while position + 12 <= len(content):
        end = position + 8 + int.from_bytes(content[position : position + 4], "big")
        if end + 4 > len(content):
            break
        result[end : end + 4] = struct.pack(">I", zlib.crc32(content[position + 4 : end]))
        position = end + 4
    return bytes(result)
