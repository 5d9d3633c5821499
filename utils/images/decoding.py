"""Image files from anywhere: decoded within limits of memory and time, or refused."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.errors import DataError
from utils.images.opencv import MAX_PIXELS, cv2
from utils.images.tiff import TIFF, corrected

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
SIGNATURES = (PNG, JPEG, *TIFF, b"BM", b"RIFF")  # how a file of each format begins
MAX_BYTES = 2**30  # of a file: twice what 2^26 pixels take with alpha and 16 bits a channel
PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"}
SCAN = b"\xff\xda"  # begins a scan in a JPEG; an honest one has some ten
MAX_SCANS = 500  # each takes its time for the whole image, however few bytes it has
JPEG_DAMAGES = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")

_decoding = threading.Lock()


def decode(path: str | Path) -> tuple[np.ndarray, bytes]:
    """Decode an image file as it is stored.

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
        What a camera recorded; nothing where OpenCV has obeyed it by itself, as of a TIFF.

    Raises
    ------
    DataError
        If the file is no such image, or damaged.
    OSError
        If it cannot be read at all.
    MemoryError
        If there is not enough.
    """
    content = read_content(Path(path))
    if content.startswith(PNG):
        content = pixel_chunks(content)
    if content.startswith(JPEG) and content.count(SCAN) > MAX_SCANS:
        raise DataError(
            f"{path}: of more than {MAX_SCANS} scans, where a JPEG has some ten; save it anew"
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
                    f"{path}: of more than {MAX_PIXELS} pixels; crop or shrink it, or set the "
                    "environment variable OPENCV_IO_MAX_IMAGE_PIXELS to what you need"
                ) from error
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: not an image that can be read; give an intact PNG, JPEG, TIFF, BMP or WebP "
            "file with 8 or 16 bits a channel"
        )
    # Other formats fail when data is missing or wrong; of a JPEG something always comes out.
    damages = [line for line in printed if line.startswith(JPEG_DAMAGES)]
    if damages and content.startswith(JPEG):
        raise DataError(
            f"{path}: damaged ({damages[0]}); fetch it again or, if it looks right, save it anew"
        )
    if content.startswith(TIFF):
        with decoders_output():
            image = corrected(path, content, image)
    return image, bytes(metadata.get(cv2.IMAGE_METADATA_EXIF, b""))


def read_content(path: Path) -> bytes:
    """Read a file of at most `MAX_BYTES`, and nothing that would never end, such as a pipe."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a file; give an image file")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES >> 30} GiB; crop or shrink the image")
    return path.read_bytes()


def pixel_chunks(content: bytes) -> bytes:
    """Reduce a PNG file to the chunks that its pixels and their orientation need.

    The others may unpack to gigabytes, and libpng takes memory for what a chunk claims to have.

    Parameters
    ----------
    content : bytes
        A PNG file.

    Returns
    -------
    bytes
        The same image; nothing where a chunk is longer than what is left of the file.
    """
    reduced, position, kind = bytearray(PNG), len(PNG), b""
    while kind != b"IEND":
        length = int.from_bytes(content[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        end = position + 12 + length  # with length, kind and checksum
        if end > len(content):
            return b""
        if kind in PIXEL_CHUNKS:
            reduced += content[position:end]
        position = end
    return bytes(reduced)


@contextmanager
def decoders_output() -> Iterator[list[str]]:
    """Catch what libpng, libjpeg and libtiff by themselves print to the process's stderr.

    One thread at a time does; what others print meanwhile is caught as well.

    Yields
    ------
    list of str
        The lines, as soon as the block is left.
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
    """Open a file in memory, which no full disk forbids, or where there is none, on the disk."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()
