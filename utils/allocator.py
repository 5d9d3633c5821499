"""Memory that an iteration gives back is kept for the next one.

Each iteration takes and frees the same maps. The C library would return the large ones to the
system and get them again as fresh pages, which have to be found, zeroed and entered one by one.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# From malloc.h of the GNU C library, with its defaults.
M_TRIM_THRESHOLD, TRIM_THRESHOLD = -1, 128 * 1024
M_MMAP_MAX, MMAP_MAX = -4, 65536

# Kept memory is also fragmented memory: for larger maps the room matters more than the time.
LARGEST_MAP = 2**28


@contextmanager
def freed_memory_kept(largest_map: int | None) -> Iterator[None]:
    """Let this process keep the memory that it frees, as long as the context lasts.

    Has an effect under the GNU C library only, and where the maps are not too large: at 255 x 255
    an iteration takes a fifth less time (`benchmarks/step.py`).

    Parameters
    ----------
    largest_map : int
        Bytes of the largest map that an iteration makes; None if they are made elsewhere.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    small = largest_map is not None and largest_map <= LARGEST_MAP
    if not (small and hasattr(library, "mallopt")):
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_MAX, MMAP_MAX)
        library.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
        library.malloc_trim(0)
