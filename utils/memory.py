"""Whether an image fits into the memory at hand, asked before it is begun."""

import re
import resource
from pathlib import Path

import torch

from utils.command import DataError
from utils.recipe import Recipe

# Measured by `python benchmarks/memory.py` in float32: what the whole process takes on top of what
# it took before the first iteration. A pixel is one of Gx's output.
FIXED_BYTES = {"cpu": 220e6, "cuda": 220e6}
BYTES_PER_PIXEL_AND_CHANNEL = {"cpu": 90, "cuda": 90}

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def bytes_needed(
    image_size: tuple[int, int], kernel_size: tuple[int, int], recipe: Recipe, device: str = "cpu"
) -> int:
    """Estimate the memory that one image's restoration takes.

    Parameters
    ----------
    image_size, kernel_size : tuple of int
        Height and width in pixels.
    recipe : Recipe
        Its channels count here.
    device : str
        ``cpu`` or ``cuda``, whose memory it is.

    Returns
    -------
    int
        Bytes on top of what PyTorch itself takes.
    """
    (height, width), (kh, kw) = image_size, kernel_size
    pixels = (height + kh - 1) * (width + kw - 1)
    per_pixel = BYTES_PER_PIXEL_AND_CHANNEL[device] * recipe.channels
    return int(FIXED_BYTES[device] + per_pixel * pixels)


def bytes_free(device: torch.device) -> int | None:
    """Tell how much memory is free, to the system, this process and its control group.

    Parameters
    ----------
    device : torch.device
        A GPU, or the CPU for the machine's memory.

    Returns
    -------
    int or None
        Bytes; None where the system does not tell, as others than Linux.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        available = re.search(r"MemAvailable:\s*(\d+) kB", MEMINFO.read_text())
    except OSError:
        return None
    free = [int(available[1]) * 1024] if available else []
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        free.append(address_space - pages * resource.getpagesize())
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


def check_memory(
    image_size: tuple[int, int],
    kernel_size: tuple[int, int],
    recipe: Recipe,
    device: torch.device,
) -> None:
    """Raise a DataError if an image needs more memory than there is (see `bytes_needed`)."""
    needed = bytes_needed(image_size, kernel_size, recipe, device.type)
    free = bytes_free(device)
    if free is not None and needed > free:
        raise DataError(
            f"needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free on "
            f"{device}; give a smaller image, free some memory, or use --recipe quick"
        )


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory has run out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # PyTorch's CPU allocator and the libraries below it raise nothing more particular.
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("t allocate memory", "bad_alloc", "out of memory")
    )
