"""Restore Levin's 32 blurry images (section 4.2 of the SelfDeblur paper, its Levin table).

python selfdeblur_levin.py                                # all of datasets/levin
python selfdeblur_levin.py --only 'im1_*' --recipe quick  # without a GPU
python selfdeblur_levin.py --data_path photo.png --kernel_size 31 --save_path results/photo
"""

import re

from utils.engine.recipe import LEVIN
from utils.errors import DataError
from utils.runs.experiment import Experiment
from utils.runs.run import restore_all
from utils.terminal.options import parse_options
from utils.terminal.program import run_program

# The size of the true kernel's support, by the kernel's number in the image's name.
KERNEL_SIZES = {1: 17, 2: 15, 3: 13, 4: 27, 5: 11, 6: 19, 7: 21, 8: 21}


def kernel_size(name: str) -> tuple[int, int]:
    """Kernel size of an image by its name alone, such as ``im1_kernel5_img``."""
    number = re.search(r"kernel([1-8])(?!\d)", name)
    if not number:
        raise DataError(f"the name {name} has no kernel1 to kernel8 in it; give --kernel_size")
    size = KERNEL_SIZES[int(number[1])]
    return size, size


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        __doc__,
        data_path="datasets/levin",
        save_path="results/levin",
        recipe=LEVIN,
        where_to_get="python datasets/fetch.py levin gets Levin's images (see datasets/README.md)",
    )
    return restore_all(options, Experiment(kernel_size))


if __name__ == "__main__":
    run_program(main)
