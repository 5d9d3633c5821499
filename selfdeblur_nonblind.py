"""Restore images whose kernels are known or were estimated (the remedy for black).

python selfdeblur_nonblind.py  # Lai's that collapsed
python selfdeblur_nonblind.py --data_path a.jpg --kernel_path a_k.png
python selfdeblur_nonblind.py --data_path datasets/levin --only '*kernel[48]*' \\
    --kernel_path datasets/levin/gt --flip_kernel --save_path results/nonblind

In a folder, the kernel of NAME.png is NAME_k.png or, by the number in NAME, Levin's
kernel5.png or Lai's kernel_01.png, taken as a correlation kernel. If the
truth is known, one that is rotated by 180 degrees is refused.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.catalog import find_kernel, find_truth
from utils.engine.methods import NONBLIND_METHODS
from utils.engine.stage import Restoration
from utils.errors import DataError, describe
from utils.images.reading import read_gray, read_kernel
from utils.log import log
from utils.runs.experiment import Experiment
from utils.terminal.options import parse_options
from utils.terminal.program import Parser, run_program
from utils.terminal.restore import restore_images

FOLDER = "results/lai/uniform/nonblind/blurry"
CLEARLY = 1.0  # dB; the two orientations of Levin's true kernels are 2.9 and more apart


def add_options(parser: Parser) -> None:
    parser.add_argument(
        "--kernel_path", metavar="PATH", help="a kernel, or a folder of them (the save path)"
    )
    parser.add_argument(
        "--flip_kernel", action="store_true", help="rotate the kernels by 180 degrees"
    )


def load_kernel(path: Path, flip: bool) -> np.ndarray:
    kernel = read_kernel(path)
    if any(side < 3 or side % 2 == 0 for side in kernel.shape):
        raise DataError(
            "{}: a kernel of {} x {} pixels; pad it to odd sides of 3 or more".format(
                path, *kernel.shape
            )
        )
    return kernel[::-1, ::-1].copy() if flip else kernel


def check_orientation(kernel: np.ndarray, image: Path) -> None:
    """Raise a DataError if the truth shows that an image's kernel is rotated by 180 degrees."""
    truth_path = find_truth(image)
    if truth_path is None:
        return
    from statistic.reblur import (
        reblur_psnr,
    )  # imports SciPy's signal processing, which takes seconds

    try:
        blurry, truth = read_gray(image), read_gray(truth_path)
        as_given = reblur_psnr(kernel, truth, blurry)
        turned = reblur_psnr(kernel[::-1, ::-1], truth, blurry)
    except (DataError, OSError, ValueError) as error:
        log.warning("%s: its kernel's orientation is not checked: %s", image.stem, describe(error))
        return
    if turned > as_given + CLEARLY:
        raise DataError(
            f"the kernel is rotated by 180 degrees: {truth_path.name} blurred with it is "
            f"{image.name} to {as_given:.1f} dB, with it rotated to {turned:.1f} dB; "
            "give --flip_kernel for this image, or leave it out"
        )


def main(arguments: list[str]) -> int:
    options, given = parse_options(
        arguments,
        __doc__,
        data_path=FOLDER,
        save_path=f"{FOLDER}/results",
        methods=NONBLIND_METHODS,
        where_to_get="put the blurry images there, and their kernels NAME_k.png into its results/",
        known_kernel=True,
        add_options=add_options,
    )
    kernel_path = Path(given.kernel_path or options.save_path)
    if not kernel_path.exists():
        raise DataError(f"{kernel_path}: no such file or folder of kernels; give --kernel_path")
    images = {path.stem: path for path in options.images}
    for name in list(images):  # NAME_k.png beside NAME.png is its kernel
        images.pop(f"{name}_k", None)
    options = replace(options, images=list(images.values()))

    def files(name: str) -> dict[str, Path]:
        return {"kernel": find_kernel(name, kernel_path)}

    def kernel_size(name: str) -> tuple[int, int]:
        height, width = load_kernel(find_kernel(name, kernel_path), given.flip_kernel).shape
        return height, width

    def start(path: Path, restoration: Restoration) -> Restoration:
        kernel = load_kernel(find_kernel(path.stem, kernel_path), given.flip_kernel)
        if kernel.shape != restoration.kernel_size:
            raise DataError("--kernel_size differs from the kernel's own; leave it out")
        check_orientation(kernel, path)
        return replace(restoration, kernel=kernel)

    experiment = Experiment(
        kernel_size,
        color_suffix="_x.png",
        registered=True,
        files=files,
        start=start,
        settings={"flip_kernel": given.flip_kernel},
    )
    return restore_images(options, experiment)


if __name__ == "__main__":
    run_program(main)
