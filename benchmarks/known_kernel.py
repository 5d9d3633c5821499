"""Restore Levin's images with their true kernels and score the results.

    python benchmarks/known_kernel.py
    python benchmarks/known_kernel.py --data_path ../shared/data/levin --weight 6000

utils/engine/deconvolution.py quotes the averages beside its settings. Published for known kernels:
34.53 dB, .949.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets.catalog import LEVIN, true_kernel_name, truth_name
from statistic.metrics import comp_upto_shift
from statistic.reblur import orient_kernel
from utils.engine.deconvolution import WEIGHT, deconvolve
from utils.errors import DataError, UsageError
from utils.images.reading import read_gray, read_kernel
from utils.images.writing import to_uint8
from utils.terminal.program import Parser, run_program


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--data_path", type=Path, default=Path("datasets/levin"))
    parser.add_argument("--weight", type=float, default=WEIGHT, help="of the data term")
    given = parser.parse_args(arguments)
    if not 0 < given.weight < np.inf:
        raise UsageError(f"--weight {given.weight:g}: give a positive number")
    if not (given.data_path / "gt").is_dir():
        raise DataError(f"{given.data_path}: no folder gt in it; give Levin's by --data_path")

    scores, seconds = [], []
    for name in tqdm(LEVIN.images, leave=False):
        truth = read_gray(given.data_path / LEVIN.truth_folder / f"{truth_name(name)}.png")
        blurry = read_gray(given.data_path / f"{name}.png")
        kernel_file = given.data_path / LEVIN.kernel_folder / f"{true_kernel_name(name)}.png"
        kernel = orient_kernel(read_kernel(kernel_file), truth, blurry)
        start = time.perf_counter()
        restored = deconvolve(blurry, kernel, given.weight)
        seconds.append(time.perf_counter() - start)
        scores.append(comp_upto_shift(to_uint8(restored) / 255, truth)[:2])
        tqdm.write(f"{name}: psnr={scores[-1][0]:.4f} ssim={scores[-1][1]:.4f}")
    psnr, ssim = np.mean(scores, 0)
    print(
        f"average over {len(scores)}: psnr={psnr:.4f} ssim={ssim:.4f}, "
        f"{statistics.median(seconds):.2f} s an image"
    )
    return 0


if __name__ == "__main__":
    run_program(main)
