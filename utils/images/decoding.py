"""Image files from anywhere: decoded within limits of memory and time, or refused.

OpenCV decodes them, since Pillow has no color of 16 bits a channel. It limits the number of pixels,
but neither what a PNG's other chunks unpack to nor the scans of a JPEG; it returns something for a
damaged JPEG, and its libraries print to stderr. All that is dealt with here.
"""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.errors import DataError
from utils.images.files import read_bounded
from utils.images.metadata import tiff_metadata, unpacks_to_a_profile
from utils.images.opencv import MAX_PIXELS, cv2
from utils.images.tiff import TIFF, corrected

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
SIGNATURES = (PNG, JPEG, *TIFF, b"BM", b"RIFF")  # the first bytes of each format
MAX_BYTES = 2**30  # of a file: twice what 2^26 pixels take with alpha and 16 bits a channel
PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"}
SCAN = b"\xff\xda"  # starts a scan in a JPEG; a normal one has about ten
MAX_SCANS = 500  # each takes time for the whole image, however few bytes it has
HEIF_SUFFIXES = {".heic", ".heif", ".hif", ".avif"}
# What such a file says that it is, after a length and the word ftyp.
HEIF_BRANDS = ("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1", "avif", "avis")
# Of cameras' raw files. Many are TIFFs, which would be read as the small preview in them.
RAW_SUFFIXES = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srw", ".x3f"),
}
JPEG_DAMAGES = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")

_decoding = threading.Lock()


def decode(path: str | Path) -> tuple[np.ndarray, bytes, bytes]:
    """Decode an image file as stored.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF, BMP or WebP file with 8 or 16 bits a channel, of at most
        `utils.images.opencv.MAX_PIXELS`.

    Returns
    -------
    image : (H, W), (H, W, 3) or (H, W, 4) uint8 or uint16 array
        Gray, or blue, green and red, and alpha.
    exif : bytes
        What a camera recorded; of a TIFF, whose orientation is applied already, an upright block.
    profile : bytes
        The color profile, whole or not.

    Raises
    ------
    DataError
        If the file is not such an image, or damaged.
    OSError
        If it cannot be read at all.
    MemoryError
        If there is not enough.
    """
    refuse_raw(Path(path))
    content = read_bounded(Path(path), MAX_BYTES, "the limit for images; crop or shrink it")
    if content[4:8] == b"ftyp" and content[8:12].decode("latin-1") in HEIF_BRANDS:
        raise DataError(
            f"{path}: a HEIC or AVIF photograph, which is not supported; save it as PNG or JPEG, "
            "for instance by heif-convert IN.heic OUT.png"
        )
    if content.startswith(PNG):
        content = pixel_chunks(content)
    if content.startswith(JPEG) and content.count(SCAN) > MAX_SCANS:
        raise DataError(
            f"{path}: more than {MAX_SCANS} scans, where a JPEG has about ten; save it again"
        )
    image, metadata, printed = None, {}, []
    if content.startswith(SIGNATURES):
        try:
            with decoders_output() as printed:
                image, kinds, blocks = cv2.imdecodeWithMetadata(
                    np.frombuffer(content, np.uint8), flags=cv2.IMREAD_UNCHANGED
                )
            metadata = dict(zip(kinds, blocks, strict=True))
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from error
            if "CV_IO_MAX_IMAGE_PIXELS" in str(error):
                raise DataError(
                    f"{path}: more than {MAX_PIXELS} pixels; crop or shrink it, or set the "
                    "environment variable OPENCV_IO_MAX_IMAGE_PIXELS to what you need"
                ) from error
    if image is not None and image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: {image.dtype} channels, which are not supported; store it with 16 bits each"
        )
    if image is None:
        raise DataError(
            f"{path}: not an image, or damaged; give an intact PNG, JPEG, TIFF, BMP or WebP "
            "file with 8 or 16 bits a channel"
        )
    # Other formats fail if data is missing or wrong; a JPEG always gives something.
    damages = [line for line in printed if line.startswith(JPEG_DAMAGES)]
    if damages and content.startswith(JPEG):
        raise DataError(
            f"{path}: damaged ({damages[0]}); get it again or, if it looks right, save it again"
        )
    if content.startswith(TIFF):
        with decoders_output():
            image = corrected(path, content, image)
        return image, *tiff_metadata(content)
    kinds = (cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_ICCP)
    exif, profile = (bytes(metadata.get(kind, b"")) for kind in kinds)
    return image, exif.removeprefix(b"Exif\0\0"), profile


def refuse_raw(path: Path) -> None:
    """Raise a DataError if a file's suffix is that of a camera's raw files."""
    if path.suffix.lower() in RAW_SUFFIXES:
        raise DataError(
            f"{path}: a camera's raw file, which is not supported; develop it to a 16-bit TIFF"
        )


def pixel_chunks(content: bytes) -> bytes:
    """Reduce a PNG file to the chunks of its pixels, their orientation and their color profile.

    The others, and a false profile, may unpack to gigabytes. Returns nothing if a chunk is longer
    than the rest of the file, for which libpng would allocate memory all the same.
    """
    reduced, position, kind, profiles = bytearray(PNG), len(PNG), b"", 0
    while kind != b"IEND":
        length = int.from_bytes(content[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        end = position + 12 + length  # with length, kind and checksum
        if end > len(content):
            return b""
        profiles += kind == b"iCCP"
        is_profile = kind == b"iCCP" and profiles == 1
        if kind in PIXEL_CHUNKS or (
            is_profile and unpacks_to_a_profile(content[position + 8 : end - 4])
        ):
            reduced += content[position:end]
        position = end
    return bytes(reduced)


@contextmanager
def decoders_output() -> Iterator[list[str]]:
    """Catch the lines that libpng, libjpeg and libtiff print to the process's stderr.

    They are in the list when the context ends, with whatever other threads printed meanwhile.
    """
    lines: list[str] = []
    with _decoding, _scratch_file() as caught:
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            lines += caught.read(2**16).decode(errors="replace").splitlines()


def _scratch_file() -> BinaryIO:
    """Open a file in memory, which works on a full disk, or else on the disk."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()
