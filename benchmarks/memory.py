"""Measure the memory that one image's restoration takes, for the estimate in
utils/engine/memory.py.

    python benchmarks/memory.py
    python benchmarks/memory.py --sizes 256 512 1024

32 iterations are run for each size, in its own process; after some ten, the fragments of kept
memory
(utils/engine/allocator.py) hardly add any more. The line through the peaks gives the two numbers of
utils/engine/memory.py: the bytes that every image takes, and those per pixel and channel.
"""

import multiprocessing
import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from utils.engine.deblur import deblur
from utils.engine.methods import LEVIN, QUICK
from utils.runs.machine import peak_memory
from utils.terminal.program import Parser, run_program

KERNEL = 31
ITERATIONS = 32


def peak(size: int, channels: int) -> int:
    """Bytes that the restoration of a square image takes at most."""
    recipe = replace(LEVIN, channels=channels, num_iter=ITERATIONS, mse_iterations=1)
    blurry = np.random.default_rng(0).random((size, size))
    before = resident()
    deblur(blurry, (KERNEL, KERNEL), recipe, device="cpu")
    return (peak_memory() or 0) - before


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 384], help="in pixels")
    given = parser.parse_args(arguments)
    for channels in (LEVIN.channels, QUICK.channels):
        peaks, units = [], []
        for size in given.sizes:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peaks.append(pool.apply(peak, (size, channels)))
            units.append((size + KERNEL - 1) ** 2 * channels)
            print(f"{channels} channels, {size} x {size}: {peaks[-1] / 1e6:.0f} MB")
        slope, fixed = np.polyfit(units, peaks, 1)
        print(f"{channels} channels: {fixed / 1e6:.0f} MB and {slope:.1f} B per pixel and channel")
    return 0


if __name__ == "__main__":
    run_program(main)
