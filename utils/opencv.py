"""OpenCV for files from anywhere: `cv2` is imported from here, so that its limit is set first."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

# 8192 x 8192: more than the 61 million pixels of today's full-frame cameras, and in color 1.6 GB
# in the double precision that everything is computed in. OpenCV takes its limit from here when it
# is imported, and compares what a file claims with it before it takes any memory for the pixels.
MOST_PIXELS = os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))

import cv2  # noqa: E402

# What is wrong with a file is told in our one line, not in a page of OpenCV's log.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_decoding = threading.Lock()


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
