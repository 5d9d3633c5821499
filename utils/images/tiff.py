"""What OpenCV gets wrong about TIFF files: alpha, mostly.

References
----------
.. [1] Adobe Systems, "TIFF, Revision 6.0", 1992, sections 2 and 8.
"""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from utils.errors import DataError

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # in either byte order; those for more than 4 GiB

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLES_PER_PIXEL, PLANAR, EXTRA_SAMPLES = 258, 262, 277, 284, 338
INVERTED, INKS = 0, 5  # of PHOTOMETRIC
SEPARATE = 2  # of PLANAR
PREMULTIPLIED = 1  # of EXTRA_SAMPLES
SHORT = 3  # the type of all these tags' values


def corrected(path: str | Path, content: bytes, decoded: np.ndarray) -> np.ndarray:
    """Give a TIFF's pixels where OpenCV's are not those of the file.

    It multiplies 8-bit colors by their alpha, drops the alpha of gray, and takes separate planes of
    16 bits for interleaved pixels.

    Parameters
    ----------
    path : str or Path
        The file's name, for messages.
    content : bytes
        The file, which OpenCV has decoded: it is intact, and within its limits.
    decoded : (H, W), (H, W, 3) or (H, W, 4) array
        What OpenCV made of it.

    Returns
    -------
    (H, W), (H, W, 3) or (H, W, 4) array
        Gray, or blue, green and red, and alpha.

    Raises
    ------
    DataError
        If the file is of a kind that nothing at hand reads.
    """
    try:
        tags = read_tags(content)
    except struct.error:  # a tag whose value is not in the file; OpenCV did without it
        return decoded
    samples, deep = tags.get(SAMPLES_PER_PIXEL, 1), tags.get(BITS_PER_SAMPLE, 1) > 8
    extra = tags.get(EXTRA_SAMPLES, 0)
    faults = {
        "inks (CMYK)": tags.get(PHOTOMETRIC) == INKS,
        "gray with alpha in 16 bits": deep and samples == 2,
        "premultiplied alpha in 16 bits": deep and samples == 4 and extra == PREMULTIPLIED,
        "separate planes in 16 bits": deep and samples > 1 and tags.get(PLANAR) == SEPARATE,
        "inverted gray in 16 bits": deep and tags.get(PHOTOMETRIC) == INVERTED,
    }
    for fault, found in faults.items():
        if found:
            raise DataError(f"{path}: a TIFF with {fault}, which is not read; save it as PNG")
    if not deep and samples in (2, 4) and extra:
        return read_with_alpha(path, content)
    return decoded


def read_tags(content: bytes) -> dict[int, int]:
    """Read the first value of each tag of short integers of a TIFF's first image."""
    order = "<" if content.startswith(b"II") else ">"
    if content[2:4].strip(b"\0") == b"*":
        start, count, entry = "I", "H", f"{order}HHI4s"
    else:
        start, count, entry = "4xQ", "Q", f"{order}HHQ8s"
    (position,) = struct.unpack_from(order + start, content, 4)
    (entries,) = struct.unpack_from(order + count, content, position)
    position += struct.calcsize(order + count)
    directory = content[position : position + entries * struct.calcsize(entry)]
    tags = {}
    for tag, kind, length, value in struct.iter_unpack(entry, directory):
        if kind == SHORT:
            if 2 * length > len(value):  # it has no room here, and the place of it stands here
                (elsewhere,) = struct.unpack(order + start[-1], value)
                value = content[elsewhere : elsewhere + 2]
            (tags[tag],) = struct.unpack_from(order + "H", value)
    return tags


def read_with_alpha(path: str | Path, content: bytes) -> np.ndarray:
    """Read a TIFF of 8 bits a channel by Pillow, which leaves colors and alpha apart."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            red, green, blue, alpha = np.moveaxis(np.asarray(image.convert("RGBA")), 2, 0)
    except MemoryError:
        raise
    except Exception as error:  # of some five types, for a file that OpenCV was content with
        raise DataError(f"{path}: a TIFF whose alpha cannot be read; save it as PNG") from error
    return np.dstack([blue, green, red, alpha])
