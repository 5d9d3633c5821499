"""Correct what OpenCV gets wrong in TIFF files.

It multiplies 8-bit colors by their alpha, drops the alpha of gray, and takes separate planes of 16
bits for interleaved pixels.

References
----------
.. [1] Adobe Systems, "TIFF, Revision 6.0", 1992, sections 2 and 8.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from utils.errors import DataError

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # in either byte order; BigTIFF

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLES_PER_PIXEL, PLANAR, EXTRA_SAMPLES = 258, 262, 277, 284, 338
INVERTED, INKS = 0, 5  # of PHOTOMETRIC
SEPARATE = 2  # of PLANAR
PREMULTIPLIED = 1  # of EXTRA_SAMPLES


def corrected(path: str | Path, content: bytes, decoded: np.ndarray) -> np.ndarray:
    """Replace the pixels of a TIFF that OpenCV decodes wrongly.

    Parameters
    ----------
    path : str or Path
        The file's name for messages.
    content : bytes
        The file, which OpenCV has accepted.
    decoded : (H, W), (H, W, 3) or (H, W, 4) array
        What OpenCV decoded.

    Returns
    -------
    (H, W), (H, W, 3) or (H, W, 4) array
        Gray, or blue, green and red, and alpha.

    Raises
    ------
    DataError
        If neither OpenCV nor Pillow reads this kind of TIFF.
    """
    tags, complete = read_tags(content)
    samples, deep = tags.get(SAMPLES_PER_PIXEL, 1), tags.get(BITS_PER_SAMPLE, 1) > 8
    extra = tags.get(EXTRA_SAMPLES, 0)
    faults = {
        "inks (CMYK)": tags.get(PHOTOMETRIC) == INKS,
        "gray with alpha in 16 bits": deep and samples == 2,
        "premultiplied alpha in 16 bits": deep and samples == 4 and extra == PREMULTIPLIED,
        "separate planes in 16 bits": deep and samples > 1 and tags.get(PLANAR) == SEPARATE,
        "inverted gray in 16 bits": deep and tags.get(PHOTOMETRIC) == INVERTED,
        "alpha and damaged tags": samples in (2, 4) and not complete,
    }
    for fault, found in faults.items():
        if found:
            raise DataError(f"{path}: a TIFF with {fault}, which is not supported; save it as PNG")
    if not deep and samples in (2, 4) and extra:
        return read_with_alpha(path, content)
    return decoded


class FirstShorts(ImageFileDirectory_v2):
    """The first value of each tag of short integers; other tags are ignored.

    Those may point outside the file, which OpenCV tolerates. A gigabyte of short integers would
    take twenty as Python's.
    """

    _load_dispatch = {
        TiffTags.SHORT: (2, lambda directory, data, legacy: directory._unpack("H", data[:2]))
    }


def read_tags(content: bytes) -> tuple[dict[int, int], bool]:
    """Read the first value of each tag of short integers, by the tag's number.

    Also returns whether all values lie in the file; if one does not, those after it may be missing.
    """
    # Pillow reads the header of a BigTIFF correctly in one byte order only.
    header = b"II+\0" + content[4:16] if b"+" in content[2:4] else b"II*\0" + content[4:8]
    directory = FirstShorts(header, prefix=content[:2])
    stream = io.BytesIO(content)
    stream.seek(directory.next)
    with warnings.catch_warnings(record=True) as damages:
        warnings.simplefilter("always")
        directory.load(stream)
    return {tag: int(np.ravel(directory[tag])[0]) for tag in directory}, not damages


def read_with_alpha(path: str | Path, content: bytes) -> np.ndarray:
    """Read a TIFF of 8 bits a channel by Pillow, which keeps colors and alpha apart."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            red, green, blue, alpha = np.moveaxis(np.asarray(image.convert("RGBA")), 2, 0)
    except MemoryError:
        raise
    except Exception as error:  # about five types, for a file that OpenCV accepts
        raise DataError(f"{path}: a TIFF whose alpha cannot be read; save it as PNG") from error
    return np.dstack([blue, green, red, alpha])
