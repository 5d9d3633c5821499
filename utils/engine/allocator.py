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


@contextmanager
def freed_memory_kept(keep: bool) -> Iterator[None]:
    """Let this process keep the memory that it frees, as long as the context lasts.

    Has an effect under the GNU C library only: at 255 x 255 an iteration takes a fifth less time.
    Kept memory is also fragmented memory, a third more. Afterwards the library's defaults are set,
    and what is free is returned.

    Parameters
    ----------
    keep : bool
        False has no effect at all.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not (keep and hasattr(library, "mallopt")):
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
