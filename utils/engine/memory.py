"""Whether an image fits into the machine's memory, asked before it is started.

Linux kills a process that uses more memory than there is, without a message. psutil reports the
machine's memory, but no limit of a container, of Slurm (both are control groups) or of ulimit, so
these are read here. A GPU's memory is not asked about: if it runs out, PyTorch raises an ordinary
error in the first iteration, and the run continues with the next image.
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

# Above this size of a map in bytes, memory matters more than a fifth of the time.
LARGEST_MAP = 2**28

# Of the refinement, a pixel, most of it for the distances between blocks: one megapixel took
# 0.52 GB in all.
REFINEMENT_BYTES = 700

# Of estimates in windows: a window's side, at most, and of all pixels the image at several scales.
LARGEST_WINDOW = 512
WINDOWED_BYTES = 60

# Of a camera's motion, a pixel of its frame's side: 25, 59 and 115 pixels took 0.17, 0.53, 1.0 GB.
MOTION_BYTES = 10e6

# What to do where it does not suffice.
LESS_MEMORY = (
    "give a smaller image, free some memory, or use --method quick; for a photograph of any size, "
    "selfdeblur_ycbcr.py --method photo"
)

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def fit_bytes(
    image_size: tuple[int, int], kernel_size: tuple[int, int], recipe: Recipe, kept: bool = False
) -> int:
    """Estimate the memory that a fit takes, in bytes on top of what PyTorch itself takes.

    Parameters
    ----------
    image_size, kernel_size : tuple of int
        Height and width in pixels.
    recipe : Recipe
        Only its channels matter here.
    kept : bool
        Whether memory that an iteration frees is kept (utils/engine/allocator.py).
    """
    per_value = BYTES_KEPT if kept else BYTES_NOT_KEPT
    return int(FIXED_BYTES + per_value * _map_values(image_size, kernel_size, recipe))


def refinement_bytes(image_size: tuple[int, int], kernel_size: tuple[int, int]) -> int:
    """Estimate the memory that a deconvolution or a refinement takes, in bytes."""
    (height, width), (kh, kw) = image_size, kernel_size
    return int(FIXED_BYTES + REFINEMENT_BYTES * (height + kh - 1) * (width + kw - 1))


def windows_bytes(image_size: tuple[int, int], kernel_size: tuple[int, int]) -> int:
    """Estimate the memory that kernels' estimates in windows of an image take, in bytes."""
    window = [min(side, LARGEST_WINDOW) for side in image_size]
    return int(
        refinement_bytes((window[0], window[1]), kernel_size)
        + WINDOWED_BYTES * image_size[0] * image_size[1]
    )


def affordable_threads(threads: int, bytes_each: int) -> int:
    """How many of some threads may work at once with so much memory each, and half of it free."""
    free = bytes_free()
    return threads if free is None else max(1, min(threads, int(free / 2 / bytes_each)))


def worth_keeping(
    image_size: tuple[int, int], kernel_size: tuple[int, int], recipe: Recipe
) -> bool:
    """Whether memory that an iteration frees should be kept if there is room for it."""
    return 4 * _map_values(image_size, kernel_size, recipe) <= LARGEST_MAP


def can_keep(image_size: tuple[int, int], kernel_size: tuple[int, int], recipe: Recipe) -> bool:
    """Whether that memory is worth keeping, and there is room for it."""
    free = bytes_free()
    fits = free is None or fit_bytes(image_size, kernel_size, recipe, kept=True) < free
    return fits and worth_keeping(image_size, kernel_size, recipe)


def _map_values(image_size: tuple[int, int], kernel_size: tuple[int, int], recipe: Recipe) -> int:
    (height, width), (kh, kw) = image_size, kernel_size
    return recipe.channels * (height + kh - 1) * (width + kw - 1)


def bytes_free() -> int | None:
    """How many bytes this process can still allocate; None where Linux does not say."""
    try:
        available = re.search(r"MemAvailable:\s*(\d+) kB", MEMINFO.read_text())
    except OSError:
        return None
    free = [int(available[1]) * 1024] if available else []
    most = re.search(r"Max address space +(\d+)", Path("/proc/self/limits").read_text())
    address_space = re.search(r"VmSize:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if most and address_space:
        free.append(int(most[1]) - int(address_space[1]) * 1024)
    free += cgroup_bytes_free()
    return max(0, min(free)) if free else None


def cgroup_bytes_free() -> list[int]:
    """What each control group around this process leaves of its limit; file caches are free."""
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
        # In a container the path may be the host's, of which only the root is visible.
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            try:
                allowed = int((folder / f"memory.{limit}").read_text())
                used = int((folder / f"memory.{usage}").read_text())
                stat = dict(x.split() for x in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # no such group, or "max", which is no limit
                continue
            free.append(allowed - used + int(stat.get(cache, 0)))
    return free


def check_memory(needed: int) -> None:
    """Raise a DataError if fewer than `needed` bytes are free."""
    free = bytes_free()
    if free is not None and needed > free:
        raise DataError(
            f"needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
            + LESS_MEMORY
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory has run out."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    # PyTorch's CPU allocator and the libraries below it raise nothing more specific.
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("t allocate memory", "bad_alloc", "out of memory")
    )
