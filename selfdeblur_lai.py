"""Restore Lai's 100 blurry images (section 4.3 of the SelfDeblur paper, its Lai table).

    python selfdeblur_lai.py                                      # datasets/lai/uniform_ycbcr
    python selfdeblur_lai.py --data_path RELEASE/uniform          # Lai's release, in color
    python selfdeblur_lai.py --only 'text_*' --recipe quick       # without a GPU

Luminance images give NAME_x.png and NAME_k.png; color images NAME.png as well, in color. An image
that collapses to black is restored again with the kernel that was found.
"""

import re

from utils.engine.recipe import LAI
from utils.errors import DataError
from utils.images.colors import MATLAB_GRAY
from utils.runs.experiment import Experiment
from utils.runs.run import restore_all
from utils.terminal.options import parse_options
from utils.terminal.program import Parser, run_program

# The sizes of Lai's four kernels, by the number in the image's name.
KERNEL_SIZES = {1: 31, 2: 51, 3: 55, 4: 75}


def kernel_size(name: str) -> tuple[int, int]:
    """Kernel size of an image by its name alone, such as ``manmade_01_kernel_02``."""
    number = re.search(r"kernel_0([1-4])(?!\d)", name)
    if not number:
        raise DataError(f"the name {name} has no kernel_01 to kernel_04 in it; give --kernel_size")
    size = KERNEL_SIZES[int(number[1])]
    return size, size


def add_options(parser: Parser) -> None:
    parser.add_argument(
        "--no-rescue", action="store_true", help="leave images that collapse to black"
    )


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        __doc__,
        data_path="datasets/lai/uniform_ycbcr",
        save_path="results/lai/uniform",
        recipe=LAI,
        where_to_get="datasets/README.md tells where Lai's images come from and what prepares them",
        add_options=add_options,
    )
    experiment = Experiment(
        kernel_size,
        luma_range=MATLAB_GRAY,
        color_suffix=".png",
        rescue=not options.given.no_rescue,
    )
    return restore_all(options, experiment)


if __name__ == "__main__":
    run_program(main)
