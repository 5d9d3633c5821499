"""Restore images whose kernels are known or were estimated (the remedy where x turns black).

    python selfdeblur_nonblind.py    # results/lai/uniform/nonblind/blurry, kernels in its results/
    python selfdeblur_nonblind.py --data_path photo.jpg --kernel_path photo_k.png --save_path out
    python selfdeblur_nonblind.py --data_path datasets/levin --kernel_path datasets/levin/gt \\
        --only 'im?_kernel[48]_img' --flip_kernel --save_path results/levin_nonblind

In a folder, the kernel of NAME.png is NAME_k.png or, by the number in NAME, Levin's kernelN.png. A
kernel is taken for the correlation that the other scripts estimate. Where gt/ with the truth lies
beside the images, a kernel that explains them better when turned by 180 degrees is refused.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.catalog import find_truth
from statistic.reblur import reblur_psnr
from utils.engine.deblur import State, draw_start
from utils.engine.recipe import NONBLIND
from utils.errors import DataError, describe
from utils.images.reading import read_gray, read_kernel
from utils.runs.experiment import Experiment
from utils.runs.run import restore_all
from utils.terminal.options import parse_options
from utils.terminal.program import Parser, run_program
from utils.terminal.progress import say

FOLDER = "results/lai/uniform/nonblind/blurry"
CLEARLY = 1.0  # dB; the two orientations of Levin's true kernels are 2.9 and more apart


def add_options(parser: Parser) -> None:
    parser.add_argument(
        "--kernel_path", metavar="PATH", help="a kernel, or a folder of them (the save path)"
    )
    parser.add_argument(
        "--flip_kernel", action="store_true", help="turn the kernels by 180 degrees"
    )


def find_kernel(name: str, path: Path) -> Path:
    """Find the kernel's file of an image by its name, in a folder or given by itself."""
    if path.is_file():
        return path
    candidates = [path / f"{name}_k.png"]
    if number := re.search(r"kernel(\d+)", name):
        candidates.append(path / f"kernel{number[1]}.png")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"no kernel for {name}: looked for {' and '.join(map(str, candidates))}; give --kernel_path"
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
    """Raise a DataError if the truth beside an image tells that its kernel is upside down."""
    truth_path = find_truth(image)
    if truth_path is None:
        return
    try:
        blurry, truth = read_gray(image), read_gray(truth_path)
        as_given = reblur_psnr(kernel, truth, blurry)
        turned = reblur_psnr(kernel[::-1, ::-1], truth, blurry)
    except (DataError, OSError, ValueError) as error:
        say(f"{image.stem}: its kernel's orientation is not checked: {describe(error)}")
        return
    if turned > as_given + CLEARLY:
        raise DataError(
            f"the kernel is upside down: blurring {truth_path.name} with it gives {image.name} to "
            f"{as_given:.1f} dB, turned by 180 degrees to {turned:.1f} dB; "
            "give --flip_kernel for this image, or leave it out"
        )


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        __doc__,
        data_path=FOLDER,
        save_path=f"{FOLDER}/results",
        recipe=NONBLIND,
        where_to_get="put the blurry images there, and their kernels NAME_k.png into its results/",
        add_options=add_options,
    )
    flip = options.given.flip_kernel
    kernel_path = Path(options.given.kernel_path or options.save_path)
    if not kernel_path.exists():
        raise DataError(f"{kernel_path}: no such file or folder of kernels; give --kernel_path")
    images = {path.stem: path for path in options.images}
    for name in list(images):  # NAME_k.png beside NAME.png is its kernel
        images.pop(f"{name}_k", None)
    options = replace(options, images=list(images.values()))

    def given(name: str) -> dict[str, Path]:
        return {"kernel": find_kernel(name, kernel_path)}

    def kernel_size(name: str) -> tuple[int, int]:
        return load_kernel(given(name)["kernel"], flip).shape

    def start(name: str, size: tuple[int, int], kernel_size: tuple[int, int]) -> State:
        kernel = load_kernel(given(name)["kernel"], flip)
        if kernel.shape != kernel_size:
            raise DataError("--kernel_size differs from the kernel's own; leave it out")
        check_orientation(kernel, images[name])
        return draw_start(size, kernel_size, options.recipe, options.seed, kernel)

    experiment = Experiment(
        kernel_size,
        color_suffix="_x.png",
        registered=True,
        given=given,
        start=start,
        networks="x",
        settings={"flip_kernel": flip},
    )
    return restore_all(options, experiment)


if __name__ == "__main__":
    run_program(main)
