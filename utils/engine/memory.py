"""Whether an image fits into the machine's memory, asked before it is begun.

A system that runs out of memory kills a process without a word. A GPU's memory is not asked about:
where that runs out, it is an ordinary error of the first iteration, and the next image goes on.
"""

import re
import sys
from pathlib import Path

from utils.engine.recipe import Recipe
from utils.errors import DataError

# What an image takes on top of the process before its first iteration, in float32 and with one
# thread: `python benchmarks/memory.py` gave, beyond these 200 MB, 74 to 95 B per pixel of Gx's
# output and channel. Where maps are too large to be kept (utils/engine/allocator.py),
# `python benchmarks/step.py --cases 768x1024/75` gave 42 B.
FIXED_BYTES = 200e6
BYTES_KEPT = 96
BYTES_NOT_KEPT = 42

# Where the maps are larger, in bytes, room matters more than the fifth of the time.
LARGEST_MAP = 2**28

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def fit_bytes(
    image_size: tuple[int, int], kernel_size: tuple[int, int], recipe: Recipe, kept: bool = False
) -> int:
    """Estimate the memory that a fit of the networks takes.

    Parameters
    ----------
    image_size, kernel_size : tuple of int
        Height and width in pixels.
    recipe : Recipe
        Its channels count here.
    kept : bool
        Whether what an iteration frees is kept (utils/engine/allocator.py).

    Returns
    -------
    int
        Bytes on top of what PyTorch itself takes.
    """
    (height, width), (kh, kw) = image_size, kernel_size
    numbers = recipe.channels * (height + kh - 1) * (width + kw - 1)
    return int(FIXED_BYTES + (BYTES_KEPT if kept else BYTES_NOT_KEPT) * numbers)


def worth_keeping(
    image_size: tuple[int, int], kernel_size: tuple[int, int], recipe: Recipe
) -> bool:
    """Tell whether the memory that an iteration frees is to be kept where there is room for it."""
    (height, width), (kh, kw) = image_size, kernel_size
    return 4 * recipe.channels * (height + kh - 1) * (width + kw - 1) <= LARGEST_MAP


def can_keep(image_size: tuple[int, int], kernel_size: tuple[int, int], recipe: Recipe) -> bool:
    """Tell whether that memory is worth keeping, and there is room for its fragments."""
    free = bytes_free()
    fits = free is None or fit_bytes(image_size, kernel_size, recipe, kept=True) < free
    return fits and worth_keeping(image_size, kernel_size, recipe)


def bytes_free() -> int | None:
    """Tell how much memory this process can still have, by all limits that it is under.

    Returns
    -------
    int or None
        Bytes; None where the system does not tell, as others than Linux.
    """
    try:
        available = re.search(r"MemAvailable:\s*(\d+) kB", MEMINFO.read_text())
    except OSError:
        return None
    free = [int(available[1]) * 1024] if available else []
    most = re.search(r"Max address space +(\d+)", Path("/proc/self/limits").read_text())
    used = re.search(r"VmSize:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if most and used:
        free.append(int(most[1]) - int(used[1]) * 1024)
    free += cgroup_bytes_free()
    return max(0, min(free)) if free else None


def cgroup_bytes_free() -> list[int]:
    """Tell how much each control group around this process leaves, as a container or Slurm sets.

    Returns
    -------
    list of int
        Bytes, for those with a limit. What only caches files is counted as free.
    """
    try:
        lines = CGROUP.read_text().splitlines()
    except OSError:
        return []
    free = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage, cache = CGROUPS, "max", "current", "inactive_file"
        elif "memory" in controllers.split(","):
            root = CGROUPS / "memory"
            limit, usage, cache = "limit_in_bytes", "usage_in_bytes", "total_inactive_file"
        else:
            continue
        # In a container the path may be one of the host's, of which only the root is seen.
        own = root / path.strip("/")
        for folder in (own, *own.parents):
            if not folder.is_relative_to(root):
                break
            try:
                most = int((folder / f"memory.{limit}").read_text())
                used = int((folder / f"memory.{usage}").read_text())
                stat = dict(x.split() for x in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # no such group, or "max", which is no limit
                continue
            free.append(most - used + int(stat.get(cache, 0)))
    return free


def check_memory(needed: int) -> None:
    """Raise a DataError if something needs more bytes than there are free."""
    free = bytes_free()
    if free is not None and needed > free:
        raise DataError(
            f"needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
            "give a smaller image, free some memory, or use --method quick"
        )


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory has run out."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    # PyTorch's CPU allocator and the libraries below it raise nothing more particular.
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("t allocate memory", "bad_alloc", "out of memory")
    )
