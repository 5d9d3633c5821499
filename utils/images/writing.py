"""Arrays in [0, 1] as image files."""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from utils.images.files import write_whole
from utils.images.metadata import usable_profile
from utils.images.opencv import cv2

EIGHT_BITS = np.dtype(np.uint8)


def quantise(image: np.ndarray, depth: np.dtype) -> np.ndarray:
    """Round an image in [0, 1] to the integers of a depth; other values are clipped."""
    return np.rint(np.clip(image, 0, 1) * np.iinfo(depth).max).astype(depth)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Round an image in [0, 1] to 8 bits; other values are clipped."""
    return quantise(image, EIGHT_BITS)


def encode_png(
    image: np.ndarray, depth: np.dtype = EIGHT_BITS, alpha: np.ndarray | None = None
) -> bytes:
    """Encode an image in [0, 1] as a PNG.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) float array
        Gray, or red, green and blue.
    depth : dtype
        uint8 or uint16: the bits per channel.
    alpha : (H, W) float array, optional
        Opacity in [0, 1].
    """
    channels = [image] if image.ndim == 2 else [image[..., i] for i in (2, 1, 0)]
    if alpha is not None and image.ndim == 2 and depth == EIGHT_BITS:
        content = io.BytesIO()
        Image.fromarray(quantise(np.dstack([image, alpha]), depth)).save(content, "PNG")
        return content.getvalue()
    if alpha is not None:
        # Neither library writes 16-bit gray with alpha, so it becomes gray in three channels.
        channels = [*(channels * 3)[:3], alpha]
    return cv2.imencode(".png", quantise(np.dstack(channels), depth))[1].tobytes()


def add_metadata(png: bytes, profile: bytes = b"", exif: bytes = b"") -> bytes:
    """Put a color profile and an EXIF block, unless empty, into a PNG file.

    A profile is left out if it is for gray and the file has colors, or the other way round.
    """
    chunks, has_color = b"", bool(png[25] & 2)
    if usable_profile(profile, has_color):
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile, 9))
    if exif:
        chunks += _chunk(b"eXIf", exif)
    end = 33  # of the signature and the chunk IHDR, after which a profile must come
    return png[:end] + chunks + png[end:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return len(data).to_bytes(4) + kind + data + checksum.to_bytes(4)


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write an image in [0, 1] as an 8-bit PNG (see `encode_png`), whole or not at all."""
    write_whole(path, encode_png(image))
