"""Time the search over quarter-pixel shifts against a direct search, which tries each of them.

    python benchmarks/shift_search.py
    python benchmarks/shift_search.py --sizes 255x255 --repeats 9

Both searches run in turns in one process, on a random image and a blurred and shifted copy of it.
The table has the median of each, their ratio, and the median of a whole call of `comp_upto_shift`,
scores and checks included. maxshift is 10: 6561 shifts.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from statistic.metrics import BORDER, STEP, comp_upto_shift, crop, search_shift
from utils.errors import UsageError
from utils.images.opencv import cv2
from utils.terminal.program import Parser, run_program

MAXSHIFT = 10


def direct_search(image: np.ndarray, reference: np.ndarray) -> tuple[int, int]:
    """What `statistic.metrics.search_shift` finds, by computing every sum from its differences."""
    rows, columns = reference.shape
    count = STEP * (image.shape[0] - rows) + 1
    sums = np.empty((count, count))
    for down in range(count):
        first, quarters = divmod(down, STEP)
        strip = (1 - quarters / STEP) * image[first : first + rows]
        if quarters:
            strip += quarters / STEP * image[first + 1 : first + 1 + rows]
        for across in range(count):
            first, quarters = divmod(across, STEP)
            window = (1 - quarters / STEP) * strip[:, first : first + columns]
            if quarters:
                window += quarters / STEP * strip[:, first + 1 : first + 1 + columns]
            window -= reference
            sums[down, across] = np.vdot(window, window)
    best = np.unravel_index(np.argmin(sums), sums.shape)
    return int(best[0]), int(best[1])


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--sizes", nargs="+", default=["255x255", "1024x768"], metavar="HxW")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each search (default 3)")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        raise UsageError(f"--repeats {given.repeats}: give 1 or more")
    sizes = [_parse_size(size) for size in given.sizes]

    print(f"{'size':>10} {'fast':>10} {'direct':>10} {'ratio':>8} {'whole call':>11}")
    for height, width in sizes:
        fast, direct, whole = _measure(height, width, given.repeats)
        print(
            f"{f'{height}x{width}':>10} {fast:8.4f} s {direct:8.2f} s {direct / fast:7.0f}x"
            f" {whole:9.4f} s"
        )
    return 0


def _parse_size(text: str) -> tuple[int, int]:
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdigit() and int(side) > 40 for side in sides):
        raise UsageError(f"--sizes {text}: give height x width of 41 or more, 255x255 for instance")
    return int(sides[0]), int(sides[1])


def _measure(height: int, width: int, repeats: int) -> tuple[float, float, float]:
    truth = cv2.GaussianBlur(np.random.default_rng(0).random((height, width)), (0, 0), 1)
    restored = np.roll(cv2.GaussianBlur(truth, (0, 0), 2), (3, -2), (0, 1))
    margin = BORDER - MAXSHIFT
    window = 255 * restored[margin : height - margin, margin : width - margin]
    reference = 255 * crop(truth)

    seconds: dict[str, list[float]] = {"fast": [], "direct": [], "whole": []}
    for _ in tqdm(range(repeats), desc=f"{height}x{width}", leave=False):
        start = time.perf_counter()
        found = search_shift(window, reference)
        seconds["fast"].append(time.perf_counter() - start)

        start = time.perf_counter()
        expected = direct_search(window, reference)
        seconds["direct"].append(time.perf_counter() - start)
        if found != expected:
            raise AssertionError(f"search_shift found {found}, the direct search {expected}")

        start = time.perf_counter()
        comp_upto_shift(restored, truth, MAXSHIFT)
        seconds["whole"].append(time.perf_counter() - start)
    fast, direct, whole = (statistics.median(values) for values in seconds.values())
    return fast, direct, whole


if __name__ == "__main__":
    run_program(main)
